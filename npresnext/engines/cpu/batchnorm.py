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

import numpy as np

from ..._support.typing import NumPyArray as Array
from . import thresholds
from .blas import single_threaded_blas
from .blocks import block_scratch, for_each_block
from .elementwise import mask_by_output
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


def running_statistics_(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
) -> None:
    """Overwrite the running statistics with what ``functional.running_statistics`` returns."""
    for running, batch in ((running_mean, mean * momentum), (running_var, var * (count / (count - 1)) * momentum)):
        running *= 1 - momentum
        running += batch


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
    statistics = np.empty((2, x.shape[1]), x.dtype) if mean is None or var is None else (mean, var)
    source, result = channel_rows(x), channel_rows(y)  # (C, P) each
    added = None if shortcut is None else channel_rows(shortcut)
    zeros = np.zeros(source.shape[1], x.dtype)  # np.maximum with a single number takes twice as long
    ones = np.ones(source.shape[1], x.dtype)  # (P,)

    def normalise(block: slice) -> None:
        values, out = source[block], result[block]  # (c, P)
        mean, var = statistics[0][block], statistics[1][block]  # (c,): of the batch, they are filled here
        with np.errstate(over="ignore", invalid="ignore"):  # functional/batchnorm.py finds the overflow in the variance
            if batch_statistics:
                values, offset = _batch_statistics(values, ones, mean, var, out)
            deviation = np.sqrt(var + eps)  # (c,)
            if not batch_statistics:
                values, offset = _centred(values, None, mean, _is_near_zero(mean, deviation), out)
            scale = (1 if weight is None else weight[block]) / deviation  # (c,)
            shift = offset * scale  # (c,)
        if bias is not None:
            shift -= bias[block]
        np.multiply(values, scale[:, None], out=out)
        if added is not None:
            out += added[block]
        out -= shift[:, None]
        if rectified:
            np.maximum(out, zeros, out=out)

    with _blas_threads_for(source):
        for_each_block(normalise, x, x.shape[1])
    return y, statistics[0], statistics[1]


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
    source, upstream, result = channel_rows(x), channel_rows(grad_output), channel_rows(dx)  # (C, P) each
    rectified = None if output is None else channel_rows(output)
    shortcut_result = None if dshortcut is None else channel_rows(dshortcut)
    count, ones = source.shape[1], np.ones(source.shape[1], x.dtype)  # P, (P,)
    deviation = np.sqrt(var + eps)  # (C,)
    near_zero, inverse = _is_near_zero(mean, deviation), 1 / deviation
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
        values, offset = _centred(values, ones if batch_statistics else None, mean[block], near_zero, out)
        sum_grad = np.vecdot(grad, ones, out=dbias[block])  # (c,)
        sum_product = np.vecdot(grad, values, out=dweight[block])  # (c,)
        sum_product -= offset * sum_grad
        sum_product *= inverse[block]
        if batch_statistics:
            slope = inverse[block] * sum_product  # (c,)
            slope /= count
            np.multiply(values, slope[:, None], out=out)
            np.subtract(grad, out, out=out)
            out -= (sum_grad / count - offset * slope)[:, None]  # grad − means of grad and of x̂·grad
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


def _batch_statistics(values: Array, ones: Array, mean: Array, var: Array, scratch: Array) -> tuple[Array, Array]:
    """Write into `mean` and `var` (c,) those of values (c, P); return values that are near zero, and their mean (c,).

    Far from zero the returned values lie in `scratch` and are centred: the input less a first estimate of its mean.
    """
    _moments(values, ones, mean, var)
    if _is_near_zero(mean, np.sqrt(var)):
        return values, mean
    values = np.subtract(values, mean[:, None], out=scratch)
    offset = np.empty_like(mean)  # (c,): the rounding error of the first estimate
    _moments(values, ones, offset, var)
    mean += offset
    return values, offset


def _centred(values: Array, ones: Array | None, mean: Array, near_zero: bool, scratch: Array) -> tuple[Array, Array]:
    """Return values (c, P), in `scratch` less `mean` unless that is near zero, and the mean of what is returned.

    Without `ones` (P,), the mean of centred values is taken to be 0.
    """
    if near_zero:
        return values, mean
    values = np.subtract(values, mean[:, None], out=scratch)
    return values, np.zeros_like(mean) if ones is None else _mean(values, ones)


def _is_near_zero(mean: Array, deviation: Array) -> bool:
    """Whether no channel needs centring; a deviation that is NaN counts as too small."""
    return bool((np.abs(mean) <= thresholds.CENTRING_RATIO * deviation).all())


def _moments(values: Array, ones: Array, mean: Array, var: Array) -> None:
    """Write mean and variance of each channel of values (c, P) into `mean` and `var` (c,); accurate near zero."""
    _mean(values, ones, mean)
    np.vecdot(values, values, out=var)
    var /= values.shape[1]
    var -= mean * mean


def _mean(values: Array, ones: Array, mean: Array | None = None) -> Array:
    """Return the mean (c,) of each channel of (c, P), in `mean` if given; BLAS sums, by `ones`, faster than NumPy."""
    sums = np.vecdot(values, ones, out=mean)  # (c,)
    sums /= values.shape[1]
    return sums
