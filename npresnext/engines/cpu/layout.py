"""Channels outermost: the memory order in which the engine writes images.

An array of images has the shape (N, C, H, W), whatever its memory. The engine orders the memory (C, H, N, W):

    all values of one channel are contiguous        batch norm sums long rows; a 1x1 convolution is one matmul
    row h of all images is contiguous               a row of results is one matrix, which the matmul writes in place

An array in any other order is taken as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .workspace import aligned_empty


def empty_images(shape: Sequence[int], dtype: np.dtype) -> Array:
    """Return an undefined array of shape (N, C, H, W) in the engine's order."""
    N, C, H, W = shape
    return aligned_empty((C, H, N, W), dtype).transpose(2, 0, 1, 3)


def has_channels_outermost(images: Array) -> bool:
    """Return whether an array has the shape (N, C, H, W) and the engine's order."""
    return images.ndim == 4 and images.transpose(1, 2, 0, 3).flags.c_contiguous


def channel_rows(images: Array) -> Array:
    """Return images (N, C, H, W) as (C, H·N·W), a view if they have the engine's order; (N, C, ...) as (C, P)."""
    if images.ndim != 4:
        return images.swapaxes(0, 1).reshape(images.shape[1], -1)  # (C, P)
    return images.transpose(1, 2, 0, 3).reshape(images.shape[1], -1)  # (C, H·N·W)


def share_an_order(*arrays: Array) -> bool:
    """Return whether arrays of one shape are contiguous, all in the usual order or all in the engine's."""
    return all(array.flags.c_contiguous for array in arrays) or all(map(has_channels_outermost, arrays))


def flat_views(*arrays: Any) -> list[Any]:
    """View arrays of one shape that share an order as (size,) each, in that order; None stays None."""
    usual = all(array is None or array.flags.c_contiguous for array in arrays)
    return [
        None if array is None else (array if usual else array.transpose(1, 2, 0, 3)).reshape(-1)  # (size,)
        for array in arrays
    ]
