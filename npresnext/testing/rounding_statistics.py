"""The statistical verdict: are the errors of a large result like those of independent roundings? Advisory only."""

from __future__ import annotations

import math

import numpy as np

from .._support.typing import NumPyArray as Array
from .arithmetic import Arithmetic
from .oracle import ExactResult

FEWEST_VALUES = 1000  # below which a mean tells nothing
LARGEST_RMS = 1.25
LARGEST_BIAS = 6.0


def standard_deviation(exact: ExactResult, arithmetic: Arithmetic) -> Array:
    """Return an upper bound for the standard deviation of each value's error, if roundings are independent.

    Each operation's relative error is taken to be independent, of mean zero, uniform on ±u (variance u²/3), and
    products to have random signs. A sum of k products then has a square of k·Q/n on average, Q = Σ(left·right)²; over
    any tree of additions these add up to at most Q·(n + 1)/2, as in one running sum. With the n products themselves,

        variance <= u²/3 · Q · (1 + (n + 1)/2) + u_in²/3 · 2·Q + u_out²/3 · y²
    """
    u_in, u, u_out = arithmetic.unit_roundoffs
    of_sums = u**2 * (1 + (exact.terms + 1) / 2)
    of_inputs = 2 * u_in**2
    variance = exact.moment(2) * (of_sums + of_inputs) + (u_out * exact.high) ** 2
    return np.sqrt(variance / 3)


def compare_with_random_rounding(exact: ExactResult, error: Array, arithmetic: Arithmetic) -> tuple[float, float]:
    """Return root mean square and bias of the errors over their standard deviations; never a proof.

    A worst-case bound grows like n, rounding errors like √n, so at large n truncation and narrow partial sums pass.
    Arm's TOSA specification therefore tests root mean square and bias of a dot product's scaled errors. Under the
    model of :func:`standard_deviation` the root mean square is at most 1, suspicious above 1.25. T errors, positive
    where they lead away from zero, add up to at most 6·√T; the bias returned is their sum over √T. Both are 0 if there
    are fewer than 1,000 values.
    """
    expected = standard_deviation(exact, arithmetic)
    away_from_zero = error * np.sign(exact.high)
    scaled = away_from_zero[expected > 0] / expected[expected > 0]
    if scaled.size < FEWEST_VALUES:
        return 0.0, 0.0
    return float(np.sqrt(np.mean(scaled**2))), float(scaled.sum() / math.sqrt(scaled.size))
