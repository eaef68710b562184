"""The verdicts: when is a result right, with the proof of each in its docstring.

Letters: u unit roundoff, n the inner length of a result: L = (C_in/G)·kh·kw for y (L + 1 with a bias),
(C_out/G)·kh·kw for dx, N·P for dw and db. γ_n(u) = n·u / (1 − n·u).
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array
from ..errors import InvalidValueError
from .cases import BITS, TINY, ConvCase, Operands, as_dtype

LIMB = 18  # bits; three products of two limbs, summed up to 2^15 times, are exact in float64


class Truth:
    """The exact y, dx, dw or db, as an unevaluated sum ``high + low`` of two float64 arrays.

    It sums the list of products of ``reference.products``, here as index arrays a, b, c: y[a] += weight[b] · x[c],
    dx[c] += grad_output[a] · weight[b], dweight[b] += grad_output[a] · x[c], the bias being one more weight, whose
    pixel is always 1. The same list sums the magnitudes of error bounds. Nothing of what is judged is imported here.
    ``left`` and ``right`` are the two operands that are multiplied, ``terms`` is the inner length n.
    """

    def __init__(self, name: str, case: ConvCase, operands: Operands) -> None:
        self.name, self.case, self.shape = name, case, case.shapes[name]
        values = {key: np.zeros(0) if a is None else a.astype(np.float64).ravel() for key, a in operands.items()}
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
    meetings = []
    for axis in (0, 1):  # every (window, tap, pixel) with the pixel inside the image
        window, tap = np.divmod(np.arange(case.output_shape[2 + axis] * case.kernel[axis]), case.kernel[axis])
        pixel = window * case.stride[axis] - case.padding[axis][0] + tap * case.dilation[axis]
        inside = (0 <= pixel) & (pixel < case.size[axis])
        meetings.append((window[inside], tap[inside], pixel[inside]))
    (p, i, row), (q, j, column) = meetings
    n, o, c, v, h = np.ix_(*map(np.arange, (N, C_out, Cg, len(p), len(q))))
    group = o // max(1, C_out // case.groups)
    a = ((n * C_out + o) * oh + p[v]) * ow + q[h]
    b = ((o * Cg + c) * kh + i[v]) * kw + j[h]
    x = ((n * C_in + group * Cg + c) * H + row[v]) * W + column[h]
    a, b, x = (index.ravel() for index in np.broadcast_arrays(a, b, x))
    every = np.arange(N * C_out * oh * ow)
    bias = C_out * Cg * kh * kw + every // (oh * ow) % C_out
    return np.append(a, every), np.append(b, bias), np.append(x, np.full_like(every, N * C_in * H * W))


def _limbs(values: Array) -> list[Array]:
    """Cut values into pieces of 18 bits that add up to them exactly; small integers are one piece."""
    limbs: list[Array] = []
    unit = 2.0 ** (int(np.frexp(np.abs(values).max(initial=0))[1]) - LIMB)
    while not limbs or values.any():
        limbs.append(np.rint(values * (1 / unit)) * unit)
        values, unit = values - limbs[-1], unit * 2.0**-LIMB
    return limbs


class Arithmetic(NamedTuple):
    """What the author of a kernel claims: formats of operands, running sums and results, names out of `BITS`."""

    input: str
    accumulator: str
    output: str
    dtype: str  # what the operands are handed over in

    @property
    def units(self) -> tuple[float, float, float]:
        """Unit roundoffs of operands, sums and results, 0 for operands or results that need no rounding."""
        narrow, sums, out, wide = (BITS[name] for name in self)
        return 2.0**-narrow * (narrow < wide), 2.0**-sums, 2.0**-out * (out < sums)

    def __str__(self) -> str:
        return f"{self.input} inputs, {self.accumulator} accumulator, {self.output} output"


def as_arithmetic(dtype: Any, declared: Mapping[str, str] | None = None) -> Arithmetic:
    """Complete a declaration: by default all is of `dtype`, and 16-bit types are summed in float32."""
    name, given = as_dtype(dtype).name, dict(declared or {})
    if unknown := sorted(set(given) - {"input", "accumulator", "output"}):
        raise InvalidValueError(f"arithmetic has unknown keys {unknown}: expected input, accumulator, output")
    for key, value in given.items():
        if value not in BITS:
            raise InvalidValueError(f'arithmetic["{key}"] is {value!r}: expected one of {", ".join(BITS)}')
    claimed = Arithmetic(name, "float64" if name == "float64" else "float32", name, name)._replace(**given)
    return claimed._replace(output=min(claimed.output, name, key=BITS.__getitem__))  # results are arrays of `dtype`


def rounded(values: Array, name: str) -> Array:
    """Round float64 values to the significand of a format, to nearest even; its range is left out of account."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, BITS[name])), exponent - BITS[name])


def gamma(n: float, u: float) -> float:
    """Return γ_n(u) (Higham, lemma 3.1), or 2^900, as good as infinite, where n·u >= 1 and nothing can be said."""
    return n * u / (1 - n * u) if n * u < 1 else 2.0**900


def exact(truth: Truth) -> Array:
    """Return the bound of the exact verdict: zero.

    ``ConvCase.operands`` draws integers of which every partial sum, in whatever order and however blocked, is one that
    operands, accumulator and result hold: no operation rounds, but for the divisions in winograd and fft.
    """
    return np.zeros_like(truth.high)


def bounded(truth: Truth, arithmetic: Arithmetic) -> Array:
    """Return, for each value, how far rounding alone can carry it.

    Higham, section 3.1: whatever the order of summation, with or without fused multiply-add, the computed inner
    product is Σ left·right·(1 + θ) with |θ| <= γ_n(u) in each term, hence |error| <= γ_n(u)·Σ|left·right|, for each
    value by itself. Around it: operands rounded to a narrower format bring a factor (1 + u_in)² to each term (they
    are drawn so that none leaves its normal range); rounding the result adds u_out of it; and each product, sum
    and rounding that falls below the smallest normal number loses at most that number, flushed to zero or not
    (section 2.1). The sums of magnitudes are themselves float64 sums; the last factors cover their rounding. Where
    every product is 0, so is the result, and the bound: zeros are added without rounding. All this is a theorem for
    IEEE formats rounded to nearest. For TF32 it is a model: how tensor cores add is not documented.
    """
    u_in, u, u_out = arithmetic.units
    growth = (1 + u_in) ** 2 * (1 + gamma(truth.terms, u)) - 1
    flushed = 2 * truth.terms * TINY[arithmetic.accumulator] * (1 + growth)
    magnitudes = truth.moment(1)
    summed = growth * magnitudes * (1 + 4 * truth.terms * 2.0**-53) + flushed
    narrowed = u_out * (np.abs(truth.high) + summed) + (TINY[arithmetic.output] if u_out else 0.0)
    return (summed + narrowed) * (1 + 2.0**-48) * (magnitudes > 0)


def normwise(truth: Truth, arithmetic: Arithmetic, algorithm: str) -> Array:
    """Return one bound for all values of a result, for algorithms that mix values of different sizes.

    winograd: unrolled, each value is a sum of terms a·g·w·b·x with a, g, b out of the matrices Aᵀ, G, Bᵀ of both
    axes, over s channels for y and dx, over at most s = n tiles for dw. A term meets at most s + 40 roundings in
    tiles up to F(4x4, 3x3), so |error| <= γ_{s+40}(u)·Σ|a·g·w·b·x|, and that sum is at most s·f²·max|left|·max|right|
    with f = max_k Σ_j |Aᵀ_kj|·Σ_i|G_ji|·Σ_i|Bᵀ_ji|: on the points 0, ±1, ±2, ∞ 48 for F(4, 3), 53⅓ for F(3, 4).

    fft: with M points, t = log2 M. A stage of a transform is √2 times a unitary matrix; a product by a root of
    unity, itself off by u, and an addition make a relative error in the 2-norm below 7u, a transform 7tu to first
    order. ‖Fx‖₂ = √M·‖x‖₂ and ‖X∘W‖₂ <= ‖X‖₂·‖W‖₂, so two transforms, n products added, and the transform back are
    off by at most √M·(21tu + √5·γ_{n+2}(u))·‖left‖₂·‖right‖₂; Cauchy–Schwarz covers the sum over channels, 2 the
    higher orders. M is at most 16 times the pixels of the padded image.
    """
    case, (_, u, u_out) = truth.case, arithmetic.units
    if algorithm == "winograd":
        sums = truth.terms if truth.name == "dw" else math.ceil(truth.terms / math.prod(case.kernel))
        largest = float(np.abs(truth.left).max(initial=0) * np.abs(truth.right).max(initial=0))
        bound = gamma(sums + 40, u) * sums * 54**2 * largest
    else:
        pixels = math.prod(size + sum(map(abs, sides)) for size, sides in zip(case.size, case.padding))
        points = 16 * max(2, pixels)
        relative = 2 * math.sqrt(points) * (21 * math.log2(points) * u + math.sqrt(5) * gamma(truth.terms + 2, u))
        bound = relative * float(np.linalg.norm(truth.left) * np.linalg.norm(truth.right))
    return bounded(truth, arithmetic) + bound * (1 + u_out)


def deviation(truth: Truth, arithmetic: Arithmetic) -> Array:
    """Return at least the standard deviation of each value's error, under the model of `statistical`."""
    u_in, u, u_out = arithmetic.units
    variance = truth.moment(2) * (u**2 * (1 + (truth.terms + 1) / 2) + 2 * u_in**2) + (u_out * truth.high) ** 2
    return np.sqrt(variance / 3)


def statistical(truth: Truth, error: Array, arithmetic: Arithmetic) -> tuple[float, float]:
    """Compare errors with what independent rounding errors would make: advisory, never proof.

    A worst-case bound grows like n, rounding errors like √n, so at large n truncation and narrow partial sums pass.
    Arm's TOSA specification therefore tests root mean square and bias of a dot product's scaled errors, here under this
    model: each operation's relative error is independent, of mean zero, uniform on ±u (variance u²/3), and products
    have random signs. A sum of k products then has a square of k·Q/n on average, Q = Σ(left·right)²; over any tree of
    additions these add up to at most Q·(n + 1)/2, as one after the other. With the n products themselves,

        variance <= u²/3 · Q · (1 + (n + 1)/2) + u_in²/3 · 2·Q + u_out²/3 · y²

    so errors over their standard deviations have a root mean square of at most 1, suspicious above 1.25, and T of them,
    positive where they lead away from zero, add up to at most 6·√T. Returned are the two, (0, 0) below 1,000 values.
    """
    expected = deviation(truth, arithmetic)
    scaled = (error * np.sign(truth.high))[expected > 0] / expected[expected > 0]
    if scaled.size < 1000:
        return 0.0, 0.0
    return float(np.sqrt(np.mean(scaled**2))), float(scaled.sum() / math.sqrt(scaled.size))
