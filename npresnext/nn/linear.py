"""The fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.arguments import as_bool, as_generator, as_int
from .._support.typing import Array
from ..functional import linear, linear_backward
from ..functional.fully_connected import linear_sizes
from . import init
from .module import Mask, Module, Shape
from .parameter import Parameter, data_of


class Linear(Module):
    """Fully connected: (..., in_features) to (..., out_features), y = x·weightᵀ + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : None, int or numpy.random.Generator
        Where the initial weights come from: U(−1/√in_features, 1/√in_features), as PyTorch's.
    dtype : str
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,) or None

    Examples
    --------
    >>> Linear(2048, 1000)
    Linear(in_features=2048, out_features=1000, bias=True)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: Any = None, dtype: Any = "float32"
    ) -> None:
        self.in_features = as_int(in_features, "in_features", 0)
        self.out_features = as_int(out_features, "out_features", 0)
        bias, rng = as_bool(bias, "bias"), as_generator(rng)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.uniform_fan_in(shape, self.in_features, rng=rng, dtype=dtype))
        self.bias = Parameter(init.uniform_fan_in(shape[:1], self.in_features, rng=rng, dtype=dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        """Map the last axis."""
        y = linear(x, self.weight.data, data_of(self.bias))
        self.save_for_backward(input=x, weight=self.weight.data)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input, None if it is not needed."""
        x, weight = self.pop_saved()
        needs = (self.needs_input_grad, True, self.bias is not None)
        dx, dweight, dbias = linear_backward(grad_output, x, weight, needs=needs)
        self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (..., out_features)."""
        _, out_features, _ = linear_sizes(input_shape, self.weight.shape)
        return (*input_shape[:-1], out_features)

    def macs(self, input_shape: Shape) -> int:
        """Return the multiply-adds of one forward pass."""
        return math.prod(input_shape[:-1]) * self.out_features * self.in_features

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return a mask (out_features, in_features) that is true everywhere."""
        return [np.ones((self.out_features, self.in_features), bool)]

    def example_shape(self) -> Shape:
        """Return the shape of one row."""
        return 1, self.in_features

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
