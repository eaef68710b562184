"""From a network to an ONNX graph: the network is followed once, and each layer becomes one node, or a few.

The operators are those of opset 17 (https://onnx.ai/onnx/operators), whose definitions agree with this package's
for what is exported; where they do not, the export refuses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_pair
from .._support.extras import load_extra
from ..backend import to_numpy
from ..errors import InvalidTypeError, InvalidValueError
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
from ..nn.symbol import Symbol
from ..nn.tracing import as_input_shape, trace

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
        Of the images. The graph takes any N.
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
    if not isinstance(model, Module):
        raise InvalidTypeError(f"model must be a Module, but is of type {type(model).__name__}")
    found = trace(model, as_input_shape(input_size, "input_size"))
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
        if symbol.op == "concat":
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
            f"{symbol.path} is a {type(layer).__name__}, which has no counterpart in the ONNX export"
        )
    return emitter(layer, graph, inputs, symbol)


def _conv(layer: Conv2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    (top, bottom), (left, right) = layer.geometry(_images(symbol)).padding
    if min(top, bottom, left, right) < 0:
        raise InvalidValueError(f"{symbol.path} has the padding {layer.padding}: ONNX has none below 0")
    return graph.node(
        "Conv",
        [inputs[0], *_weights(graph, symbol.path, weight=layer.weight, bias=layer.bias)],
        symbol.path,
        group=layer.groups,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        dilations=list(layer.dilation),
        pads=[top, left, bottom, right],
    )


def _conv_relu(layer: ConvReLU2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return _add_and_rectify(graph, [_conv(layer, graph, inputs, symbol), *inputs[1:]], symbol)


def _batch_norm(layer: BatchNorm2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if layer.running_mean is None:
        raise InvalidValueError(f"{symbol.path} has no running statistics: ONNX normalises with given ones")
    mean, var = to_numpy(layer.running_mean), to_numpy(layer.running_var)
    weight = np.ones_like(mean) if layer.weight is None else layer.weight
    bias = np.zeros_like(mean) if layer.bias is None else layer.bias
    arrays = _weights(graph, symbol.path, weight=weight, bias=bias, running_mean=mean, running_var=var)
    return graph.node("BatchNormalization", [inputs[0], *arrays], symbol.path, epsilon=float(layer.eps))


def _batch_norm_relu(layer: BatchNormReLU2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return _add_and_rectify(graph, [_batch_norm(layer, graph, inputs, symbol), *inputs[1:]], symbol)


def _identity(layer: Identity, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return inputs[0]


def _relu(layer: ReLU, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("Relu", inputs, symbol.path)


def _max_pool(layer: MaxPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    window = _window(layer, symbol)
    return graph.node("MaxPool", inputs, symbol.path, dilations=list(as_pair(layer.dilation, "dilation")), **window)


def _avg_pool(layer: AvgPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if layer.ceil_mode:  # before opset 19 the divisor of the last window is not defined as here
        raise InvalidValueError(f"{symbol.path} averages in ceil_mode, which opset {OPSET} defines otherwise")
    window = _window(layer, symbol)
    return graph.node("AveragePool", inputs, symbol.path, count_include_pad=int(layer.count_include_pad), **window)


def _global_avg_pool(layer: GlobalAvgPool2d, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    return graph.node("GlobalAveragePool", inputs, symbol.path)


def _flatten(layer: Flatten, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if len(symbol.shape) != 2 or layer.start_dim != 1:
        raise InvalidValueError(f"{symbol.path} makes {symbol.shape} of {symbol.inputs[0].shape}: ONNX makes two axes")
    return graph.node("Flatten", inputs, symbol.path, axis=1)


def _linear(layer: Linear, graph: _Graph, inputs: Sequence[str], symbol: Symbol) -> str:
    if len(symbol.shape) != 2:
        raise InvalidValueError(f"{symbol.path} maps {symbol.inputs[0].shape}: ONNX's Gemm takes (N, features)")
    arrays = _weights(graph, symbol.path, weight=layer.weight, bias=layer.bias)
    return graph.node("Gemm", [*inputs, *arrays], symbol.path, transB=1)


EMITTERS: dict[type[Module], Callable[[Any, _Graph, Sequence[str], Symbol], str]] = {
    AvgPool2d: _avg_pool,
    BatchNorm2d: _batch_norm,
    BatchNormReLU2d: _batch_norm_relu,
    Conv2d: _conv,
    ConvReLU2d: _conv_relu,
    Flatten: _flatten,
    GlobalAvgPool2d: _global_avg_pool,
    Identity: _identity,
    Linear: _linear,
    MaxPool2d: _max_pool,
    ReLU: _relu,
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


def _window(layer: MaxPool2d | AvgPool2d, symbol: Symbol) -> dict[str, Any]:
    vertical, horizontal = as_pair(layer.padding, "padding")
    _images(symbol)
    return {
        "kernel_shape": list(as_pair(layer.kernel_size, "kernel_size")),
        "strides": list(as_pair(layer.stride, "stride")),
        "pads": [vertical, horizontal, vertical, horizontal],
        "ceil_mode": int(layer.ceil_mode),
    }


def _images(symbol: Symbol) -> tuple[int, ...]:
    """Return the shape of a layer's input after checking that it is a batch of images."""
    shape = symbol.inputs[0].shape
    if len(shape) != 4:
        raise InvalidValueError(f"{symbol.path} is fed with {shape}: the ONNX export takes batches (N, C, H, W)")
    return shape


def _free_batch(onnx: Any, name: str, symbol: Symbol) -> Any:
    """Describe an input or output whose first axis may have any size."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(symbol.dtype))
    return onnx.helper.make_tensor_value_info(name, kind, ["N", *symbol.shape[1:]])
