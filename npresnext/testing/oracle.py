"""What a convolution's results are, exactly: the list of products of ``reference.products``, as index arrays.

    y[a] += weight[b] · x[c]      dx[c] += grad_output[a] · weight[b]      dweight[b] += grad_output[a] · x[c]

One list serves every sum, among them the sums of magnitudes that error bounds are made of. Nothing of what is
judged is imported here, only the counting of windows from ``reference``.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..reference import output_shape
from .cases import ConvCase

Array = np.ndarray

LIMB = 18  # bits; products of two limbs and sums of up to 2^17 of them are exact in float64


class Truth(NamedTuple):
    """Exact sums as an unevaluated sum of two float64 arrays, and what the error bounds need beside them."""

    high: Array
    low: Array
    magnitude: Array  # Σ |left|·|right| (+ |bias|)
    squares: Array  # Σ (left·right)² (+ bias²)
    terms: int  # the inner length n of the bound

    def error(self, got: Array) -> Array:
        """Return got − truth, whose own rounding is 2^-53 of the error itself."""
        return (got.astype(np.float64) - self.high) - self.low


@lru_cache(maxsize=16)
def products(case_shape: tuple) -> tuple[Array, Array, Array]:
    """Return the flat indices (a, b, c) of every product of the definition; `case_shape` is `shape_of(case)`."""
    (N, C_in, H, W), (C_out, Cg, kh, kw), stride, padding, dilation, groups = case_shape
    _, _, oh, ow = output_shape(*case_shape[:5])
    p, i, row = _meetings(oh, kh, H, stride[0], padding[0][0], dilation[0])
    q, j, column = _meetings(ow, kw, W, stride[1], padding[1][0], dilation[1])
    n, o, c, v, h = np.ix_(*map(np.arange, (N, C_out, Cg, len(p), len(q))))
    group = o // max(1, C_out // groups)
    a = ((n * C_out + o) * oh + p[v]) * ow + q[h]
    b = ((o * Cg + c) * kh + i[v]) * kw + j[h]
    x = ((n * C_in + group * Cg + c) * H + row[v]) * W + column[h]
    a, b, x = (index.ravel() for index in np.broadcast_arrays(a, b, x))
    return a, b, x


def shape_of(case: ConvCase) -> tuple:
    """Everything that the list of products depends on."""
    return case.x_shape, case.weight_shape, case.stride, case.padding, case.dilation, case.groups


def truth(
    name: str, case: ConvCase, grad: Array | None, x: Array | None, weight: Array | None, bias: Array | None
) -> Truth:
    """Return the exact y, dx, dw or db, for operands of any real floating dtype."""
    a, b, c = products(shape_of(case))
    n = case.inner[name]
    if name == "dx":
        return _sum(c, (grad, a), (weight, b), case.x_shape, n)
    if name == "dw":
        return _sum(b, (grad, a), (x, c), case.weight_shape, n)
    if name == "db":
        every = np.arange(np.prod(case.output_shape))
        channel = every // (case.output_shape[2] * case.output_shape[3]) % case.out_channels
        return _sum(channel, (grad, every), (np.ones(1), 0 * every), (case.out_channels,), n)
    y = _sum(a, (weight, b), (x, c), case.output_shape, n)
    return y if bias is None else _plus(y, bias.astype(np.float64).reshape(1, -1, 1, 1))


def _meetings(
    windows: int, kernel: int, size: int, stride: int, before: int, dilation: int
) -> tuple[Array, Array, Array]:
    """Along one axis: every (window, tap, pixel) with the pixel inside the image."""
    window, tap = np.divmod(np.arange(windows * kernel), kernel)
    pixel = window * stride - before + tap * dilation
    inside = (0 <= pixel) & (pixel < size)
    return window[inside], tap[inside], pixel[inside]


def _sum(
    into: Array, left: tuple[Any, Array], right: tuple[Any, Array], shape: tuple[int, ...], terms: int
) -> Truth:
    """Sum left·right exactly into an array of `shape`; an operand is (values, the flat index of every product)."""
    size = int(np.prod(shape))
    (left_values, at_left), (right_values, at_right) = left, right
    lefts, rights = (_limbs(values.astype(np.float64).ravel()) for values in (left_values, right_values))
    high, low = np.zeros(size), np.zeros(size)
    for one, other in product(lefts, rights):
        high, low = _two_sum(high, np.bincount(into, one[at_left] * other[at_right], size), low)
    high, low = _two_sum(high, low, 0.0)
    every = one[at_left] * other[at_right]
    if len(lefts) + len(rights) > 2:
        every = left_values.astype(np.float64).ravel()[at_left] * right_values.astype(np.float64).ravel()[at_right]
    magnitude = np.bincount(into, np.abs(every), size)
    squares = np.bincount(into, every * every, size)
    return Truth(high.reshape(shape), low.reshape(shape), magnitude.reshape(shape), squares.reshape(shape), terms)


def _plus(truth: Truth, bias: Array) -> Truth:
    """Add one more term to every sum."""
    high, low = _two_sum(*_two_sum(truth.high, bias, truth.low), 0.0)
    return Truth(high, low, truth.magnitude + np.abs(bias), truth.squares + bias * bias, truth.terms + 1)


def _limbs(values: Array) -> list[Array]:
    """Cut values into pieces of 18 bits that add up to them exactly; small integers are one piece."""
    limbs: list[Array] = []
    unit = 2.0 ** (int(np.frexp(np.abs(values).max(initial=0))[1]) - LIMB)
    while not limbs or values.any():
        limbs.append(np.rint(values * (1 / unit)) * unit)
        values, unit = values - limbs[-1], unit * 2.0**-LIMB
    return limbs


def _two_sum(high: Array, term: Array, low: Array | float) -> tuple[Array, Array]:
    """Return high + term rounded, and `low` plus what the rounding lost (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = high + term
    back = total - high
    return total, low + ((high - (total - back)) + (term - back))
