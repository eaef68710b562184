"""From a checked graph to a network: a table of operators, each with the function that makes a layer of a node."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.arguments import Pair
from .._support.integers import ceil_div
from ..errors import FileFormatError, InvalidValueError, ShapeError
from ..geometry import Padding
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
from ._graph_module import GraphModule, Scope, Step
from ._layers import Add, Concat, Pad2d, PaddedAvgPool2d, PaddedMaxPool2d, Softmax
from ._reading import Graph, Node, PartialShape

_MOST_TAPS = 2**20  # of a pooling, whose kernel no weight limits
_DEEPEST_PATH = 16
_MOST_COPIES = 16  # of a weight, on average: each node has its own
_Array = np.ndarray[Any, Any]


def assemble(graph: Graph) -> GraphModule:
    """Return the network that a graph describes, in evaluation mode.

    Raises
    ------
    ValueError
        A node asks for what its layer does not offer, or its arrays or attributes contradict each other
        (FileFormatError). The message names the node and the attribute.
    """
    assembly = _Assembly(graph)
    for node in graph.nodes:
        if node.outputs[0] not in assembly.sources:  # it has been taken into an earlier layer
            OPERATORS[node.operator](node, assembly)
    return assembly.network()


class _Assembly:
    """A network under construction.

    Values are known by the names of the file. ``sources`` says which value a name stands for: that of the node that
    computes it, also behind nodes that change nothing.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sources: dict[str, str] = {graph.input: graph.input}
        self.shapes: dict[str, PartialShape] = {graph.input: graph.input_shape}
        self._constants: dict[str, _Array | Any] = dict(graph.initializers)  # arrays, and tensors not read yet
        self._bytes: dict[int, int] = {}  # of each constant, by its identity
        self._copied_bytes = 0
        self._layers: dict[str, Module] = {}
        self._scopes: set[str] = set()
        self._same_names: collections.Counter[str] = collections.Counter()
        self._steps: list[Step] = []
        self._initializer_names: dict[str, str] = {}
        self.users: dict[str, list[Node]] = collections.defaultdict(list)
        for node in graph.nodes:
            for name in node.inputs:
                self.users[name].append(node)

    # Values

    def is_constant(self, name: str) -> bool:
        """Return whether a value stands in the file."""
        return name in self._constants

    def constant(self, name: str, node: Node) -> _Array:
        """Return a value that stands in the file, as an array of its own."""
        if name not in self._constants:
            raise InvalidValueError(f"{node} computes its input {name!r}: expected a constant, such as an initializer")
        value = self._constants[name]
        return value.copy() if isinstance(value, np.ndarray) else self.graph.tensors.read(value, f"{name!r}")

    def set_constant(self, name: str, value: Any) -> None:
        """Let a name stand for an array, or for a tensor of the file."""
        self._constants[name] = value
        self.sources[name] = name

    def weight(self, name: str, node: Node) -> _Array:
        """Return a constant of the dtype of the network, of which no size is 0."""
        array = self.constant(name, node)
        if array.dtype != self.graph.dtype:
            raise FileFormatError(
                f"{node}: {name!r} has dtype {array.dtype}, but the input of the network {self.graph.dtype}"
            )
        if not array.size:
            raise FileFormatError(f"{node}: {name!r} has the shape {array.shape}: no size may be 0")
        self._bytes[id(self._constants[name])] = array.nbytes
        self._copied_bytes += array.nbytes
        if self._copied_bytes > _MOST_COPIES * sum(self._bytes.values()) + 2**24:
            raise FileFormatError(f"{node}: nodes share initializers more than {_MOST_COPIES} times")
        return array

    def computed(self, name: str, node: Node) -> str:
        """Return the source of a value that is computed from the input."""
        if self.is_constant(name):
            raise InvalidValueError(f"{node} takes the constant {name!r} as if it were computed, which is not offered")
        return self.sources[name]

    def shape(self, name: str) -> PartialShape:
        """Return the shape of a computed value as far as the file determines it."""
        return self.shapes[self.sources[name]]

    def rank(self, name: str, node: Node, *ranks: int) -> int:
        """Return the number of axes of a computed value after checking that it is one of `ranks`."""
        rank = len(self.shape(self.computed(name, node)))
        if rank not in ranks:
            raise InvalidValueError(
                f"{node} takes an input of {rank} axes: expected {' or '.join(map(str, ranks))}, as of "
                f"{' or '.join('(N, C, H, W)' if each == 4 else '(N, features)' for each in ranks)}"
            )
        return rank

    # Steps

    def alias(self, node: Node) -> None:
        """Let the output of a node stand for its first input."""
        if self.is_constant(node.inputs[0]):
            self.set_constant(node.outputs[0], self._constants[node.inputs[0]])
        else:
            self.sources[node.outputs[0]] = self.computed(node.inputs[0], node)

    def step(
        self,
        node: Node,
        layer: Module,
        inputs: list[str] | None = None,
        names: dict[str, str] | None = None,
        shape: PartialShape | None = None,
    ) -> None:
        """Add a layer that takes the values `inputs`: the node's first one if None.

        `names` maps its parameters and buffers to initializers. `shape` is that of the output, as far as it is known
        without the sizes that the file leaves open; None stands for that of the first input.
        """
        sources = [self.computed(name, node) for name in inputs or node.inputs[:1]]
        for name in node.outputs[1:]:
            if name and (self.users[name] or name == self.graph.output):
                raise InvalidValueError(f"{node} has a second output, {name!r}, which is used: expected one output")
        path = self._path(node, names or {})
        self._layers[path] = layer
        self._initializer_names |= {f"{path}.{own}": name for own, name in (names or {}).items()}
        output = node.outputs[0]
        self._steps.append(Step(path, tuple(sources), output))
        self.sources[output] = output
        self.shapes[output] = self._output_shape(node, layer, sources, shape)

    def _output_shape(self, node: Node, layer: Module, sources: list[str], shape: PartialShape | None) -> PartialShape:
        """Return what the layer says of its output; or, where it needs a size that the file leaves open, `shape`."""
        taken = [self.shapes[source] for source in sources]
        given = [tuple(size for size in each[1:] if size is not None) for each in taken]
        if any(len(sizes) < len(each) - 1 for sizes, each in zip(given, taken)):
            return taken[0] if shape is None else shape
        try:
            stated = layer.output_shape(*((1, *sizes) for sizes in given))
        except (ShapeError, InvalidValueError) as error:
            raise FileFormatError(f"{node}: {error}") from error
        assert stated is not None  # each layer states its shape
        return (None, *stated[1:])

    def _path(self, node: Node, names: dict[str, str]) -> str:
        """Return a new path for a layer: what the names of its arrays share, else one made of the node's name."""
        prefixes = {name.removesuffix(f".{own}") if name.endswith(f".{own}") else "" for own, name in names.items()}
        if len(prefixes) == 1 and self._is_free(path := prefixes.pop()):
            parts = path.split(".")
            self._scopes.update(".".join(parts[:depth]) for depth in range(1, len(parts)))
            return path
        name = node.name if not node.name.startswith("number ") else f"{node.operator}_{node.name[7:]}"
        base = re.sub(r"\W+", "_", name).strip("_") or node.operator
        path = base
        while not self._is_free(path):
            self._same_names[base] += 1
            path = f"{base}_{self._same_names[base]}"
        return path

    def _is_free(self, path: str) -> bool:
        parts = path.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))}
        reserved = _RESERVED_IN_NETWORK if len(parts) == 1 else _RESERVED_IN_SCOPE
        return (
            len(parts) <= _DEEPEST_PATH
            and all(parts)
            and parts[0] not in _RESERVED_IN_NETWORK
            and not any(part in _RESERVED_IN_SCOPE for part in parts[1:])
            and parts[-1] not in reserved
            and path not in self._layers
            and path not in self._scopes
            and not above & self._layers.keys()
        )

    def constant_after(self, node: Node) -> tuple[str, Node] | None:
        """Return the constant that is added to a node's output and to nothing else, and the node that adds it."""
        output = node.outputs[0]
        users = self.users[output]
        if len(users) != 1 or users[0].operator != "Add" or output == self.graph.output:
            return None
        (other,) = [name for name in users[0].inputs if name != output] or [output]
        return (other, users[0]) if self.is_constant(other) else None

    def network(self) -> GraphModule:
        """Return the network."""
        output = self.graph.output
        if self.is_constant(output):
            raise InvalidValueError(f"the output {output!r} is a constant: it does not depend on the input")
        output = self.sources[output]
        last_use = {name: index for index, step in enumerate(self._steps) for name in step.inputs}
        finished: dict[int, list[str]] = collections.defaultdict(list)
        for name, index in last_use.items():
            if name != output:
                finished[index].append(name)
        steps = [dataclasses.replace(step, finished=tuple(finished[index])) for index, step in enumerate(self._steps)]
        texts = self._initializer_names, self.graph.metadata
        return GraphModule(self._layers, steps, self.graph.input, output, self.graph.input_shape, *texts).eval()


_RESERVED_IN_SCOPE = frozenset(dir(Scope()))
_RESERVED_IN_NETWORK = frozenset(dir(GraphModule({}, [], "", "", (None,), {}, {}))) | _RESERVED_IN_SCOPE


# One function for each operator. What a layer does not offer is refused by the name of the attribute.


def _conv(node: Node, assembly: _Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    weight = assembly.weight(node.inputs[1], node)
    if weight.ndim != 4:
        raise InvalidValueError(f"{node} has a weight of shape {weight.shape}: expected (C_out, C_in/group, kh, kw)")
    C_out, C_in, *kernel = weight.shape
    _expect(node, "kernel_shape", node.attributes.get("kernel_shape", kernel), kernel)
    group = _at_least_one(node, "group", node.attributes.get("group", 1))
    if C_out % group:
        raise FileFormatError(f"{node} has group={group}, which must divide C_out={C_out}")
    window = _Window.of(node, assembly, (kernel[0], kernel[1]))
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


def _batch_norm(node: Node, assembly: _Assembly) -> None:
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


def _relu(node: Node, assembly: _Assembly) -> None:
    assembly.step(node, ReLU())


def _add(node: Node, assembly: _Assembly) -> None:
    if any(map(assembly.is_constant, node.inputs)):
        raise InvalidValueError(
            f"{node} adds a constant: this is offered for a bias only, of shape (C_out,) after MatMul or (C_out, 1, 1) "
            "after Conv, where nothing else uses the output"
        )
    first, second = (assembly.shape(name) for name in node.inputs)
    if len(first) != len(second):
        raise InvalidValueError(f"{node} adds values of {len(first)} and {len(second)} axes: expected one shape")
    assembly.step(node, Add(), list(node.inputs))


def _concat(node: Node, assembly: _Assembly) -> None:
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


def _max_pool(node: Node, assembly: _Assembly) -> None:
    window = _Window.of_pool(node, assembly)
    arguments = window.kernel, window.strides
    if window.is_symmetric:
        layer: Module = MaxPool2d(*arguments, window.top_left, window.dilations, ceil_mode=window.ceil_mode)
    else:
        layer = PaddedMaxPool2d(*arguments, window.padding, window.dilations, window.ceil_mode)
    assembly.step(node, layer, shape=(None, assembly.shape(node.inputs[0])[1], None, None))


def _average_pool(node: Node, assembly: _Assembly) -> None:
    window = _Window.of_pool(node, assembly)
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


def _global_average_pool(node: Node, assembly: _Assembly) -> None:
    assembly.rank(node.inputs[0], node, 4)
    assembly.step(node, GlobalAvgPool2d(), shape=(None, assembly.shape(node.inputs[0])[1], 1, 1))


def _pad(node: Node, assembly: _Assembly) -> None:
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
    _expect_length(node, "pads", pads, 8)
    if min(pads) < 0 or pads[:2] + pads[4:6] != [0, 0, 0, 0]:
        raise InvalidValueError(f"{node} has pads={pads}: expected none below 0, and 0 for N and C")
    layer = Pad2d(((pads[2], pads[6]), (pads[3], pads[7])), value)
    assembly.step(node, layer, shape=(None, assembly.shape(node.inputs[0])[1], None, None))


def _flatten(node: Node, assembly: _Assembly) -> None:
    rank = assembly.rank(node.inputs[0], node, 2, 4)
    axis = node.attributes.get("axis", 1)
    if axis not in (1, 1 - rank):
        raise InvalidValueError(f"{node} has axis={axis}: expected 1, so that the first axis stays N")
    _to_matrix(node, assembly)


def _reshape(node: Node, assembly: _Assembly) -> None:
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


def _gemm(node: Node, assembly: _Assembly) -> None:
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


def _matmul(node: Node, assembly: _Assembly) -> None:
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


def _softmax(node: Node, assembly: _Assembly) -> None:
    assembly.rank(node.inputs[0], node, 2)
    axis = node.attributes.get("axis", -1)
    if axis not in (1, -1):
        raise InvalidValueError(f"{node} has axis={axis}: expected 1, the classes")
    assembly.step(node, Softmax())


def _identity(node: Node, assembly: _Assembly) -> None:
    assembly.alias(node)


def _dropout(node: Node, assembly: _Assembly) -> None:
    """Pass the value on, as in inference; in training mode too."""
    if node.input(2) and assembly.constant(node.inputs[2], node).any():
        raise InvalidValueError(f"{node} has training_mode=true: expected false")
    for name in node.outputs[1:]:
        if name and (assembly.users[name] or name == assembly.graph.output):
            raise InvalidValueError(f"{node} has a second output, {name!r}, which is used: expected one output")
    assembly.alias(node)


def _constant(node: Node, assembly: _Assembly) -> None:
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


OPERATORS: dict[str, Callable[[Node, _Assembly], None]] = {
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


@dataclasses.dataclass(frozen=True)
class _Window:
    """The attributes that convolutions and poolings share, with ``auto_pad`` resolved."""

    kernel: Pair
    strides: Pair
    padding: Padding
    dilations: Pair
    ceil_mode: bool

    @classmethod
    def of(cls, node: Node, assembly: _Assembly, kernel: Pair) -> _Window:
        """Read the attributes of a node."""
        strides, dilations = (_pair(node, name, node.attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations))
        auto_pad = node.attributes.get("auto_pad", "NOTSET")
        pads = node.attributes.get("pads", [0, 0, 0, 0])
        _expect_length(node, "pads", pads, 4)
        if min(pads) < 0:
            raise InvalidValueError(f"{node} has pads={pads}: expected none below 0")
        ceil_mode = bool(node.attributes.get("ceil_mode", 0))
        if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise FileFormatError(f"{node} has auto_pad={auto_pad!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
        if auto_pad != "NOTSET" and (any(pads) or ceil_mode):
            raise InvalidValueError(f"{node} has auto_pad={auto_pad} together with pads or ceil_mode: expected one")
        padding: Padding = (pads[0], pads[2]), (pads[1], pads[3])
        if auto_pad.startswith("SAME"):
            sizes = assembly.shape(node.inputs[0])[2:]
            totals = [_same_padding(node, *axis) for axis in zip(sizes, strides, reach)]
            small, large = [total // 2 for total in totals], [ceil_div(total, 2) for total in totals]
            first, last = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
            padding = (first[0], last[0]), (first[1], last[1])
        return cls(kernel, strides, padding, dilations, ceil_mode)

    @classmethod
    def of_pool(cls, node: Node, assembly: _Assembly) -> _Window:
        """Read the attributes of a pooling."""
        assembly.rank(node.inputs[0], node, 4)
        kernel = _pair(node, "kernel_shape", node.attributes["kernel_shape"])
        if math.prod(kernel) > _MOST_TAPS:
            raise InvalidValueError(f"{node} has kernel_shape={kernel}: expected at most {_MOST_TAPS} positions")
        window = cls.of(node, assembly, kernel)
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, window.dilations)]
        if any(max(sides) >= size for sides, size in zip(window.padding, reach)):
            raise InvalidValueError(f"{node} has the padding {window.padding}, in which whole windows of {reach} fit")
        return window

    @property
    def top_left(self) -> Pair:
        """The padding at the top and at the left."""
        return self.padding[0][0], self.padding[1][0]

    @property
    def is_symmetric(self) -> bool:
        """Whether the padding is one that the poolings of ``npresnext.nn`` take."""
        return all(first == last <= size // 2 for (first, last), size in zip(self.padding, self.kernel))


def _same_padding(node: Node, size: int | None, stride: int, reach: int) -> int:
    """Return the padding along one axis that makes ceil(size / stride) windows."""
    if stride == 1:
        return reach - 1
    if size is None:
        raise InvalidValueError(
            f"{node} has auto_pad={node.attributes['auto_pad']} and a stride of {stride}: this padding depends on H "
            "and W, which the file leaves open"
        )
    return max(0, (ceil_div(size, stride) - 1) * stride + reach - size)


def _linear(node: Node, assembly: _Assembly, weight: _Array, bias: _Array | None, names: dict[str, str]) -> None:
    layer = Linear(weight.shape[1], weight.shape[0], bias is not None, rng=Undrawn(), dtype=weight.dtype.name)
    layer.weight.data = weight
    if layer.bias is not None:
        layer.bias.data = bias
    assembly.step(node, layer, names=names, shape=(None, len(weight)))


def _to_matrix(node: Node, assembly: _Assembly) -> None:
    assembly.step(node, Flatten(), shape=(None, None))


def _matrix(node: Node, name: str, assembly: _Assembly) -> _Array:
    weight = assembly.weight(name, node)
    if weight.ndim != 2:
        raise InvalidValueError(f"{node} has a weight of shape {weight.shape}: expected a matrix")
    return weight


def _integers(node: Node, name: str, assembly: _Assembly) -> list[int]:
    """Return the integers of a constant, such as a shape."""
    array = assembly.constant(name, node)
    if array.ndim != 1 or array.dtype != "int64" or not 0 < array.size <= 8:
        raise FileFormatError(f"{node}: {name!r} has shape {array.shape} and dtype {array.dtype}: expected integers")
    return [int(number) for number in array]


def _pair(node: Node, name: str, value: list[int]) -> Pair:
    """Return an attribute that has two integers above 0."""
    _expect_length(node, name, value, 2)
    return _at_least_one(node, name, value[0]), _at_least_one(node, name, value[1])


def _at_least_one(node: Node, name: str, value: int) -> int:
    if value < 1:
        raise FileFormatError(f"{node} has {name}={value}: expected at least 1")
    return value


def _expect_length(node: Node, name: str, value: list[int], length: int) -> None:
    if len(value) != length:
        raise InvalidValueError(f"{node} has {name}={value}: expected {length} integers, for images of two dimensions")


def _expect(node: Node, name: str, value: Any, expected: Any) -> None:
    if value != expected:
        raise FileFormatError(f"{node} has {name}={value}: expected {expected}")


def _expect_shape(node: Node, name: str, array: _Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise FileFormatError(f"{node}: {name!r} has the shape {array.shape}: expected {shape}")
