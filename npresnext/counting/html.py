"""A summary as HTML, for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

from .cells import SAVINGS_HEADER, SAVINGS_NOTE, cells_of, label_of, savings, shown_rows, totals
from .rows import COLUMNS, Counts


def as_html(found: Counts) -> str:
    """Return the table of layers, the totals, and what the grouped convolutions save."""
    header = ["Layer (name)", *(COLUMNS[name] for name in found.col_names)]
    rows = []
    for row, collapsed in shown_rows(found):
        label = f'<td style="text-align:left;padding-left:{row.depth * 1.2 + 0.4}em">{escape(label_of(row))}</td>'
        rows.append(label + "".join(f"<td>{_text(cell)}</td>" for cell in cells_of(row, found, collapsed)))
    parts = [_html_table(header, rows)]
    parts.append(_html_table([], [f"<td>{name}</td><td>{value}</td>" for name, value in totals(found)]))
    if found.grouped_layers:
        rows = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in savings(found)]
        parts += [_html_table(SAVINGS_HEADER, rows), f"<p>{SAVINGS_NOTE}</p>"]
    return "\n".join(parts)


def _text(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else escape(str(cell))


def _html_table(header: list[str], rows: list[str]) -> str:
    head = "<thead><tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr></thead>" if header else ""
    return f"<table>{head}<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody></table>"
