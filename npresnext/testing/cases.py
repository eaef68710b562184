"""One convolution to try: its sizes, its arguments, its memory layouts, and the data that go with it, in any dtype."""

import math
from dataclasses import dataclass
from functools import cached_property, partialmethod
from typing import Any

import numpy as np

from .._support.extras import load_extra
from ..errors import InvalidValueError
from ..reference import output_shape

Operands = dict[str, Any]  # x, weight, bias (or None), grad_output
Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

# memory layout -> how an array {a} of a {shape} gets it; "broadcast" changes its values, the others do not
LAYOUTS = {
    "contiguous": "{a}",
    "transposed": "np.moveaxis(np.moveaxis({a}, 1, -1).copy(), -1, 1)",  # channels last
    "sliced": "np.pad({a}.repeat(2, -1), 1, constant_values=np.nan)[1:-1, 1:-1, 1:-1, 1:-1:2]",
    "reversed": "np.ascontiguousarray({a}[..., ::-1, ::-1])[..., ::-1, ::-1]",
    "broadcast": "np.broadcast_to({a}[:1, :, :, :1], {shape})",
}
IN_LAYOUT = {name: compile(text.format(a="a", shape="a.shape"), name, "eval") for name, text in LAYOUTS.items()}
CONTIGUOUS = ("contiguous",) * 3

# format -> bits p of its significand (unit roundoff 2^-p; TF32: NVIDIA A100 whitepaper), its smallest normal number
BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "tf32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}


def as_dtype(dtype: Any) -> np.dtype:
    """Return a floating dtype by name, bfloat16 among them; or raise what hinders it."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in BITS or name == "tf32":
        raise InvalidValueError(f"dtype is {dtype!r}: expected float16, bfloat16, float32 or float64")
    return np.dtype(load_extra("ml_dtypes", "bfloat16", name).bfloat16 if name == "bfloat16" else name)


@dataclass(frozen=True)
class ConvCase:
    """A valid convolution with its data: sizes, window arguments, memory layouts, and a seed for the values.

    ``x()``, ``weight()``, ``bias()`` and ``grad_output()`` are functions of the case alone: the same on every call.

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
    layouts: tuple[str, ...] = CONTIGUOUS  # of x, weight and bias, grad_output
    span: int = 4  # integers are drawn from -span … span
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
        x, weight, bias, y = self.x_shape, self.weight_shape, (self.out_channels,), self.output_shape
        return {"x": x, "weight": weight, "bias": bias, "grad_output": y, "y": y, "dx": x, "dw": weight, "db": bias}

    @property
    def kwargs(self) -> dict[str, Any]:
        """The window arguments: stride, padding, dilation, groups."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def reach(self) -> tuple[int, ...]:
        """How many rows and columns a window spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    @cached_property
    def inner(self) -> dict[str, int]:
        """How many products make one value of each result: the n of every error bound."""
        (N, C_out, oh, ow), (_, Cg, kh, kw) = self.output_shape, self.weight_shape
        return {"y": Cg * kh * kw, "dx": C_out // self.groups * kh * kw, "dw": N * oh * ow, "db": N * oh * ow}

    def operands(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Operands:
        """Return all four operands: integers whose every sum is exact, or fractions k·2^-p of magnitude 2^-10 to 1.

        p is the significand of the dtype. n products and a bias of integers of at most s have partial sums of at most
        n·s² + s in every order of summation, and integers up to 2^bits are exact. So s is the largest up to `span` with
        n·s² + s <= 2^bits for the longest inner product of the case; where not even s = 1 will do, weight and
        grad_output keep 2^bits − 1 nonzero terms. `bits` is p unless given.
        """
        dtype, rng, arrays = as_dtype(dtype), np.random.default_rng(self.seed), {}
        precision, longest = BITS[dtype.name], max(self.inner.values())
        least, most = 2 ** (precision - 10), 2 ** (bits or precision)
        span = next((s for s in range(self.span, 1, -1) if longest * s * s + s <= most), 1)
        for name in ("x", "weight", "bias", "grad_output"):
            if real:
                whole = rng.integers(1 - 2**precision + least, 2**precision - least, self.shapes[name])
                arrays[name] = np.ldexp(np.where(whole > 0, whole + least, whole - least), -precision).astype(dtype)
            else:
                arrays[name] = rng.integers(-span, span, self.shapes[name], endpoint=True).astype(dtype)
        if not real and longest >= most:
            grouped = arrays["weight"].reshape(self.groups, -1, *self.weight_shape[1:])  # (G, C_out/G, C_in/G, kh, kw)
            for array, axes in ((grouped, (2, 3, 4)), (grouped, (1, 3, 4)), (arrays["grad_output"], (0, 2, 3))):
                terms = [size if axis in axes else 1 for axis, size in enumerate(array.shape)]
                array *= (rng.permutation(math.prod(terms)) < most - 1).reshape(terms).astype(dtype)
        for name, layout in zip(("x", "weight", "grad_output"), self.layouts):
            arrays[name] = eval(IN_LAYOUT[layout], {"np": np, "a": arrays[name]})
        arrays["bias"] = eval(IN_LAYOUT[self.layouts[1]], {"np": np, "a": arrays["bias"][None, None, None]})[0, 0, 0]
        return arrays if self.has_bias else {**arrays, "bias": None}

    def operand(self, name: str, dtype: Any = "float64", **how: Any) -> Any:
        """Return one of the :meth:`operands`; ``bias()`` is None where the case has none."""
        return self.operands(dtype, **how)[name]

    x = partialmethod(operand, "x")
    weight = partialmethod(operand, "weight")
    bias = partialmethod(operand, "bias")
    grad_output = partialmethod(operand, "grad_output")
