"""From a network to an ONNX graph: the network is followed once, and each layer becomes one node, or a few.

Every attribute is written out and has the meaning that opset 17 (https://onnx.ai/onnx/operators) gives it. What the
operators of this opset define otherwise than the layers is expressed by other attributes or by a second operator:
windows of ``ceil_mode`` become explicit padding, and padding that opset 17 has no word for becomes a ``Pad`` node. What
cannot be expressed is refused; the message names the layer and its attribute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_sizes
from .._support.extras import load_extra
from ..backend import to_numpy
from ..errors import InvalidTypeError, InvalidValueError
from ..geometry import Padding, WindowGeometry, as_padding
from ..io import atomic_path
from ..nn import (
    AvgPool2d,
    BatchNorm2d,
    BatchNormReLU2d,
    Conv2d,
    ConvReLU2d,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
)
from ..nn.module import check_module
from ..nn.symbol import Symbol
from ..nn.tracing import trace
from ._layers import Add, Concat, Pad2d, PaddedAvgPool2d, PaddedMaxPool2d, Softmax

OPSET = 17
_IR_VERSION = 8  # that of opset 17's own release, onnx 1.12


def export(model: Module, path: str | os.PathLike[str], input_size: Sequence[int], *, overwrite: bool = False) -> None:
    """Write a network to an ONNX file, in opset 17, as it computes in evaluation mode.

    Parameters
    ----------
    model : Module
        Made of the package's layers. It is not changed.
    path : path
        The file.
    input_size : (N, C, H, W)
        Of the images. The graph takes any N, but no other C, H and W: the padding of its poolings follows from them.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ValueError
        The input does not fit the network, or a layer computes what ONNX cannot express (the message names it).
    TypeError
        A layer of another package, or mathematics of its own between the layers.
    ImportError
        The extra ``onnx`` is missing.

    Examples
    --------
    >>> import npresnext as nx
    >>> nx.onnx.export(nx.models.resnext_small(), "net.onnx", (1, 1, 28, 28))          # doctest: +SKIP
    >>> import onnxruntime                                                             # doctest: +SKIP
    >>> onnxruntime.InferenceSession("net.onnx").run(None, {"images": images})[0]      # doctest: +SKIP
    """
    onnx = load_extra("onnx", "onnx", "onnx.export")
    check_module(model, "model")
    found = trace(model, as_sizes(input_size, "input_size"))
    graph = _Graph(onnx)
    output = graph.value_of(found.output)
    result = onnx.helper.make_node("Identity", [output], ["logits"])  # so that the output has a name to count on
    made = onnx.helper.make_graph(
        [*graph.nodes, result],
        type(model).__name__,
        [_free_batch(onnx, "images", found.input)],
        [_free_batch(onnx, "logits", found.output)],
        graph.initializers,
    )
    proto = onnx.helper.make_model(
        made, producer_name="npresnext", opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION
    )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidValueError(f"opset {OPSET} has no such graph: {error}") from error
    with atomic_path(path, overwrite=overwrite) as beside:
        beside.write_bytes(proto.SerializeToString())


class _Graph:
    """Nodes and weights of a graph under construction; layers add to it what they are."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._values: dict[int, str] = {}
        self._shared: set[str] = set()

    def value_of(self, symbol: Symbol) -> str:
        """Return the name of the value that `symbol` stands for, after adding whatever makes it."""
        for each in symbol.history():
            self._values[id(each)] = self._make(each)
        return self._values[id(symbol)]

    def node(self, op: str, inputs: Sequence[str], path: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{path or op}:{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, array: Any) -> str:
        """Add an array, once, under its state name."""
        if name not in self._shared:
            self._shared.add(name)
            array = np.ascontiguousarray(to_numpy(array))
            self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _make(self, symbol: Symbol) -> str:
        inputs = [self._values[id(each)] for each in symbol.inputs]
        if symbol.op == "input":
            return "images"
        if symbol.op == "layer":
            return _emit(self, inputs, symbol)
        if symbol.op == "add" and len(inputs) == 2:
            return self.node("Add", inputs, "")
        if symbol.op == "concat" and symbol.detail % len(symbol.shape) != 0:  # the graph leaves N open
            return self.node("Concat", inputs, "", axis=symbol.detail)
        only_pixel = symbol.op == "index" and symbol.detail == (slice(None), slice(None), 0, 0)
        if only_pixel and symbol.inputs[0].shape[2:] == (1, 1):
            return self.node("Flatten", inputs, "", axis=1)
        raise InvalidTypeError(
            f"the network computes {symbol.op!r} ({symbol.detail!r}) between its layers, which has no counterpart "
            "in the ONNX export: layers, sums and concatenations do"
        )


def _emit(graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    """Add the nodes of a layer that is fed with the values `inputs`, and return the name of its output."""
    layer = symbol.detail
    emitter = EMITTERS.get(type(layer))  # the class itself: a subclass may compute something else
    if emitter is None:
        raise InvalidTypeError(
            f"{_name(symbol)} is a {type(layer).__name__}, which has no counterpart in the ONNX export"
        )
    return emitter(layer, graph, inputs, symbol)


def _conv(layer: Conv2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    padding = layer.geometry(_images(symbol)).padding
    if min(*padding[0], *padding[1]) < 0:
        raise InvalidValueError(f"{_name(symbol)} has padding={layer.padding}: ONNX has no padding below 0")
    return graph.node(
        "Conv",
        [inputs[0], *_weights(graph, symbol.path, weight=layer.weight, bias=layer.bias)],
        symbol.path,
        group=layer.groups,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        dilations=list(layer.dilation),
        pads=_pads(padding),
    )


def _conv_relu(layer: ConvReLU2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return _add_and_rectify(graph, [_conv(layer, graph, inputs, symbol), *inputs[1:]], symbol)


def _batch_norm(layer: BatchNorm2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if layer.running_mean is None:
        raise InvalidValueError(f"{_name(symbol)} has no running statistics: ONNX normalises with given ones")
    mean, var = to_numpy(layer.running_mean), to_numpy(layer.running_var)
    weight = np.ones_like(mean) if layer.weight is None else layer.weight
    bias = np.zeros_like(mean) if layer.bias is None else layer.bias
    if not 0 < np.float32(layer.eps) < np.inf:
        raise InvalidValueError(f"{_name(symbol)} has eps={layer.eps}: ONNX stores it in float32")
    arrays = _weights(graph, symbol.path, weight=weight, bias=bias, running_mean=mean, running_var=var)
    return graph.node("BatchNormalization", [inputs[0], *arrays], symbol.path, epsilon=float(layer.eps))


def _batch_norm_relu(layer: BatchNormReLU2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return _add_and_rectify(graph, [_batch_norm(layer, graph, inputs, symbol), *inputs[1:]], symbol)


def _identity(layer: Identity, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return inputs[0]


def _relu(layer: ReLU, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("Relu", inputs, symbol.path)


def _max_pool(layer: MaxPool2d | PaddedMaxPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    window = _pool_window(layer, symbol)
    padding: Padding = window.padding
    if any(max(sides) >= size for sides, size in zip(padding, window.kernel)):  # runtimes refuse such padding
        inputs, padding = [_padded(graph, inputs[0], padding, -np.inf, symbol)], ((0, 0), (0, 0))
    dilations = list(window.dilation)
    return graph.node("MaxPool", inputs, symbol.path, dilations=dilations, **_pool_attributes(window, padding))


def _avg_pool(layer: AvgPool2d | PaddedAvgPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    """Add an AveragePool whose divisor is the layer's: pixels of the image, and of the padding if these count.

    ``count_include_pad=1`` makes opset 17 divide by the size of the kernel. The rows that ceil_mode adds must not count
    where those of the padding do: then a Pad node makes pixels of the padding.
    """
    window = _pool_window(layer, symbol)
    chosen = as_padding(layer.padding, window.kernel, window.stride, window.dilation)
    padding, counts = window.padding, layer.count_include_pad
    if counts and padding != chosen:
        inputs = [_padded(graph, inputs[0], chosen, 0, symbol)] if chosen != ((0, 0), (0, 0)) else inputs
        below, right = (after - given for (_, after), (_, given) in zip(padding, chosen))
        padding, counts = ((0, below), (0, right)), False
    attributes = _pool_attributes(window, padding)
    return graph.node("AveragePool", inputs, symbol.path, count_include_pad=int(counts), **attributes)


def _global_avg_pool(layer: GlobalAvgPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("GlobalAveragePool", inputs, symbol.path)


def _flatten(layer: Flatten, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    axes = len(symbol.inputs[0].shape)
    if (layer.start_dim % axes, layer.end_dim % axes) != (1, axes - 1):
        raise InvalidValueError(
            f"{_name(symbol)} has start_dim={layer.start_dim} and end_dim={layer.end_dim} and makes {symbol.shape} of "
            f"{symbol.inputs[0].shape}: ONNX's Flatten makes two axes, the first of which is N"
        )
    return graph.node("Flatten", inputs, symbol.path, axis=1)


def _linear(layer: Linear, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if len(symbol.shape) != 2:
        raise InvalidValueError(f"{_name(symbol)} maps {symbol.inputs[0].shape}: ONNX's Gemm takes (N, features)")
    arrays = _weights(graph, symbol.path, weight=layer.weight, bias=layer.bias)
    return graph.node("Gemm", [*inputs, *arrays], symbol.path, transB=1)


def _add(layer: Add, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("Add", inputs, symbol.path)


def _concat(layer: Concat, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("Concat", inputs, symbol.path, axis=1)


def _pad(layer: Pad2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return _padded(graph, inputs[0], layer.padding, layer.value, symbol)


def _softmax(layer: Softmax, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("Softmax", inputs, symbol.path, axis=1)


EMITTERS: dict[type[Module], Callable[[Any, _Graph, Sequence[str], Symbol], str]] = {
    Add: _add,
    AvgPool2d: _avg_pool,
    BatchNorm2d: _batch_norm,
    BatchNormReLU2d: _batch_norm_relu,
    Concat: _concat,
    Conv2d: _conv,
    ConvReLU2d: _conv_relu,
    Flatten: _flatten,
    GlobalAvgPool2d: _global_avg_pool,
    Identity: _identity,
    Linear: _linear,
    MaxPool2d: _max_pool,
    Pad2d: _pad,
    PaddedAvgPool2d: _avg_pool,
    PaddedMaxPool2d: _max_pool,
    ReLU: _relu,
    Softmax: _softmax,
}


def _add_and_rectify(graph: _Graph, values: Sequence[str], symbol: Symbol) -> str:
    """Add the shortcut, if there are two values, and rectify."""
    total = graph.node("Add", values, symbol.path) if len(values) == 2 else values[0]
    return graph.node("Relu", [total], symbol.path)


def _weights(graph: _Graph, path: str, **arrays: Any) -> list[str]:
    """Add the arrays of a layer under their state names; None is passed over."""
    prefix = f"{path}." if path else ""
    given = {name: array.data if isinstance(array, Parameter) else array for name, array in arrays.items()}
    return [graph.weight(prefix + name, array) for name, array in given.items() if array is not None]


def _pool_window(layer: MaxPool2d | AvgPool2d | PaddedMaxPool2d | PaddedAvgPool2d, symbol: Symbol) -> WindowGeometry:
    """Return the windows of a pooling, with those that ceil_mode adds, after checking that each has a pixel."""
    shape, dilation = _images(symbol), getattr(layer, "dilation", 1)
    if isinstance(layer, (PaddedMaxPool2d, PaddedAvgPool2d)):
        window = layer.window(shape)
    else:
        options = {"stride": layer.stride, "padding": layer.padding, "ceil_mode": layer.ceil_mode}
        window = WindowGeometry.of_pool(shape, layer.kernel_size, **options, dilation=dilation)
    rows, columns = np.zeros(window.out_height, dtype=bool), np.zeros(window.out_width, dtype=bool)
    for _, _, windows, _ in window.taps():
        rows[windows[0]] = columns[windows[1]] = True
    if not (rows.all() and columns.all()):
        raise InvalidValueError(
            f"{_name(symbol)} has padding={layer.padding} and dilation={dilation}: windows read no pixel of "
            f"an image of {window.height}x{window.width}, and ONNX does not define their value"
        )
    return window


def _pool_attributes(window: WindowGeometry, padding: Padding) -> dict[str, Any]:
    """Return the attributes that all poolings have. The padding contains what ceil_mode adds, so ceil_mode is 0.

    Before opset 22, ceil_mode=1 keeps a last window that lies in the padding; PyTorch and the layers drop it.
    """
    return {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "pads": _pads(padding),
        "ceil_mode": 0,
    }


def _pads(padding: Padding) -> list[int]:
    """Return padding in ONNX's order."""
    (top, bottom), (left, right) = padding
    return [top, left, bottom, right]


def _padded(graph: _Graph, value: str, padding: Padding, fill: float, symbol: Symbol) -> str:
    """Add a node that makes pixels of the value `fill` of the padding."""
    (top, bottom), (left, right) = padding
    name = f"{_name(symbol)}:{len(graph.nodes)}"
    pads = graph.weight(f"{name}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], "int64"))
    constant = graph.weight(f"{name}.value", np.array(fill, np.dtype(symbol.dtype)))
    return graph.node("Pad", [value, pads, constant], symbol.path, mode="constant")


def _name(symbol: Symbol) -> str:
    """Return what a message calls a layer: its path, or its class if it is the whole network."""
    return symbol.path or type(symbol.detail).__name__


def _images(symbol: Symbol) -> tuple[int, ...]:
    """Return the shape of a layer's input after checking that it is a batch of images."""
    shape = symbol.inputs[0].shape
    if len(shape) != 4:
        raise InvalidValueError(f"{_name(symbol)} is fed with {shape}: the ONNX export takes batches (N, C, H, W)")
    return shape


def _free_batch(onnx: Any, name: str, symbol: Symbol) -> Any:
    """Describe an input or output whose first axis may have any size."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(symbol.dtype))
    return onnx.helper.make_tensor_value_info(name, kind, ["N", *symbol.shape[1:]])
