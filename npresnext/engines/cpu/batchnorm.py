"""Batch norm on NumPy arrays, with the addition and the rectifier that follow it in a network, block by block.

Step by step, each of these would read and write whole arrays from and to memory. Here a thread takes some channels
at a time (blocks.py), computes everything for them in the cache, and writes each result once.

Values are centred only where they need it, since that is one more pass over them. Where the mean is small compared to
the standard deviation, ``Σx² − (Σx)²/count`` and ``x·scale + shift`` lose no accuracy (thresholds.CENTRING_RATIO).

Short vectors, one value for each channel, are computed for all channels before the blocks where that is possible:
inside a block, many short NumPy calls would make the other threads wait for the interpreter's lock.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from . import thresholds
from .blas import single_threaded_blas
from .blocks import block_scratch, for_each_block
from .elementwise import mask_by_output, rectify
from .layout import channel_rows, empty_images
from .workspace import aligned_empty


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and var as ``functional.batch_norm``, whose checks have passed."""
    return _forward(x, weight, bias, None, mean, var, eps, rectified=False)


def batch_norm_relu(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    shortcut: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Return y, mean and var as ``functional.batch_norm_relu``, whose checks have passed."""
    return _forward(x, weight, bias, shortcut, mean, var, eps, rectified=True)


def batch_norm_backward(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float, batch_statistics: bool
) -> tuple[Array, Array, Array]:
    """Return dx, dweight and dbias as ``functional.batch_norm_backward``, whose checks have passed."""
    return _backward(grad_output, None, None, x, mean, var, weight, eps, batch_statistics)


def batch_norm_relu_backward(
    grad_output: Array,
    output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    batch_statistics: bool,
    needs_shortcut: bool,
) -> tuple[Array, Array, Array, Array | None]:
    """Return dx, dweight, dbias and dshortcut as ``functional.batch_norm_relu_backward``, whose checks have passed."""
    dshortcut = _blank(x) if needs_shortcut else None
    return *_backward(grad_output, output, dshortcut, x, mean, var, weight, eps, batch_statistics), dshortcut


def _forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    shortcut: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
    *,
    rectified: bool,
) -> tuple[Array, Array, Array]:
    """Normalise, add the shortcut if there is one, and rectify if asked to."""
    y = _blank(x)
    batch_statistics = mean is None or var is None
    if mean is None or var is None:
        used_mean, used_var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)  # filled block by block
        near_zero = False
    else:
        used_mean, used_var = mean, var
        near_zero = _is_near_zero(mean, var)
    source, result, added = _rows(x), _rows(y), _rows(shortcut)  # (C, P) each

    def normalise(block: slice) -> None:
        values, out = source[block], result[block]  # (c, P)
        with np.errstate(over="ignore", invalid="ignore"):  # functional/batchnorm.py finds the overflow in the variance
            if batch_statistics:
                values, offset, used_mean[block], used_var[block] = _statistics(values, out)
            else:
                values, offset = _centred(values, used_mean[block], near_zero, False, out)
            scale = 1 / np.sqrt(used_var[block] + eps)  # (c,)
            if weight is not None:
                scale *= weight[block]
            shift = offset * scale  # (c,)
        if bias is not None:
            shift -= bias[block]
        np.multiply(values, scale[:, None], out=out)
        if added is not None:
            out += added[block]
        out -= shift[:, None]
        if rectified:
            rectify(out, out)

    with _blas_threads_for(source):
        for_each_block(normalise, x, x.shape[1])
    return y, used_mean, used_var


def _backward(
    grad_output: Array,
    output: Array | None,
    dshortcut: Array | None,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    batch_statistics: bool,
) -> tuple[Array, Array, Array]:
    """Gradients of input, weight and bias.

    Given the rectified `output`, the upstream gradient passes the rectifier first; `dshortcut`, unless None, is filled
    with what comes out of it.
    """
    dx, dweight, dbias = _blank(x), np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    source, upstream, result = _rows(x), _rows(grad_output), _rows(dx)  # (C, P) each
    rectified, shortcut_result = _rows(output), _rows(dshortcut)
    count, near_zero = source.shape[1], _is_near_zero(mean, var)
    inverse = 1 / np.sqrt(var + eps)  # (C,)
    scale = inverse if weight is None else inverse * weight  # (C,)

    def send_back(block: slice) -> None:
        values, grad, out = source[block], upstream[block], result[block]  # (c, P)
        if rectified is not None:
            if shortcut_result is None:
                (masked_grad,) = block_scratch(x.dtype, values.shape)
            else:
                masked_grad = shortcut_result[block]
            mask_by_output(grad, rectified[block], out=masked_grad)
            grad = masked_grad
        values, offset = _centred(values, mean[block], near_zero, batch_statistics, out)
        mean_grad = _mean(grad)  # (c,)
        dbias[block] = mean_grad * count
        dweight[block] = (np.vecdot(grad, values) - offset * dbias[block]) * inverse[block]
        if batch_statistics:
            slope = -inverse[block] * dweight[block] / count  # (c,)
            np.multiply(values, slope[:, None], out=out)
            out += grad
            out -= (mean_grad + offset * slope)[:, None]  # grad − means of grad and of x̂·grad
            grad = out
        np.multiply(grad, scale[block, None], out=out)

    with _blas_threads_for(source):
        for_each_block(send_back, x, x.shape[1])
    return dx, dweight, dbias


def _blas_threads_for(rows: Array) -> contextlib.AbstractContextManager[None]:
    """Keep BLAS at one thread where its sums of rows (C, P) would take more."""
    return single_threaded_blas() if rows.shape[1] > thresholds.BLAS_SINGLE_THREAD_SUM else contextlib.nullcontext()


def _blank(x: Array) -> Array:
    """Return an array like x (N, C, ...), with the channels outermost in memory."""
    if x.ndim == 4:
        return empty_images(x.shape, x.dtype)
    return aligned_empty((x.shape[1], x.shape[0], *x.shape[2:]), x.dtype).swapaxes(0, 1)


def _rows(images: Any) -> Any:
    """Return images (N, C, ...) as (C, P): a view if the channels are outermost in memory; None stays None."""
    if images is None:
        return None
    return channel_rows(images) if images.ndim == 4 else images.swapaxes(0, 1).reshape(images.shape[1], -1)


def _statistics(values: Array, scratch: Array) -> tuple[Array, Array, Array, Array]:
    """Return the values (c, P), their mean, and mean and variance of the input, (c,) each.

    Far from zero the returned values lie in `scratch` and are centred: the input less a first estimate of its mean.
    """
    mean, var = _moments(values)
    if _is_near_zero(mean, var):
        return values, mean, mean, var
    values = np.subtract(values, mean[:, None], out=scratch)
    offset, var = _moments(values)  # (c,): the rounding error of the first estimate
    return values, offset, mean + offset, var


def _centred(values: Array, mean: Array, near_zero: bool, needs_mean: bool, scratch: Array) -> tuple[Array, Array]:
    """Return values (c, P), in `scratch` less `mean` unless that is near zero, and the mean of what is returned.

    Unless it `needs_mean`, the mean of centred values is taken to be 0.
    """
    if near_zero:
        return values, mean
    values = np.subtract(values, mean[:, None], out=scratch)
    return values, _mean(values) if needs_mean else np.zeros_like(mean)


def _is_near_zero(mean: Array, var: Array) -> bool:
    """Whether no channel needs centring; false where the squares overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        bound = thresholds.CENTRING_RATIO * var  # (c,)
        return bool(((mean * mean <= bound) & (bound < np.inf)).all())


def _moments(values: Array) -> tuple[Array, Array]:
    """Return mean and variance of each channel of (c, P), accurate near zero."""
    mean = _mean(values)  # (c,)
    return mean, np.vecdot(values, values) / values.shape[1] - mean * mean


def _mean(values: Array) -> Array:
    """Return the mean of each channel of (c, P); BLAS sums faster than NumPy."""
    return np.vecdot(values, np.ones(values.shape[1], values.dtype)) / values.shape[1]  # (c,)
