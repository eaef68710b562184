"""How far a right result may be from the exact one, with the proof of each bound in its docstring.

Letters: u unit roundoff, n the inner length of a result: L = (C_in/G)·kh·kw for y (L + 1 with a bias),
(C_out/G)·kh·kw for dx, N·P for dw and db. γ_n(u) = n·u / (1 − n·u).
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002.
"""

from __future__ import annotations

import math

import numpy as np

from .._support.typing import NumPyArray as Array
from .arithmetic import AFTER_ROUNDING, Arithmetic
from .formats import SMALLEST_NORMAL
from .oracle import ExactResult

NO_BOUND = 2.0**900  # as good as infinite, and finite when multiplied
FLOAT64_ROUNDOFF = 2.0**-53


def gamma(n: float, u: float) -> float:
    """Return γ_n(u) (Higham, lemma 3.1), or 2^900 where n·u >= 1 and nothing can be said."""
    return n * u / (1 - n * u) if n * u < 1 else NO_BOUND


def exact_bound(exact: ExactResult) -> Array:
    """Return the bound of the verdict "exact": zero.

    ``ConvCase.operands`` draws integers of which every partial sum, in whatever order and however blocked, is one that
    operands, accumulator and result hold: no operation rounds, except the divisions in winograd and fft.
    """
    return np.zeros(exact.shape)


def rounding_bound(exact: ExactResult, arithmetic: Arithmetic) -> Array:
    """Return the bound of the verdict "bounded": for each value, the largest error that rounding can explain.

    Higham, section 3.1: whatever the order of summation, with or without fused multiply-add, the computed inner
    product is Σ left·right·(1 + θ) with |θ| <= γ_n(u) in each term, hence |error| <= γ_n(u)·Σ|left·right|, for each
    value by itself. Around it: operands rounded to a narrower format bring a factor (1 + u_in)² to each term (they
    are drawn so that none leaves its normal range); rounding the result adds u_out of it; and each product, sum
    and rounding that falls below the smallest normal number loses at most that number, flushed to zero or not
    (section 2.1). The sums of magnitudes are themselves float64 sums; the last factors cover their rounding. Where
    every product is 0, so is the result, and the bound: zeros are added without rounding. All this is a theorem for
    IEEE formats rounded to nearest. For TF32 it is a model: how tensor cores add is not documented.
    """
    u_in, u, u_out = arithmetic.unit_roundoffs
    growth = (1 + u_in) ** 2 * (1 + gamma(exact.terms, u)) - 1
    magnitudes = exact.moment(1)
    underflow = 2 * exact.terms * SMALLEST_NORMAL[arithmetic.accumulator] * (1 + growth)
    of_the_sum = growth * magnitudes * (1 + 4 * exact.terms * FLOAT64_ROUNDOFF) + underflow
    if u_out and arithmetic.bias == AFTER_ROUNDING and exact.name == "y":
        # The sum of products is rounded by itself, before the bias is added.
        products = np.abs(exact.high - exact.bias)
        of_the_sum = of_the_sum + u_out * (products + of_the_sum) + SMALLEST_NORMAL[arithmetic.output]
    of_the_output = u_out * (np.abs(exact.high) + of_the_sum)
    if u_out:
        of_the_output = of_the_output + SMALLEST_NORMAL[arithmetic.output]
    return (of_the_sum + of_the_output) * (1 + 2.0**-48) * (magnitudes > 0)


def normwise_bound(exact: ExactResult, arithmetic: Arithmetic, algorithm: str) -> Array:
    """Return the bound of the verdict "normwise": one for all values, as winograd and fft mix values of many sizes."""
    _, _, u_out = arithmetic.unit_roundoffs
    of_the_transform = winograd_bound if algorithm == "winograd" else fft_bound
    return rounding_bound(exact, arithmetic) + of_the_transform(exact, arithmetic) * (1 + u_out)


def winograd_bound(exact: ExactResult, arithmetic: Arithmetic) -> float:
    """Return how far winograd's transforms can carry any value, in tiles up to F(4x4, 3x3).

    Unrolled, each value is a sum of terms a·g·w·b·x with a, g, b out of the matrices Aᵀ, G, Bᵀ of both
    axes, over s channels for y and dx, over at most s = n tiles for dw. A term meets at most s + 40 roundings in
    tiles up to F(4x4, 3x3), so |error| <= γ_{s+40}(u)·Σ|a·g·w·b·x|, and that sum is at most s·f²·max|left|·max|right|
    with f = max_k Σ_j |Aᵀ_kj|·Σ_i|G_ji|·Σ_i|Bᵀ_ji|: on the points 0, ±1, ±2, ∞ 48 for F(4, 3), 53⅓ for F(3, 4).
    """
    _, u, _ = arithmetic.unit_roundoffs
    taps = math.prod(exact.case.kernel)
    summed = exact.terms if exact.name == "dw" else math.ceil(exact.terms / taps)
    largest = float(np.abs(exact.left).max(initial=0) * np.abs(exact.right).max(initial=0))
    return gamma(summed + 40, u) * summed * 54**2 * largest


def fft_bound(exact: ExactResult, arithmetic: Arithmetic) -> float:
    """Return how far Fourier transforms can carry any value.

    With M points, t = log2 M. A stage of a transform is √2 times a unitary matrix; a product by a root of
    unity, itself off by u, and an addition make a relative error in the 2-norm below 7u, a transform 7tu to first
    order. ‖Fx‖₂ = √M·‖x‖₂ and ‖X∘W‖₂ <= ‖X‖₂·‖W‖₂, so two transforms, n products added, and the transform back are
    off by at most √M·(21tu + √5·γ_{n+2}(u))·‖left‖₂·‖right‖₂; Cauchy–Schwarz covers the sum over channels, 2 the
    higher orders. M is at most 16 times the pixels of the padded image.
    """
    _, u, _ = arithmetic.unit_roundoffs
    pixels = math.prod(size + sum(map(abs, sides)) for size, sides in zip(exact.case.size, exact.case.padding))
    points = 16 * max(2, pixels)
    of_transforms = 21 * math.log2(points) * u
    of_products = math.sqrt(5) * gamma(exact.terms + 2, u)
    norms = float(np.linalg.norm(exact.left) * np.linalg.norm(exact.right))
    return 2 * math.sqrt(points) * (of_transforms + of_products) * norms
