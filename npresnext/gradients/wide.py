"""Rows in wide form: one row per step and one column per layer, conv group and norm, as dashboards import them."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidTypeError, InvalidValueError
from .norms import Row, checked_rows
from .pictures import KEYS


def wide_rows(rows: Sequence[Row], values: Sequence[str] = ("l2",)) -> list[Row]:
    """Return one row per step, with a column for each layer, conv group and norm.

    Parameters
    ----------
    rows : sequence of dict
        As from :func:`npresnext.group_grad_norms` or :func:`npresnext.gradients.read_rows`, of one run.
    values : sequence of str
        The columns of `rows` to keep.

    Returns
    -------
    list of dict
        In the order of the steps. The column of the l2 of conv group 3 of layer conv2 is ``"conv2/3/l2"``. All rows
        have all columns; a value that is missing is None.

    Raises
    ------
    ValueError
        A row has no step, no row has one of the `values`, or a conv group has two rows at one step.

    Examples
    --------
    >>> rows = [{"step": 7, "layer": "conv", "conv_group": g, "groups": 2, "l2": 0.5 + g} for g in (0, 1)]
    >>> wide_rows(rows)
    [{'step': 7, 'conv/0/l2': 0.5, 'conv/1/l2': 1.5}]
    """
    if isinstance(values, str):
        raise InvalidTypeError(f"values must be a sequence of names, but is the string {values!r}")
    rows = checked_rows(rows)
    there = dict.fromkeys(name for row in rows for name in row if name not in KEYS)
    for value in values:
        if value not in there:
            raise InvalidValueError(f"no row has the column {value!r}: there are {', '.join(there) or 'none'}")
    columns = [f"{layer}/{group}/{value}" for layer, group in _groups(rows) for value in values]
    steps: dict[int, Row] = {}
    filled = set()
    for row in rows:
        step, layer, group = row.get("step"), row["layer"], row["conv_group"]
        if step is None:
            raise InvalidValueError("a row has no step: the wide form has one row per step")
        if (step, layer, group) in filled:
            raise InvalidValueError(
                f"conv group {group} of {layer} has two rows at step {step}: pass one run at a time"
            )
        filled.add((step, layer, group))
        wide = steps.setdefault(step, {"step": step, **dict.fromkeys(columns)})
        for value in values:
            wide[f"{layer}/{group}/{value}"] = row.get(value)
    return [steps[step] for step in sorted(steps)]


def _groups(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return the layers, in the order of the rows, with their conv groups, in the order of their numbers."""
    groups: dict[str, set[int]] = {}
    for row in rows:
        groups.setdefault(row["layer"], set()).add(row["conv_group"])
    return [(layer, group) for layer, numbers in groups.items() for group in sorted(numbers)]
