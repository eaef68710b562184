"""One convolution to try: its sizes, its arguments, and the data that go with it.

``build`` makes a case out of a few bounded integers and every choice of them is valid, so that nothing is ever
filtered; Hypothesis feeds it in ``strategies``, a seeded generator in ``check_conv``. Small integers make small
cases, which is what shrinking needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..extras import load_extra
from ..reference import output_shape

Array = np.ndarray
Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

LAYOUTS = ("contiguous", "transposed", "sliced", "reversed", "broadcast")

# what a convolution may not offer; ``False`` leaves it out of every case
SUPPORTS: dict[str, Any] = {
    "groups": True,  # False: groups=1 only
    "stride": True,
    "dilation": True,
    "padding": True,
    "asymmetric_padding": True,  # top, bottom, left, right differ
    "negative_padding": True,  # cropping
    "wide_padding": True,  # windows that see padding alone
    "empty_batch": True,
    "zero_channels": True,  # C_in = 0
    "bias": True,
    "layouts": LAYOUTS,  # memory layouts of the operands; False: contiguous only
    "invalid_calls": True,  # False: calls that break a rule are not made (a kernel without checks may crash)
    "dtypes": None,  # names of dtypes; None: any
}


def as_supports(supports: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete a `supports` dictionary, and refuse keys and layouts that do not exist."""
    chosen = {**SUPPORTS, **(supports or {})}
    unknown = sorted(set(chosen) - set(SUPPORTS))
    if unknown:
        raise InvalidValueError(f"supports has unknown keys {', '.join(unknown)}: expected {', '.join(SUPPORTS)}")
    layouts = chosen["layouts"]
    names = LAYOUTS if layouts is True else tuple(layouts or ())
    if not set(names) <= set(LAYOUTS):
        raise InvalidValueError(f'supports["layouts"] is {layouts!r}: expected names out of {", ".join(LAYOUTS)}')
    chosen["layouts"] = tuple(name for name in LAYOUTS if name in {"contiguous", *names})
    return chosen


def as_dtype(dtype: Any) -> np.dtype:
    """Return a dtype by name, bfloat16 among them; or raise what hinders it."""
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        return dtype
    if str(dtype) == "bfloat16":
        return np.dtype(load_extra("ml_dtypes", "bfloat16", "bfloat16").bfloat16)
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind != "f" and found.name != "bfloat16":
        raise InvalidValueError(f"dtype is {dtype!r}: expected float16, bfloat16, float32 or float64")
    return found


def significand_bits(dtype: Any) -> int:
    """Return p, the bits of a floating dtype's significand: every integer up to 2^p is exact in it.

    >>> [significand_bits(name) for name in ("float16", "float32", "float64")]
    [11, 24, 53]
    """
    dtype = as_dtype(dtype)
    return {2: 11, 4: 24, 8: 53}.get(dtype.itemsize, 64) if dtype.kind == "f" else 8


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
    layouts: tuple[str, str, str] = ("contiguous", "contiguous", "contiguous")  # of x, weight, grad_output
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

    @property
    def kwargs(self) -> dict[str, Any]:
        """The window arguments: stride, padding, dilation, groups."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def inner(self) -> dict[str, int]:
        """How many products make one value of each result: the n of every error bound."""
        taps = self.kernel[0] * self.kernel[1]
        windows = self.batch * self.output_shape[2] * self.output_shape[3]
        return {
            "y": self.in_channels // self.groups * taps,
            "dx": self.out_channels // self.groups * taps,
            "dw": windows,
            "db": windows,
        }

    def x(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Array:
        """Images (N, C_in, H, W); see :meth:`_values`."""
        return in_layout(self._values(0, self.x_shape, dtype, real, bits), self.layouts[0])

    def weight(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Array:
        """Weights (C_out, C_in/G, kh, kw); see :meth:`_values`."""
        values = self._values(1, self.weight_shape, dtype, real, bits)
        if not real:
            most = self._most_terms(dtype, bits)
            per_group = self.out_channels // self.groups
            grouped = values.reshape(self.groups, per_group, *values.shape[1:])  # (G, C_out/G, C_in/G, kh, kw)
            self._thin(grouped, (2, 3, 4), most)
            self._thin(grouped, (1, 3, 4), most)
        return in_layout(values, self.layouts[1])

    def bias(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Array | None:
        """Biases (C_out,), or None where the case has none; see :meth:`_values`."""
        return self._values(2, (self.out_channels,), dtype, real, bits) if self.has_bias else None

    def grad_output(self, dtype: Any = "float64", *, real: bool = False, bits: int | None = None) -> Array:
        """Upstream gradient (N, C_out, oh, ow), random like everything else; see :meth:`_values`."""
        values = self._values(3, self.output_shape, dtype, real, bits)
        if not real:
            self._thin(values, (0, 2, 3), self._most_terms(dtype, bits))
        return in_layout(values, self.layouts[2])

    def _values(self, role: int, shape: tuple[int, ...], dtype: Any, real: bool, bits: int | None) -> Array:
        """Draw normal numbers of 2^-10 and more, or integers so small that every sum of this case is exact in `bits`.

        An inner product of n terms and a bias, all of them integers of at most s, has partial sums of at most
        n·s² + s in every order of summation, and integers up to 2^bits are exact. So s is the largest with
        n·s² + s <= 2^bits for the longest inner product of the case; where not even s = 1 will do, the arrays are
        thinned to 2^bits − 1 nonzero terms. `bits` is the dtype's own significand unless said otherwise.
        """
        dtype = as_dtype(dtype)
        rng = np.random.default_rng((self.seed, role))
        if real:
            normal = rng.standard_normal(shape)
            return np.copysign(np.maximum(np.abs(normal), 2.0**-10), normal).astype(dtype)
        limit = 2 ** (bits or significand_bits(dtype))
        longest = max(1, *self.inner.values())
        span = next((s for s in range(self.span, 1, -1) if longest * s * s + s <= limit), 1)
        return rng.integers(-span, span, shape, endpoint=True).astype(dtype)

    def _most_terms(self, dtype: Any, bits: int | None) -> int:
        """How many products of ±1 leave room for a bias of ±1."""
        return 2 ** (bits or significand_bits(dtype)) - 1

    def _thin(self, values: Array, axes: tuple[int, ...], most: int) -> None:
        """Leave at most `most` entries along `axes` nonzero, the same ones everywhere."""
        shape = [values.shape[axis] if axis in axes else 1 for axis in range(values.ndim)]
        terms = int(np.prod(shape))
        if terms > most:
            kept = np.random.default_rng((self.seed, 4)).permutation(terms) < most
            values *= kept.reshape(shape).astype(values.dtype)


def in_layout(values: Array, layout: str) -> Array:
    """Return `values` in a memory layout; what lies between the elements of "sliced" is NaN.

    "broadcast" repeats the first entry of an axis with stride 0 and so changes the values, the others do not.
    """
    if layout == "transposed":  # channels last
        return np.ascontiguousarray(np.moveaxis(values, 1, -1)).transpose(0, 3, 1, 2)  # (N, C, H, W)
    if layout == "sliced":
        around = np.full([2 * size + 1 for size in values.shape], np.nan, values.dtype)
        view = around[tuple(slice(1, None, 2) for _ in values.shape)]  # the shape of values
        view[...] = values
        return view
    if layout == "reversed":
        return np.ascontiguousarray(values[..., ::-1, ::-1])[..., ::-1, ::-1]
    if layout == "broadcast":
        axis = next((axis for axis in (0, 3, 2, 1) if values.shape[axis] > 1), 0)
        return np.broadcast_to(values[tuple(slice(1) if a == axis else slice(None) for a in range(4))], values.shape)
    return values


def build(pick: Callable[[int, int], int], supports: Mapping[str, Any] | None = None) -> ConvCase:
    """Make a valid case out of integers: ``pick(low, high)`` returns one from low to high, simplest first.

    A third to a half of all cases have 1 < G < C. Each image is as large as its windows need, and a few pixels
    larger, so that the floor of the output size matters.
    """
    offers = as_supports(supports)

    def one_of(*choices: Any) -> Any:
        return choices[pick(0, len(choices) - 1)]

    layouts = one_of(("contiguous",), offers["layouts"])
    in_channels, out_channels, groups = _channels(one_of, offers)
    kernel = one_of(1, 2, 3), one_of(1, 2, 3)
    stride = (one_of(1, 2, 3), one_of(1, 2, 3)) if offers["stride"] else (1, 1)
    dilation = (one_of(1, 2, 3), one_of(1, 2)) if offers["dilation"] else (1, 1)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    padding = _padding(pick, offers, reach)
    size = tuple(
        max(
            (one_of(1, 2, 3, 4) - 1) * stride[axis] + pick(0, stride[axis] - 1) + reach[axis] - sum(padding[axis]),
            1 - sum(min(side, 0) for side in padding[axis]),
        )
        for axis in (0, 1)
    )
    return ConvCase(
        batch=one_of(1, 2, 3, 2, 2, 1, 2, 3, *([0] if offers["empty_batch"] else [])),
        in_channels=in_channels,
        out_channels=out_channels,
        groups=groups,
        size=(size[0], size[1]),
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        has_bias=bool(offers["bias"] and one_of(False, True)),
        layouts=(one_of(*layouts), one_of(*layouts), one_of(*layouts)),
        span=one_of(1, 2, 4, 8),
        seed=pick(0, 2**16 - 1),
    )


def _channels(one_of: Callable[..., Any], offers: Mapping[str, Any]) -> tuple[int, int, int]:
    """Choose C_in, C_out and G."""
    kind = one_of("dense", "grouped", "depthwise", "grouped", "dense", "grouped", "one apiece", "grouped", "no input")
    if kind == "no input" and offers["zero_channels"]:
        groups = one_of(1, 2) if offers["groups"] else 1
        return 0, groups * one_of(1, 2), groups
    if kind == "dense" or not offers["groups"]:
        return one_of(1, 2, 3, 4), one_of(1, 2, 3, 4), 1
    groups = one_of(2, 3, 4, 6, 8)
    if kind == "grouped":  # 1 < G < C
        return groups * one_of(2, 3), groups * one_of(1, 2, 3), groups
    return groups, groups * (one_of(1, 2) if kind == "depthwise" else 1), groups


def _padding(pick: Callable[[int, int], int], offers: Mapping[str, Any], reach: Sequence[int]) -> tuple[Pair, Pair]:
    """Choose ((top, bottom), (left, right)); "wide" padding holds whole windows, "negative" padding crops."""
    kinds = ["symmetric", *(["asymmetric", "asymmetric"] if offers["asymmetric_padding"] else [])]
    kinds += [kind for kind in ("wide", "negative") if offers[f"{kind}_padding"]]
    kind = ["none", *kinds][pick(0, len(kinds) if offers["padding"] else 0)]
    same = kind == "symmetric" or not offers["asymmetric_padding"]

    def side(axis: int) -> int:
        if kind == "wide":
            return reach[axis] + pick(0, 1)
        return -pick(0, 2) if kind == "negative" else pick(0, 0 if kind == "none" else reach[axis] - 1)

    top, left = side(0), side(1)
    return (top, top if same else side(0)), (left, left if same else side(1))
