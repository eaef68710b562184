"""Pooling: the maximum or the average of each window, and the average of a whole map."""

from __future__ import annotations

import math
from typing import Any

from .._support.arguments import Pair
from .._support.typing import Array
from ..backend import array_module, widen
from ..geometry import WindowGeometry


def max_pool2d(x: Array, window: WindowGeometry) -> Array:
    """Take the maximum of each window of x (N, C, H, W). Pixels outside the image count as −∞; NaN wins."""
    xp = array_module(x=x)
    y = xp.full(window.pooled_shape, -math.inf, dtype=x.dtype)  # (N, C, oh, ow)
    for _, _, windows, pixels in window.taps():
        y[:, :, *windows] = xp.maximum(y[:, :, *windows], x[:, :, *pixels])
    return y


def max_pool2d_backward(grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
    """Gradient of the input: each window sends its gradient to the first pixel that holds its maximum.

    A window whose maximum is NaN sends it to its first pixel.
    """
    xp = array_module(x=x)
    grad = widen(xp, grad_output)
    nothing = xp.zeros((), dtype=grad.dtype)
    dx = xp.zeros(x.shape, dtype=grad.dtype)  # (N, C, H, W)
    searching = xp.ones(output.shape, dtype=xp.bool)  # windows whose maximum has not been met yet
    for _, _, windows, pixels in window.taps():
        here = (slice(None), slice(None), *windows)
        found = searching[here] & ~(x[:, :, *pixels] < output[here])
        searching[here] = searching[here] & ~found
        dx[:, :, *pixels] += xp.where(found, grad[here], nothing)
    return xp.astype(dx, x.dtype, copy=False)


def avg_pool2d(x: Array, window: WindowGeometry, counted_padding: Pair) -> Array:
    """Take the average of each window of x (N, C, H, W).

    The sum of a window is divided by the number of its pixels that lie in the image, or at most `counted_padding`
    rows and columns outside it.
    """
    xp = array_module(x=x)
    wide = widen(xp, x)
    y = xp.zeros(window.pooled_shape, dtype=wide.dtype)  # (N, C, oh, ow)
    for _, _, windows, pixels in window.taps():
        y[:, :, *windows] += wide[:, :, *pixels]
    y /= _window_sizes(xp, window, counted_padding, y.dtype)
    return xp.astype(y, x.dtype, copy=False)


def avg_pool2d_backward(grad_output: Array, window: WindowGeometry, counted_padding: Pair) -> Array:
    """Gradient of the input: each window spreads its gradient evenly over its pixels."""
    xp = array_module(grad_output=grad_output)
    wide = widen(xp, grad_output)
    grad = wide / _window_sizes(xp, window, counted_padding, wide.dtype)  # (N, C, oh, ow)
    dx = xp.zeros(window.x_shape, dtype=grad.dtype)  # (N, C, H, W)
    for _, _, windows, pixels in window.taps():
        dx[:, :, *pixels] += grad[:, :, *windows]
    return xp.astype(dx, grad_output.dtype, copy=False)


def global_avg_pool2d(x: Array) -> Array:
    """Take the average of each map: (N, C, H, W) to (N, C, 1, 1)."""
    xp = array_module(x=x)
    N, C, H, W = x.shape
    rows = xp.reshape(widen(xp, x), (N, C, H * W))  # (N, C, H·W)
    y = xp.reshape(xp.sum(rows, axis=2) / (H * W), (N, C, 1, 1))  # (N, C, 1, 1)
    return xp.astype(y, x.dtype, copy=False)


def global_avg_pool2d_backward(grad_output: Array, x_shape: tuple[int, int, int, int]) -> Array:
    """Gradient of the input: each pixel of a map gets ``grad_output / (H·W)``."""
    xp = array_module(grad_output=grad_output)
    share = widen(xp, grad_output) / (x_shape[2] * x_shape[3])  # (N, C, 1, 1); float32, since float16 ends at 65504
    dx = xp.empty(x_shape, dtype=grad_output.dtype)
    dx[...] = xp.astype(share, dx.dtype, copy=False)  # (N, C, H, W)
    return dx


def _window_sizes(xp: Any, window: WindowGeometry, counted_padding: Pair, dtype: Any) -> Array:
    """Return how many pixels of each window count, (oh, ow)."""
    rows = _pixels_counted(xp, window, 0, counted_padding[0])  # (oh,)
    columns = _pixels_counted(xp, window, 1, counted_padding[1])  # (ow,)
    return xp.astype(rows[:, None] * columns[None, :], dtype)  # (oh, ow)


def _pixels_counted(xp: Any, window: WindowGeometry, axis: int, counted: int) -> Array:
    """Return, along one axis, how many pixels of each window lie within `counted` of the image; at least 1."""
    size, count = window.x_shape[2 + axis], window.pooled_shape[2 + axis]
    start = xp.arange(count) * window.stride[axis] - window.padding[axis][0]
    stop = start + window.kernel[axis]
    inside = xp.clip(stop, None, size + counted) - xp.clip(start, -counted, None)
    return xp.clip(inside, 1, None)
