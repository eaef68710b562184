"""What works element by element on NumPy arrays, block by block (blocks.py), without temporary arrays."""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from .blocks import in_blocks, room


def relu(x: Array) -> Array:
    """Return max(x, 0)."""
    return _rectify(np.empty_like(x), x, None)


def relu_(x: Array, shortcut: Array | None) -> Array:
    """Overwrite x with max(x + shortcut, 0)."""
    return _rectify(x, x, shortcut)


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Return the gradient where the output is above 0 or NaN, and 0 elsewhere."""
    dx = np.empty(output.shape, output.dtype)
    grad, y, target = (array.reshape(-1) for array in (grad_output, output, dx))

    def piece(block: slice) -> None:
        (work,) = room(y.dtype, y[block].shape)
        gate(grad[block], y[block], work, target[block])

    in_blocks(piece, dx, dx.size)
    return dx


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return _add(np.empty_like(x), x, y)


def add_(x: Array, y: Array) -> Array:
    """Overwrite x with x + y."""
    return _add(x, x, y)


def gate(grad: Array, output: Array, work: Array, target: Array) -> None:
    """Write into `target` the values of `grad` where `output` is above 0 or NaN, and 0 elsewhere; uses up `work`."""
    integer = f"u{grad.itemsize}"
    is_open = work.view(integer)
    closed = output <= 0
    is_open[...] = np.logical_not(closed, out=closed)
    np.multiply(grad.view(integer), is_open, out=target.view(integer))  # 0 or 1 times the bits: exact, even for NaN


def rectify(values: Array, target: Array) -> None:
    """Write max(values, 0) into `target`; np.maximum takes three times as long with a single number."""
    np.clip(values, 0, np.inf, out=target)


def _rectify(target: Array, x: Array, shortcut: Array | None) -> Array:
    """Write max(x + shortcut, 0) into `target`."""
    values, result = x.reshape(-1), target.reshape(-1)
    other = None if shortcut is None else shortcut.reshape(-1)

    def piece(block: slice) -> None:
        part, out = values[block], result[block]
        if other is not None:
            part = np.add(part, other[block], out=out)
        rectify(part, out)

    in_blocks(piece, x, x.size)
    return target


def _add(target: Array, x: Array, y: Array) -> Array:
    """Write x + y into `target`."""
    a, b, result = (array.reshape(-1) for array in (x, y, target))

    def piece(block: slice) -> None:
        np.add(a[block], b[block], out=result[block])

    in_blocks(piece, x, x.size)
    return target
