"""Rows of text and numbers as an aligned table."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = ("", "-", "--")  # a cell without a value


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return lines with aligned columns: numbers and percentages to the right, text to the left.

    Integers are written with commas. The first column is text unless it holds integers.

    >>> print(text_table(["name", "weights", "share"], [["dense", 73728, "97%"], ["32 groups", 2304, "-"]]))
    name       weights  share
    -------------------------
    dense       73,728    97%
    32 groups    2,304      -
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [list(header), *cells]
    columns = []
    for index, column in enumerate(zip(*lines)):
        width = max(map(len, column))
        if any(isinstance(row[index], int) for row in rows) or (index > 0 and _all_numbers(column[1:])):
            columns.append([cell.rjust(width) for cell in column])
        else:
            columns.append([cell.ljust(width) for cell in column])
    aligned = ["  ".join(line).rstrip() for line in zip(*columns)]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def _all_numbers(cells: Sequence[str]) -> bool:
    """Return whether the cells are numbers, percentages or absent, and at least one is there."""
    there = [cell for cell in cells if cell not in ABSENT]
    return bool(there) and all(_is_number(cell.removesuffix("%").replace(",", "")) for cell in there)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
