"""Following a network's forward pass without computing it: the shapes, and what is made from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from .._support.arguments import as_int
from ..errors import InvalidTypeError, NpresnextError, ShapeError
from ..functional.avgpool import checked_map_shape
from ..functional.batch_axis import shape_with_batch_axis
from ..functional.fully_connected import linear_sizes
from ..geometry import ConvGeometry, WindowGeometry
from .layers import BatchNorm2d, Conv2d, Linear
from .module import Module, calls_through
from .stateless import AvgPool2d, GlobalAvgPool2d, MaxPool2d, ReLU
from .symbol import Symbol

Shape = tuple[int, ...]


@dataclass
class Call:
    """One call of a module: where it stands in the tree, and what went in and came out."""

    path: str
    module: Module
    depth: int
    input_shape: Shape
    output_shape: Shape = ()
    is_layer: bool = False


@dataclass
class Trace:
    """What :func:`trace` found: every call in the order of their beginning, and the output as a :class:`Symbol`."""

    input: Symbol
    output: Symbol
    calls: list[Call] = field(default_factory=list)


def trace(model: Module, input_shape: Sequence[int], dtype: Any = None) -> Trace:
    """Follow the forward pass of a network for an input of `input_shape`, in integers alone.

    The network's own ``forward`` runs, on a :class:`Symbol` in place of an array; each layer answers with the shape
    of its output instead of computing it. Nothing is kept and no running statistics move.

    Parameters
    ----------
    model : Module
        A module of one's own with mathematics in its forward says what comes out of it by a method
        ``output_shape(input_shape)``, and counts as one layer.
    input_shape : sequence of int
        With N.
    dtype : optional
        Of the input; that of the first parameter if None.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        The input does not fit a layer; the message begins with the layer's name.
    TypeError
        A module without a method ``output_shape`` has no parts, or does more than add and multiply what they return.

    Examples
    --------
    >>> from npresnext import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    >>> for call in trace(model, (1, 3, 224, 224)).calls:
    ...     print(call.depth, call.path or "(the whole)", call.output_shape)
    0 (the whole) (1, 8, 111, 111)
    1 0 (1, 8, 111, 111)
    1 1 (1, 8, 111, 111)
    """
    shape = as_input_shape(input_shape, "input_shape")
    if dtype is None:
        dtype = next((parameter.data.dtype for parameter in model.parameters()), "float32")
    paths = {id(module): path for path, module in model.named_modules()}
    calls: list[Call] = []
    depth = 0

    def visit(module: Module, *inputs: Symbol) -> Symbol:
        nonlocal depth
        path = paths.get(id(module), type(module).__name__)
        call = Call(path, module, depth, inputs[0].shape)
        calls.append(call)
        try:
            shape = output_shape(module, inputs[0].shape)
        except ShapeError as error:
            raise ShapeError(f"{path or type(module).__name__}: {error}") from error
        if shape is None:
            depth += 1
            output = _followed(module, path, inputs)
            depth -= 1
        else:
            call.is_layer = True
            output = Symbol("layer", shape, inputs[0].dtype, inputs, path=path, detail=module)
        call.output_shape = output.shape
        return output

    start = Symbol("input", shape, dtype)
    with calls_through(visit):
        return Trace(start, model(start), calls)


def _followed(module: Module, path: str, inputs: Sequence[Symbol]) -> Symbol:
    """Return what a module made of others makes of symbols, or say that it does more with them than they can."""
    try:
        output = module.forward(*inputs)
        if not isinstance(output, Symbol):
            raise TypeError(f"it returns an object of type {type(output).__name__}")
        return output
    except (AttributeError, TypeError) as error:
        if isinstance(error, NpresnextError):
            raise
        kind = type(module).__name__
        raise InvalidTypeError(
            f"{path or kind}: the forward of {kind} cannot be followed without numbers ({error}): make it of layers, "
            "sums and multiples of their outputs, or give it a method output_shape(input_shape)"
        ) from error


def as_input_shape(sizes: Sequence[int], name: str) -> Shape:
    """Return the shape of an input as Python integers, or raise naming the argument `name`."""
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise InvalidTypeError(
            f"{name} must be a sequence of integers, such as (1, 3, 224, 224), but is of type {type(sizes).__name__}"
        )
    return tuple(as_int(size, f"{name}[{axis}]", 0) for axis, size in enumerate(sizes))


@singledispatch
def output_shape(module: Module, shape: Shape) -> Shape | None:
    """Return the shape that a layer makes of an input of `shape`, or None for a module made of others.

    Errors are those of the layer's forward pass.
    """
    if hasattr(module, "output_shape"):
        return module.output_shape(shape)
    if next(module.children(), None) is None:
        raise InvalidTypeError(
            f"the shape of what {type(module).__name__} puts out is not known: give it a method "
            "output_shape(input_shape), or make it of layers"
        )
    return None


@output_shape.register
def _(layer: ReLU, shape: Shape) -> Shape:
    return shape


@output_shape.register
def _(layer: Conv2d, shape: Shape) -> Shape:
    images = (1, *shape) if len(shape) == 3 else shape
    return conv_geometry(layer, images).output_shape[-len(shape) :]


@output_shape.register
def _(layer: BatchNorm2d, shape: Shape) -> Shape:
    if len(shape) != 4 or shape[1] != layer.num_features:
        raise ShapeError(f"x has shape {shape}: expected (N, {layer.num_features}, H, W)")
    return shape


@output_shape.register
def _(layer: MaxPool2d, shape: Shape) -> Shape:
    window = WindowGeometry.of_pool(
        shape_with_batch_axis(shape),
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        ceil_mode=layer.ceil_mode,
    )
    return (*shape[:-2], window.out_height, window.out_width)


@output_shape.register
def _(layer: AvgPool2d, shape: Shape) -> Shape:
    window = WindowGeometry.of_pool(
        shape_with_batch_axis(shape),
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        ceil_mode=layer.ceil_mode,
    )
    return (*shape[:-2], window.out_height, window.out_width)


@output_shape.register
def _(layer: GlobalAvgPool2d, shape: Shape) -> Shape:
    return (*checked_map_shape(shape)[4 - len(shape) : 2], 1, 1)


@output_shape.register
def _(layer: Linear, shape: Shape) -> Shape:
    _, out_features, _ = linear_sizes(shape, layer.weight.shape)
    return (*shape[:-1], out_features)


def conv_geometry(layer: Conv2d, shape: Shape) -> ConvGeometry:
    """Return the geometry of a layer's convolution of images (N, C_in, H, W)."""
    return ConvGeometry.of_conv(
        shape,
        layer.weight.shape,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
