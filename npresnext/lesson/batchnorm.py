"""Batch normalisation: each channel gets mean 0 and variance 1, then a learned scale and shift.

Over the ``count = N·P`` values of one channel (P positions in each of N images)::

    mean = Σ x / count        var = Σ (x − mean)² / count        x̂ = (x − mean) / √(var + eps)
    y    = weight · x̂ + bias

In training, mean and var depend on x, so the gradient has two terms more than the scale alone::

    dbias   = Σ grad_output
    dweight = Σ grad_output · x̂
    dx      = weight/√(var + eps) · (grad_output − dbias/count − x̂ · dweight/count)

In evaluation, mean and var are constants, and ``dx = weight/√(var + eps) · grad_output``.
(Ioffe and Szegedy, arXiv:1502.03167, algorithm 1 and section 3.)
"""

from __future__ import annotations

import math
from typing import Any

from .._support.typing import Array
from ..backend import array_module, sum_dtype, widen


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise x (N, C, ...); return y, mean (C,) and var (C,). Without `mean` and `var`, use those of the batch."""
    xp = array_module(x=x)
    rows = _as_rows(xp, widen(xp, x))  # (N, C, P)
    if mean is None:
        centred, mean = _centred(xp, rows)  # (N, C, P), (C,)
        var = _mean(xp, centred * centred)  # (C,)
    else:
        mean, var = widen(xp, mean), widen(xp, var)
        centred = rows - _per_channel(xp, mean)  # (N, C, P)
    scale = 1 / xp.sqrt(var + eps)  # (C,)
    if weight is not None:
        scale = scale * widen(xp, weight)
    y = centred * _per_channel(xp, scale)  # (N, C, P)
    if bias is not None:
        y += _per_channel(xp, widen(xp, bias))
    wide = sum_dtype(xp, x.dtype)
    y = xp.astype(xp.reshape(y, x.shape), x.dtype, copy=False)  # (N, C, ...)
    return y, xp.astype(mean, wide, copy=False), xp.astype(var, wide, copy=False)


def batch_norm_backward(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float, batch_statistics: bool
) -> tuple[Array, Array, Array]:
    """Gradients of x (N, C, ...), weight (C,) and bias (C,).

    `batch_statistics` says whether mean and var are those of the batch (training) or constants (evaluation).
    """
    xp = array_module(x=x)
    grad, rows = _as_rows(xp, widen(xp, grad_output)), _as_rows(xp, widen(xp, x))  # (N, C, P) both
    if batch_statistics:
        centred, _ = _centred(xp, rows)  # (N, C, P)
    else:
        centred = rows - _per_channel(xp, widen(xp, mean))  # (N, C, P)
    inverse = 1 / xp.sqrt(widen(xp, var) + eps)  # (C,)
    scale = inverse if weight is None else inverse * widen(xp, weight)  # (C,)
    normalised = centred * _per_channel(xp, inverse)  # (N, C, P)
    dbias = xp.sum(grad, axis=(0, 2))  # (C,)
    dweight = xp.sum(grad * normalised, axis=(0, 2))  # (C,)
    if batch_statistics:
        count = _count(rows)
        grad = grad - _per_channel(xp, dbias / count) - normalised * _per_channel(xp, dweight / count)  # (N, C, P)
    dx = xp.reshape(grad * _per_channel(xp, scale), x.shape)  # (N, C, ...)
    dtype = x.dtype
    return (
        xp.astype(dx, dtype, copy=False),
        xp.astype(dweight, dtype, copy=False),
        xp.astype(dbias, dtype, copy=False),
    )


def running_statistics(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
) -> tuple[Array, Array]:
    """Move the running statistics towards those of a batch: ``(1 − momentum)·running + momentum·batch``.

    The batch's variance is made unbiased first, by the factor ``count/(count − 1)``.
    """
    xp = array_module(running_mean=running_mean)
    unbiased = widen(xp, var) * (count / (count - 1))  # (C,)
    new_mean = widen(xp, running_mean) * (1 - momentum) + widen(xp, mean) * momentum
    new_var = widen(xp, running_var) * (1 - momentum) + unbiased * momentum
    return (
        xp.astype(new_mean, running_mean.dtype, copy=False),
        xp.astype(new_var, running_var.dtype, copy=False),
    )


def _centred(xp: Any, rows: Array) -> tuple[Array, Array]:
    """Return rows (N, C, P) less their mean, and the mean (C,).

    The mean of large numbers is rounded. The mean of what remains after its subtraction is that rounding error, so
    subtracting it too makes data far from zero come out right (Chan, Golub and LeVeque, "Algorithms for computing the
    sample variance", 1983, equation 1.7).
    """
    mean = _mean(xp, rows)  # (C,)
    centred = rows - _per_channel(xp, mean)  # (N, C, P)
    correction = _mean(xp, centred)  # (C,)
    return centred - _per_channel(xp, correction), mean + correction


def _mean(xp: Any, rows: Array) -> Array:
    """Return the mean of each channel of rows (N, C, P), (C,); 0 for no values."""
    return xp.sum(rows, axis=(0, 2)) / _count(rows)


def _count(rows: Array) -> int:
    """Return the number of values of one channel, at least 1, so that it can divide."""
    return max(rows.shape[0] * rows.shape[2], 1)


def _as_rows(xp: Any, x: Array) -> Array:
    """View x (N, C, ...) as (N, C, P)."""
    return xp.reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))


def _per_channel(xp: Any, vector: Array) -> Array:
    """View a vector (C,) as (C, 1), so that it meets rows (N, C, P)."""
    return xp.reshape(vector, (-1, 1))
