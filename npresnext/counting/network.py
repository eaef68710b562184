"""What a network consists of: shapes, parameters, multiply-adds and memory, layer by layer, without computing it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_int, as_sizes
from .._support.dtypes import as_dtype
from ..errors import InvalidTypeError, InvalidValueError
from ..nn.module import Module, check_module
from ..nn.tracing import Call, trace
from .html import as_html
from .rows import COLUMNS, DEFAULT_COLUMNS, Counts, Row
from .text import as_text


class Summary(Counts):
    """What :func:`summary` returns: print it, show it in a notebook, or read its numbers.

    The attributes are those of :class:`~npresnext.counting.rows.Counts`.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    __repr__ = __str__


def summary(
    model: Module,
    input_size: Sequence[int],
    *,
    col_names: Sequence[str] = DEFAULT_COLUMNS,
    depth: int = 3,
    dtype: Any = None,
) -> Summary:
    """Count a network layer by layer; shapes come from :func:`npresnext.nn.trace`, so nothing is computed.

    Parameters
    ----------
    model : Module
    input_size : sequence of int
        Shape of the input, with N.
    col_names : sequence of str
        Of input_size, output_size, kernel_size, groups, num_params, params_percent, macs, activation_bytes,
        dense_params, dense_macs.
    depth : int
        How deep the text goes into the tree of modules.
    dtype : optional
        Of the input; that of the first parameter if None.

    Returns
    -------
    Summary
        With ``.total_params``, ``.total_macs``, ``.layers``, ``.to_json()``. MACs count convolutions and linear
        layers alone, for the whole batch, padding included; activations are the outputs of all layers. The parameters
        of a layer that is called twice are counted once.

    Raises
    ------
    ValueError
        The input does not fit a layer (the message begins with its name), or a column is not known.
    TypeError
        `model` is not a Module, or is made of something whose shapes are not known.

    Examples
    --------
    >>> from npresnext import nn
    >>> model = nn.Sequential(nn.Conv2d(64, 128, 3, padding=1, groups=32, bias=False), nn.ReLU())
    >>> found = summary(model, (1, 64, 56, 56), col_names=["output_size", "groups", "num_params", "macs"])
    >>> print(str(found).partition("\\n\\n")[0])
    Layer (name): depth-index  Output            Groups  Parameters       MACs
    --------------------------------------------------------------------------
    Sequential                 [1, 128, 56, 56]                  --         --
    ├─Conv2d (0): 1-1          [1, 128, 56, 56]      32       2,304  7,225,344
    ├─ReLU (1): 1-2            [1, 128, 56, 56]                  --         --
    """
    check_module(model, "model")
    if not isinstance(col_names, Sequence) or isinstance(col_names, str):
        raise InvalidTypeError(f"col_names must be a list of column names, but is {col_names!r}")
    unknown = [name for name in col_names if not isinstance(name, str) or name not in COLUMNS]
    if unknown:
        raise InvalidValueError(f"col_names has {', '.join(map(repr, unknown))}: choose from {', '.join(COLUMNS)}")
    depth, dtype = as_int(depth, "depth", 0), None if dtype is None else as_dtype(dtype)
    found = trace(model, as_sizes(input_size, "input_size"), dtype)
    itemsize = _itemsize(found.input.dtype)
    total = sum(math.prod(parameter.shape) for parameter in model.parameters())
    weights = sum(math.prod(parameter.shape) * _itemsize(parameter.data.dtype) for parameter in model.parameters())
    rows = _rows(found.calls, total, itemsize)
    return Summary(rows, total, weights, math.prod(found.input.shape) * itemsize, tuple(col_names), depth)


def _rows(calls: list[Call], total: int, itemsize: int) -> list[Row]:
    """Return a row for each call."""
    first_calls = {id(call.module): index for index, call in reversed(list(enumerate(calls)))}
    costs = [_layer_costs(call, first_calls[id(call.module)] == index, itemsize) for index, call in enumerate(calls)]
    rows = []
    calls_at_depth: dict[int, int] = {}
    for index, call in enumerate(calls):
        below = index + 1
        while below < len(calls) and calls[below].depth > call.depth:
            below += 1
        macs, dense_macs, extra_params, size = (sum(column) for column in zip(*costs[index:below]))
        params = sum(math.prod(parameter.shape) for parameter in call.module.parameters())
        if first_calls[id(call.module)] != index:
            params = 0
        calls_at_depth[call.depth] = calls_at_depth.get(call.depth, 0) + 1
        rows.append(
            Row(
                path=call.path,
                name=call.path.rpartition(".")[2],
                type=type(call.module).__name__,
                depth=call.depth,
                index=calls_at_depth[call.depth],
                is_layer=call.is_layer,
                input_size=call.input_shape,
                output_size=call.output_shape,
                kernel_size=_kernel(call.module),
                groups=_groups(call),
                num_params=params,
                params_percent=100 * params / total if total else 0.0,
                macs=macs,
                activation_bytes=size,
                dense_params=params + extra_params,
                dense_macs=dense_macs,
            )
        )
    return rows


def _layer_costs(call: Call, is_first: bool, itemsize: int) -> tuple[int, int, int, int]:
    """Return MACs, MACs with G = 1, parameters more with G = 1, and bytes of the output; zeros unless a layer."""
    if not call.is_layer:
        return 0, 0, 0, 0
    layer: Any = call.module
    macs, groups = layer.macs(*call.input_shapes), _groups(call)
    size = math.prod(call.output_shape) * itemsize
    if groups is None:
        return macs, macs, 0, size
    extra_params = math.prod(layer.weight.shape) * (groups - 1) if is_first else 0
    return macs, macs * groups, extra_params, size


def _groups(call: Call) -> int | None:
    """Return the groups of a layer that has groups: a weight with G groups has 1/G of the dense one's values."""
    return getattr(call.module, "groups", None) if call.is_layer else None


def _kernel(module: Module) -> tuple[int, ...] | None:
    """Return the kernel of a convolution or pooling."""
    kernel = getattr(module, "kernel_size", None)
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def _itemsize(dtype: Any) -> int:
    """Return the bytes of one number, for the dtype of any array library."""
    return getattr(dtype, "itemsize", None) or np.dtype(str(dtype).rpartition(".")[2]).itemsize
