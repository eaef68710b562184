"""What the paper's designs and their connectivity look like, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.figures import new_figure
from .._support.plurals import counted
from ..errors import InvalidValueError
from .cardinality import Design
from .channel_masks import connectivity, share_text

BLUE, ORANGE, GREY = "#3b6ea8", "#d9822b", "#8a8a8a"
GROUP_COLOURS = (BLUE, ORANGE, "#4d9a57", "#b8474f", "#7d5fa6", "#b59a2d", "#3c9aa6", "#c46a9f")  # and from the start
MOST_LAYERS = 12  # side by side


def draw_designs(designs: Sequence[Design]) -> Any:
    """Draw what cardinality does at equal cost: the paths narrow, their sum widens, the cost stays.

    Parameters
    ----------
    designs : sequence of Design
        As from :func:`npresnext.paper.equal_complexity`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from npresnext.paper import equal_complexity
    >>> figure = draw_designs(equal_complexity())
    >>> figure.savefig("cardinality.png")                                              # doctest: +SKIP
    """
    figure = new_figure(max(9, 1.8 * len(designs)), 3.6)
    widths, costs = figure.subplots(1, 2)
    names = [design.name for design in designs]
    places = range(len(designs))

    widths.plot(places, [design.group_width for design in designs], "o-", color=BLUE, label="C·d, all paths together")
    widths.plot(places, [design.width for design in designs], "o-", color=ORANGE, label="d, one path")
    for place, design in enumerate(designs):
        for value in {design.group_width, design.width}:
            widths.annotate(f"{value}", (place, value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
    widths.set_yscale("log", base=2)
    widths.margins(y=0.15)
    widths.set_ylabel("channels")
    widths.set_title("Width of the 3x3 convolution", fontsize=10)

    grouped = [design.grouped_parameters for design in designs]
    pointwise = [design.parameters - inner for design, inner in zip(designs, grouped)]
    costs.bar(places, pointwise, color=GREY, label="the two 1x1")
    costs.bar(places, grouped, bottom=pointwise, color=BLUE, label="the grouped 3x3")
    for place, design in enumerate(designs):
        costs.text(place, design.parameters, f"{design.parameters:,}", ha="center", va="bottom", fontsize=8)
    costs.margins(y=0.35)
    costs.set_ylabel("weights of the block")
    costs.set_title("Where the weights are", fontsize=10)

    for axes in (widths, costs):
        axes.set_xticks(places, names)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, loc="upper right" if axes is costs else "best", ncols=2)
    figure.suptitle(f"Blocks of equal cost, {designs[0].channels} channels in and out", fontsize=11)
    return figure


def draw_connectivity(
    model: Any, *, start: str | None = None, input_shape: Sequence[int] | None = None, title: str = ""
) -> Any:
    """Draw which channels are reached after each convolution, above with the 1x1 convolutions and below without them.

    Each picture has a row for every output channel and a column for every channel at the start. A cell is coloured
    where the output channel depends on the channel at the start. Where the first layer has groups, each of its groups
    has a colour, so that one sees which groups mix. Without a 1x1 convolution there is one row of pictures.

    Parameters
    ----------
    model : Module or sequence of modules
        A layer, a block, or a few layers: at most 12 that mix channels.
    start, input_shape : optional
        As for :func:`npresnext.paper.connectivity`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No layer mixes channels, or more than 12 do.

    Examples
    --------
    >>> from npresnext.models import Bottleneck
    >>> figure = draw_connectivity(Bottleneck(64, 16, groups=8, width_per_group=16), start="conv2")
    >>> figure.savefig("reach.png")                                                    # doctest: +SKIP
    """
    found = connectivity(model, start=start, input_shape=input_shape)
    count = len(found.steps)
    if not 0 < count <= MOST_LAYERS:
        raise InvalidValueError(
            f"{counted(count, 'layer')} to draw: choose a part with 1 to {MOST_LAYERS} layers that mix channels, such "
            "as layer1.0"
        )
    rows = [("with the 1x1", found)]
    if any(step.is_pointwise for step in found.steps):
        without = connectivity(model, start=start, input_shape=input_shape, pointwise=False)
        rows.append(("without the 1x1", without))
    groups = getattr(found.steps[0].layer, "groups", 1)
    figure = new_figure(max(1.9 * count, 3.4) + 0.9, 2.5 * len(rows) + 0.6)
    for line, (name, masks) in zip(figure.subplots(len(rows), count, squeeze=False), rows):
        line[0].set_ylabel(f"{name}\noutput channel" if len(rows) > 1 else "output channel", fontsize=11)
        for axes, step in zip(line, masks.steps):
            axes.imshow(_coloured(step.reach, groups), aspect="auto", interpolation="nearest")
            outputs, starts = step.reach.shape
            axes.set_xticks(sorted({0, starts - 1}))
            axes.set_yticks(sorted({0, outputs - 1}))
            axes.tick_params(labelsize=9)
            kind = "left out" if masks is not found and step.is_pointwise else step.kind
            axes.set_title(f"{step.name}\n{kind}\n{share_text(step.reach.mean())} reached", fontsize=10)
    space = " " if count > 2 else "\n"
    coloured = f",{space}coloured by the {groups} groups of {found.steps[0].name}" if groups > 1 else ""
    figure.supxlabel(f"channel at the start{coloured}", fontsize=11)
    figure.suptitle(title or "Who reaches whom", fontsize=13)
    return figure


def _coloured(reach: np.ndarray, groups: int) -> np.ndarray:
    """Return a mask as a picture (C_out, C_start, 4): a column in the colour of its group, transparent where False."""
    colors = load_extra("matplotlib.colors", "plot", "a picture")
    palette = np.array([colors.to_rgba(colour) for colour in (GROUP_COLOURS if groups > 1 else (BLUE,))])
    starts = reach.shape[1]
    group = np.arange(starts) * groups // starts
    picture = np.broadcast_to(palette[group % len(palette)], (*reach.shape, 4)).copy()
    picture[..., 3] = reach
    return picture
