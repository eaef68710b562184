"""Max pooling of CUDA arrays, one kernel forward and one backward: maxpool.cu says how."""

from __future__ import annotations

import numpy as np

from ..._support.integers import ceil_div
from ..._support.typing import Array
from ...backend import array_module
from ...geometry import WindowGeometry
from .launch import expression, launch

FILE = "maxpool.cu"
THREADS = 256
POOL = np.dtype(
    [("outside", np.float64), ("values", np.int64)]
    + [
        (name, np.int32)
        for name in """
            height width out_height out_width kernel_rows kernel_columns stride_row stride_column top left dilation_row
       dilation_column""".split()
    ],
    align=True,
)


def max_pool2d(x: Array, window: WindowGeometry) -> Array:
    """Return the maxima of x (N, C, H, W)."""
    xp = array_module(x=x)
    x, y = xp.ascontiguousarray(x), xp.empty(window.pooled_shape, dtype=x.dtype)
    _start("max_pool", y, window, x, y)
    return y


def max_pool2d_backward(grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
    """Return the gradient of x (N, C, H, W)."""
    xp = array_module(x=x)
    grad, x, output = (xp.ascontiguousarray(array) for array in (grad_output, x, output))
    dx = xp.empty(x.shape, dtype=x.dtype)
    _start("max_pool_gradient", dx, window, grad, x, output, dx)
    return dx


def _start(kernel: str, result: Array, window: WindowGeometry, *arrays: Array) -> None:
    plan = np.zeros((), POOL)
    values = (
        -np.inf,
        result.size,
        window.height,
        window.width,
        *window.pooled_shape[2:],
        *window.kernel,
        *window.stride,
        window.padding[0][0],
        window.padding[1][0],
        *window.dilation,
    )
    for name, value in zip(POOL.names or (), values):
        plan[name] = value
    launch(FILE, expression(kernel, result.dtype), ceil_div(result.size, THREADS), (THREADS, 1), (*arrays, plan))
