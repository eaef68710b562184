"""A summary as text."""

from __future__ import annotations

from .._support.tables import text_table
from .cells import SAVINGS_HEADER, SAVINGS_NOTE, cells_of, savings, shown_rows, totals
from .rows import COLUMNS, Counts, Row


def as_text(found: Counts) -> str:
    """Return the table of layers, the totals, and what the grouped convolutions save."""
    header = ["Layer (name): depth-index", *(COLUMNS[name] for name in found.col_names)]
    rows = [[_label(row), *cells_of(row, found, last)] for row, last in shown_rows(found)]
    parts = [text_table(header, rows), "", *(f"{name + ':':<35}{value}" for name, value in totals(found))]
    if found.grouped_layers:
        parts += ["", text_table(SAVINGS_HEADER, savings(found)), SAVINGS_NOTE]
    return "\n".join(parts)


def _label(row: Row) -> str:
    """Return the class and name of a row's module, behind the lines of the tree."""
    if not row.depth:
        return row.type
    return f"{'│ ' * (row.depth - 1)}├─{row.type} ({row.name}): {row.depth}-{row.index}"
