"""Rows of text and numbers as an aligned table, in text and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

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
    cells = [[_text(cell) for cell in row] for row in rows]
    lines = [list(header), *cells]
    columns = []
    for index, column in enumerate(zip(*lines)):
        width = max(map(len, column))
        if _is_to_the_right(rows, cells, index):
            columns.append([cell.rjust(width) for cell in column])
        else:
            columns.append([cell.ljust(width) for cell in column])
    aligned = ["  ".join(line).rstrip() for line in zip(*columns)]
    return "\n".join([aligned[0], "-" * max(map(len, aligned)), *aligned[1:]])


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], *, indents: Sequence[float] = ()) -> str:
    """Return the same as an HTML table; headings are aligned like their columns, and no colours are set.

    Parameters
    ----------
    header : sequence of str
        Empty for a table without headings.
    rows : sequence of sequences
    indents : sequence of float, optional
        For each row, how far its first cell is indented, in the width of a letter M.

    Examples
    --------
    >>> html_table(["G"], [[32]])
    '<table><thead><tr><th style="text-align:right">G</th></tr></thead>\
<tbody><tr><td style="text-align:right">32</td></tr></tbody></table>'
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    sides = [
        "right" if _is_to_the_right(rows, cells, index) else "left" for index in range(len(cells[0]) if cells else 0)
    ]
    body = []
    for number, line in enumerate(cells):
        styles = [f"text-align:{side}" for side in sides]
        if indents:
            styles[0] += f";padding-left:{indents[number]:.1f}em"
        body.append("".join(f'<td style="{style}">{escape(cell)}</td>' for style, cell in zip(styles, line)))
    headings = [f'<th style="text-align:{side}">{escape(name)}</th>' for side, name in zip(sides, header)]
    head = f"<thead><tr>{''.join(headings)}</tr></thead>" if headings else ""
    return f"<table>{head}<tbody>{''.join(f'<tr>{line}</tr>' for line in body)}</tbody></table>"


def html_details(title: str, content: str, *, is_open: bool = True) -> str:
    """Return HTML that can be collapsed to its title."""
    return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>\n{content}\n</details>"


def _text(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _is_to_the_right(rows: Sequence[Sequence[object]], cells: Sequence[Sequence[str]], index: int) -> bool:
    """Return whether a column holds an integer, or numbers alone and is not the first."""
    if any(isinstance(row[index], int) for row in rows):
        return True
    return index > 0 and _all_numbers([line[index] for line in cells])


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
