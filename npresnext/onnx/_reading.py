"""From an ONNX file to a checked graph: nodes in order, constants by name, one input, one output.

What is checked here holds for any operator: names, order, attributes and their types, numbers of inputs and outputs.
The schemas of the declared opset, which the package ``onnx`` contains, decide what an operator has.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileFormatError, InvalidValueError
from ._tensors import TensorReader, dtype_named, is_floating

LEAST_OPSET, MOST_OPSET = 7, 22
MOST_NODES = 20_000
PartialShape = tuple[int | None, ...]  # None stands for a size that the file leaves open


@dataclass(frozen=True)
class Node:
    """One call of an operator.

    Attributes
    ----------
    operator : str
        Such as "Conv"; of other domains than ONNX's own with the domain before it.
    name : str
        As messages call the node: its own name, or its number in the file.
    inputs, outputs : tuple of str
        Names of values; "" for an optional input that is left out.
    attributes : dict
        Integers, floats, texts, lists of them, and tensors.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.operator} {self.name!r}"

    def input(self, index: int) -> str:
        """Return the name of an input, or "" if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True)
class Graph:
    """A checked graph.

    Attributes
    ----------
    opset : int
    nodes : list of Node
        Those that the output depends on, each after the nodes that make its inputs.
    initializers : dict
        Name -> TensorProto.
    tensors : TensorReader
        Turns them into arrays.
    input, output : str
        Names of values.
    input_shape : tuple of int or None
        Its first axis, N, is None.
    batch_size : int or None
        N, if the file states it.
    dtype : dtype
        Of the input.
    metadata : dict of str
        Texts that the file has besides the graph.
    """

    opset: int
    nodes: list[Node]
    initializers: Mapping[str, Any]
    tensors: TensorReader
    input: str
    output: str
    input_shape: PartialShape
    batch_size: int | None
    dtype: np.dtype[Any]
    metadata: Mapping[str, str]


def read_graph(onnx: Any, path: Path, operators: Collection[str]) -> Graph:
    """Read the graph of a file whose operators are all among `operators`.

    Raises
    ------
    ValueError
        The file is damaged or contradicts itself (FileFormatError), or its operators or its opset are not known here.
    OSError
        The file cannot be opened.
    """
    model = onnx.ModelProto()
    model.ParseFromString(path.read_bytes())
    if not model.HasField("graph"):
        raise FileFormatError("this is no ONNX model: it has no graph")
    _check_texts(model)
    opset = _opset(model)
    graph = model.graph
    if graph.sparse_initializer:
        raise FileFormatError(
            f"the initializer {graph.sparse_initializer[0].values.name!r} is sparse: such are not read"
        )
    if len(graph.node) > MOST_NODES:
        raise FileFormatError(f"the graph has {len(graph.node)} nodes: expected at most {MOST_NODES}")
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    if len(initializers) != len(graph.initializer):
        (twice, _), *_ = collections.Counter(tensor.name for tensor in graph.initializer).most_common(1)
        raise FileFormatError(f"two initializers have the name {twice!r}")
    inputs = {each.name: each for each in graph.input if each.name not in initializers}  # before IR 4 both had them
    if len(graph.output) != 1:
        raise InvalidValueError(f"the graph has {len(graph.output)} outputs: expected 1")
    output = graph.output[0].name
    nodes = [_node(proto, index) for index, proto in enumerate(graph.node)]
    _check_order(nodes, {*inputs, *initializers}, output)
    nodes = _needed(nodes, output)
    _check_operators(nodes, operators)
    nodes = [_checked(onnx, node, opset) for node in nodes]
    used = {name for node in nodes for name in node.inputs} | {output}
    names = [name for name in inputs if name in used]
    if len(names) != 1:
        raise InvalidValueError(f"the output depends on {len(names)} inputs ({', '.join(names) or 'none'}): expected 1")
    shape, dtype = _input_type(inputs[names[0]])

    return Graph(
        opset=opset,
        nodes=nodes,
        initializers=initializers,
        tensors=TensorReader(path.parent),
        input=names[0],
        output=output,
        input_shape=(None, *shape[1:]),
        batch_size=shape[0],
        dtype=dtype,
        metadata={each.key: each.value for each in model.metadata_props},
    )


def _check_texts(model: Any) -> None:
    """Raise unless every name is a text: protobuf returns bytes where a file has no valid UTF-8."""
    graph = model.graph
    texts = [text for each in model.metadata_props for text in (each.key, each.value)]
    texts += [each.domain for each in model.opset_import]
    texts += [each.name for values in (graph.initializer, graph.input, graph.output) for each in values]
    for node in graph.node:
        texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
        texts += [text for each in node.attribute for text in (each.name, each.ref_attr_name)]
    for text in texts:
        if not isinstance(text, str):
            raise FileFormatError(f"{bytes(text)!r:.100} is used as a name, but is no UTF-8 text")


def _opset(model: Any) -> int:
    """Return the version of ONNX's own operators."""
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise FileFormatError(f"the model declares {len(versions)} versions of ONNX's operators: expected 1")
    if not LEAST_OPSET <= versions[0] <= MOST_OPSET:
        raise InvalidValueError(f"the model is of opset {versions[0]}: expected {LEAST_OPSET} to {MOST_OPSET}")
    return int(versions[0])


def _node(proto: Any, index: int) -> Node:
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}."
    name = proto.name or f"number {index}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.name in attributes:
            raise FileFormatError(f"{proto.op_type} {name!r} has the attribute {attribute.name!r} twice")
        attributes[attribute.name] = attribute
    return Node(f"{domain}{proto.op_type}", name, tuple(proto.input), tuple(proto.output), attributes)


def _check_order(nodes: list[Node], given: set[str], output: str) -> None:
    """Raise unless every value has one source, and every node comes after the nodes that make its inputs."""
    made = set(given)
    for node in nodes:
        for name in node.inputs:
            if name and name not in made:
                raise FileFormatError(
                    f"{node} takes the value {name!r}, which nothing before it makes: nodes must be in the order of "
                    "their computation, and not in a circle"
                )
        for name in node.outputs:
            if name in made:
                raise FileFormatError(f"{node} makes the value {name!r}, which is there already")
            if name:
                made.add(name)
    if output not in made:
        raise FileFormatError(f"no node makes the output {output!r}")


def _needed(nodes: list[Node], output: str) -> list[Node]:
    """Return the nodes that the output depends on, in order."""
    values, needed = {output}, []
    for node in reversed(nodes):
        if values.intersection(filter(None, node.outputs)):
            needed.append(node)
            values.update(node.inputs)
    return needed[::-1]


def _check_operators(nodes: list[Node], operators: Collection[str]) -> None:
    """Raise one error that lists every operator that is not there, how often it is used, and where first."""
    missing = collections.Counter(node.operator for node in nodes if node.operator not in operators)
    if missing:
        first = {node.operator: node.name for node in reversed(nodes)}
        listed = ", ".join(f"{operator} ({count}x, first {first[operator]!r})" for operator, count in missing.items())
        raise InvalidValueError(
            f"the network has operators that npresnext does not have: {listed}. It has {', '.join(sorted(operators))}"
        )


def _checked(onnx: Any, node: Node, opset: int) -> Node:
    """Return a node with its attributes as values, after comparing it with the schema of its operator."""
    schema = onnx.defs.get_schema(node.operator, opset)
    kinds = {number: name for name, number in onnx.AttributeProto.AttributeType.items()}
    for name, count, least, most in (
        ("inputs", len(node.inputs), schema.min_input, schema.max_input),
        ("outputs", len(node.outputs), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            raise FileFormatError(f"{node} has {count} {name}: opset {opset} has {least} to {most}")
    if not node.outputs[0] or (node.inputs and not all(node.inputs[: schema.min_input])):
        raise FileFormatError(f"{node} lacks an input or output that opset {opset} requires")
    values: dict[str, Any] = {}
    for name, proto in node.attributes.items():
        if name not in schema.attributes:
            raise FileFormatError(f"{node} has the attribute {name!r}, which it does not have in opset {opset}")
        kind = kinds.get(proto.type, "UNDEFINED")
        if proto.ref_attr_name or kind != schema.attributes[name].type.name:
            raise FileFormatError(
                f"{node} has the attribute {name!r} of type {kind}: expected {schema.attributes[name].type.name}"
            )
        values[name] = _value(onnx, proto, kind)
    absent = [name for name, each in schema.attributes.items() if each.required and name not in values]
    if absent:
        raise FileFormatError(f"{node} lacks the attribute {absent[0]!r}")
    return dataclasses.replace(node, attributes=values)


def _value(onnx: Any, proto: Any, kind: str) -> Any:
    """Return the value of an attribute; of tensors the message, of kinds that no operator here has, None."""
    if kind in ("FLOAT", "FLOATS"):  # the shortest decimal that is this number in float32: 1e-05, not 9.99999975e-06
        numbers = [float(str(np.float32(number))) for number in (proto.floats if kind == "FLOATS" else [proto.f])]
        return numbers if kind == "FLOATS" else numbers[0]
    if kind == "STRING":
        return proto.s.decode()
    return {"INT": proto.i, "INTS": list(proto.ints), "TENSOR": proto.t}.get(kind)


def _input_type(value: Any) -> tuple[PartialShape, np.dtype[Any]]:
    """Return the shape and dtype of the input, with None for what is left open."""
    tensor = value.type.tensor_type
    what = f"the input {value.name!r}"
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape") or len(tensor.shape.dim) not in (2, 4):
        axes = len(tensor.shape.dim)
        raise InvalidValueError(f"{what} has {axes} axes: expected the shape (N, C, H, W) or (N, features)")
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    if any(size is not None and size < 1 for size in sizes[1:]):
        raise FileFormatError(f"{what} has the shape {sizes}: no size may be below 1")
    dtype = dtype_named(tensor.elem_type, what)
    if not is_floating(dtype):
        raise InvalidValueError(f"{what} has dtype {dtype.name}: expected a floating dtype")
    return sizes, dtype
