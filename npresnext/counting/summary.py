"""What a network consists of: shapes, parameters, multiply-adds and memory, layer by layer, without computing it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError
from ..nn.layers import Conv2d, Linear
from ..nn.module import Module
from ..nn.trace import Call, as_input_shape, conv_geometry, trace

# column -> its heading, with torchinfo's names where torchinfo has the column
COLUMNS = {
    "input_size": "Input",
    "output_size": "Output",
    "kernel_size": "Kernel",
    "groups": "Groups",
    "num_params": "Parameters",
    "params_percent": "Share",
    "macs": "MACs",
    "activation_bytes": "Output bytes",
    "dense_params": "Parameters with G=1",
    "dense_macs": "MACs with G=1",
}
DEFAULT_COLUMNS = ("output_size", "kernel_size", "groups", "num_params", "params_percent", "macs")


@dataclass(frozen=True)
class Row:
    """One call of a module: of a layer, or of a module made of others, whose counts include theirs.

    ``dense_params`` and ``dense_macs`` are what the same channels would cost if every convolution had G = 1.
    """

    path: str
    name: str
    type: str
    depth: int
    index: int
    is_layer: bool
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    kernel_size: tuple[int, ...] | None
    groups: int | None
    num_params: int
    params_percent: float
    macs: int
    activation_bytes: int
    dense_params: int
    dense_macs: int


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` returns: print it, show it in a notebook, or read its numbers.

    Attributes
    ----------
    rows : list of Row
        Every call in the order of the forward pass, modules made of others before their parts.
    total_params : int
        Of the whole network, each parameter once.
    parameter_bytes, input_bytes : int
    col_names : tuple of str
        The columns that are shown.
    shown_depth : int
        Rows deeper than this are left out of the text, and counted in the row above them.
    """

    rows: list[Row]
    total_params: int
    parameter_bytes: int
    input_bytes: int
    col_names: tuple[str, ...]
    shown_depth: int

    @property
    def layers(self) -> list[Row]:
        """The rows of layers alone: their parameters, MACs and bytes add up to the network's."""
        return [row for row in self.rows if row.is_layer]

    @property
    def grouped_layers(self) -> list[Row]:
        """The convolutions with more than one group."""
        return [row for row in self.layers if row.groups is not None and row.groups > 1]

    @property
    def total_macs(self) -> int:
        """Multiply-adds of convolutions and linear layers, for the whole batch."""
        return self.rows[0].macs

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs of layers together."""
        return self.rows[0].activation_bytes

    @property
    def dense_params(self) -> int:
        """Parameters of the network if every convolution had G = 1 at the same channels."""
        return self.total_params + sum(row.dense_params - row.num_params for row in self.grouped_layers)

    @property
    def dense_macs(self) -> int:
        """Multiply-adds of the network if every convolution had G = 1 at the same channels."""
        return self.rows[0].dense_macs

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dictionaries, lists and numbers."""
        return {
            "total_params": self.total_params,
            "total_macs": self.total_macs,
            "dense_params": self.dense_params,
            "dense_macs": self.dense_macs,
            "parameter_bytes": self.parameter_bytes,
            "input_bytes": self.input_bytes,
            "activation_bytes": self.activation_bytes,
            "rows": [asdict(row) for row in self.rows],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def __str__(self) -> str:
        from .text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from .text import as_html

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
        layers alone, for the whole batch, padding included; activations are the outputs of all layers.

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
    if not isinstance(model, Module):
        raise InvalidTypeError(f"model must be a Module, but is of type {type(model).__name__}")
    unknown = [name for name in col_names if name not in COLUMNS]
    if unknown:
        raise InvalidValueError(f"col_names has {', '.join(map(repr, unknown))}: choose from {', '.join(COLUMNS)}")
    found = trace(model, as_input_shape(input_size, "input_size"), dtype)
    itemsize = _itemsize(found.input.dtype)
    total = sum(math.prod(parameter.shape) for parameter in model.parameters())
    costs = [_layer_costs(call, itemsize) for call in found.calls]
    rows = []
    places: dict[int, int] = {}
    for index, call in enumerate(found.calls):
        below = index + 1
        while below < len(found.calls) and found.calls[below].depth > call.depth:
            below += 1
        macs, dense_macs, extra_params, size = (sum(column) for column in zip(*costs[index:below]))
        params = sum(math.prod(parameter.shape) for parameter in call.module.parameters())
        places[call.depth] = places.get(call.depth, 0) + 1
        conv = call.module if isinstance(call.module, Conv2d) else None
        rows.append(
            Row(
                path=call.path,
                name=call.path.rpartition(".")[2],
                type=type(call.module).__name__,
                depth=call.depth,
                index=places[call.depth],
                is_layer=call.is_layer,
                input_size=call.input_shape,
                output_size=call.output_shape,
                kernel_size=_kernel(call.module),
                groups=conv.groups if conv else None,
                num_params=params,
                params_percent=100 * params / total if total else 0.0,
                macs=macs,
                activation_bytes=size,
                dense_params=params + extra_params,
                dense_macs=dense_macs,
            )
        )
    weights = sum(math.prod(parameter.shape) * _itemsize(parameter.data.dtype) for parameter in model.parameters())
    return Summary(rows, total, weights, math.prod(found.input.shape) * itemsize, tuple(col_names), depth)


def _layer_costs(call: Call, itemsize: int) -> tuple[int, int, int, int]:
    """Return MACs, MACs with G = 1, parameters more with G = 1, and bytes of the output; zeros unless a layer."""
    if not call.is_layer:
        return 0, 0, 0, 0
    size, module = math.prod(call.output_shape) * itemsize, call.module
    if isinstance(module, Conv2d):
        shape = (1, *call.input_shape) if len(call.input_shape) == 3 else call.input_shape
        macs = conv_geometry(module, shape).macs
        return macs, macs * module.groups, math.prod(module.weight.shape) * (module.groups - 1), size
    if isinstance(module, Linear):
        macs = math.prod(call.output_shape) * module.in_features
        return macs, macs, 0, size
    return 0, 0, 0, size


def _kernel(module: Module) -> tuple[int, ...] | None:
    """Return the kernel of a convolution or pooling."""
    kernel = getattr(module, "kernel_size", None)
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def _itemsize(dtype: Any) -> int:
    """Return the bytes of one number, for the dtype of any array library."""
    return getattr(dtype, "itemsize", None) or np.dtype(str(dtype).rpartition(".")[2]).itemsize
