"""A table of operators, each with the function that makes a layer of a node.

What a layer does not offer is refused; the message names the node and the attribute.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import FileFormatError, InvalidValueError
from ..nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    Parameter,
    ReLU,
)
from ..nn.init import Undrawn
from ._assembly import Array, Assembly
from ._graph_module import GraphModule
from ._layers import Add, Concat, Pad2d, PaddedAvgPool2d, PaddedMaxPool2d, Softmax
from ._reading import Graph, Node
from ._windows import Window, at_least_one, expect_length


def assemble(graph: Graph) -> GraphModule:
    """Return the network that a graph describes, in evaluation mode.

    Raises
    ------
    ValueError
        A node asks for what its layer does not offer, or its arrays or attributes contradict each other
        (FileFormatError). The message names the node and the attribute.
    """
    assembly = Assembly(graph)
    for node in graph.nodes:
        if node.outputs[0] not in assembly.sources:  # it has been taken into an earlier layer
            OPERATORS[node.operator](node, assembly)
    return assembly.network()


def _conv(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    weight = assembly.weight(node.inputs[1], node)
    if weight.ndim != 4:
        raise InvalidValueError(f"{node} has a weight of shape {weight.shape}: expected (C_out, C_in/group, kh, kw)")
    C_out, C_in, *kernel = weight.shape
    _expect(node, "kernel_shape", node.attributes.get("kernel_shape", kernel), kernel)
    group = at_least_one(node, "group", node.attributes.get("group", 1))
    if C_out % group:
        raise FileFormatError(f"{node} has group={group}, which must divide C_out={C_out}")
    window = Window.of(node, assembly.shape(node.inputs[0]), (kernel[0], kernel[1]))
    names, bias, output = {"weight": node.inputs[1]}, None, node
    if node.input(2):
        names["bias"] = node.inputs[2]
        bias = assembly.weight(node.inputs[2], node)
        _expect_shape(node, node.inputs[2], bias, (C_out,))
    elif (added := assembly.constant_after(node)) is not None:
        array = assembly.weight(added[0], added[1])
        if array.shape in ((C_out, 1, 1), (1, C_out, 1, 1)):
            names["bias"], bias = added[0], array.reshape(C_out)
            output = dataclasses.replace(node, outputs=added[1].outputs)
    layer = Conv2d(
        C_in * group,
        C_out,
        window.kernel,
        window.strides,
        window.padding,
        window.dilations,
        group,
        bias is not None,
        rng=Undrawn(),
        dtype=weight.dtype.name,
    )
    layer.weight.data = weight
    if layer.bias is not None:
        layer.bias.data = bias
    assembly.step(output, layer, names=names, shape=(None, C_out, None, None))


def _batch_norm(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    if node.attributes.get("spatial", 1) != 1:
        raise InvalidValueError(f"{node} has spatial=0, statistics for each position: expected 1")
    if node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        raise InvalidValueError(f"{node} normalises with the batch's statistics: expected training_mode=0, one output")
    names = dict(zip(("weight", "bias", "running_mean", "running_var"), node.inputs[1:]))
    weight, bias, mean, var = (assembly.weight(name, node) for name in names.values())
    for name, array in zip(node.inputs[1:], (weight, bias, mean, var)):
        _expect_shape(node, name, array, weight.shape[:1])
    eps = node.attributes.get("epsilon", 1e-5)
    momentum = node.attributes.get("momentum", 0.9)
    if not (eps > 0 and 0 <= momentum <= 1):
        raise InvalidValueError(f"{node} has epsilon={eps} and momentum={momentum}: expected epsilon > 0, 0 to 1")
    layer = BatchNorm2d(len(weight), eps, round(1 - momentum, 12), dtype=weight.dtype.name)
    layer.weight, layer.bias, layer.running_mean, layer.running_var = Parameter(weight), Parameter(bias), mean, var
    assembly.step(node, layer, names=names, shape=(None, len(weight), *assembly.shape(node.inputs[0])[2:]))


def _relu(node: Node, assembly: Assembly) -> None:
    assembly.step(node, ReLU())


def _add(node: Node, assembly: Assembly) -> None:
    if any(map(assembly.is_constant, node.inputs)):
        raise InvalidValueError(
            f"{node} adds a constant: this is offered for a bias only, of shape (C_out,) after MatMul or (C_out, 1, 1) "
            "after Conv, where nothing else uses the output"
        )
    first, second = (assembly.shape(name) for name in node.inputs)
    if len(first) != len(second):
        raise InvalidValueError(f"{node} adds values of {len(first)} and {len(second)} axes: expected one shape")
    assembly.step(node, Add(), list(node.inputs))


def _concat(node: Node, assembly: Assembly) -> None:
    ranks = {assembly.rank(name, node, 2, 4) for name in node.inputs}
    if len(ranks) != 1 or node.attributes["axis"] not in (1, 1 - max(ranks)):
        raise InvalidValueError(
            f"{node} has axis={node.attributes['axis']} and inputs of {sorted(ranks)} axes: expected axis=1"
        )
    if len(node.inputs) == 1:
        assembly.alias(node)
        return
    shapes = [assembly.shape(name) for name in node.inputs]
    channels = [shape[1] for shape in shapes]
    total = None if None in channels else sum(size for size in channels if size is not None)
    assembly.step(node, Concat(), list(node.inputs), shape=(None, total, *shapes[0][2:]))


def _max_pool(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    window = Window.of_pool(node, assembly.shape(node.inputs[0]))
    arguments = window.kernel, window.strides
    if window.is_symmetric:
        layer: Module = MaxPool2d(*arguments, window.top_left, window.dilations, ceil_mode=window.ceil_mode)
    else:
        layer = PaddedMaxPool2d(*arguments, window.padding, window.dilations, window.ceil_mode)
    assembly.step(node, layer, shape=(None, assembly.shape(node.inputs[0])[1], None, None))


def _average_pool(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    window = Window.of_pool(node, assembly.shape(node.inputs[0]))
    counts = bool(node.attributes.get("count_include_pad", 0))
    if window.dilations != (1, 1):
        raise InvalidValueError(f"{node} has dilations={window.dilations}: average pooling is offered without dilation")
    if window.is_symmetric:
        layer: Module = AvgPool2d(window.kernel, window.strides, window.top_left, window.ceil_mode, counts)
    elif counts and window.ceil_mode and any(first != last for first, last in window.padding):
        raise InvalidValueError(f"{node} has ceil_mode=1, count_include_pad=1 and unequal pads: at most two of these")
    else:
        layer = PaddedAvgPool2d(window.kernel, window.strides, window.padding, window.ceil_mode, counts)
    assembly.step(node, layer, shape=(None, assembly.shape(node.inputs[0])[1], None, None))


def _global_average_pool(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    assembly.step(node, GlobalAvgPool2d(), shape=(None, assembly.shape(node.inputs[0])[1], 1, 1))


def _pad(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    if node.attributes.get("mode", "constant") != "constant":
        raise InvalidValueError(f"{node} has mode={node.attributes['mode']!r}: expected 'constant'")
    if assembly.graph.opset < 11:
        pads, value = node.attributes["pads"], node.attributes.get("value", 0.0)
    else:
        if node.input(3):
            raise InvalidValueError(f"{node} has an input 'axes': expected padding for all axes")
        pads = _integers(node, node.inputs[1], assembly)
        value = assembly.constant(node.inputs[2], node).reshape(-1)[:1].tolist() if node.input(2) else [0.0]
        if len(value) != 1:
            raise FileFormatError(f"{node} has no value to pad with")
        value = float(value[0])
    expect_length(node, "pads", pads, 8)
    if min(pads) < 0 or pads[:2] + pads[4:6] != [0, 0, 0, 0]:
        raise InvalidValueError(f"{node} has pads={pads}: expected none below 0, and 0 for N and C")
    layer = Pad2d(((pads[2], pads[6]), (pads[3], pads[7])), value)
    assembly.step(node, layer, shape=(None, assembly.shape(node.inputs[0])[1], None, None))


def _flatten(node: Node, assembly: Assembly) -> None:
    rank = assembly.rank(node.inputs[0], node, 2, 4)
    axis = node.attributes.get("axis", 1)
    if axis not in (1, 1 - rank):
        raise InvalidValueError(f"{node} has axis={axis}: expected 1, so that the first axis stays N")
    _to_matrix(node, assembly)


def _reshape(node: Node, assembly: Assembly) -> None:
    """Make a matrix of a batch: the only Reshape that is offered. Its rows must be N, its columns all the values."""
    assembly.rank(node.inputs[0], node, 2, 4)
    shape = _integers(node, node.inputs[1], assembly)
    batch, (_, *sizes) = assembly.graph.batch_size, assembly.shape(node.inputs[0])
    columns = math.prod(size for size in sizes if size is not None) if None not in sizes else None
    if node.attributes.get("allowzero", 0) and 0 in shape:
        raise InvalidValueError(f"{node} has allowzero=1 and the shape {shape}: expected no size of 0")
    if len(shape) == 2 and shape[1] == 0:
        shape[1] = -2 if sizes[0] is None else sizes[0]
    rows_are_images = len(shape) == 2 and (
        (shape[0] in (0, batch) and shape[1] in (-1, columns)) or (shape[0] == -1 and shape[1] == columns)
    )
    if not rows_are_images:
        raise InvalidValueError(
            f"{node} has the shape {shape} for an input of shape {assembly.shape(node.inputs[0])}, where None is open: "
            "expected (N, features), as 0 or -1 and the product of the other sizes"
        )
    _to_matrix(node, assembly)


def _gemm(node: Node, assembly: Assembly) -> None:
    """Make a linear layer of ``alpha·A·B + beta·C``, with B and C constant."""
    assembly.rank(node.inputs[0], node, 2)
    if node.attributes.get("transA", 0):
        raise InvalidValueError(f"{node} has transA=1: expected 0")
    alpha, beta = (node.attributes.get(name, 1.0) for name in ("alpha", "beta"))
    weight = _matrix(node, node.inputs[1], assembly)
    if not node.attributes.get("transB", 0):
        weight = np.ascontiguousarray(weight.T)  # (features out, features in)
    names, bias = {"weight": node.inputs[1]}, None
    if node.input(2):
        names["bias"] = node.inputs[2]
        bias = assembly.weight(node.inputs[2], node)
        if bias.shape not in ((len(weight),), (1, len(weight)), (1,), (), (1, 1)):
            raise InvalidValueError(f"{node} adds C of shape {bias.shape}: expected ({len(weight)},)")
        bias = np.array(np.broadcast_to(bias.reshape(-1), (len(weight),))) * bias.dtype.type(beta)  # (features out,)
    _linear(node, assembly, weight if alpha == 1 else weight * weight.dtype.type(alpha), bias, names)


def _matmul(node: Node, assembly: Assembly) -> None:
    """Make a linear layer, with the bias that a following Add adds."""
    assembly.rank(node.inputs[0], node, 2)
    weight = np.ascontiguousarray(_matrix(node, node.inputs[1], assembly).T)  # (features out, features in)
    names, bias, output = {"weight": node.inputs[1]}, None, node
    if (added := assembly.constant_after(node)) is not None:
        array = assembly.weight(added[0], added[1])
        if array.shape in ((len(weight),), (1, len(weight))):
            names["bias"], bias = added[0], array.reshape(len(weight))
            output = dataclasses.replace(node, outputs=added[1].outputs)
    _linear(output, assembly, weight, bias, names)


def _softmax(node: Node, assembly: Assembly) -> None:
    assembly.rank(node.inputs[0], node, 2)
    axis = node.attributes.get("axis", -1)
    if axis not in (1, -1):
        raise InvalidValueError(f"{node} has axis={axis}: expected 1, the classes")
    assembly.step(node, Softmax())


def _identity(node: Node, assembly: Assembly) -> None:
    assembly.alias(node)


def _dropout(node: Node, assembly: Assembly) -> None:
    """Pass the value on, as in inference; in training mode too."""
    if node.input(2) and assembly.constant(node.inputs[2], node).any():
        raise InvalidValueError(f"{node} has training_mode=true: expected false")
    for name in node.outputs[1:]:
        if name and (assembly.users[name] or name == assembly.graph.output):
            raise InvalidValueError(f"{node} has a second output, {name!r}, which is used: expected one output")
    assembly.alias(node)


def _constant(node: Node, assembly: Assembly) -> None:
    if len(node.attributes) != 1:
        raise FileFormatError(f"{node} has {len(node.attributes)} attributes: expected one value")
    ((kind, value),) = node.attributes.items()
    if kind == "value":
        array = assembly.graph.tensors.read(value, f"{node}")
    elif kind in ("value_float", "value_floats"):
        array = np.array(value, "float32")
    elif kind in ("value_int", "value_ints"):
        array = np.array(value, "int64")
    else:
        raise InvalidValueError(f"{node} has the attribute {kind}: expected a tensor of numbers")
    assembly.set_constant(node.outputs[0], array)


OPERATORS: dict[str, Callable[[Node, Assembly], None]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Relu": _relu,
    "Reshape": _reshape,
    "Softmax": _softmax,
}


def _linear(node: Node, assembly: Assembly, weight: Array, bias: Array | None, names: dict[str, str]) -> None:
    layer = Linear(weight.shape[1], weight.shape[0], bias is not None, rng=Undrawn(), dtype=weight.dtype.name)
    layer.weight.data = weight
    if layer.bias is not None:
        layer.bias.data = bias
    assembly.step(node, layer, names=names, shape=(None, len(weight)))


def _to_matrix(node: Node, assembly: Assembly) -> None:
    assembly.step(node, Flatten(), shape=(None, None))


def _matrix(node: Node, name: str, assembly: Assembly) -> Array:
    weight = assembly.weight(name, node)
    if weight.ndim != 2:
        raise InvalidValueError(f"{node} has a weight of shape {weight.shape}: expected a matrix")
    return weight


def _integers(node: Node, name: str, assembly: Assembly) -> list[int]:
    """Return the integers of a constant, such as a shape."""
    array = assembly.constant(name, node)
    if array.ndim != 1 or array.dtype != "int64" or not 0 < array.size <= 8:
        raise FileFormatError(f"{node}: {name!r} has shape {array.shape} and dtype {array.dtype}: expected integers")
    return [int(number) for number in array]


def _expect(node: Node, name: str, value: Any, expected: Any) -> None:
    if value != expected:
        raise FileFormatError(f"{node} has {name}={value}: expected {expected}")


def _expect_shape(node: Node, name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise FileFormatError(f"{node}: {name!r} has the shape {array.shape}: expected {shape}")
