"""Elementwise operations on NumPy arrays, block by block (blocks.py) and without temporary arrays."""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from . import thresholds
from .blocks import for_each_block
from .layout import flat_views

_UNSIGNED = {itemsize: np.dtype(f"u{itemsize}") for itemsize in (2, 4, 8)}  # the integers of so many bytes


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return _add_and_rectify(x, None, np.empty_like(x))


def relu_(x: Array, shortcut: Array | None) -> Array:
    """Overwrite x with max(x + shortcut, 0)."""
    return _add_and_rectify(x, shortcut, x)


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Return the gradient where the output is above 0 or NaN, and 0 elsewhere."""
    dx = np.empty_like(output)
    grad, y, result = flat_views(grad_output, output, dx)

    def work(block: slice) -> None:
        mask_by_output(grad[block], y[block], out=result[block])

    for_each_block(work, dx, dx.size)
    return dx


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return _add(x, y, np.empty_like(x))


def add_(x: Array, y: Array) -> Array:
    """Overwrite x with x + y."""
    return _add(x, y, x)


def mask_bits(values: Array, mask: Array, out: Array | None = None) -> Array:
    """Return the floating `values` where `mask` is 1, and 0 where it is 0, even in place of infinity and NaN.

    The bits of the values are multiplied as integers. That is exact, and several times faster than np.where, which
    mispredicts its way through a random mask.

    Parameters
    ----------
    values : array
        Floats of 2, 4 or 8 bytes.
    mask : array of bool
        Of the same shape.
    out : array, optional
        Where to write the result; it may be `values`.

    Examples
    --------
    >>> mask_bits(np.array([1.5, np.inf, np.nan]), np.array([True, False, True]))
    array([1.5, 0. , nan])
    """
    unsigned = _UNSIGNED[values.itemsize]
    out_bits = None if out is None else out.view(unsigned)
    return np.multiply(values.view(unsigned), mask, out=out_bits).view(values.dtype)


def mask_by_output(grad: Array, output: Array, *, out: Array) -> None:
    """Write into `out` the values of `grad` where `output` is above 0 or NaN, and 0 elsewhere."""
    below = output <= 0
    mask_bits(grad, np.logical_not(below, out=below), out)


def rectify(values: Array, out: Array) -> None:
    """Write max(values, 0) into `out`; np.maximum with a single number takes three times as long."""
    np.clip(values, 0, np.inf, out=out)


def finish_results(results: Array, bias: Array | None, shortcut: Array | None, rectified: bool) -> None:
    """Add the bias and the shortcut to the results of a convolution and rectify them, in place, in the cache.

    Parameters
    ----------
    results : array (C, P)
    bias : array (C, 1) or None
    shortcut : array (C, P) or None
    rectified : bool

    Examples
    --------
    >>> results = np.array([[1.0, -1.0], [1.0, -1.0]])
    >>> finish_results(results, np.array([[0.0], [5.0]]), None, True)
    >>> results
    array([[1., 0.],
           [6., 4.]])
    """
    before = np.setbufsize(thresholds.UFUNC_BUFFER)
    try:
        if bias is not None:
            results += bias
        if shortcut is not None:
            results += shortcut
        if rectified:  # np.maximum with a single number takes twice as long
            np.maximum(results, np.zeros(results.shape[1], results.dtype), out=results)
    finally:
        np.setbufsize(before)


def _add_and_rectify(x: Array, shortcut: Array | None, out: Array) -> Array:
    """Write max(x + shortcut, 0) into `out`."""
    values, added, result = flat_views(x, shortcut, out)

    def work(block: slice) -> None:
        part = values[block]
        if added is not None:
            part = np.add(part, added[block], out=result[block])
        rectify(part, result[block])

    for_each_block(work, x, x.size)
    return out


def _add(x: Array, y: Array, out: Array) -> Array:
    """Write x + y into `out`."""
    a, b, result = flat_views(x, y, out)

    def work(block: slice) -> None:
        np.add(a[block], b[block], out=result[block])

    for_each_block(work, x, x.size)
    return out
