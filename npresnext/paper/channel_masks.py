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
from html import escape

import numpy as np

from .._support.plurals import counted
from .._support.tables import html_details, html_table, text_table
from ..errors import InvalidTypeError, InvalidValueError
from ..nn import Conv2d, Module, Sequential, Symbol, trace
from ..nn.convolution import group_mask
from ..nn.module import Mask
from ..nn.tracing import example_input_shape

HEADER = ["Layer", "Kind", "Layers from the start", "Connects", "Reached"]
EXPLANATION = (
    "Connects: the share of pairs (input channel, output channel) of the layer that its groups connect.",
    "Reached: the share of pairs (channel at the start, output channel of the layer) where the second depends on the "
    "first.",
    "Layers that the start does not reach are left out.",
)


@dataclass(frozen=True)
class Step:
    """One layer that mixes channels by its weights, such as a convolution or a linear layer.

    Attributes
    ----------
    path : str
        Its dotted name.
    layer : Module
    own : bool array (C_out, C_in of the layer)
        Its own mask.
    reach : bool array (C_out, C_in of the start)
        Which channels of the start each of its output channels depends on.
    order : int
        The number of such layers on the longest path to it, itself included.
    """

    path: str
    layer: Module
    own: np.ndarray
    reach: np.ndarray
    order: int

    @property
    def name(self) -> str:
        """Its dotted name, or its class if it has none, as a layer alone."""
        return self.path or type(self.layer).__name__

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a 1x1 convolution."""
        return getattr(self.layer, "kernel_size", None) == (1, 1)

    @property
    def kind(self) -> str:
        """Such as "3x3, G=32"."""
        kernel, groups = getattr(self.layer, "kernel_size", None), getattr(self.layer, "groups", None)
        return type(self.layer).__name__.lower() if kernel is None else f"{kernel[0]}x{kernel[1]}, G={groups}"


@dataclass(frozen=True, repr=False)
class Connectivity:
    """Who reaches whom: print it, show it in a notebook, or read its masks.

    Attributes
    ----------
    matrix : bool array (C_out, C_in)
        ``matrix[o, c]`` says whether output channel o depends on input channel c.
    steps : list of Step
        The convolutions and linear layers in the order of the forward pass.
    full_after : int or None
        After how many of them, one behind the other, every channel is reached by every channel; None for never.
    start : str or None
        The name of the layer whose input channels are followed; None for the channels of the input.
    """

    matrix: np.ndarray
    steps: list[Step]
    full_after: int | None
    start: str | None = None

    def __repr__(self) -> str:
        return f"{self._headline()}\n\n{text_table(HEADER, self._rows())}\n" + "\n".join(EXPLANATION)

    def _repr_html_(self) -> str:
        table = html_table(HEADER, self._rows())
        title = counted(len(self.steps), "layer")
        explanation = "<br>".join(map(escape, EXPLANATION))
        return f"<p>{escape(self._headline())}</p>\n{html_details(title, f'{table}<p>{explanation}</p>')}"

    def _headline(self) -> str:
        outputs, starts = self.matrix.shape
        goes = "goes" if starts == 1 else "go"
        origin = "of the input" if self.start is None else f"that {goes} into {self.start}"
        found = (
            "not every channel reaches every other"
            if self.full_after is None
            else f"after {counted(self.full_after, 'layer')}, every channel reaches every other"
        )
        return f"From {counted(starts, 'channel')} {origin} to {counted(outputs, 'output channel')}: {found}"

    def _rows(self) -> list[list[object]]:
        return [
            [step.name, step.kind, step.order, share_text(step.own.mean()), share_text(step.reach.mean())]
            for step in self.steps
        ]


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
    output = trace(model, input_shape or example_input_shape(model, "input_shape")).output
    symbols = output.history()
    origin = _origin(symbols, start)
    width = origin.shape[1]
    found: dict[int, tuple[np.ndarray, int]] = {}  # by symbol: its mask (C, C of the start), and its order
    steps = []
    for symbol in symbols:
        if symbol is origin:
            found[id(symbol)] = np.eye(width, dtype=bool), 0
        elif symbol.op == "input":
            found[id(symbol)] = np.zeros((symbol.shape[1], width), bool), 0
        else:
            reached = [found[id(source)][0] for source in symbol.inputs]
            order = max(found[id(source)][1] for source in symbol.inputs)
            if symbol.op == "layer":
                masks = _layer_masks(symbol, pointwise)
                reach = _united([each if mask is None else _chained(mask, each) for mask, each in zip(masks, reached)])
                if masks[0] is not None and _has_weights(symbol.detail) and reach.any():
                    order += 1  # what the start cannot reach is no step away from it
                    steps.append(Step(symbol.path, symbol.detail, masks[0], reach, order))
            else:
                reach = _passed_on(symbol, reached)
            found[id(symbol)] = reach, order
    full = [order for reach, order in found.values() if order and reach.all()]
    return Connectivity(found[id(output)][0], steps, min(full, default=None), start)


def share_text(share: float) -> str:
    """Return a share as a percentage, with as many digits as it needs: 100%, 12.5%, 3.125%.

    >>> share_text(1.0), share_text(1 / 32), share_text(1 / 3)
    ('100%', '3.125%', '33.33%')
    """
    return f"{100 * share:.4g}%"


def _layer_masks(symbol: Symbol, pointwise: bool) -> list[Mask]:
    """Return the masks of a layer's inputs; those of a 1x1 convolution that is left out are as fine as can be."""
    layer = symbol.detail
    try:
        masks: list[Mask] = layer.channel_masks(*(source.shape for source in symbol.inputs))
    except InvalidTypeError as error:
        raise InvalidTypeError(f"{symbol.path or type(layer).__name__}: {error}") from error
    if not pointwise and masks[0] is not None and getattr(layer, "kernel_size", None) == (1, 1):
        C_out, C_in = masks[0].shape
        masks = [group_mask(C_in, C_out, math.gcd(C_in, C_out)), *masks[1:]]
    return masks


def _has_weights(layer: Module) -> bool:
    return next(layer.parameters(), None) is not None


def _chained(mask: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return the product of two masks as truth values."""
    return mask.astype("float32") @ reach.astype("float32") > 0


def _united(masks: list[np.ndarray]) -> np.ndarray:
    """Return where any of the masks is true."""
    return np.logical_or.reduce(masks)


def _passed_on(symbol: Symbol, reached: list[np.ndarray]) -> np.ndarray:
    """Return who is reached behind an operation between layers."""
    if symbol.op in ("add", "multiply"):
        return _united(reached)
    if symbol.op == "concat" and symbol.detail == 1:
        return np.concatenate(reached)
    if symbol.op == "index":
        key = symbol.detail if isinstance(symbol.detail, tuple) else (symbol.detail,)
        return reached[0][key[1]] if len(key) > 1 else reached[0]
    raise InvalidTypeError(f"the network: it is not known which channels {symbol.op} connects")


def _origin(symbols: list[Symbol], start: str | None) -> Symbol:
    """Return the symbol whose channels are followed."""
    if start is None:
        return symbols[0]
    layers = {symbol.path: symbol for symbol in symbols if symbol.op == "layer"}
    if start not in layers:
        names = [name for name, symbol in layers.items() if isinstance(symbol.detail, Conv2d)]
        raise InvalidValueError(f"start must be the name of a layer, such as {', '.join(names)}, but is {start!r}")
    return layers[start].inputs[0]
