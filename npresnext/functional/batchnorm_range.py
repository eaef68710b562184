"""Batch norm of numbers whose squares overflow: computed again from x times a power of two for each channel.

Squares of float32 numbers overflow from about 1e18 on. Batch norm of x and of x times a number is the same but for eps,
which does not count beside so large a variance. Arrays on a GPU are left as they are: a look at the variance would wait
for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.typing import Array
from ..errors import InvalidValueError


def in_range(
    results: tuple[Array, Array, Array], x: Array, mean: Array | None, compute: Callable[[Array], Any]
) -> tuple[Array, Array, Array]:
    """Return y, mean and var, computed again where the variance of a NumPy array has overflowed.

    Parameters
    ----------
    results : (y, mean, var)
        What `compute` returned for x.
    x : array (N, C, ...)
    mean : array (C,) or None
        The mean that the caller gave: with given statistics there is nothing to compute again.
    compute : callable
        Takes x, returns y, mean and var.
    """
    y, used_mean, var = results
    if not _has_overflowed(var):
        return results
    if mean is not None:
        infinite = np.flatnonzero(np.isinf(var))
        if infinite.size:
            raise InvalidValueError(
                f"var[{infinite[0]}] is infinite: expected finite variances (a running variance that has overflowed "
                f"{var.dtype}?)"
            )
        return results
    factors = _factors(x, var)
    if (factors == 1).all():
        return results
    y, used_mean, var = compute(scaled(x, factors))
    scales = factors.reshape(-1).astype(var.dtype)  # (C,)
    with np.errstate(over="ignore", under="ignore"):
        mean, var = used_mean / scales, var / scales / scales
    return y, mean.astype(scales.dtype, copy=False), var.astype(scales.dtype, copy=False)


def statistics_in_range(
    engine: Any, x: Array, mean: Array, var: Array, eps: float, batch_statistics: bool
) -> tuple[Array, Array, Array, Array | None]:
    """Return x, mean, var and None; or where the variance has overflowed, those of x times factors, and the factors."""
    if not batch_statistics or not _has_overflowed(var):
        return x, mean, var, None
    factors = _factors(x, var)
    x = scaled(x, factors)
    _, scaled_mean, scaled_var = engine.batch_norm(x, None, None, None, None, eps)
    is_scaled = factors.reshape(-1) != 1  # (C,)
    mean, var = mean.copy(), var.copy()
    mean[is_scaled], var[is_scaled] = scaled_mean[is_scaled], scaled_var[is_scaled]
    return x, mean, var, factors


def scaled(x: Array, factors: Array | None) -> Array:
    """Return x times the factors of its channels, in its dtype; x itself without factors."""
    return x if factors is None else (x * factors).astype(x.dtype, copy=False)  # a product has the machine's byte order


def _has_overflowed(var: Array) -> bool:
    """Whether a variance is infinite or NaN; False for arrays that are not NumPy's, where a look would wait."""
    return isinstance(var, np.ndarray) and not np.isfinite(var).all()


def _factors(x: Array, var: Array) -> Array:
    """Return powers of two (1, C, 1, ...) that bring channels whose variance is not finite to a size between.

    They are 1 for all other channels, and for those with an infinite value or NaN, whose results are NaN.
    """
    axes = (0, *range(2, x.ndim))
    largest = np.abs(x).max(axis=axes, keepdims=True, initial=0).astype("float64")  # (1, C, 1, ...)
    _, exponents = np.frexp(largest)
    middle = 320 if var.dtype.itemsize == 8 else 40  # sums of squares are at most N·P·2^80 and N·P·2^640
    needed = np.isfinite(largest) & ~np.isfinite(var.reshape(largest.shape))
    return np.ldexp(1.0, np.where(needed, middle - exponents, 0)).astype(x.dtype)
