"""What the paper's designs and their connectivity look like, drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.figures import new_figure
from ..errors import InvalidValueError
from .cardinality import Design
from .channel_masks import connectivity

BLUE, ORANGE, GREY = "#3b6ea8", "#d9822b", "#8a8a8a"


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


def draw_connectivity(model: Any, *, start: str | None = None, title: str = "") -> Any:
    """Draw who is reached behind each convolution, above with the 1x1 convolutions and below without them.

    Each picture has a row for every output channel and a column for every channel at the start; dark means that the
    one depends on the other.

    Parameters
    ----------
    model : Module or sequence of modules
        A block, or a few layers: at most 12 convolutions.
    start : str, optional
        As for :func:`npresnext.paper.connectivity`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are more than 12 convolutions.

    Examples
    --------
    >>> from npresnext.models import Bottleneck
    >>> figure = draw_connectivity(Bottleneck(64, 16, groups=8, width_per_group=16))
    >>> figure.savefig("reach.png")                                                    # doctest: +SKIP
    """
    both = [connectivity(model, pointwise=pointwise, start=start) for pointwise in (True, False)]
    count = len(both[0].steps)
    if not 0 < count <= 12:
        raise InvalidValueError(f"there are {count} layers to draw: choose a part with 1 to 12, such as layer1.0")
    figure = new_figure(max(2 * count, 4) + 0.8, 5.2)
    names = ("with the 1x1", "1x1 left out")
    for row, found, name in zip(figure.subplots(2, count, squeeze=False), both, names):
        row[0].set_ylabel(f"{name}\noutput channel", fontsize=8)
        for axes, step in zip(row, found.steps):
            axes.imshow(step.reach, cmap="Blues", vmin=0, vmax=1.25, aspect="auto", interpolation="nearest")
            axes.set_xticks([0, step.reach.shape[1] - 1])
            axes.set_yticks([0, step.reach.shape[0] - 1])
            axes.tick_params(labelsize=7)
            kind = "left out" if found is both[1] and step.kind.startswith("1x1") else step.kind
            axes.set_title(f"{step.path}: {kind}\n{step.reach.mean():.3%} reached", fontsize=8)
    figure.supxlabel("channel at the start", fontsize=8)
    figure.suptitle(title or "Who reaches whom", fontsize=10)
    return figure
