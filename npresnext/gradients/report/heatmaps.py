"""Heat maps as HTML: the cells are a small PNG in the page, the labels are text that follows the page's colours."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ..._support.extras import load_extra
from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray
from ..pictures import Panel, colour_scale, plain_number, round_ticks

MOST_COLUMNS = 600  # of a picture; more steps share a column
MOST_ROW_LABELS = 9


class Scale:
    """One scale of colours for all heat maps of a report.

    Parameters
    ----------
    panels : sequence of Panel
        All values that it must show.
    name : str
        What the values are.
    relative : bool
        Whether 1 is the middle.
    """

    def __init__(self, panels: Sequence[Panel], name: str, relative: bool) -> None:
        numbered: Mapping[str, Panel] = {str(number): panel for number, panel in enumerate(panels)}
        self._norm, self._colours, self.label = colour_scale(dict(numbered), name, relative)

    def picture(self, values: NumPyArray) -> str:
        """Return the values (rows, columns) as the address of a PNG inside the page."""
        shown = np.where(np.isfinite(values), np.maximum(values, self._norm.vmin), np.nan)  # 0 has no logarithm
        coloured = self._colours(self._norm(np.ma.masked_invalid(shown)), bytes=True)  # (rows, columns, 4)
        return _png(coloured)

    def bar(self) -> str:
        """Return a bar of the colours with numbers, as HTML."""
        low, high = math.log(self._norm.vmin), math.log(self._norm.vmax)
        colours = self._colours(np.linspace(0, 1, 256)[None], bytes=True)  # (1, 256, 4)
        numbers = "".join(
            _label(100 * (math.log(tick) - low) / (high - low), plain_number(tick), "left")
            for tick in round_ticks(self._norm)
        )
        label = escape(self.label).replace("\n", " ")
        return (
            f'<div class="scale"><span>{label}</span><div class="bar"><img alt="colours from small to large" '
            f'src="{_png(colours)}"><div class="axis">{numbers}</div></div></div>'
        )


def heat_map(panel: Panel, scale: Scale, title: str, unit: str, steps_are_known: bool) -> str:
    """Return one panel as a figure: rows of conv groups or layers, columns of steps.

    Parameters
    ----------
    panel : (row labels, steps (S,), values (rows, S))
    scale : Scale
    title : str
    unit : str
        What a row is: "conv group" or "layer".
    steps_are_known : bool
        Whether the columns are steps, or rows in their order.
    """
    labels, steps, values = panel
    values, shared = _fewer_columns(values)
    every = ceil_div(len(labels), MOST_ROW_LABELS) if unit == "conv group" else 1
    rows = "".join(
        _label(100 * (index + 0.5) / len(labels), label, "top")
        for index, label in enumerate(labels)
        if index % every == 0
    )
    what = "step" if steps_are_known else "rows of a conv group, in their order"
    ticks = "".join(_label(100 * place, str(step), "left") for place, step in _step_ticks(steps))
    note = f"; {shared} {what if shared == 1 else 'steps'} per column, of which the mean is shown" if shared > 1 else ""
    description = f"{title}: {len(labels)} {unit}s by {len(steps)} steps"
    kind = "groups" if unit == "conv group" else "layers"
    return (
        f'<figure class="{kind}"><figcaption>{escape(title)}</figcaption>'
        f'<div class="map" style="--rows:{len(labels)}"><div class="rows">{rows}</div>'
        f'<img alt="{escape(description)}" src="{scale.picture(values)}"><div class="axis">{ticks}</div></div>'
        f'<p class="unit">{unit} by {what}{note}</p></figure>'
    )


def _fewer_columns(values: NumPyArray) -> tuple[NumPyArray, int]:
    """Return at most MOST_COLUMNS columns, each the mean of as many neighbours, and how many these are."""
    size = ceil_div(values.shape[1], MOST_COLUMNS)
    if size == 1:
        return values, 1
    means = [values[:, part].mean(axis=1) for part in chunks(values.shape[1], size)]
    return np.stack(means, axis=1), size


def _step_ticks(steps: NumPyArray) -> list[tuple[float, int]]:
    """Return (place between 0 and 1, step) of at most four columns: the first, the last, and two between them."""
    count = len(steps)
    chosen = sorted({round(part * (count - 1)) for part in (0, 1 / 3, 2 / 3, 1)})
    return [((column + 0.5) / count, int(steps[column])) for column in chosen]


def _label(place: float, text: str, side: str) -> str:
    return f'<span style="{side}:{place:.2f}%">{escape(text)}</span>'


def _png(colours: Any) -> str:
    """Return colours (rows, columns, 4) as the address of a PNG inside the page."""
    image = io.BytesIO()
    load_extra("matplotlib.image", "plot", "a picture").imsave(image, np.ascontiguousarray(colours), format="png")
    return f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}"
