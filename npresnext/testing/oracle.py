"""The oracle: the exact results of a convolution, from the list of products that defines it.

Letters: N batch, C channels, Cg = C_in/G input channels of a group, kh x kw kernel, oh x ow output, n the number of
products that one value of a result sums.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from .cases import ConvCase, Operands

LIMB_BITS = 18  # three products of two limbs, summed up to 2^15 times, are exact in float64


class ExactResult:
    """The exact y, dx, dw or db, as an unevaluated sum ``high + low`` of two float64 arrays.

    It sums the list of products of ``reference.products``, here as index arrays a, b, c: y[a] += weight[b] · x[c],
    dx[c] += grad_output[a] · weight[b], dweight[b] += grad_output[a] · x[c]. The bias is one more weight, whose pixel
    is always 1. The same list sums the magnitudes of error bounds. Nothing of what is judged is imported here.

    Attributes
    ----------
    left, right : arrays, flat
        The two operands that are multiplied: weight and x, grad_output and weight, or grad_output and x.
    bias : array (1, C_out, 1, 1), or 0
    terms : int
        n, the number of products that one value sums.
    """

    def __init__(self, name: str, case: ConvCase, operands: Operands) -> None:
        self.name, self.case = name, case
        self.shape = case.shapes[name]
        bias = operands["bias"]
        self.bias = 0.0 if bias is None else bias.astype(np.float64).reshape(1, -1, 1, 1)  # (1, C_out, 1, 1)
        self._select_products(operands)
        self._sum_exactly()

    def _select_products(self, operands: Operands) -> None:
        """Choose the operands of this result, and for each product where both factors lie and where it is added."""
        case, has_bias = self.case, operands["bias"] is not None
        a, b, c = product_indices(case)
        bias_products = math.prod(case.output_shape)  # at the end of the list, each bias times 1
        without_bias, bias_alone = slice(0, len(a) - bias_products), slice(len(a) - bias_products, None)
        self.terms = case.inner[self.name]
        if self.name == "y":
            bias = _flat(operands["bias"]) if has_bias else np.zeros(0)
            self.left = np.append(_flat(operands["weight"]), bias)
            self.right = np.append(_flat(operands["x"]), 1.0)
            self.terms += int(has_bias)
            used = slice(None) if has_bias else without_bias
            target, at_left, at_right = a, b, c
        elif self.name == "dx":
            self.left, self.right = _flat(operands["grad_output"]), _flat(operands["weight"])
            used, target, at_left, at_right = without_bias, c, a, b
        else:
            self.left, self.right = _flat(operands["grad_output"]), np.append(_flat(operands["x"]), 1.0)
            if self.name == "dw":
                used, target, at_left, at_right = without_bias, b, a, c
            else:
                used, target, at_left, at_right = bias_alone, b - math.prod(case.weight_shape), a, c
        self._target, self._at_left, self._at_right = target[used], at_left[used], at_right[used]

    def _sum_exactly(self) -> None:
        """Sum products of limbs; those of equal weight add up without rounding."""
        lefts = [limb[self._at_left] for limb in split_into_limbs(self.left)]
        rights = [limb[self._at_right] for limb in split_into_limbs(self.right)]
        self.high = self.low = np.zeros(self.shape)
        if len(lefts) == len(rights) == 1:  # small integers
            self.high = self._sum(lefts[0] * rights[0])
            return
        for weight in range(len(lefts) + len(rights) - 1):
            pairs = [(i, weight - i) for i in range(len(lefts)) if 0 <= weight - i < len(rights)]
            products: Any = sum(lefts[i] * rights[j] for i, j in pairs)
            self._add(self._sum(products))
        low, self.low = self.low, np.zeros(self.shape)
        self._add(low)

    def error(self, got: Array) -> Array:
        """Return got - exact; its own rounding is 2^-53 of the error itself."""
        return (got.astype(np.float64) - self.high) - self.low

    def moment(self, power: int) -> Array:
        """Return Σ |left·right|^power, for each value of the result."""
        return self._sum(np.abs(self.left[self._at_left] * self.right[self._at_right]) ** power)

    def _sum(self, products: Array) -> Array:
        return np.bincount(self._target, products, math.prod(self.shape)).reshape(self.shape)

    def _add(self, term: Array) -> None:
        """Add to `high`, and add what the rounding lost to `low` (Knuth, TAOCP 2, 4.2.2, theorem B)."""
        total = self.high + term
        back = total - self.high
        self.low = self.low + ((self.high - (total - back)) + (term - back))
        self.high = total


@lru_cache(maxsize=16)
def product_indices(case: ConvCase) -> tuple[Array, Array, Array]:
    """Return the flat indices (a, b, c) of every product of the definition, and then of each bias times 1."""
    N, C_in, H, W = case.x_shape
    C_out, Cg, kh, kw = case.weight_shape
    oh, ow = case.output_shape[2:]
    p, i, row = meetings(case, axis=0)
    q, j, column = meetings(case, axis=1)
    # One axis for each of: image, output channel, input channel of the group, meeting of rows, meeting of columns.
    n, o, channel, v, h = np.ix_(*map(np.arange, (N, C_out, Cg, len(p), len(q))))
    group = o // max(1, C_out // case.groups)
    a = ((n * C_out + o) * oh + p[v]) * ow + q[h]
    b = ((o * Cg + channel) * kh + i[v]) * kw + j[h]
    c = ((n * C_in + group * Cg + channel) * H + row[v]) * W + column[h]
    a, b, c = (index.ravel() for index in np.broadcast_arrays(a, b, c))
    every_output = np.arange(N * C_out * oh * ow)
    its_bias = C_out * Cg * kh * kw + every_output // (oh * ow) % C_out
    the_one = np.full_like(every_output, N * C_in * H * W)
    return np.append(a, every_output), np.append(b, its_bias), np.append(c, the_one)


def meetings(case: ConvCase, axis: int) -> tuple[Array, Array, Array]:
    """Return every (window, tap, pixel) along an axis with the pixel inside the image."""
    kernel = case.kernel[axis]
    window, tap = np.divmod(np.arange(case.output_shape[2 + axis] * kernel), kernel)
    pixel = window * case.stride[axis] - case.padding[axis][0] + tap * case.dilation[axis]
    inside = (0 <= pixel) & (pixel < case.size[axis])
    return window[inside], tap[inside], pixel[inside]


def split_into_limbs(values: Array) -> list[Array]:
    """Split values into pieces of 18 bits that add up to them exactly; small integers are one piece."""
    limbs: list[Array] = []
    _, exponent = np.frexp(np.abs(values).max(initial=0))
    unit = 2.0 ** (int(exponent) - LIMB_BITS)
    while not limbs or values.any():
        limbs.append(np.rint(values * (1 / unit)) * unit)
        values = values - limbs[-1]
        unit *= 2.0**-LIMB_BITS
    return limbs


def _flat(operand: Array) -> Array:
    return operand.astype(np.float64).ravel()
