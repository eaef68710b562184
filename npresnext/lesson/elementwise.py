"""The rectifier and the addition of a shortcut: operations on one element at a time.

``xp.asarray(..., dtype=x.dtype)`` keeps what NumPy alone would change: the byte order of x, and arrays of shape ().
"""

from __future__ import annotations

from .._support.typing import Array
from ..backend import array_module


def relu(x: Array) -> Array:
    """Rectify: ``y = max(x, 0)``; NaN stays NaN."""
    xp = array_module(x=x)
    zero = xp.zeros((), dtype=x.dtype)
    return xp.asarray(xp.maximum(x, zero), dtype=x.dtype)


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of the rectifier: ``dx = grad_output`` where the output is positive, else 0.

    The output tells where the input was positive, so the input need not be kept. Where the output is NaN, the gradient
    passes.
    """
    xp = array_module(grad_output=grad_output)
    zero = xp.zeros((), dtype=grad_output.dtype)
    return xp.asarray(xp.where(output <= 0, zero, grad_output), dtype=grad_output.dtype)


def add(x: Array, y: Array) -> Array:
    """Add: ``z = x + y``."""
    xp = array_module(x=x)
    return xp.asarray(x + y, dtype=x.dtype)


def add_backward(grad_output: Array) -> tuple[Array, Array]:
    """Gradients of the addition: ``dx = dy = grad_output``. Both are the same array."""
    return grad_output, grad_output
