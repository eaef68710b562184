"""Channels outermost: the memory order in which the engine writes images.

An array of images has the shape (N, C, H, W), whatever its memory. The engine orders the memory (C, N, H, W), so that
all values of one channel are one contiguous row. Then a 1x1 convolution of the whole batch is one matmul, a group of a
convolution is one matmul over all images, and batch norm sums long rows. An array in the usual order is taken as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array


def empty_images(shape: Sequence[int], dtype: np.dtype) -> Array:
    """Return an undefined array of shape (N, C, ...) whose channels are outermost in memory."""
    N, C, *size = shape
    return np.empty((C, N, *size), dtype).swapaxes(0, 1)


def has_channels_outermost(images: Array) -> bool:
    """Return whether all values of each channel of images (N, C, ...) are contiguous."""
    return images.ndim >= 2 and images.swapaxes(0, 1).flags.c_contiguous


def channel_rows(images: Array) -> Array:
    """View images (N, C, ...) whose channels are outermost as (C, N·P)."""
    return images.swapaxes(0, 1).reshape(images.shape[1], -1)  # (C, N·P)


def share_an_order(*arrays: Array) -> bool:
    """Return whether arrays of one shape are contiguous, all in the usual order or all with channels outermost."""
    return all(array.flags.c_contiguous for array in arrays) or all(map(has_channels_outermost, arrays))


def flat_views(*arrays: Any) -> list[Any]:
    """View arrays of one shape that share an order as (size,) each, in that order; None stays None."""
    usual = all(array is None or array.flags.c_contiguous for array in arrays)
    return [
        None if array is None else (array if usual else array.swapaxes(0, 1)).reshape(-1)  # (size,)
        for array in arrays
    ]


def map_views(*arrays: Any) -> list[Any]:
    """View arrays of one shape (N, C, ...) as (n, C, p): n = 1 and p = N·P if the channels of all are outermost."""
    present = [array for array in arrays if array is not None]
    if all(has_channels_outermost(array) for array in present):
        return [None if array is None else channel_rows(array)[None] for array in arrays]  # (1, C, N·P)
    return [None if array is None else array.reshape(*array.shape[:2], -1) for array in arrays]  # (N, C, P)
