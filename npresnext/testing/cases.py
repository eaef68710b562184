"""One convolution to try: its sizes, its arguments, and the data that go with it.

``build`` makes a case out of a few bounded integers and every choice of them is valid, so that nothing is ever
filtered; Hypothesis feeds it in ``strategies``, a seeded generator in ``check_conv``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..reference import output_shape
from .arithmetic import PRECISIONS, as_dtype

Array = np.ndarray
Operands = dict[str, Any]  # x, weight, bias (or None), grad_output
Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

# memory layout -> how an array a gets it; "broadcast" changes its values, the others do not
LAYOUTS = {
    "contiguous": "a",
    "transposed": "np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)",  # channels last
    "sliced": "np.pad(a.repeat(2, -1), 1, constant_values=np.nan)[1:-1, 1:-1, 1:-1, 1:-1:2]",
    "reversed": "np.ascontiguousarray(a[..., ::-1, ::-1])[..., ::-1, ::-1]",
    "broadcast": "np.broadcast_to(a[:1, :, :, :1], a.shape)",
}


def in_layout(a: Array, layout: str) -> Array:
    """Return an array of four axes in a memory layout."""
    return a if layout == "contiguous" else eval(LAYOUTS[layout], {"np": np, "a": a})


@dataclass(frozen=True)
class ConvCase:
    """A valid convolution with its data: sizes, window arguments, memory layouts, and a seed for the values.

    ``x()``, ``weight()``, ``bias()`` and ``grad_output()`` are functions of the case alone: the same on every
    call. ``kwargs`` holds stride, padding, dilation and groups in the form of ``reference.conv2d``.

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
    layouts: tuple[str, ...] = ("contiguous",) * 3  # of x, weight, grad_output
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

    def x(self, dtype: Any = "float64", **how: Any) -> Array:
        """Images (N, C_in, H, W); see :meth:`operands`."""
        return self.operands(dtype, **how)["x"]

    def weight(self, dtype: Any = "float64", **how: Any) -> Array:
        """Weights (C_out, C_in/G, kh, kw); see :meth:`operands`."""
        return self.operands(dtype, **how)["weight"]

    def bias(self, dtype: Any = "float64", **how: Any) -> Array | None:
        """Biases (C_out,), or None where the case has none; see :meth:`operands`."""
        return self.operands(dtype, **how)["bias"]

    def grad_output(self, dtype: Any = "float64", **how: Any) -> Array:
        """Upstream gradient (N, C_out, oh, ow), random like everything else; see :meth:`operands`."""
        return self.operands(dtype, **how)["grad_output"]

    def operands(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Operands:
        """Return all four operands: integers whose every sum is exact, or fractions k·2^-p of magnitude 2^-10 to 1.

        p is the significand of the dtype. An inner product of n terms and a bias, all of them integers of at most
        s, has partial sums of at most n·s² + s in every order of summation, and integers up to 2^bits are exact.
        So s is the largest up to `span` with n·s² + s <= 2^bits for the longest inner product of the case; where
        not even s = 1 will do, weight and grad_output keep 2^bits − 1 nonzero terms. `bits` is p unless given.
        """
        dtype, rng, arrays = as_dtype(dtype), np.random.default_rng(self.seed), {}
        precision, longest = PRECISIONS[dtype.name].bits, max(self.inner.values())
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
            arrays[name] = in_layout(arrays[name], layout)
        return arrays if self.has_bias else {**arrays, "bias": None}


# what a convolution may not offer -> what a case becomes without it
WITHOUT: dict[str, Callable[[ConvCase], dict[str, Any]]] = {
    "groups": lambda case: {"groups": 1},
    "stride": lambda case: {"stride": (1, 1)},
    "dilation": lambda case: {"dilation": (1, 1)},
    "padding": lambda case: {"padding": ((0, 0), (0, 0))},
    "asymmetric_padding": lambda case: {"padding": tuple((first, first) for first, _ in case.padding)},
    "negative_padding": lambda case: {"padding": tuple((max(a, 0), max(b, 0)) for a, b in case.padding)},
    "wide_padding": lambda case: {  # windows that see padding alone
        "padding": tuple((min(a, reach - 1), min(b, reach - 1)) for (a, b), reach in zip(case.padding, case.reach))
    },
    "empty_batch": lambda case: {"batch": max(case.batch, 1)},
    "zero_channels": lambda case: {"in_channels": max(case.in_channels, case.groups)},
    "bias": lambda case: {"has_bias": False},
}
SUPPORTS: dict[str, Any] = {
    **dict.fromkeys(WITHOUT, True),
    "layouts": tuple(LAYOUTS),  # memory layouts of the operands; False: contiguous only
    "invalid_calls": True,  # False: calls that break a rule are not made (a kernel without checks may crash)
    "dtypes": None,  # names of dtypes; None: any
}


def as_supports(supports: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete a `supports` dictionary, and refuse keys and layouts that do not exist."""
    chosen = {**SUPPORTS, **(supports or {})}
    if unknown := sorted(set(chosen) - set(SUPPORTS)):
        raise InvalidValueError(f"supports has unknown keys {', '.join(unknown)}: expected {', '.join(SUPPORTS)}")
    names = LAYOUTS if chosen["layouts"] is True else tuple(chosen["layouts"] or ())
    if not set(names) <= set(LAYOUTS):
        raise InvalidValueError(f'supports["layouts"] is {names!r}: expected names out of {", ".join(LAYOUTS)}')
    return {**chosen, "layouts": tuple(name for name in LAYOUTS if name in {"contiguous", *names})}


def within(case: ConvCase, offers: Mapping[str, Any]) -> ConvCase:
    """Return the case without what is not offered, its image so large that a window fits and a pixel is left."""
    for key, without in WITHOUT.items():
        if not offers[key]:
            case = replace(case, **without(case))
    height, width = (
        max(size, reach - sum(sides), 1 - sum(min(side, 0) for side in sides))
        for size, reach, sides in zip(case.size, case.reach, case.padding)
    )
    layouts = tuple(layout if layout in offers["layouts"] else "contiguous" for layout in case.layouts)
    return replace(case, size=(height, width), layouts=layouts)


def build(pick: Callable[[int, int], int], supports: Mapping[str, Any] | None = None) -> ConvCase:
    """Make a valid case out of integers: ``pick(low, high)`` returns one from low to high, simplest first.

    A third to a half of all cases have 1 < G < C. Each image is as large as its windows need, and a few pixels
    larger, so that the floor of the output size matters.
    """

    def one_of(*choices: Any) -> Any:
        return choices[pick(0, len(choices) - 1)]

    def side(reach: int) -> int:
        if padding == "wide":
            return reach + pick(0, 1)
        return -pick(0, 2) if padding == "negative" else pick(0, 0 if padding == "none" else reach - 1)

    layouts = one_of(("contiguous",), tuple(LAYOUTS))
    kind = one_of("dense", "grouped", "depthwise", "grouped", "dense", "grouped", "depthwise", "grouped", "no input")
    groups = 1 if kind == "dense" else one_of(2, 3, 4, 6, 8)
    ins = {"dense": one_of(1, 2, 3, 4), "grouped": one_of(2, 3), "depthwise": 1, "no input": 0}[kind]
    case = ConvCase(
        one_of(1, 2, 3, 2, 2, 1, 2, 3, 0), groups * ins, groups * one_of(1, 2, 3), groups,
        kernel=(one_of(1, 2, 3), one_of(1, 2, 3)), stride=(one_of(1, 2, 3), one_of(1, 2, 3)),
        dilation=(one_of(1, 2, 3), one_of(1, 2)), has_bias=one_of(False, True),
        layouts=(one_of(*layouts), one_of(*layouts), one_of(*layouts)),
        span=one_of(1, 2, 4, 8), seed=pick(0, 2**16 - 1),
    )  # fmt: skip
    padding = one_of("none", "symmetric", "asymmetric", "negative", "asymmetric", "wide", "negative")
    (top, bottom), (left, right) = ((side(reach), side(reach)) for reach in case.reach)
    sides = ((top, top), (left, left)) if padding == "symmetric" else ((top, bottom), (left, right))
    height, width = (
        pick(0, 3) * step + pick(0, step - 1) + reach - before - after
        for step, reach, (before, after) in zip(case.stride, case.reach, sides)
    )
    return within(replace(case, padding=sides, size=(height, width)), as_supports(supports))
