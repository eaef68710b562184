"""Who reaches whom: which input channels an output channel depends on, through a chain of convolutions.

A convolution with G groups lets output channel o see input channel c where both belong to one group: a
block-diagonal mask. Chained convolutions multiply their masks (as truth values: a path through any channel
counts), paths that are added or joined unite theirs. Positions are left out, and so are the numbers: a weight
that happens to be zero still connects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._support.arguments import as_int
from ..errors import InvalidTypeError, InvalidValueError
from ..geometry import check_groups
from ..nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Symbol,
    trace,
)

CHANNELS_STAY = (AvgPool2d, BatchNorm2d, GlobalAvgPool2d, MaxPool2d, ReLU)


@dataclass(frozen=True)
class Step:
    """One convolution or linear layer on the way.

    Attributes
    ----------
    path : str
        Its dotted name.
    layer : Conv2d or Linear
    own : bool array (C_out, C_in of the layer)
        Its own mask.
    reach : bool array (C_out, C_in of the start)
        Who is reached behind it.
    order : int
        How many convolutions and linear layers lie on the longest way to it, itself included.
    """

    path: str
    layer: Module
    own: np.ndarray
    reach: np.ndarray
    order: int

    @property
    def kind(self) -> str:
        """Such as "3x3, G=32"."""
        if isinstance(self.layer, Conv2d):
            return f"{self.layer.kernel_size[0]}x{self.layer.kernel_size[1]}, G={self.layer.groups}"
        return "linear"


@dataclass(frozen=True)
class Connectivity:
    """Who reaches whom.

    Attributes
    ----------
    matrix : bool array (C_out, C_in)
        ``matrix[o, c]`` says whether output channel o depends on input channel c.
    steps : list of Step
        The convolutions and linear layers in the order of the forward pass.
    full_after : int or None
        After how many of them, one behind the other, every channel is reached by every channel; None for never.
    """

    matrix: np.ndarray
    steps: list[Step]
    full_after: int | None


def group_mask(in_channels: int, out_channels: int, groups: int) -> np.ndarray:
    """Return the block-diagonal mask (C_out, C_in) of a convolution with `groups` groups, which divide both.

    Parameters
    ----------
    in_channels, out_channels, groups : int

    Returns
    -------
    bool array (C_out, C_in)

    Raises
    ------
    ValueError
        `groups` does not divide both.

    Examples
    --------
    >>> group_mask(4, 2, 2).astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    check_groups(in_channels, out_channels, as_int(groups, "groups", 1))
    own = np.arange(out_channels) * groups // out_channels
    seen = np.arange(in_channels) * groups // in_channels
    return own[:, None] == seen[None, :]


def connectivity(
    model: Module | Sequence[Module],
    *,
    pointwise: bool = True,
    start: str | None = None,
    input_shape: Sequence[int] | None = None,
) -> Connectivity:
    """Find which input channels each output channel depends on.

    Parameters
    ----------
    model : Module or sequence of modules
        A network, a block, or layers in a row.
    pointwise : bool
        False leaves the 1x1 convolutions out: channels pass straight through them, or, where a 1x1 changes their
        number, in the finest blocks that both numbers allow (G = gcd(C_in, C_out)).
    start : str, optional
        Name of a layer; the channels that go into it are the ones to follow. None follows the input's.
    input_shape : sequence of int, optional
        (1, C_in, 64, 64) if None, which any image size stands for unless a linear layer depends on it.

    Returns
    -------
    Connectivity

    Raises
    ------
    ValueError
        There is no layer `start`, or the shape does not fit.
    TypeError
        `model` is neither a Module nor a sequence of them, or a layer is of a kind whose channels are not known.

    Examples
    --------
    Two grouped convolutions in a row leave the groups apart, a 1x1 between them connects all:

    >>> from npresnext import nn
    >>> grouped = [nn.Conv2d(8, 8, 3, padding=1, groups=4) for _ in range(2)]
    >>> connectivity(grouped).full_after
    >>> connectivity([grouped[0], nn.Conv2d(8, 8, 1), grouped[1]]).full_after
    2
    """
    if not isinstance(model, Module):
        if isinstance(model, str) or not isinstance(model, Sequence):
            raise InvalidTypeError(f"model must be a Module or modules in a row, but is of type {type(model).__name__}")
        model = Sequential(*model)
    output = trace(model, input_shape or _input_shape(model)).output
    symbols = output.history()
    origin = _origin(symbols, start)
    width = origin.shape[1]
    found: dict[int, tuple[np.ndarray, int]] = {}
    steps = []
    for symbol in symbols:
        known = [found[id(source)] for source in symbol.inputs]
        if symbol is origin:
            found[id(symbol)] = np.eye(width, dtype=bool), 0
        elif symbol.op == "input":
            found[id(symbol)] = np.zeros((symbol.shape[1], width), bool), 0
        else:
            order = max(order for _, order in known)
            reached = [reach for reach, _ in known]
            if isinstance(symbol.detail, (Conv2d, Linear)):
                own = _own_mask(symbol.detail, pointwise)
                through = _chained(own, reached[0])
                if through.any():  # what the start cannot reach is no step away from it
                    order += 1
                    steps.append(Step(symbol.path, symbol.detail, own, through, order))
                found[id(symbol)] = through, order
            else:
                found[id(symbol)] = _passed_on(symbol, reached), order
    full = [order for reach, order in found.values() if order and reach.all()]
    return Connectivity(found[id(output)][0], steps, min(full, default=None))


def _chained(mask: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return the product of two masks as truth values."""
    return mask.astype("float32") @ reach.astype("float32") > 0


def _own_mask(layer: Conv2d | Linear, pointwise: bool) -> np.ndarray:
    """Return the mask of one layer."""
    if isinstance(layer, Linear):
        return np.ones((layer.out_features, layer.in_features), bool)
    groups = layer.groups
    if layer.kernel_size == (1, 1) and not pointwise:
        groups = math.gcd(layer.in_channels, layer.out_channels)
    return group_mask(layer.in_channels, layer.out_channels, groups)


def _passed_on(symbol: Symbol, reached: list[np.ndarray]) -> np.ndarray:
    """Return who is reached behind an operation that mixes no channels."""
    if symbol.op in ("add", "multiply"):
        return np.logical_or.reduce(reached)
    if symbol.op == "concat" and symbol.detail == 1:
        return np.concatenate(reached)
    if symbol.op == "index":
        key = symbol.detail if isinstance(symbol.detail, tuple) else (symbol.detail,)
        return reached[0][key[1]] if len(key) > 1 else reached[0]
    if isinstance(symbol.detail, CHANNELS_STAY):
        return reached[0]
    if isinstance(symbol.detail, Flatten) and symbol.detail.start_dim == 1:
        return np.repeat(reached[0], symbol.shape[1] // len(reached[0]), axis=0)
    what = type(symbol.detail).__name__ if symbol.op == "layer" else symbol.op
    raise InvalidTypeError(f"{symbol.path or 'the network'}: it is not known which channels {what} connects")


def _origin(symbols: list[Symbol], start: str | None) -> Symbol:
    """Return the symbol whose channels are followed."""
    if start is None:
        return symbols[0]
    layers = {symbol.path: symbol for symbol in symbols if symbol.op == "layer"}
    if start not in layers:
        names = [name for name, symbol in layers.items() if isinstance(symbol.detail, Conv2d)]
        raise InvalidValueError(f"start must be the name of a layer, such as {', '.join(names)}, but is {start!r}")
    return layers[start].inputs[0]


def _input_shape(model: Module) -> tuple[int, ...]:
    """Return the shape of one image for the first layer that says how many channels it takes."""
    if isinstance(model, Linear):
        return 1, model.in_features
    for module in model.modules():
        if isinstance(module, (Conv2d, BatchNorm2d)):
            channels = module.in_channels if isinstance(module, Conv2d) else module.num_features
            return 1, channels, 64, 64
    raise InvalidValueError("no convolution or norm says how many channels go in: give input_shape, or a larger part")
