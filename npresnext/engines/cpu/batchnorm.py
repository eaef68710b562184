"""Batch norm on NumPy arrays, with the addition and the rectifier that follow it in a network, block by block.

Step by step, each of these would read and write whole arrays from and to memory. Here a thread takes some channels
at a time (blocks.py), does everything to them in the cache, and writes each result once.

Centring the values first costs a sweep over them, and is needed only by data far from zero: where the mean is small
against the spread, ``Σx² − (Σx)²/count`` and ``x·scale + shift`` lose no accuracy.

What is short is computed for all channels beforehand where it can be: in a block it would hold the other threads up.
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from .blocks import in_blocks, room
from .elementwise import gate

FAR = 16.0  # times the variance: a squared mean beyond that costs more than two digits unless values are centred


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and var as ``functional.batch_norm``, whose checks have passed."""
    return _forward(x, weight, bias, None, mean, var, eps, False)


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
    return _forward(x, weight, bias, shortcut, mean, var, eps, True)


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
    dshortcut = np.empty(x.shape, x.dtype) if needs_shortcut else None
    return *_backward(grad_output, output, dshortcut, x, mean, var, weight, eps, batch_statistics), dshortcut


def _forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    shortcut: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
    rectify: bool,
) -> tuple[Array, Array, Array]:
    """Normalise, add the shortcut if there is one, and rectify if asked to."""
    y = np.empty(x.shape, x.dtype)
    of_batch = mean is None
    used_mean, used_var = (np.empty(x.shape[1], x.dtype) if given is None else given for given in (mean, var))
    near_zero = not of_batch and _is_near_zero(used_mean, used_var)
    source, target = _rows(x), _rows(y)  # (N, C, P)
    other = None if shortcut is None else _rows(shortcut)

    def piece(block: slice) -> None:
        values = source[:, block]  # (N, c, P)
        (work,) = room(x.dtype, values.shape)
        if of_batch:
            values, offset, used_mean[block], used_var[block] = _statistics(values, work)
        else:
            values, offset = _centred(values, used_mean[block], near_zero, False, work)
        scale = 1 / np.sqrt(used_var[block] + eps)  # (c,)
        if weight is not None:
            scale *= weight[block]
        shift = -offset * scale  # (c,)
        if bias is not None:
            shift += bias[block]
        result = target[:, block]
        np.multiply(values, _maps(scale, values), out=work)
        if other is not None:
            work += other[:, block]
        if rectify:
            work += _maps(shift, values)
            np.clip(work, 0, np.inf, out=result)
        else:
            np.add(work, _maps(shift, values), out=result)

    in_blocks(piece, x, x.shape[1])
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
    """Gradients of input, weight and bias; given the rectified `output`, fill `dshortcut` unless it is None."""
    dx, dweight, dbias = (np.empty(shape, x.dtype) for shape in (x.shape, x.shape[1:2], x.shape[1:2]))
    source, upstream, target = _rows(x), _rows(grad_output), _rows(dx)  # (N, C, P)
    outputs = None if output is None else _rows(output)
    branch = None if dshortcut is None else _rows(dshortcut)
    count, near_zero = source.shape[0] * source.shape[2], _is_near_zero(mean, var)
    inverse = 1 / np.sqrt(var + eps)  # (C,)
    scale = inverse if weight is None else inverse * weight  # (C,)

    def piece(block: slice) -> None:
        values, grad = source[:, block], upstream[:, block]  # (N, c, P)
        work, gated = room(x.dtype, values.shape, values.shape)
        if outputs is not None:
            gated = gated if branch is None else branch[:, block]
            gate(grad, outputs[:, block], work, gated)
            grad = gated
        values, offset = _centred(values, mean[block], near_zero, batch_statistics, work)
        mean_grad = _mean(grad)  # (c,)
        dbias[block] = mean_grad * count
        dweight[block] = (_dot(grad, values) - offset * dbias[block]) * inverse[block]
        if batch_statistics:
            slope = -inverse[block] * dweight[block] / count  # (c,)
            np.multiply(values, _maps(slope, values), out=work)
            work += grad
            work -= _maps(mean_grad + offset * slope, values)  # grad − means of grad and of x̂·grad
            grad = work
        np.multiply(grad, _maps(scale[block], values), out=target[:, block])

    in_blocks(piece, x, x.shape[1])
    return dx, dweight, dbias


def _statistics(values: Array, work: Array) -> tuple[Array, Array, Array, Array]:
    """Return values (N, c, P), in `work` less a first mean if far from zero; their mean; mean and variance of x."""
    mean, var = _moments(values)
    if _is_near_zero(mean, var):
        return values, mean, mean, var
    values = np.subtract(values, _maps(mean, values), out=work)
    offset, var = _moments(values)  # (c,): how far rounding moved the mean
    return values, offset, mean + offset, var


def _centred(values: Array, mean: Array, near_zero: bool, of_batch: bool, work: Array) -> tuple[Array, Array]:
    """Return values (N, c, P), in `work` less `mean` unless that is near zero, and the mean of what is returned."""
    if near_zero:
        return values, mean
    values = np.subtract(values, _maps(mean, values), out=work)
    return values, _mean(values) if of_batch else np.zeros_like(mean)


def _is_near_zero(mean: Array, var: Array) -> bool:
    """Whether no channel needs centring; false where the squares overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((mean * mean <= FAR * var).all())


def _moments(values: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel of (N, c, P), accurate near zero."""
    mean = _mean(values)  # (c,)
    with np.errstate(over="ignore", invalid="ignore"):
        return mean, _dot(values, values) / (values.shape[0] * values.shape[2]) - mean * mean


def _mean(values: Array) -> Array:
    """Mean of each channel of (N, c, P)."""
    return _dot(values, np.ones(values.shape[-1], values.dtype)) / (values.shape[0] * values.shape[2])


def _dot(a: Array, b: Array) -> Array:
    """Sum the products of two arrays (N, c, P) over images and positions; BLAS sums faster than NumPy."""
    return np.vecdot(a, b).sum(axis=0)  # (c,)


def _maps(vector: Array, values: Array) -> Array:
    """Repeat (c,) as maps (c, P), to go over values (N, c, P): NumPy's loops take a column far more slowly."""
    maps = np.empty(values.shape[1:], vector.dtype)
    maps[...] = vector[:, None]
    return maps


def _rows(array: Array) -> Array:
    """View (N, C, ...) as (N, C, P)."""
    return array.reshape(*array.shape[:2], -1)
