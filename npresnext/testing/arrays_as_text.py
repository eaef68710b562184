"""Two arrays side by side: what came, and what the definition gives, cut to the part where they differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array

MOST_LINES = 6  # of both arrays
MOST_ROWS = 4  # of a plane
MOST_COLUMNS = 6


class Plane(NamedTuple):
    """The rows and columns of one channel of one image, or a part of them around the value at fault."""

    label: str
    got: Array  # (rows, columns)
    expected: Array  # (rows, columns)


def planes_that_differ(
    name: str, got: Array, expected: Array, index: tuple[int, ...], rows: int = MOST_ROWS, columns: int = MOST_COLUMNS
) -> list[Plane]:
    """Return the planes in which two arrays differ, the one of the value at `index` first, each cut around it.

    Parameters
    ----------
    name : str
        y, dx, dw or db.
    got, expected : arrays
        (N, C, H, W), a weight's (C_out, C_in/G, kh, kw), or (C_out,).
    index : tuple of int
        Of the value that is furthest from the definition.
    rows, columns : int
        How much of a plane is kept at most.
    """
    if got.ndim == 1:
        cut = around(index[-1], got.shape[0], columns)
        return [Plane(f"{name}{where(cut)}", got[None, cut], expected[None, cut])]
    height, width = (around(at, size, most) for at, size, most in zip(index[2:], got.shape[2:], (rows, columns)))
    differs = (got != expected)[:, :, height, width].any((2, 3))  # (N, C)
    places = [index[:2], *(tuple(map(int, place)) for place in np.argwhere(differs) if tuple(place) != index[:2])]
    axes = ("output channel", "input channel") if name == "dw" else ("image", "channel")
    is_cut = got[0, 0, height, width].shape != got.shape[2:]
    part = f", rows {where(height)}, columns {where(width)}" if is_cut else ""
    return [
        Plane(
            f"{name}, {axes[0]} {first}, {axes[1]} {second}{part}",
            got[first, second, height, width],
            expected[first, second, height, width],
        )
        for first, second in places
    ]


def around(at: int, size: int, most: int) -> slice:
    """Return at most `most` places around one of `size`.

    >>> around(7, 9, 4), around(0, 3, 4)
    (slice(5, 9, None), slice(0, 3, None))
    """
    start = max(0, min(at - most // 2, size - most))
    return slice(start, min(size, start + most))


def where(part: slice) -> str:
    """Return "[0:3]"."""
    return f"[{part.start}:{part.stop}]"


def side_by_side(name: str, got: Array, expected: Array, index: tuple[int, ...]) -> list[str]:
    """Return the lines that show both arrays; a value that is not as expected has a star."""
    lines: list[str] = []
    planes = planes_that_differ(name, got, expected, index)
    for number, plane in enumerate(planes):
        written = write_plane(plane)
        if number and len(lines) + len(written) > MOST_LINES:
            lines.append(f"{len(planes) - number} more of such differences")
            break
        lines += written
    return lines


def write_plane(plane: Plane) -> list[str]:
    """Return the lines of a plane; one with a single row is one line.

    >>> write_plane(Plane("dx, image 0, channel 0", np.array([[1.0, 2]]), np.array([[1.0, 0]])))
    ['dx, image 0, channel 0: got 1  2* | expected 1  0']
    """
    wrong = (plane.got != plane.expected).tolist()
    got = [
        [write_value(value) + ("*" if star else " ") for value, star in zip(row, stars)]
        for row, stars in zip(plane.got.tolist(), wrong)
    ]
    expected = [[write_value(value) for value in row] for row in plane.expected.tolist()]
    if len(got) == 1:
        return [f"{plane.label}: got {' '.join(got[0]).rstrip()} | expected {'  '.join(expected[0])}"]
    width = max(len(cell) for row in got + expected for cell in row)
    return [
        f"{plane.label}: got | expected",
        *(f"  {write_row(left, width)} | {write_row(right, width)}" for left, right in zip(got, expected)),
    ]


def write_row(cells: list[str], width: int) -> str:
    """Return cells side by side, each as wide as `width`."""
    return " ".join(cell.rjust(width) for cell in cells)


def write_value(value: float) -> str:
    """Return a number in few characters.

    >>> write_value(-2.0), write_value(0.1 + 0.2)
    ('-2', '0.3')
    """
    return f"{value:.7g}"
