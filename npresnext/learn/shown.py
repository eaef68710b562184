"""A failing case in text: the call, written so that it can be pasted, and both results side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..testing.arrays_as_text import around, where, write_value
from .answers import WIDTH
from .exercise import Arguments, differences

MOST_NUMBERS = 120  # of an array that is written out
MOST_PLANES, MOST_ROWS, MOST_COLUMNS = 3, 8, 8


def write_call(function: str, parameters: Sequence[str], arguments: Arguments) -> list[str]:
    """Return the lines of Python that make a call; a parameter without an argument stands for itself.

    >>> write_call("double", ("x", "times"), {"x": np.ones((1, 2)), "times": 2})
    ['x = np.array([[1, 1]], float)', 'double(x, times=2)']
    """
    lines, shown, named = [], [], False
    for name in parameters:
        value = arguments.get(name, name)
        if isinstance(value, np.ndarray):
            lines += write_array(name, value)
        named = named or not isinstance(value, (np.ndarray, str))  # and then so has to be every later one
        written = name if isinstance(value, (np.ndarray, str)) else value
        shown.append(f"{name}={written}" if named else name)
    return lines + wrap(f"{function}({', '.join(shown)})", WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def write_array(name: str, array: Array) -> list[str]:
    """Return the lines of Python that make an array, or one that says its shape if it is large."""
    if array.size > MOST_NUMBERS:
        return [f"# {name}: random integers of shape {array.shape}"]
    numbers = repr([[int(v) if v == int(v) else v for v in array.ravel().tolist()]])[1:-1]
    if array.ndim < 5 and array.size:
        nested = np.vectorize(lambda v: int(v) if v == int(v) else v, otypes=[object])(array)
        numbers = repr(nested.tolist())
        return wrap(f"{name} = np.array({numbers}, float)", WIDTH, subsequent_indent="    ", break_on_hyphens=False)
    text = f"{name} = np.array({numbers}, float).reshape{array.shape}"
    return wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def side_by_side(name: str, got: Any, expected: Any, tolerance: float) -> list[str]:
    """Return the lines that show a result and the expected one; a star marks each difference.

    >>> print("\\n".join(side_by_side("y", np.array([1, -0.0, 2]), np.array([1, 0, 3.0]), 0)))
    y: yours | expected
      1  0  2* | 1 0 3
    """
    if isinstance(expected, (int, np.integer)):
        return [f"{name}: yours {got}, expected {expected}"]
    got, expected = np.asarray(got) + 0.0, np.asarray(expected) + 0.0  # 0 where it is -0
    if got.shape != expected.shape:
        lines = [f"{name} has shape {got.shape}: expected {expected.shape}"]
        for whose, array in (("yours", got), ("expected", expected)):
            if array.size <= MOST_NUMBERS // 4:
                numbers = ", ".join(write_value(float(v)) for v in array.ravel()) or "no numbers"
                lines += wrap(f"{whose}, number by number: {numbers}", WIDTH, subsequent_indent="    ")
        return lines
    wrong = differences(got, expected, tolerance)
    if wrong is None:
        return []
    lines, planes = [], list(_planes(name, wrong))
    for label, place in planes[:MOST_PLANES]:
        lines.append(f"{label}: yours | expected")
        left = [
            [write_value(v) + ("*" if star else " ") for v, star in zip(row, stars)]
            for row, stars in zip(np.atleast_2d(got[place]).tolist(), np.atleast_2d(wrong[place]).tolist())
        ]
        right = [[write_value(v) for v in row] for row in np.atleast_2d(expected[place]).tolist()]
        width = max(len(cell) for row in left for cell in row)
        for ours, theirs in zip(left, right):
            yours = " ".join(cell.rjust(width) for cell in ours)
            expected_row = " ".join(cell.rjust(width - 1) for cell in theirs)
            lines.append(f"  {yours} | {expected_row}")
    if len(planes) > MOST_PLANES:
        lines.append(f"{len(planes) - MOST_PLANES} more of such differences")
    return lines


def _planes(name: str, wrong: Array) -> Iterator[tuple[str, Any]]:
    """Yield a label and an index of each plane (the last two axes) with a difference, cut to a part around it."""
    lead = max(wrong.ndim - 2, 0)
    axes = tuple(range(lead, wrong.ndim))
    for place in np.argwhere(wrong.any(axis=axes)) if lead else [np.array([], int)]:
        fixed = tuple(map(int, place))
        first = np.argwhere(wrong[fixed])[0]
        sizes, most = wrong.shape[lead:], (MOST_ROWS, MOST_COLUMNS)[2 - len(first) :]
        cut = tuple(around(int(at), size, limit) for at, size, limit in zip(first, sizes, most))
        is_cut = any(part.stop - part.start < size for part, size in zip(cut, sizes))
        inside = [str(i) for i in fixed]
        if is_cut:
            inside += [where(part)[1:-1] for part in cut]
        yield f"{name}[{', '.join(inside)}]" if inside else name, (*fixed, *cut)
