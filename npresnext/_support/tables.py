"""Rows of text and numbers as an aligned table."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return lines with aligned columns: numbers and shares to the right, text to the left.

    >>> print(text_table(["name", "weights"], [["dense", 73728], ["32 groups", 2304]]))
    name       weights
    ------------------
    dense       73,728
    32 groups    2,304
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    numeric = [any(isinstance(row[i], int) or str(row[i]).endswith("%") for row in rows) for i in range(len(header))]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(line, widths, numeric)
        ).rstrip()
        for line in [header, *cells]
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
