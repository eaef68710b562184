"""A network whose forward pass is a list of steps: what a file describes, in place of a forward written by hand."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._support.typing import Array
from ..errors import InvalidTypeError, ShapeError
from ..functional import add
from ..nn import Module, ModuleList
from ..nn.module import Shape
from ._layers import Softmax
from ._reading import PartialShape


@dataclass(frozen=True)
class Step:
    """One call of a layer.

    Attributes
    ----------
    path : str
        The dotted name of the layer.
    inputs : tuple of str
        Names of values.
    output : str
        Name of a value.
    finished : tuple of str
        The values that no later step takes.
    """

    path: str
    inputs: tuple[str, ...]
    output: str
    finished: tuple[str, ...] = ()


class GraphModule(Module):
    """A network read from a file by :func:`load`.

    Its layers are those of :mod:`npresnext.nn`, and a few that networks of this package do not need. Forward calls
    them in the order of the file. Backward goes through the same steps from last to first; where a value was used more
    than once, its gradients are added.

    Attributes
    ----------
    input_shape : tuple of int or None
        The shape of an input. None stands for a size that the file leaves open; N is open in every network.
    initializer_names : dict of str
        Name in ``state_dict()`` -> name of the initializer in the file.
    metadata : dict of str
        Texts that the file has besides the graph.
    """

    def __init__(
        self,
        layers: dict[str, Module],
        steps: Sequence[Step],
        input_name: str,
        output_name: str,
        input_shape: PartialShape,
        initializer_names: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        self.metadata = dict(metadata)
        self.input_shape, self.initializer_names = input_shape, dict(initializer_names)
        self._steps, self._input_name, self._output_name = tuple(steps), input_name, output_name
        for path, layer in layers.items():
            *scopes, name = path.split(".")
            parent: Module = self
            for scope in scopes:
                parent = vars(parent).setdefault(scope, Scope())  # setattr would look through the whole tree each time
            vars(parent)[name] = layer

    def forward(self, x: Array) -> Array:
        """Compute the output of the graph, step by step."""
        self._check_shape(tuple(x.shape))
        values = {self._input_name: x}
        for step in self._steps:
            values[step.output] = self._layer(step)(*(values[name] for name in step.inputs))
            for name in step.finished:
                del values[name]
        return values[self._output_name]

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of the parameters; return the gradient of the input, None if it is not needed."""
        grads = {self._output_name: grad_output}
        for step in reversed(self._steps):
            returned = self._layer(step).backward(grads.pop(step.output))
            for name, grad in zip(step.inputs, returned if len(step.inputs) > 1 else (returned,)):
                if name not in grads:
                    grads[name] = grad
                elif grad is not None and grads[name] is not None:
                    grads[name] = add(grads[name], grad)
        return grads[self._input_name] if self.needs_input_grad else None

    @property
    def needs_input_grad(self) -> bool:
        """Whether the gradient of the input is needed: a property of the layers that are fed with it."""
        return all(self._layer(step).needs_input_grad for step in self._first_steps())

    @needs_input_grad.setter
    def needs_input_grad(self, value: bool) -> None:
        for step in self._first_steps():
            self._layer(step).needs_input_grad = value

    def example_shape(self) -> Shape | None:
        """Return the shape of one input, if the file states it."""
        sizes = [size for size in self.input_shape[1:] if size is not None]
        return (1, *sizes) if len(sizes) == len(self.input_shape) - 1 else None

    @property
    def gives_probabilities(self) -> bool:
        """Whether the last layer is a softmax."""
        return bool(self._steps) and isinstance(self._layer(self._steps[-1]), Softmax)

    def _layer(self, step: Step) -> Any:
        return functools.reduce(getattr, step.path.split("."), self)  # fuse() puts other layers in their places

    def _first_steps(self) -> list[Step]:
        return [step for step in self._steps if step.inputs == (self._input_name,)]

    def _check_shape(self, shape: Shape) -> None:
        """Raise unless the shape is that of the file; N is free."""
        fits = len(shape) == len(self.input_shape)
        if not fits or any(size not in (None, given) for size, given in zip(self.input_shape[1:], shape[1:])):
            axes = ["N", *("free" if size is None else str(size) for size in self.input_shape[1:])]
            raise ShapeError(f"x has shape {shape}: the file expects ({', '.join(axes)})")


class Scope(ModuleList):
    """Layers whose names begin alike, such as "layer1.0."; a GraphModule calls them."""

    def forward(self, *inputs: Array) -> Array:
        """Raise: only the whole graph says how the layers follow each other."""
        raise InvalidTypeError("a Scope only holds layers: call the whole network, or one layer")
