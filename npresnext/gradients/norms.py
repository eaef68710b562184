"""Gradient norms of every conv group: where in a grouped network the gradient is large.

A convolution with G groups consists of G small convolutions: its *conv groups*. The weight gradient of conv group g is
the block ``grad[g·C_out/G : (g+1)·C_out/G]``. It depends only on the input and the output gradient of that group.

If a batch norm follows, a weight that is c times as large has a gradient that is c times as small. So each row has,
beside the norm ‖grad‖ of the block, ``ratio`` = ‖grad‖/‖weight‖, and ``l2_weight_l2`` = ‖grad‖·‖weight‖, which does
not depend on the scale of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import array_module, to_numpy
from ..errors import BackwardError, InvalidTypeError, InvalidValueError, ShapeError
from ..nn import Conv2d, Module
from ..nn.module import check_module

Row = dict[str, Any]  # column -> value: the norms of one conv group at one step

COLUMNS = (
    "step",
    "epoch",
    "layer",
    "conv_group",
    "groups",
    "numel",
    "l2",
    "rms",
    "max_abs",
    "weight_l2",
    "ratio",
    "l2_weight_l2",
)
NEEDED = ("layer", "conv_group", "groups")  # of rows that are read, drawn or compared
NORMS = ("1", "2", "inf")


def group_grad_norms(
    model_or_grads: Module | Mapping[str, Any],
    groups: Mapping[str, int] | None = None,
    weights: Mapping[str, Any] | None = None,
    *,
    step: int | None = None,
    epoch: int | None = None,
    norm: str | None = None,
    layers: Collection[str] | None = None,
) -> list[Row]:
    """Return a row for each conv group of each convolution, with the norms of its weight gradient.

    Call it after ``backward``, with a network of this package, or with the gradients of a network of any framework.
    A conv group is one of the G groups of a convolution.

    Parameters
    ----------
    model_or_grads : Module or mapping of name to array (C_out, ...)
        A network after its backward pass; or the weight gradients by layer, output channels first, as arrays of any
        library that has ``__dlpack__`` or ``__array__``.
    groups : mapping of name to int, optional
        With gradients: the number of groups of each layer.
    weights : mapping of name to array, optional
        With gradients: the weights, for the last three columns, which are None without them.
    step, epoch : int, optional
        Written into each row.
    norm : "1", "2" or "inf", optional
        Adds a column `norm` with this norm of the gradient.
    layers : collection of str, optional
        With a network: the names of the convolutions to use; all if None.

    Returns
    -------
    list of dict
        With the keys of ``COLUMNS``: `numel` weights in the group, `l2` = √Σg², `rms` = l2/√numel,
        `max_abs` = ``max |g|``, `weight_l2` = √Σw², `ratio` = l2/weight_l2 (NaN where that is 0),
        `l2_weight_l2` = l2·weight_l2. Sums are in float64; weight decay, which the optimizer adds, is not in them.

    Raises
    ------
    BackwardError
        A convolution of the network has no gradient.
    ValueError
        The mappings name different layers, G does not divide the output channels, or there is no convolution.
    TypeError
        Something is not an array, or a number of groups not an integer.

    Examples
    --------
    >>> rows = group_grad_norms({"conv": np.array([[3.0, 4.0], [5.0, 12.0]])}, {"conv": 2})
    >>> [(row["conv_group"], row["l2"], row["max_abs"]) for row in rows]
    [(0, 5.0, 4.0), (1, 13.0, 12.0)]
    """
    if norm is not None and norm not in NORMS:
        raise InvalidValueError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")
    found = weight_gradients(model_or_grads, groups, weights, layers)
    return [
        {"step": step, "epoch": epoch, "layer": name, **row}
        for name, (grad, weight, count) in found.items()
        for row in _layer_rows(name, grad, weight, count, norm)
    ]


def weight_gradients(
    model_or_grads: Module | Mapping[str, Any],
    groups: Mapping[str, int] | None = None,
    weights: Mapping[str, Any] | None = None,
    layers: Collection[str] | None = None,
) -> dict[str, tuple[Array, Array | None, int]]:
    """Return name -> (gradient, weight or None, groups) for the arguments of :func:`group_grad_norms`."""
    if isinstance(model_or_grads, Module):
        if groups is not None or weights is not None:
            raise InvalidTypeError("groups and weights go with a mapping of gradients; a network has its own")
        return _layers_of(model_or_grads, layers)
    if layers is not None:
        raise InvalidTypeError("layers goes with a network: leave the other layers out of the mappings instead")
    return _layers_from(model_or_grads, groups, weights)


def conv_layers(model: Module) -> dict[str, Conv2d]:
    """Return the convolutions of a network by their dotted names."""
    check_module(model, "model")
    return {name: module for name, module in model.named_modules() if isinstance(module, Conv2d)}


def _layers_of(model: Module, layers: Collection[str] | None) -> dict[str, tuple[Array, Array | None, int]]:
    """Return name -> (gradient, weight, groups) of a network's convolutions, all or those named in `layers`."""
    convs = conv_layers(model)
    if not convs:
        raise InvalidValueError(f"{type(model).__name__} has no convolution")
    if isinstance(layers, str):
        raise InvalidTypeError(f"layers must be a collection of names, but is the string {layers!r}")
    if layers is not None:
        unknown = sorted(set(layers) - set(convs))
        if unknown:
            raise InvalidValueError(f"layers names {', '.join(unknown)}: expected some of {', '.join(convs)}")
        convs = {name: conv for name, conv in convs.items() if name in layers}
    for name, conv in convs.items():
        if conv.weight.grad is None:
            raise BackwardError(f"{name}.weight has no gradient: run forward and backward first")
    return {name: (conv.weight.grad, conv.weight.data, conv.groups) for name, conv in convs.items()}


def _layers_from(grads: Any, groups: Any, weights: Any) -> dict[str, tuple[Array, Array | None, int]]:
    """Return name -> (gradient, weight, groups) from mappings, after checking that they name the same layers."""
    mappings = {"grads": grads, "groups": groups}
    if weights is not None:
        mappings["weights"] = weights
    for label, mapping in mappings.items():
        if not isinstance(mapping, Mapping):
            raise InvalidTypeError(
                f"{label} is of type {type(mapping).__name__}: expected a network, or mappings from layer names to "
                "gradients and to groups"
            )
        different = ", ".join(sorted(map(str, set(grads) ^ set(mapping))))
        if different:
            raise InvalidValueError(f"grads and {label} must name the same layers, but differ in {different}")
    layers = {}
    for name, grad in grads.items():
        weight = None if weights is None else _as_array(weights[name], f"weights[{name!r}]")
        count = as_int(groups[name], f"groups[{name!r}]", 1)
        layers[name] = (_as_array(grad, f"grads[{name!r}]"), weight, count)
    return layers


def _as_array(value: Any, name: str) -> Array:
    """Return an array of any framework: as it is, if a backend supports it, or else as a NumPy array."""
    if hasattr(value, "detach"):  # a PyTorch parameter hands out its values only so
        value = value.detach()
    if type(value).__module__.partition(".")[0] in ("jax", "jaxlib"):  # where float64 is off unless a setting allows it
        value = to_numpy(value)
    try:
        array_module(**{name: value})
        return value
    except InvalidTypeError:
        pass
    if not (hasattr(value, "__dlpack__") or hasattr(value, "__array__")):
        raise InvalidTypeError(f"{name} is of type {type(value).__name__}: expected an array")
    try:
        return to_numpy(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InvalidTypeError(
            f"{name} cannot be read as an array ({error}): bring it to the CPU, in a dtype that NumPy has"
        ) from error


def _layer_rows(name: str, grad: Array, weight: Array | None, groups: int, norm: str | None) -> list[Row]:
    """Return the rows of one convolution, without step, epoch and layer."""
    if weight is not None and tuple(weight.shape) != tuple(grad.shape):
        raise ShapeError(f"{name} has a gradient of shape {tuple(grad.shape)} and a weight of {tuple(weight.shape)}")
    numbers = _sums(name, grad, groups)  # (3, G)
    weight_l2 = [None] * groups if weight is None else np.sqrt(_sums(name, weight, groups)[1]).tolist()
    numel = math.prod(grad.shape) // groups
    rows = []
    for group, (total, squares, largest) in enumerate(numbers.T.tolist()):
        l2 = math.sqrt(squares)
        row = row_of_norms(group, groups, numel, l2, largest, weight_l2[group])
        if norm is not None:
            row["norm"] = {"1": total, "2": l2, "inf": largest}[norm]
        rows.append(row)
    return rows


def row_of_norms(group: int, groups: int, numel: int, l2: float, largest: float, weight_l2: float | None) -> Row:
    """Return the columns of one conv group that follow from its norms: ``COLUMNS`` without step, epoch and layer.

    >>> row = row_of_norms(0, 2, 4, l2=6.0, largest=5.0, weight_l2=2.0)
    >>> row["rms"], row["ratio"], row["l2_weight_l2"]
    (3.0, 3.0, 12.0)
    """
    return {
        "conv_group": group,
        "groups": groups,
        "numel": numel,
        "l2": l2,
        "rms": l2 / math.sqrt(numel) if numel else math.nan,
        "max_abs": largest,
        "weight_l2": weight_l2,
        "ratio": None if weight_l2 is None else l2 / weight_l2 if weight_l2 else math.nan,
        "l2_weight_l2": None if weight_l2 is None else l2 * weight_l2,
    }


def checked_rows(rows: Any, needed: Sequence[str] = NEEDED) -> list[Row]:
    """Return rows as a list, after checking that they are dictionaries with the columns `needed`.

    >>> checked_rows([{"layer": "conv", "conv_group": 0}])
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidValueError: a row has no column groups: its columns are layer, conv_group
    """
    kind = type(rows).__name__
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise InvalidTypeError(
            f"rows are of type {kind}: expected a list of rows, as npresnext.gradients.read_rows returns"
        )
    listed = list(rows)
    if not listed:
        raise InvalidValueError("there are no rows")
    for row in listed:
        if not isinstance(row, dict):
            raise InvalidTypeError(
                f"a row is of type {type(row).__name__}, and rows are of type {kind}: expected a list of dictionaries"
            )
        for name in needed:
            if name not in row:
                raise InvalidValueError(f"a row has no column {name}: its columns are {', '.join(map(str, row))}")
    return listed


def _sums(name: str, array: Array, groups: int) -> np.ndarray:
    """Return Σ|x|, Σx² and max |x| of each group, as float64 of shape (3, G)."""
    if not array.shape or array.shape[0] % groups:
        raise ShapeError(
            f"{name} has shape {tuple(array.shape)} and groups={groups}: groups must divide the first axis, C_out"
        )
    xp = array_module(array=array)
    if 0 in array.shape:
        return np.zeros((3, groups))
    rows = xp.abs(xp.astype(xp.reshape(array, (groups, -1)), xp.float64))  # (G, numel)
    return to_numpy(xp.stack([xp.sum(rows, axis=1), xp.sum(rows * rows, axis=1), xp.max(rows, axis=1)]))
