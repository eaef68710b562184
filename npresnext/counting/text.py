"""A summary as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from .._support.tables import text_table
from .summary import COLUMNS, Row, Summary

COUNTS = ("num_params", "params_percent", "macs", "activation_bytes", "dense_params", "dense_macs")
GROUPED_HEADER = ["Grouped convolution", "G", "Parameters", "with G=1", "saved in the layer", "of the network"]


def as_text(found: Summary) -> str:
    """Return the table of layers, the totals, and what the grouped convolutions save."""
    header = ["Layer (name): depth-index", *(COLUMNS[name] for name in found.col_names)]
    rows = [[_branch(row) + _label(row), *_cells(row, found, last)] for row, last in _shown(found)]
    parts = [text_table(header, rows), "", *(f"{name + ':':<28}{value}" for name, value in _totals(found))]
    if found.grouped_layers:
        parts += ["", text_table(GROUPED_HEADER, _savings(found)), _REMINDER]
    return "\n".join(parts)


def as_html(found: Summary) -> str:
    """Return the same as HTML, for notebooks."""
    header = ["Layer (name)", *(COLUMNS[name] for name in found.col_names)]
    rows = []
    for row, collapsed in _shown(found):
        label = f'<td style="text-align:left;padding-left:{row.depth * 1.2 + 0.4}em">{html.escape(_label(row))}</td>'
        rows.append(label + "".join(f"<td>{_text(cell)}</td>" for cell in _cells(row, found, collapsed)))
    parts = [_html_table(header, rows)]
    parts.append(_html_table([], [f"<td>{name}</td><td>{value}</td>" for name, value in _totals(found)]))
    if found.grouped_layers:
        savings = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in _savings(found)]
        parts += [_html_table(GROUPED_HEADER, savings), f"<p>{_REMINDER}</p>"]
    return "\n".join(parts)


_REMINDER = (
    "Both savings are against the same channels with G=1. A network designed at equal cost spends the saving on "
    "width: see `npresnext cardinality`."
)


def _shown(found: Summary) -> Iterator[tuple[Row, bool]]:
    """Yield the rows down to the depth that is shown, and whether each stands for all that is below it."""
    for row in found.rows:
        if row.depth <= found.shown_depth:
            yield row, row.is_layer or row.depth == found.shown_depth


def _cells(row: Row, found: Summary, collapsed: bool) -> list[Any]:
    """Return a row's values for the columns; the counts of a module whose parts are shown are left to them."""
    cells: list[Any] = []
    for name in found.col_names:
        value = getattr(row, name)
        if name in COUNTS and (not collapsed or not value):
            value = "--"
        elif name == "params_percent":
            value = f"{value:.2f}%"
        elif isinstance(value, tuple):
            value = list(value)
        cells.append("" if value is None else value)
    return cells


def _label(row: Row) -> str:
    if not row.depth:
        return row.type
    return f"{row.type} ({row.name}): {row.depth}-{row.index}"


def _branch(row: Row) -> str:
    return "│ " * (row.depth - 1) + "├─" if row.depth else ""


def _totals(found: Summary) -> Iterator[tuple[str, str]]:
    yield "Total parameters", f"{found.total_params:,}"
    yield "Total MACs", f"{found.total_macs:,}"
    sizes = {"Input": found.input_bytes, "Outputs of all layers": found.activation_bytes}
    for name, size in {**sizes, "Parameters": found.parameter_bytes}.items():
        yield f"{name} (MB)", f"{size / 1e6:,.2f}"


def _savings(found: Summary) -> list[list[Any]]:
    """Return a row for every grouped convolution and one for the network, with both savings side by side."""
    rows: list[list[Any]] = []
    for row in found.grouped_layers:
        saved = row.dense_params - row.num_params
        of_layer, of_network = saved / row.dense_params, saved / found.dense_params
        rows.append([row.path, row.groups, row.num_params, row.dense_params, f"{of_layer:.3%}", f"{of_network:.2%}"])
    saved = found.dense_params - found.total_params
    rows.append(
        ["the whole network", "", found.total_params, found.dense_params, "", f"{saved / found.dense_params:.2%}"]
    )
    return rows


def _text(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else html.escape(str(cell))


def _html_table(header: list[str], rows: list[str]) -> str:
    head = "<thead><tr>" + "".join(f"<th>{name}</th>" for name in header) + "</tr></thead>" if header else ""
    return f"<table>{head}<tbody>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</tbody></table>"
