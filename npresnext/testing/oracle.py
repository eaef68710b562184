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
from .formats import wide

LIMB_BITS = 18  # three products of two limbs, summed up to 2^15 times, are exact in float64
SHORT_BITS, SHORT_SUM = 24, 32  # 2·24 + 5 = 53 bits: a sum of 32 products of such values is exact in float64


class FlatOperands:
    """The operands of a case as flat arrays, float64 or complex128, each prepared once for all results."""

    def __init__(self, operands: Operands) -> None:
        self._operands = operands
        self._flat: dict[str, Array] = {"one": np.ones(1)}  # what the bias gradient multiplies with
        self._is_short: dict[str, bool] = {}
        self._limbs: dict[str, list[Array]] = {}

    def values(self, name: str) -> Array:
        """Return an operand."""
        if name not in self._flat:
            self._flat[name] = wide(self._operands[name]).ravel()
        return self._flat[name]

    def is_short(self, name: str) -> bool:
        """Whether all values of an operand are multiples of one power of 2, by less than 2^24."""
        if name not in self._is_short:
            values = self.values(name)
            unit = leading_unit(values, SHORT_BITS)
            multiples = values / unit
            self._is_short[name] = bool((np.rint(multiples) == multiples).all())
        return self._is_short[name]

    def limbs(self, name: str) -> list[Array]:
        """Return an operand split into limbs."""
        if name not in self._limbs:
            self._limbs[name] = split_into_limbs(self.values(name))
        return self._limbs[name]


class ExactResult:
    """The exact y, dx, dw or db, as an unevaluated sum ``high + low`` of two float64 arrays.

    It sums the list of products of ``reference.products``, here as index arrays a, b, c: y[a] += weight[b] · x[c],
    dx[c] += grad_output[a] · weight[b], dweight[b] += grad_output[a] · x[c]. The bias is added to y, and its gradient
    sums grad_output[a] · 1. In the gradients weight[b] and x[c] are conjugated, which changes complex numbers alone.
    The same list sums the magnitudes of error bounds. Nothing of what is judged is imported here.

    Attributes
    ----------
    left, right : arrays, flat
        The two operands that are multiplied: weight and x, grad_output and weight, or grad_output and x.
    bias : array (1, C_out, 1, 1), or 0
        What is added to the products: the bias for y.
    terms : int
        n, the number of products that one value sums, and one for a bias.
    """

    def __init__(self, name: str, case: ConvCase, operands: Operands, flat: FlatOperands | None = None) -> None:
        self.name, self.case = name, case
        self.shape = case.shapes[name]
        self.terms = case.inner[name]
        self.bias: Any = 0.0
        if name == "y" and operands["bias"] is not None:
            self.bias = wide(operands["bias"]).reshape(1, -1, 1, 1)  # (1, C_out, 1, 1)
            self.terms += 1
        flat = flat or FlatOperands(operands)
        left, right = FACTORS[name]
        self.left, self.right = flat.values(left), conjugated(name, flat.values(right))
        self._target, self._at_left, self._at_right = indices_of(name, case)
        self._products = np.take(self.left, self._at_left) * np.take(self.right, self._at_right)
        self.high = self.low = np.zeros(self.shape, self._products.dtype)
        of_parts = 2 if np.iscomplexobj(self._products) else 1  # products of parts in each part of a product
        if of_parts * case.inner[name] <= SHORT_SUM and flat.is_short(left) and flat.is_short(right):
            self.high = self._sum(self._products)
        else:
            self._sum_limbs(flat.limbs(left), [conjugated(name, limb) for limb in flat.limbs(right)])
        if np.ndim(self.bias):
            self._add(self.bias)

    def _sum_limbs(self, of_left: list[Array], of_right: list[Array]) -> None:
        """Sum products of limbs; those of equal weight add up without rounding."""
        lefts = [np.take(limb, self._at_left) for limb in of_left]
        rights = [np.take(limb, self._at_right) for limb in of_right]
        if len(lefts) == len(rights) == 1:  # small integers
            self.high = self._sum(lefts[0] * rights[0])
            return
        for weight in range(len(lefts) + len(rights) - 1):
            pairs = [(i, weight - i) for i in range(len(lefts)) if 0 <= weight - i < len(rights)]
            products: Any = sum(lefts[i] * rights[j] for i, j in pairs)
            self._add(self._sum(products))
        low, self.low = self.low, np.zeros_like(self.low)
        self._add(low)

    def error(self, got: Array) -> Array:
        """Return got - exact; its own rounding is 2^-53 of the error itself."""
        return (wide(got) - self.high) - self.low

    def moment(self, power: int) -> Array:
        """Return Σ |left·right|^power, the bias being one more product, for each value of the result."""
        return self._sum(np.abs(self._products) ** power) + np.abs(self.bias) ** power

    def _sum(self, products: Array) -> Array:
        if np.iscomplexobj(products):
            return self._sum(products.real) + 1j * self._sum(products.imag)
        sums = np.bincount(self._target, products, math.prod(self.shape))
        return sums.astype(np.float64, copy=False).reshape(self.shape)  # without any product it counts in integers

    def _add(self, term: Array) -> None:
        """Add to `high`, and add what the rounding lost to `low` (Knuth, TAOCP 2, 4.2.2, theorem B)."""
        total = self.high + term
        back = total - self.high
        self.low = self.low + ((self.high - (total - back)) + (term - back))
        self.high = total


# Result -> the two operands whose products it sums.
FACTORS = {
    "y": ("weight", "x"),
    "dx": ("grad_output", "weight"),
    "dw": ("grad_output", "x"),
    "db": ("grad_output", "one"),
}


def conjugated(result: str, right: Array) -> Array:
    """Return the right factor of the products of a result: its conjugate in gradients (PyTorch's convention)."""
    return right if result == "y" else right.conj()


def indices_of(name: str, case: ConvCase) -> tuple[Array, Array, Array]:
    """Return for each product of a result where it is added, and where its two factors lie."""
    if name == "db":
        every_output = np.arange(math.prod(case.output_shape))
        channels = every_output // math.prod(case.output_shape[2:]) % case.out_channels
        return channels, every_output, np.zeros_like(every_output)
    a, b, c = product_indices(case)
    return {"y": (a, b, c), "dx": (c, a, b), "dw": (b, a, c)}[name]


@lru_cache(maxsize=16)
def product_indices(case: ConvCase) -> tuple[Array, Array, Array]:
    """Return the flat indices (a, b, c) of every product of the definition."""
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
    return a, b, c


def meetings(case: ConvCase, axis: int) -> tuple[Array, Array, Array]:
    """Return every (window, tap, pixel) along an axis with the pixel inside the image."""
    kernel = case.kernel[axis]
    window, tap = np.divmod(np.arange(case.output_shape[2 + axis] * kernel), kernel)
    pixel = window * case.stride[axis] - case.padding[axis][0] + tap * case.dilation[axis]
    inside = (0 <= pixel) & (pixel < case.size[axis])
    return window[inside], tap[inside], pixel[inside]


def leading_unit(values: Array, bits: int) -> float:
    """Return the power of 2 of which the largest value is a multiple with `bits` bits, but for a rounding."""
    _, exponent = np.frexp(np.abs(values).max(initial=0))
    return 2.0 ** (int(exponent) - bits)


def split_into_limbs(values: Array) -> list[Array]:
    """Split values into pieces of 18 bits that add up to them exactly; small integers are one piece."""
    limbs: list[Array] = []
    unit = leading_unit(values, LIMB_BITS)
    while not limbs or values.any():
        limbs.append(np.rint(values * (1 / unit)) * unit)
        values = values - limbs[-1]
        unit *= 2.0**-LIMB_BITS
    return limbs
