"""A picture of gradient norms: for each grouped convolution, a heat map of conv group by step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.figures import new_figure
from .._support.integers import ceil_div
from ..errors import ConfigurationError, InvalidValueError
from .norms import Row, checked_rows

COLOURS, RELATIVE_COLOURS, NO_NUMBER = "magma", "RdBu_r", "0.7"
DENSE = "dense convolutions, one row per layer"
KEYS = ("step", "epoch", "layer", "conv_group", "groups", "numel")
GRADIENT_NORMS = ("l2", "rms", "max_abs", "norm")
WIDTH = 13.3  # inches, that of a slide
LEAST_HEIGHT = 4  # inches, so that the label of the colour bar fits
LONGEST_BAR = 7
MOST_COLUMNS = 4  # panels side by side
MOST_LABELS = 64  # rows of a panel that each have a label
ORDER = "rows of a conv group, in their order"  # the axis of rows without a step

Panel = tuple[list[str], np.ndarray, np.ndarray]  # row labels, steps (S,), values (rows, S)


def draw_grad_norms(rows: Sequence[Row], *, value: str = "l2", relative: bool = False, title: str = "") -> Any:
    """Draw rows of :func:`npresnext.group_grad_norms` over the steps of a run.

    Each grouped convolution has a panel with one row per conv group; all convolutions with one group share a panel.
    All panels have the same logarithmic colour scale, so that layers can be compared. A value that is NaN or infinite
    is grey, as after a run has diverged.

    Parameters
    ----------
    rows : sequence of dict
        With the columns layer, conv_group, groups and `value`. Without a step (or with None), the k-th row of a conv
        group is drawn in column k.
    value : str
        The column to draw, with no number below 0.
    relative : bool
        Divide each value by the mean over the conv groups of its layer at that step. The colours then compare the conv
        groups of a layer: white is the mean, red is above and blue below it. Layers with one group are left out.
    title : str
        The title of the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no rows, no such column, or no number in it; a conv group has two rows at one step; or `relative` is
        asked for where no layer has groups.

    Examples
    --------
    >>> row = {"layer": "conv", "conv_group": 0, "groups": 1}
    >>> figure = draw_grad_norms([{**row, "step": step, "l2": 0.5**step} for step in range(9)])
    >>> figure.savefig("norms.png")                                                    # doctest: +SKIP
    """
    rows = checked_rows(rows)
    panels = grad_norm_panels(rows, value)
    if relative:
        panels = relative_to_layer(panels)
    steps_are_known = rows[0].get("step") is not None
    name = f"{value}, relative to the layer's mean" if relative else label_of(value)
    scale, colours, label = colour_scale(panels, name, relative)

    grouped = [panel for panel in panels if panel != DENSE]
    figure, axes = _figure_for(panels, grouped)
    for number, (ax, (panel, (labels, steps, image))) in enumerate(zip(axes, panels.items())):
        shown = np.where(np.isfinite(image), np.maximum(image, scale.vmin), np.nan)  # 0 has no logarithm
        mesh = ax.pcolormesh(
            _edges(steps), np.arange(len(labels) + 1) - 0.5, shown, norm=scale, cmap=colours, rasterized=True
        )
        ax.invert_yaxis()
        every = ceil_div(len(labels), MOST_LABELS)
        ax.set_yticks(range(0, len(labels), every), labels[::every])
        ax.set_title(panel if any(map(str.isalpha, panel)) else f"layer {panel}", fontsize=13, loc="left")
        ax.tick_params(labelsize=10 if len(labels) <= 16 else 8, axis="y", length=2)
        ax.tick_params(labelsize=10, axis="x")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        ax.ticklabel_format(axis="x", style="plain", useOffset=False)
        ax.spines[:].set_visible(False)
        if panel == DENSE or number + MOST_COLUMNS >= len(grouped):
            ax.set_xlabel("step" if steps_are_known else ORDER, fontsize=12)
        if panel != DENSE:
            ax.set_ylabel("conv group", fontsize=12)
    shrink = min(1, LONGEST_BAR / figure.get_figheight())
    bar = figure.colorbar(mesh, ax=axes, extend="both", pad=0.01, aspect=30, shrink=shrink, anchor=(0, 1))
    bar.set_label(label, fontsize=12)
    bar.outline.set_visible(False)
    _set_plain_ticks(bar, scale)
    figure.suptitle(title, fontsize=15)
    return figure


def grad_norm_panels(rows: Sequence[Row], value: str = "l2") -> dict[str, Panel]:
    """Return the panels as title -> (row labels, steps (S,), values (rows, S)).

    Each grouped layer has a panel; all other layers share one, the last. A missing value is NaN.

    Examples
    --------
    >>> rows = [{"step": 0, "layer": "conv", "conv_group": g, "groups": 2, "l2": 1.0 + g} for g in (0, 1)]
    >>> grad_norm_panels(rows)
    {'conv': (['0', '1'], array([0]), array([[1.],
           [2.]]))}
    """
    rows = checked_rows(rows)
    values = [_value_of(row, value) for row in rows]
    if not any(map(math.isfinite, values)):
        raise _no_column(rows, value)
    steps_of_rows = _steps_of(rows)
    steps = np.unique(steps_of_rows)
    column_of = {step: index for index, step in enumerate(steps.tolist())}
    cells: dict[str, dict[tuple[str, int], np.ndarray]] = {}
    drawn = set()
    for row, step, number in zip(rows, steps_of_rows, values):
        layer, group = str(row["layer"]), row["conv_group"]
        if (layer, group, step) in drawn:
            raise InvalidValueError(
                f"conv group {group} of {layer} has two rows at step {step}: draw one run at a time"
            )
        drawn.add((layer, group, step))
        lines = cells.setdefault(layer if row["groups"] > 1 else DENSE, {})
        lines.setdefault((layer, group), np.full(len(steps), np.nan))[column_of[step]] = number
    panels = {}
    for panel in [*(name for name in cells if name != DENSE), *([DENSE] if DENSE in cells else [])]:
        lines = cells[panel]
        keys = list(lines) if panel == DENSE else sorted(lines)
        labels = [layer if panel == DENSE else str(group) for layer, group in keys]
        panels[panel] = labels, steps, np.stack([lines[key] for key in keys])
    return panels


def label_of(value: str) -> str:
    """Return what a scale of colours says of a column.

    >>> label_of("l2"), label_of("cka")
    ('l2 of the weight gradient', 'cka')
    """
    return f"{value} of the weight gradient" if value in GRADIENT_NORMS else value


def _value_of(row: Row, value: str) -> float:
    """Return the value to draw; NaN where there is none."""
    number = row.get(value)
    if number is None:
        return math.nan
    if value in KEYS or isinstance(number, str) or not hasattr(number, "__float__"):
        raise _no_column([row], value)
    if number < 0:
        raise InvalidValueError(f"the column {value} has a number below 0, {number}: the colours are logarithmic")
    return float(number)


def _no_column(rows: Sequence[Row], value: str) -> ConfigurationError:
    """Return the error that lists the columns that can be drawn."""
    names = dict.fromkeys(name for row in rows for name in row if name not in KEYS)
    numbers = [name for name in names if any(_is_finite_number(row.get(name)) for row in rows)]
    return ConfigurationError("value", value, f"a column with numbers, one of {', '.join(numbers) or '(none)'}")


def _is_finite_number(value: Any) -> bool:
    return hasattr(value, "__float__") and math.isfinite(value)


def _steps_of(rows: Sequence[Row]) -> list[int]:
    """Return the step of each row; where no row has one, how many rows of its conv group come before it."""
    steps = [row["step"] for row in rows if row.get("step") is not None]
    if len(steps) == len(rows):
        return steps
    if steps:
        raise InvalidValueError("some rows have a step and some have none: give all of them a step, or none")
    seen: Counter[tuple[Any, Any]] = Counter()
    columns = []
    for row in rows:
        key = row["layer"], row["conv_group"]
        columns.append(seen[key])
        seen[key] += 1
    return columns


def relative_to_layer(panels: dict[str, Panel]) -> dict[str, Panel]:
    """Return the panels of grouped layers, each column divided by its mean over the conv groups."""
    found = {}
    for name, (labels, steps, image) in panels.items():
        if name != DENSE:
            with np.errstate(all="ignore"):
                relative = image / image.mean(axis=0)  # NaN where the mean is 0, NaN or infinite
            found[name] = labels, steps, np.where(np.isfinite(image.mean(axis=0)), relative, np.nan)
    if not found:
        raise InvalidValueError("relative compares the conv groups of a layer, but every layer has one group")
    return found


def colour_scale(panels: dict[str, Panel], name: str, relative: bool) -> tuple[Any, Any, str]:
    """Return the scale, the colours, and the label of the colour bar, which says what the colours do not show."""
    colors = load_extra("matplotlib.colors", "plot", "a picture")
    colormaps = load_extra("matplotlib", "plot", "a picture").colormaps
    values = np.concatenate([image.ravel() for _, _, image in panels.values()])
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if relative:
        widest = max(np.percentile(np.abs(np.log(positive)), 99.5), math.log(1.1)) if positive.size else 1.0
        low, high = math.exp(-widest), math.exp(widest)
    else:
        low, high = np.percentile(positive, [1, 99.5]) if positive.size else (0.1, 1.0)
        high = max(high, low * 1.01)
    is_clipped = finite.size and (finite.min() < low or finite.max() > high)
    ends = f"\n(colours end at {plain_number(low)} and {plain_number(high)})" if is_clipped else ""
    grey = "" if np.isfinite(values).all() else "\n(grey: no finite number)"
    colours = colormaps[RELATIVE_COLOURS if relative else COLOURS].with_extremes(bad=NO_NUMBER)
    return colors.LogNorm(low, high, clip=True), colours, name + ends + grey


def plain_number(number: float) -> str:
    """Return a number with at most three digits, as one reads it: 0.002, 35, 2e-7."""
    digits = f"{number:.3g}"
    if 1e-4 <= abs(number) < 1e6:
        return f"{float(digits):.10f}".rstrip("0").rstrip(".")
    return digits.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def round_ticks(scale: Any) -> list[float]:
    """Return at most about eight round numbers between the ends of a logarithmic scale; or its ends."""
    powers = range(math.floor(math.log10(scale.vmin)), math.ceil(math.log10(scale.vmax)) + 1)
    for digits in ((1, 1.2, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        ticks = [tick for tick in ticks if scale.vmin <= tick <= scale.vmax]
        if len(ticks) <= 8:
            break
    return ticks[:: ceil_div(len(ticks), 8)] if ticks else [scale.vmin, scale.vmax]


def _set_plain_ticks(bar: Any, scale: Any) -> None:
    """Give a logarithmic colour bar ticks at round numbers."""
    ticks = round_ticks(scale)
    bar.set_ticks(ticks, labels=list(map(plain_number, ticks)))
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=11)


def _figure_for(panels: dict[str, Panel], grouped: Sequence[str]) -> tuple[Any, list[Any]]:
    """Return a figure with an axes for each panel: the grouped layers in a grid, the dense ones below in full width."""
    columns = min(len(grouped), MOST_COLUMNS) or 1
    grid = [grouped[first : first + columns] for first in range(0, len(grouped), columns)]
    lines = [*grid, *([[DENSE]] if DENSE in panels else [])]
    heights = [max(_height(len(panels[name][0])) for name in line) for line in lines]
    figure = new_figure(WIDTH, max(sum(heights) + 0.7 * len(lines) + 0.4, LEAST_HEIGHT))
    places = figure.add_gridspec(len(lines), columns, height_ratios=heights)
    axes = [figure.add_subplot(places[row, column]) for row, line in enumerate(grid) for column, _ in enumerate(line)]
    if DENSE in panels:
        axes.append(figure.add_subplot(places[len(lines) - 1, :]))
    return figure, axes


def _height(rows: int) -> float:
    """Return the inches of a panel whose rows, or the first 64 of them, each have a label."""
    return max(1.7, min(rows, MOST_LABELS) * (0.2 if rows <= 16 else 0.15))


def _edges(steps: np.ndarray) -> np.ndarray:
    """Return the borders (S + 1,) of cells with their centres at `steps` (S,)."""
    inner = (steps[1:] + steps[:-1]) / 2
    if not len(inner):
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    first, last = steps[0] - (inner[0] - steps[0]), steps[-1] + (steps[-1] - inner[-1])
    return np.array([first, *inner, last])
