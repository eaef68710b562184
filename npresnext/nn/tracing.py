"""Following a network's forward pass without computing it: the shapes, and what is made from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._support.arguments import as_sizes
from ..errors import InvalidTypeError, InvalidValueError, NpresnextError, ShapeError
from .module import Module, Shape, calls_through, check_module
from .symbol import Symbol


@dataclass
class Call:
    """One call of a module: its place in the tree, and the shapes of its inputs and its output."""

    path: str
    module: Module
    depth: int
    input_shapes: tuple[Shape, ...]
    output_shape: Shape = ()
    is_layer: bool = False

    @property
    def input_shape(self) -> Shape:
        """The shape of the first input."""
        return self.input_shapes[0]


@dataclass
class Trace:
    """What :func:`trace` found: every call in the order of their beginning, and the output as a :class:`Symbol`."""

    input: Symbol
    output: Symbol
    calls: list[Call] = field(default_factory=list)


def trace(model: Module, input_shape: Sequence[int], dtype: Any = None) -> Trace:
    """Follow the forward pass of a network for an input of `input_shape`, in integers alone.

    The network's own ``forward`` runs, on a :class:`Symbol` in place of an array; in place of each layer's forward its
    ``output_shape`` is called. Nothing is saved for a backward pass, and running statistics stay as they are.

    Parameters
    ----------
    model : Module
        A module of your own that computes something in its forward needs a method ``output_shape(input_shape)``, and
        counts as one layer.
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
        `model` is not a Module. A module without a method ``output_shape`` of its own has no parts, or does more than
        add and multiply what they return.

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
    check_module(model, "model")
    shape = as_sizes(input_shape, "input_shape")
    if dtype is None:
        dtype = next((parameter.data.dtype for parameter in model.parameters()), "float32")
    paths = {id(module): path for path, module in model.named_modules()}
    calls: list[Call] = []
    depth = 0

    def visit(module: Module, *inputs: Symbol) -> Symbol:
        nonlocal depth
        path = paths.get(id(module), type(module).__name__)
        call = Call(path, module, depth, tuple(symbol.shape for symbol in inputs))
        calls.append(call)
        try:
            shape = module.output_shape(*call.input_shapes)
        except ShapeError as error:
            raise ShapeError(f"{path or type(module).__name__}: {error}") from error
        if shape is None and next(module.children(), None) is None:
            raise InvalidTypeError(
                f"the shape of what {type(module).__name__} puts out is not known: give it a method "
                "output_shape(input_shape), or make it of layers"
            )
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


def example_input_shape(model: Module, name: str) -> Shape:
    """Return a shape that the first layer with a fixed number of channels accepts; the error names the argument `name`.

    >>> from npresnext import nn
    >>> example_input_shape(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 8, 7)), "input_size")
    (1, 3, 64, 64)
    """
    for module in model.modules():
        shape = module.example_shape()
        if shape is not None:
            return shape
    raise InvalidValueError(f"no convolution or norm says how many channels go in: give {name}, or a larger part")
