"""A network under construction: its values, its layers and their names, and the steps that call them."""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Any

import numpy as np

from ..errors import FileFormatError, InvalidValueError, ShapeError
from ..nn import Identity, Module
from ._graph_module import GraphModule, Scope, Step
from ._reading import Graph, Node, PartialShape

_DEEPEST_PATH = 16
_MOST_COPIES = 16  # of a weight, on average: each node has its own
Array = np.ndarray[Any, Any]


class Assembly:
    """A network under construction; each operator adds its layer by :meth:`step`.

    Values are known by the names of the file. ``sources`` says which value a name stands for: that of the node that
    computes it, also behind nodes that change nothing.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sources: dict[str, str] = {graph.input: graph.input}
        self.shapes: dict[str, PartialShape] = {graph.input: graph.input_shape}
        self._constants: dict[str, Array | Any] = dict(graph.initializers)  # arrays, and tensors not read yet
        self._read: set[int] = set()  # the weights, each by its identity
        self._bytes, self._copied_bytes = 0, 0  # of all weights, each once; and of all layers' copies
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

    def constant(self, name: str, node: Node) -> Array:
        """Return a value that stands in the file, as an array of its own."""
        if name not in self._constants:
            raise InvalidValueError(f"{node} computes its input {name!r}: expected a constant, such as an initializer")
        value = self._constants[name]
        return value.copy() if isinstance(value, np.ndarray) else self.graph.tensors.read(value, f"{name!r}")

    def set_constant(self, name: str, value: Any) -> None:
        """Let a name stand for an array, or for a tensor of the file."""
        self._constants[name] = value
        self.sources[name] = name

    def weight(self, name: str, node: Node) -> Array:
        """Return a constant of the dtype of the network, of which no size is 0."""
        array = self.constant(name, node)
        if array.dtype != self.graph.dtype:
            raise FileFormatError(
                f"{node}: {name!r} has dtype {array.dtype}, but the input of the network {self.graph.dtype}"
            )
        if not array.size:
            raise FileFormatError(f"{node}: {name!r} has the shape {array.shape}: no size may be 0")
        identity = id(self._constants[name])
        self._bytes += 0 if identity in self._read else array.nbytes
        self._read.add(identity)
        self._copied_bytes += array.nbytes
        if self._copied_bytes > _MOST_COPIES * self._bytes + 2**24:
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
        """Return whether a layer may have this path: no attribute, scope or layer is in the way."""
        parts = path.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))}
        return (
            len(parts) <= _DEEPEST_PATH
            and all(parts)
            and parts[0] not in _RESERVED_IN_NETWORK
            and not any(part in _RESERVED_IN_SCOPE for part in parts[1:])
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
        if not self._steps:
            self._layers["identity"] = Identity()
            self._steps.append(Step("identity", (self.graph.input,), output))
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
