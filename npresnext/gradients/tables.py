"""A table of gradient norms for the terminal, with one line per layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._support.tables import text_table
from .norms import Row

SUMMARY_HEADER = ["layer", "groups", "l2 mean", "l2 min", "l2 max", "spread", "rms", "ratio"]


def summary_table(rows: Iterable[Row]) -> str:
    """Return a table with one line per layer: mean, minimum and maximum of `l2` over all of its rows.

    `spread` compares the conv groups of a layer: the largest mean of `l2` over the steps, divided by the smallest.

    Examples
    --------
    >>> row = {"layer": "conv", "groups": 2, "rms": 0.5, "ratio": 0.1}
    >>> rows = [{**row, "conv_group": 0, "l2": 1.0}, {**row, "conv_group": 1, "l2": 2.0}]
    >>> print(summary_table(rows))
    layer  groups  l2 mean  l2 min  l2 max  spread  rms  ratio
    ----------------------------------------------------------
    conv        2      1.5       1       2     2.0  0.5    0.1
    """
    return text_table(SUMMARY_HEADER, summary_lines(rows))


def summary_lines(rows: Iterable[Row]) -> list[list[object]]:
    """Return the lines of :func:`summary_table`, below its header ``SUMMARY_HEADER``."""
    layers: dict[str, list[Row]] = {}
    for row in rows:
        layers.setdefault(row["layer"], []).append(row)
    lines: list[list[object]] = []
    for name, of_layer in layers.items():
        l2 = np.array([np.nan if row.get("l2") is None else row["l2"] for row in of_layer])
        group = np.array([row["conv_group"] for row in of_layer])
        means = [l2[group == number].mean() for number in np.unique(group)]
        spread = f"{max(means) / min(means):.1f}" if len(means) > 1 and min(means) > 0 else "-"
        norms = [_short(value) for value in (l2.mean(), l2.min(), l2.max())]
        lines.append([name, of_layer[0]["groups"], *norms, spread, _mean(of_layer, "rms"), _mean(of_layer, "ratio")])
    return lines


def _mean(rows: list[Row], name: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return _short(float(np.mean(values))) if values else "-"


def _short(value: float) -> str:
    return f"{value:.2g}"
