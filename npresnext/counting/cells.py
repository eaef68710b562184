"""What a summary shows, whatever it is shown in: the rows, their cells, the totals and the savings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .._support.units import size_text
from .rows import Counts, Row

EXPLANATION = (
    "MACs are the multiply-adds of convolutions and linear layers, padding included. A dash (--) stands where there is "
    "nothing to count, or where the rows below hold the counts of the parts."
)
COUNTS = ("num_params", "params_percent", "macs", "activation_bytes", "dense_params", "dense_macs")
SAVINGS_HEADER = ["Grouped convolution", "G", "Parameters", "with G=1", "saved in the layer", "of the network"]
SAVINGS_NOTE = (
    "Both savings are measured against the same channels with G=1. A network of equal cost uses the saved weights "
    "for more channels: see `npresnext cardinality`."
)


def shown_rows(found: Counts) -> Iterator[tuple[Row, bool]]:
    """Yield the rows down to the depth that is shown, and whether each stands for all that is below it."""
    for row in found.rows:
        if row.depth <= found.shown_depth:
            yield row, row.is_layer or row.depth == found.shown_depth


def cells_of(row: Row, found: Counts, collapsed: bool) -> list[Any]:
    """Return a row's values for the columns; a module whose parts are shown has no counts, as its parts have them."""
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


def totals(found: Counts) -> Iterator[tuple[str, str]]:
    """Yield the totals of the network as names and values."""
    yield "Total parameters", f"{found.total_params:,}"
    yield "Total MACs", f"{found.total_macs:,}"
    yield "Size of the input", size_text(found.input_bytes)
    yield "Size of the outputs of all layers", size_text(found.activation_bytes)
    yield "Size of the parameters", size_text(found.parameter_bytes)


def savings(found: Counts) -> list[list[Any]]:
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
