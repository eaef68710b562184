"""What a convolution's results are, exactly: the list of products of ``reference.products``, as index arrays.

    y[a] += weight[b] · x[c]      dx[c] += grad_output[a] · weight[b]      dweight[b] += grad_output[a] · x[c]

The bias is one more weight, whose pixel is always 1. One list serves every sum, among them the sums of magnitudes
that error bounds are made of. Nothing of what is judged is imported here, only the counting of windows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .arithmetic import Array
from .cases import ConvCase, Operands

LIMB = 18  # bits; three products of two limbs, summed up to 2^15 times, are exact in float64


class Truth:
    """The exact y, dx, dw or db, as an unevaluated sum ``high + low`` of two float64 arrays.

    The operands may be of any real floating dtype. ``left`` and ``right`` are the two whose products are summed,
    ``terms`` is the inner length n of the error bounds.
    """

    def __init__(self, name: str, case: ConvCase, operands: Operands) -> None:
        self.name, self.case, self.shape = name, case, case.shapes[name]
        values = {key: np.zeros(0) if array is None else array.astype(np.float64).ravel()
                  for key, array in operands.items()}  # fmt: skip
        grad, weight, bias, x = values["grad_output"], values["weight"], values["bias"], np.append(values["x"], 1.0)
        self.terms = case.inner[name] + (name == "y" and bias.size > 0)
        a, b, c = products(case)
        of_weight, of_bias = np.s_[: len(a) - grad.size], np.s_[len(a) - grad.size :]
        into, (self.left, at_left), (self.right, at_right), part = {
            "y": (a, (np.append(weight, bias), b), (x, c), np.s_[:] if bias.size else of_weight),
            "dx": (c, (grad, a), (weight, b), of_weight),
            "dw": (b, (grad, a), (x, c), of_weight),
            "db": (b - weight.size, (grad, a), (x, c), of_bias),
        }[name]
        self._into, self._at_left, self._at_right = into[part], at_left[part], at_right[part]
        lefts = [limb[self._at_left] for limb in _limbs(self.left)]
        rights = [limb[self._at_right] for limb in _limbs(self.right)]
        self.high = self.low = np.zeros(self.shape)
        for order in range(len(lefts) + len(rights) - 1):  # products of limbs of equal weight, each sum of them exact
            pairs = [(i, order - i) for i in range(len(lefts)) if 0 <= order - i < len(rights)]
            self._add(self._sum(sum(lefts[i] * rights[j] for i, j in pairs)))
        low, self.low = self.low, np.zeros(self.shape)
        self._add(low)

    def error(self, got: Array) -> Array:
        """Return got − truth, whose own rounding is 2^-53 of the error itself."""
        return (got.astype(np.float64) - self.high) - self.low

    def moment(self, power: int) -> Array:
        """Return Σ |left·right|^power."""
        return self._sum(np.abs(self.left[self._at_left] * self.right[self._at_right]) ** power)

    def _sum(self, terms: Array) -> Array:
        return np.bincount(self._into, terms, math.prod(self.shape)).reshape(self.shape)

    def _add(self, term: Array) -> None:
        """Add to `high`, and to `low` what the rounding lost (Knuth, TAOCP 2, 4.2.2, theorem B)."""
        total = self.high + term
        back = total - self.high
        self.high, self.low = total, self.low + ((self.high - (total - back)) + (term - back))


@lru_cache(maxsize=16)
def products(case: ConvCase) -> tuple[Array, Array, Array]:
    """Return the flat indices (a, b, c) of every product of the definition, and then of bias times 1."""
    (N, C_in, H, W), (C_out, Cg, kh, kw), (_, _, oh, ow) = case.x_shape, case.weight_shape, case.output_shape
    (p, i, row), (q, j, column) = _meetings(case, 0), _meetings(case, 1)
    n, o, c, v, h = np.ix_(*map(np.arange, (N, C_out, Cg, len(p), len(q))))
    group = o // max(1, C_out // case.groups)
    a = ((n * C_out + o) * oh + p[v]) * ow + q[h]
    b = ((o * Cg + c) * kh + i[v]) * kw + j[h]
    x = ((n * C_in + group * Cg + c) * H + row[v]) * W + column[h]
    a, b, x = (index.ravel() for index in np.broadcast_arrays(a, b, x))
    every = np.arange(N * C_out * oh * ow)
    bias = C_out * Cg * kh * kw + every // (oh * ow) % C_out
    return np.append(a, every), np.append(b, bias), np.append(x, np.full_like(every, N * C_in * H * W))


def _meetings(case: ConvCase, axis: int) -> tuple[Array, Array, Array]:
    """Along one axis: every (window, tap, pixel) with the pixel inside the image."""
    window, tap = np.divmod(np.arange(case.output_shape[2 + axis] * case.kernel[axis]), case.kernel[axis])
    pixel = window * case.stride[axis] - case.padding[axis][0] + tap * case.dilation[axis]
    inside = (0 <= pixel) & (pixel < case.size[axis])
    return window[inside], tap[inside], pixel[inside]


def _limbs(values: Array) -> list[Array]:
    """Cut values into pieces of 18 bits that add up to them exactly; small integers are one piece."""
    limbs: list[Array] = []
    unit = 2.0 ** (int(np.frexp(np.abs(values).max(initial=0))[1]) - LIMB)
    while not limbs or values.any():
        limbs.append(np.rint(values * (1 / unit)) * unit)
        values, unit = values - limbs[-1], unit * 2.0**-LIMB
    return limbs
