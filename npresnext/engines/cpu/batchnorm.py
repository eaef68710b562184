"""Batch norm on NumPy arrays, with the addition and the rectifier that follow it in a network, block by block.

Step by step, each of these would read and write whole arrays from and to memory. Here a thread takes some channels
at a time (blocks.py), computes everything for them in the cache, and writes each result once.

Values are centred only where they need it, since that is one more pass over them. Where the mean is small compared to
the standard deviation, ``Σx² − (Σx)²/count`` and ``x·scale + shift`` lose no accuracy (thresholds.CENTRING_RATIO).

Short vectors, one value for each channel, are computed for all channels before the blocks where that is possible:
inside a block, many short NumPy calls would make the other threads wait for the interpreter's lock.
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from . import thresholds
from .blocks import block_scratch, for_each_block
from .elementwise import mask_by_output, rectify
from .layout import map_views


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
    dshortcut = np.empty_like(x) if needs_shortcut else None
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
    y = np.empty_like(x)
    batch_statistics = mean is None or var is None
    if mean is None or var is None:
        used_mean, used_var = np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)  # filled block by block
        near_zero = False
    else:
        used_mean, used_var = mean, var
        near_zero = _is_near_zero(mean, var)
    source, result, added = map_views(x, y, shortcut)  # (n, C, p) each

    def normalise(block: slice) -> None:
        values = source[:, block]  # (N, c, P)
        (scratch,) = block_scratch(x.dtype, values.shape)
        with np.errstate(over="ignore", invalid="ignore"):  # functional/batchnorm.py finds the overflow in the variance
            if batch_statistics:
                values, offset, used_mean[block], used_var[block] = _statistics(values, scratch)
            else:
                values, offset = _centred(values, used_mean[block], near_zero, False, scratch)
            scale = 1 / np.sqrt(used_var[block] + eps)  # (c,)
            if weight is not None:
                scale *= weight[block]
            shift = -offset * scale  # (c,)
        if bias is not None:
            shift += bias[block]
        np.multiply(values, _repeated(scale, values), out=scratch)
        if added is not None:
            scratch += added[:, block]
        if rectified:
            scratch += _repeated(shift, values)
            rectify(scratch, result[:, block])
        else:
            np.add(scratch, _repeated(shift, values), out=result[:, block])

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
    dx, dweight, dbias = np.empty_like(x), np.empty(x.shape[1], x.dtype), np.empty(x.shape[1], x.dtype)
    source, upstream, result, rectified, shortcut_result = map_views(x, grad_output, dx, output, dshortcut)  # (n, C, p)
    count, near_zero = source.shape[0] * source.shape[2], _is_near_zero(mean, var)
    inverse = 1 / np.sqrt(var + eps)  # (C,)
    scale = inverse if weight is None else inverse * weight  # (C,)

    def send_back(block: slice) -> None:
        values, grad = source[:, block], upstream[:, block]  # (N, c, P)
        scratch, masked_grad = block_scratch(x.dtype, values.shape, values.shape)
        if rectified is not None:
            if shortcut_result is not None:
                masked_grad = shortcut_result[:, block]
            mask_by_output(grad, rectified[:, block], scratch, out=masked_grad)
            grad = masked_grad
        values, offset = _centred(values, mean[block], near_zero, batch_statistics, scratch)
        mean_grad = _mean(grad)  # (c,)
        dbias[block] = mean_grad * count
        dweight[block] = (_dot(grad, values) - offset * dbias[block]) * inverse[block]
        if batch_statistics:
            slope = -inverse[block] * dweight[block] / count  # (c,)
            np.multiply(values, _repeated(slope, values), out=scratch)
            scratch += grad
            scratch -= _repeated(mean_grad + offset * slope, values)  # grad − means of grad and of x̂·grad
            grad = scratch
        np.multiply(grad, _repeated(scale[block], values), out=result[:, block])

    for_each_block(send_back, x, x.shape[1])
    return dx, dweight, dbias


def _statistics(values: Array, scratch: Array) -> tuple[Array, Array, Array, Array]:
    """Return the values (N, c, P), their mean, and mean and variance of the input, (c,) each.

    Far from zero the returned values lie in `scratch` and are centred: the input less a first estimate of its mean.
    """
    mean, var = _moments(values)
    if _is_near_zero(mean, var):
        return values, mean, mean, var
    values = np.subtract(values, _repeated(mean, values), out=scratch)
    offset, var = _moments(values)  # (c,): the rounding error of the first estimate
    return values, offset, mean + offset, var


def _centred(values: Array, mean: Array, near_zero: bool, needs_mean: bool, scratch: Array) -> tuple[Array, Array]:
    """Return values (N, c, P), in `scratch` less `mean` unless that is near zero, and the mean of what is returned.

    Unless it `needs_mean`, the mean of centred values is taken to be 0.
    """
    if near_zero:
        return values, mean
    values = np.subtract(values, _repeated(mean, values), out=scratch)
    return values, _mean(values) if needs_mean else np.zeros_like(mean)


def _is_near_zero(mean: Array, var: Array) -> bool:
    """Whether no channel needs centring; false where the squares overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        bound = thresholds.CENTRING_RATIO * var  # (c,)
        return bool(((mean * mean <= bound) & (bound < np.inf)).all())


def _moments(values: Array) -> tuple[Array, Array]:
    """Return mean and variance of each channel of (N, c, P), accurate near zero."""
    mean = _mean(values)  # (c,)
    return mean, _dot(values, values) / (values.shape[0] * values.shape[2]) - mean * mean


def _mean(values: Array) -> Array:
    """Return the mean of each channel of (N, c, P)."""
    return _dot(values, np.ones(values.shape[-1], values.dtype)) / (values.shape[0] * values.shape[2])


def _dot(a: Array, b: Array) -> Array:
    """Sum the products of two arrays (N, c, P) over images and positions; BLAS sums faster than NumPy."""
    return np.vecdot(a, b).sum(axis=0)  # (c,)


def _repeated(vector: Array, values: Array) -> Array:
    """Return (c,) in a shape that combines with values (n, c, p).

    Where the values are several maps, it is repeated as maps (c, p): NumPy loops over a column (c, 1) far more slowly,
    unless the rows are long, as they are where the channels are outermost (n = 1).
    """
    if values.shape[0] == 1:
        return vector[:, None]  # (c, 1)
    maps = np.empty(values.shape[1:], vector.dtype)
    maps[...] = vector[:, None]
    return maps
