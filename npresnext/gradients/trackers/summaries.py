"""What is logged of gradient norms: five numbers per layer and step, one picture, and the file of rows itself."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

from ..._support.extras import load_extra
from ...errors import InvalidValueError
from ..norms import Row
from ..pictures import draw_grad_norms
from .tracker import Tracker

# name -> what it is
SUMMARIES = {
    "gradient_l2": "√Σg² over all gradients of the layer",
    "gradient_max_abs": "the largest absolute value",
    "gradient_ratio": "the norm of the gradient divided by that of the weight",
    "gradient_spread": "the largest norm of a conv group divided by the smallest; absent where that is 0 or G is 1",
    "gradient_silent_groups": "the number of conv groups whose gradient is 0",
}


def summary_scalars(rows: Iterable[Row]) -> dict[int, dict[str, float]]:
    """Return five numbers per layer for each step, of rows with a step.

    Parameters
    ----------
    rows : iterable of dict
        As from :func:`npresnext.group_grad_norms`. Columns that are missing have no number.

    Returns
    -------
    dict of int to dict of str to float
        By step; names such as ``"gradient_l2/layer1.0.conv2"``. What the numbers are is in ``SUMMARIES``.

    Raises
    ------
    ValueError
        A row has no step.

    Examples
    --------
    >>> row = {"step": 0, "layer": "conv", "groups": 2}
    >>> rows = [{**row, "conv_group": 0, "l2": 3.0}, {**row, "conv_group": 1, "l2": 4.0}]
    >>> summary_scalars(rows)[0]["gradient_l2/conv"]
    5.0
    """
    layers: dict[int, dict[str, list[Row]]] = {}
    for row in rows:
        if row.get("step") is None:
            raise InvalidValueError("a row has no step: a tracker draws numbers over the steps")
        layers.setdefault(row["step"], {}).setdefault(row["layer"], []).append(row)
    return {
        step: {f"{name}/{layer}": value for layer, own in of_step.items() for name, value in _summary(own).items()}
        for step, of_step in layers.items()
    }


def log_scalars(tracker: Tracker, rows: Iterable[Row]) -> None:
    """Log the five numbers per layer of each step."""
    for step, values in summary_scalars(rows).items():
        tracker.scalars(values, step)


def log_rows(
    tracker: Tracker,
    rows: Sequence[Row],
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "gradient_norms",
) -> None:
    """Log rows to a tracker: five numbers per layer and step, the heat map, and the file that holds the rows.

    Parameters
    ----------
    tracker : Tracker
    rows : sequence of dict
        Of one run, with steps.
    path : str or path, optional
        The file with these rows, to be stored with the run.
    name : str
        The name of the picture.

    Examples
    --------
    >>> tracker = nx.gradients.trackers.TensorBoardTracker("runs/norms")               # doctest: +SKIP
    >>> log_rows(tracker, nx.gradients.read_rows("norms.csv"), "norms.csv")            # doctest: +SKIP
    """
    load_extra("matplotlib", "plot", "the picture of a tracker")
    log_scalars(tracker, rows)
    log_picture(tracker, rows, name)
    if path is not None:
        tracker.file(path)


def log_picture(tracker: Tracker, rows: Sequence[Row], name: str = "gradient_norms") -> None:
    """Log the heat map of rows, at their last step."""
    title = "Gradient norm of each conv group at each step"
    tracker.picture(name, draw_grad_norms(rows, title=title), max(row["step"] for row in rows))


def _summary(rows: Sequence[Row]) -> dict[str, float]:
    """Return the numbers of one layer at one step, without those whose columns are missing."""
    norms: list[Any]
    weights: list[Any]
    largest: list[Any]
    norms, weights, largest = ([row.get(name) for row in rows] for name in ("l2", "weight_l2", "max_abs"))
    l2 = math.hypot(*norms)
    found = {"gradient_l2": l2}
    if None not in largest:
        found["gradient_max_abs"] = math.nan if any(map(math.isnan, largest)) else max(largest)
    if None not in weights and any(weights):
        found["gradient_ratio"] = l2 / math.hypot(*weights)
    if len(norms) > 1 and min(norms) > 0:
        found["gradient_spread"] = max(norms) / min(norms)
    found["gradient_silent_groups"] = float(sum(norm == 0 for norm in norms))
    return found
