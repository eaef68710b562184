"""A summary as HTML, for notebooks."""

from __future__ import annotations

from html import escape

from .._support.plurals import counted
from .._support.tables import html_details, html_table
from .cells import EXPLANATION, SAVINGS_HEADER, SAVINGS_NOTE, cells_of, savings, shown_rows, totals
from .rows import COLUMNS, Counts, Row

MOST_OPEN_ROWS = 30  # longer tables are collapsed at first


def as_html(found: Counts) -> str:
    """Return the totals, the table of layers, and what the grouped convolutions save; the tables can be collapsed."""
    shown = list(shown_rows(found))
    layers = html_table(
        ["Layer", *(COLUMNS[name] for name in found.col_names)],
        [[_label(row), *cells_of(row, found, collapsed)] for row, collapsed in shown],
        indents=[row.depth * 1.2 + 0.4 for row, _ in shown],
    )
    whole = found.rows[0]
    size = "x".join(map(str, whole.input_size))
    parts = [
        f"<p><b>{escape(whole.type)}</b> for an input of {size}</p>",
        html_table([], [list(line) for line in totals(found)]),
        html_details(counted(len(shown), "row"), layers, is_open=len(shown) <= MOST_OPEN_ROWS),
        f"<p>{EXPLANATION}</p>",
    ]
    if found.grouped_layers:
        grouped = html_table(SAVINGS_HEADER, savings(found))
        parts.append(html_details("What the groups save", f"{grouped}\n<p>{escape(SAVINGS_NOTE)}</p>"))
    return "\n".join(parts)


def _label(row: Row) -> str:
    return f"{row.name}: {row.type}" if row.name else row.type
