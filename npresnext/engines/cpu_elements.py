"""What works element by element on NumPy arrays, block by block (cpu_blocks.py), without temporary arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .cpu_blocks import in_blocks, room

Array = np.ndarray[Any, Any]

ROW = 128    # values from which on a loop over a row pays


def takes(x: Any) -> bool:
    """Whether `x` can be cut into runs of memory, and integers of its size exist."""
    return type(x) is np.ndarray and x.dtype.char in "fd" and x.flags.c_contiguous


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
        (closed,) = room(np.dtype(bool), y[block].shape)
        gate(grad[block], y[block], closed, target[block])

    in_blocks(piece, dx, dx.size)
    return dx


def add(x: Array, y: Array) -> Array:
    """Return x + y."""
    return _add(np.empty_like(x), x, y)


def add_(x: Array, y: Array) -> Array:
    """Overwrite x with x + y."""
    return _add(x, x, y)


def gate(grad: Array, output: Array, closed: Array, target: Array) -> None:
    """Write into `target` the values of `grad` where `output` is above 0 or NaN, and 0 elsewhere."""
    np.less_equal(output, 0, out=closed)
    np.logical_not(closed, out=closed)
    integer = f"u{grad.itemsize}"    # 0 or 1 times the bits: exact, even for infinity and NaN
    np.multiply(grad.view(integer), closed, out=target.view(integer))


def _rectify(target: Array, x: Array, shortcut: Array | None) -> Array:
    """Write max(x + shortcut, 0) into `target`."""
    length = _row_length(x.shape)
    rows, results = (array.reshape(-1, length) for array in (x, target))
    others = None if shortcut is None else shortcut.reshape(-1, length)
    zeros = np.zeros(length, x.dtype)    # np.maximum has no fast loop for a single number

    def piece(block: slice) -> None:
        values = rows[block]
        if others is not None:
            values = np.add(values, others[block], out=results[block])
        np.maximum(values, zeros, out=results[block])

    in_blocks(piece, x, len(rows))
    return target


def _add(target: Array, x: Array, y: Array) -> Array:
    """Write x + y into `target`."""
    a, b, result = (array.reshape(-1) for array in (x, y, target))

    def piece(block: slice) -> None:
        np.add(a[block], b[block], out=result[block])

    in_blocks(piece, x, x.size)
    return target


def _row_length(shape: tuple[int, ...]) -> int:
    """How many values, a whole number of trailing axes, to take as a row."""
    lengths = [math.prod(shape[axis:]) for axis in range(len(shape), -1, -1)]
    return next((length for length in lengths if length >= ROW), max(lengths[-1], 1))
