"""Gradient norms as a picture: a heat map of conv group by step for each layer, all layers side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.figures import new_figure
from ..errors import InvalidValueError

Row = dict[str, Any]
COLOURS = "magma"
DENSE = "dense convolutions, a layer a row"


def draw_grad_norms(rows: Sequence[Row], *, value: str = "l2", title: str = "") -> Any:
    """Draw rows of :func:`npresnext.group_grad_norms` over the steps of a run.

    Each grouped convolution has a panel, with a row for each conv group; the convolutions without groups share
    one. All panels share one logarithmic scale of colour, so that layers can be compared.

    Parameters
    ----------
    rows : sequence of dict
        With the columns step, layer, conv_group, groups and `value`.
    value : str
        The column that is drawn.
    title : str
        Stands above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no rows.

    Examples
    --------
    >>> row = {"layer": "conv", "conv_group": 0, "groups": 1}
    >>> figure = draw_grad_norms([{**row, "step": step, "l2": 0.5**step} for step in range(9)])
    >>> figure.savefig("norms.png")                                                    # doctest: +SKIP
    """
    if not rows:
        raise InvalidValueError("there are no rows to draw")
    panels = grad_norm_panels(rows, value)
    colours = load_extra("matplotlib.colors", "plot", "a picture")
    positive = np.concatenate([image[image > 0] for _, _, image in panels.values()])
    low, high = np.percentile(positive, [1, 99.5]) if positive.size else (0.1, 1.0)
    scale = colours.LogNorm(low, max(high, low * 1.01), clip=True)

    columns = min(len(panels), 4)
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(max(3.3 * columns + 0.8, 6), 2.7 * lines + 0.7)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for number, (ax, (name, (labels, steps, image))) in enumerate(zip(axes, panels.items())):
        mesh = ax.pcolormesh(
            _edges(steps), np.arange(len(labels) + 1) - 0.5, image, norm=scale, cmap=COLOURS, rasterized=True
        )
        ax.invert_yaxis()
        _label_rows(ax, labels)
        ax.set_title(name, fontsize=9, loc="left", family="monospace" if labels[0].isdigit() else None)
        ax.tick_params(labelsize=7, length=2)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.spines[:].set_visible(False)
        if number + columns >= len(panels):
            ax.set_xlabel("step", fontsize=8)
        if labels[0].isdigit():
            ax.set_ylabel("conv group", fontsize=8)
    label = f"{value} of the weight gradient"
    bar = figure.colorbar(mesh, ax=list(axes), label=label, extend="both", pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", labelsize=7)
    figure.suptitle(title, fontsize=11)
    return figure


def grad_norm_panels(rows: Sequence[Row], value: str = "l2") -> dict[str, tuple[list[str], np.ndarray, np.ndarray]]:
    """Return title -> (row labels, steps (S,), values (rows, S)): a panel for each grouped layer, one for all others.

    A value that is missing is NaN.

    Examples
    --------
    >>> rows = [{"step": 0, "layer": "conv", "conv_group": g, "groups": 2, "l2": 1.0 + g} for g in (0, 1)]
    >>> grad_norm_panels(rows)
    {'conv': (['0', '1'], array([0]), array([[1.],
           [2.]]))}
    """
    steps = np.unique([row["step"] for row in rows])
    place = {step: index for index, step in enumerate(steps.tolist())}
    cells: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        panel, label = (row["layer"], str(row["conv_group"])) if row["groups"] > 1 else (DENSE, row["layer"])
        line = cells.setdefault(panel, {}).setdefault(label, np.full(len(steps), np.nan))
        line[place[row["step"]]] = math.nan if row[value] is None else row[value]
    grouped = {name: lines for name, lines in cells.items() if name != DENSE}
    ordered = {**grouped, **({DENSE: cells[DENSE]} if DENSE in cells else {})}
    return {name: (list(lines), steps, np.stack(list(lines.values()))) for name, lines in ordered.items()}


def _edges(steps: np.ndarray) -> np.ndarray:
    """Return the borders of the cells whose middles are `steps`."""
    middles = (steps[1:] + steps[:-1]) / 2
    if not len(middles):
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    first, last = steps[0] - (middles[0] - steps[0]), steps[-1] + (steps[-1] - middles[-1])
    return np.array([first, *middles, last])


def _label_rows(ax: Any, labels: list[str]) -> None:
    """Name the rows, leaving some out where they would touch."""
    every = math.ceil(len(labels) / 16)
    ax.set_yticks(range(0, len(labels), every), labels[::every])
