"""Softmax and cross-entropy of logits (M, C) against class indices (M,).

With the target distribution q of each sample, ``loss = −Σ_c q_c · log softmax(logits)_c``. The gradient of the logits
is ``softmax(logits) · Σ_c q_c − q``; with plain targets (q is 1 at the target and 0 elsewhere) softmax − one-hot.
"""

from __future__ import annotations

import math
from typing import Any

from .._support.typing import Array
from ..backend import array_module, widen


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float, reduction: str
) -> Array:
    """Return the loss of each sample, (M,), or their sum or mean, ()."""
    xp = array_module(logits=logits)
    scores = widen(xp, logits)
    q, total_weight = target_distribution(xp, scores, target, weight, ignore_index, label_smoothing)
    scores = scores - xp.max(scores, axis=1, keepdims=True)  # (M, C), at most 0: exp cannot overflow
    log_softmax = scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))  # (M, C)
    log_softmax = xp.where(q == 0, q, log_softmax)  # 0·log 0 counts as 0
    loss = -xp.sum(q * log_softmax, axis=1)  # (M,)
    if reduction != "none":
        loss = xp.sum(loss)
    if reduction == "mean":
        loss = loss / total_weight
    return xp.asarray(loss, dtype=logits.dtype)


def cross_entropy_backward(
    grad_output: Array | None,
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Array:
    """Gradient of the logits, (M, C). `grad_output` is (M,) or (), as the loss; None stands for 1."""
    xp = array_module(logits=logits)
    scores = widen(xp, logits)
    q, total_weight = target_distribution(xp, scores, target, weight, ignore_index, label_smoothing)
    softmax = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))  # (M, C)
    softmax /= xp.sum(softmax, axis=1, keepdims=True)
    dlogits = softmax * xp.sum(q, axis=1, keepdims=True) - q  # (M, C)
    if grad_output is not None:
        grad = widen(xp, grad_output)
        dlogits *= xp.reshape(grad, (-1, 1)) if reduction == "none" else grad  # (M, 1) or ()
    if reduction == "mean":
        dlogits /= total_weight
    counts = xp.any(q != 0, axis=1, keepdims=True)  # (M, 1): a sample that is ignored has no gradient, not even NaN
    dlogits = xp.where(counts, dlogits, xp.zeros((), dtype=dlogits.dtype))
    return xp.astype(dlogits, logits.dtype, copy=False)


def target_distribution(
    xp: Any, scores: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """Return the target distribution q (M, C), and the sum () of the weights of all targets that count.

    ``q_c = weight_c · ((1 − ε)·[c = target] + ε/C)`` with the label smoothing ε. A target that is ignored has q = 0.
    One that is no class makes its q NaN: on a GPU nobody could raise an error without waiting for the device.
    """
    dtype, C = scores.dtype, scores.shape[1]
    nan = xp.full((), math.nan, dtype=dtype)
    one_hot = xp.astype(target[:, None] == xp.arange(C)[None, :], dtype)  # (M, C)
    if weight is not None:
        one_hot *= widen(xp, weight)
    counted = xp.astype(target != ignore_index, dtype)[:, None]  # (M, 1): 1, or 0 where ignored
    is_known = (target >= 0) & (target < C) | (target == ignore_index)
    counted = xp.where(is_known[:, None], counted, nan)  # (M, 1)
    q = one_hot * counted  # (M, C)
    total_weight = xp.sum(q)
    total_weight = xp.where(total_weight == 0, nan, total_weight)  # the mean of no samples is NaN
    if label_smoothing:
        even = xp.full((C,), 1 / C, dtype=dtype) if weight is None else widen(xp, weight) / C
        q = (1 - label_smoothing) * q + label_smoothing * counted * even
    return q, total_weight
