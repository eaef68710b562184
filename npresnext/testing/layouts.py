"""Memory layouts: ways in which the same values can lie in memory, each as a function and as text for a reproduction.

A layout is written twice, as a function that the kit calls and as the same expression in text. The tests of the
reproductions run the text in every layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array


class MemoryLayout(NamedTuple):
    """How a contiguous array (N, C, H, W) is copied into a memory layout."""

    arrange: Callable[[Array], Array]
    expression: str  # the same in Python, of an ``{array}`` with this ``{shape}``


def contiguous(array: Array) -> Array:
    """Return the array as it is: row after row."""
    return array


def transposed(array: Array) -> Array:
    """Lay the channels out last in memory, as NHWC; the shape stays (N, C, H, W)."""
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)  # (N, C, H, W)


def sliced(array: Array) -> Array:
    """Take every second column out of a larger array, with NaN around and between the values."""
    larger = np.pad(array.repeat(2, -1), 1, constant_values=np.nan)  # (N + 2, C + 2, H + 2, 2W + 2)
    return larger[1:-1, 1:-1, 1:-1, 1:-1:2]  # (N, C, H, W)


def flipped(array: Array) -> Array:
    """Lay rows and columns out backwards: the strides of H and W are negative."""
    return np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]


def broadcast(array: Array) -> Array:
    """Repeat the first image and the first column with a stride of 0; this one changes the values."""
    return np.broadcast_to(array[:1, :, :, :1], array.shape)


LAYOUTS = {
    "contiguous": MemoryLayout(contiguous, "{array}"),
    "transposed": MemoryLayout(transposed, "np.moveaxis(np.moveaxis({array}, 1, -1).copy(), -1, 1)"),
    "sliced": MemoryLayout(
        sliced, "np.pad({array}.repeat(2, -1), 1, constant_values=np.nan)[1:-1, 1:-1, 1:-1, 1:-1:2]"
    ),
    "reversed": MemoryLayout(flipped, "np.ascontiguousarray({array}[..., ::-1, ::-1])[..., ::-1, ::-1]"),
    "broadcast": MemoryLayout(broadcast, "np.broadcast_to({array}[:1, :, :, :1], {shape})"),
}
ALL_CONTIGUOUS = ("contiguous", "contiguous", "contiguous")  # x, weight and bias, grad_output
