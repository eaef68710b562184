"""A case: one convolution to try, with its sizes, its window, its memory layouts, and its operands in any dtype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..errors import InvalidValueError
from ..reference import output_shape
from .formats import SIGNIFICAND_BITS, operand_dtype, real_format
from .layouts import ALL_CONTIGUOUS, LAYOUTS
from .operands import as_fractions, as_integers, drawn_bits, largest_span, thin_out

Operands = dict[str, Any]  # x, weight, bias (or None), grad_output
Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

OPERANDS = ("x", "weight", "bias", "grad_output")
CHANNEL_AXIS = {"x": 1, "weight": 0, "bias": 0, "grad_output": 1}  # whose channels are those of all groups


@dataclass(frozen=True)
class ConvCase:
    """A valid convolution with its data: sizes, window arguments, memory layouts, and a seed for the values.

    ``x()``, ``weight()``, ``bias()`` and ``grad_output()`` depend on nothing but the case: every call returns the same.

    >>> case = ConvCase(in_channels=4, out_channels=6, groups=2, kernel=(3, 3), padding=((1, 1), (1, 1)))
    >>> case.x_shape, case.weight_shape, case.output_shape, case.kwargs["groups"]
    ((1, 4, 3, 3), (6, 2, 3, 3), (1, 6, 3, 3), 2)
    """

    batch: int = 1
    in_channels: int = 1
    out_channels: int = 1
    groups: int = 1
    size: Pair = (3, 3)
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    has_bias: bool = False
    layouts: tuple[str, ...] = ALL_CONTIGUOUS  # of x, weight and bias, grad_output
    span: int = 4  # integers are drawn from -span to span
    seed: int = 0

    @property
    def x_shape(self) -> Shape:
        """(N, C_in, H, W)."""
        return self.batch, self.in_channels, *self.size

    @property
    def weight_shape(self) -> Shape:
        """(C_out, C_in/G, kh, kw)."""
        return self.out_channels, self.in_channels // self.groups, *self.kernel

    @cached_property
    def output_shape(self) -> Shape:
        """(N, C_out, oh, ow), counted window by window."""
        return output_shape(self.x_shape, self.weight_shape, self.stride, self.padding, self.dilation)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the operands and of the results."""
        bias_shape = (self.out_channels,)
        return {
            "x": self.x_shape,
            "weight": self.weight_shape,
            "bias": bias_shape,
            "grad_output": self.output_shape,
            "y": self.output_shape,
            "dx": self.x_shape,
            "dw": self.weight_shape,
            "db": bias_shape,
        }

    @property
    def kwargs(self) -> dict[str, Any]:
        """The window arguments: stride, padding, dilation, groups."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def reach(self) -> tuple[int, ...]:
        """How many rows and columns a window spans: dilation·(kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    @cached_property
    def inner(self) -> dict[str, int]:
        """How many products one value of each result sums: the n of every error bound."""
        N, C_out, oh, ow = self.output_shape
        _, channels_per_group, kh, kw = self.weight_shape
        return {
            "y": channels_per_group * kh * kw,
            "dx": C_out // self.groups * kh * kw,
            "dw": N * oh * ow,
            "db": N * oh * ow,
        }

    def operands(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Operands:
        """Return all four operands; ``bias`` is None where the case has none.

        Parameters
        ----------
        dtype : dtype
            float16, bfloat16, float32, float64, complex64 or complex128.
        real : bool
            False: integers whose every partial sum is exact. They reach from -s to s, with the largest s up to `span`
            that allows it; where even s = 1 does not, weight and grad_output keep 2^bits - 1 terms that are not 0.
            Both parts of a complex number are such integers.
            True: fractions k·2^-p of magnitude 2^-10 to 1, p being the bits of the dtype's significand.
        bits : int, optional
            Integers up to 2^bits are exact. By default p.
        """
        dtype = operand_dtype(dtype)
        drawn = {name: self._draw_bits(name) for name in OPERANDS}
        if real and dtype.kind == "c":
            raise InvalidValueError(f"real=True needs a real dtype, but dtype is {dtype.name}")
        if real:
            return self._in_layouts({name: as_fractions(bits_of, dtype) for name, bits_of in drawn.items()})
        limit = 2 ** (bits or SIGNIFICAND_BITS[real_format(dtype.name)])
        of_parts = 2 if dtype.kind == "c" else 1  # products of parts in each part of a product
        longest = of_parts * max(self.inner.values())
        span = largest_span(self.span, longest, limit)
        arrays = {name: as_integers(bits_of, span, dtype) for name, bits_of in drawn.items()}
        if longest >= limit:
            rng = np.random.default_rng(self.seed)
            thin_out(rng, arrays["weight"], arrays["grad_output"], self.groups, (limit - 1) // of_parts)
        return self._in_layouts(arrays)

    def _draw_bits(self, name: str) -> Array:
        """Return 64 random bits for each value of an operand."""
        return drawn_bits(self.seed, OPERANDS.index(name), self.shapes[name], CHANNEL_AXIS[name], self.groups)

    def _in_layouts(self, arrays: dict[str, Array]) -> Operands:
        """Return contiguous arrays in the memory layouts of the case; the bias lies in memory as the weight does."""
        of_x, of_weight, of_grad_output = (LAYOUTS[name].arrange for name in self.layouts)
        row_of_bias = arrays["bias"][None, None, None]  # (1, 1, 1, C_out)
        return {
            "x": of_x(arrays["x"]),
            "weight": of_weight(arrays["weight"]),
            "bias": of_weight(row_of_bias)[0, 0, 0] if self.has_bias else None,
            "grad_output": of_grad_output(arrays["grad_output"]),
        }

    def x(self, dtype: Any = "float64", **options: Any) -> Array:
        """Return the operand x (N, C_in, H, W); `options` as for :meth:`operands`."""
        return self.operands(dtype, **options)["x"]

    def weight(self, dtype: Any = "float64", **options: Any) -> Array:
        """Return the operand weight (C_out, C_in/G, kh, kw); `options` as for :meth:`operands`."""
        return self.operands(dtype, **options)["weight"]

    def bias(self, dtype: Any = "float64", **options: Any) -> Array | None:
        """Return the operand bias (C_out,), or None where the case has none; `options` as for :meth:`operands`."""
        return self.operands(dtype, **options)["bias"]

    def grad_output(self, dtype: Any = "float64", **options: Any) -> Array:
        """Return the operand grad_output (N, C_out, oh, ow); `options` as for :meth:`operands`."""
        return self.operands(dtype, **options)["grad_output"]
