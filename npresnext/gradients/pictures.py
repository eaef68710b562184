"""A picture of gradient norms: for each grouped convolution, a heat map of conv group by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.figures import new_figure
from .._support.integers import ceil_div
from ..errors import InvalidValueError
from .norms import Row

COLOURS = "magma"
DENSE = "dense convolutions, one row per layer"


def draw_grad_norms(rows: Sequence[Row], *, value: str = "l2", title: str = "") -> Any:
    """Draw rows of :func:`npresnext.group_grad_norms` over the steps of a run.

    Each grouped convolution has a panel with one row per conv group; all convolutions with one group share a panel.
    All panels have the same logarithmic colour scale, so that layers can be compared.

    Parameters
    ----------
    rows : sequence of dict
        With the columns step, layer, conv_group, groups and `value`.
    value : str
        The column to draw.
    title : str
        The title of the picture.

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
    lines = ceil_div(len(panels), columns)
    figure = new_figure(max(3.3 * columns + 0.8, 6), 2.7 * lines + 0.7)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    for number, (ax, (name, (labels, steps, image))) in enumerate(zip(axes, panels.items())):
        grouped = name != DENSE
        mesh = ax.pcolormesh(
            _edges(steps), np.arange(len(labels) + 1) - 0.5, image, norm=scale, cmap=COLOURS, rasterized=True
        )
        ax.invert_yaxis()
        _label_rows(ax, labels)
        ax.set_title(name, fontsize=9, loc="left", family="monospace" if grouped else None)
        ax.tick_params(labelsize=7, length=2)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.spines[:].set_visible(False)
        if number + columns >= len(panels):
            ax.set_xlabel("step", fontsize=8)
        if grouped:
            ax.set_ylabel("conv group", fontsize=8)
    label = f"{value} of the weight gradient"
    bar = figure.colorbar(mesh, ax=list(axes), label=label, extend="both", pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", labelsize=7)
    figure.suptitle(title, fontsize=11)
    return figure


def grad_norm_panels(rows: Sequence[Row], value: str = "l2") -> dict[str, tuple[list[str], np.ndarray, np.ndarray]]:
    """Return the panels as title -> (row labels, steps (S,), values (rows, S)).

    Each grouped layer has a panel; all other layers share one, the last. A missing value is NaN.

    Examples
    --------
    >>> rows = [{"step": 0, "layer": "conv", "conv_group": g, "groups": 2, "l2": 1.0 + g} for g in (0, 1)]
    >>> grad_norm_panels(rows)
    {'conv': (['0', '1'], array([0]), array([[1.],
           [2.]]))}
    """
    steps = np.unique([row["step"] for row in rows])
    column_of = {step: index for index, step in enumerate(steps.tolist())}
    cells: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        panel, label = (row["layer"], str(row["conv_group"])) if row["groups"] > 1 else (DENSE, row["layer"])
        line = cells.setdefault(panel, {}).setdefault(label, np.full(len(steps), np.nan))
        line[column_of[row["step"]]] = math.nan if row[value] is None else row[value]
    grouped = {name: lines for name, lines in cells.items() if name != DENSE}
    ordered = {**grouped, **({DENSE: cells[DENSE]} if DENSE in cells else {})}
    return {name: (list(lines), steps, np.stack(list(lines.values()))) for name, lines in ordered.items()}


def _edges(steps: np.ndarray) -> np.ndarray:
    """Return the borders (S + 1,) of cells with their centres at `steps` (S,)."""
    inner = (steps[1:] + steps[:-1]) / 2
    if not len(inner):
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    first, last = steps[0] - (inner[0] - steps[0]), steps[-1] + (steps[-1] - inner[-1])
    return np.array([first, *inner, last])


def _label_rows(ax: Any, labels: list[str]) -> None:
    """Label the rows; of more than 16, only every second, third and so on."""
    every = ceil_div(len(labels), 16)
    ax.set_yticks(range(0, len(labels), every), labels[::every])
