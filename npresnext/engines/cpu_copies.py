"""Laying out the copies of a tile: the only step of a convolution that moves data without computing.

Rows outside the image, and columns outside it, become zeros; no padded image is ever made.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_plan import Pass
from .cpu_tiles import Tile

Array = np.ndarray[Any, Any]


def images_first(array: Array, beside: bool) -> Array:
    """View (n, g, …, rows, columns), or what holds its images side by side (g, …, rows, n, columns), as the former."""
    return array if not beside else np.moveaxis(array, -2, 0)


def lay_out(copies: Array, source: Array, plan: Pass, tile: Tile, blank: bool) -> None:
    """Fill ``copies (n, g, c, stack, column, rows, columns)`` from ``source (N, G, c, H, W)``.

    Unless `blank`, the zeros around the images still stand there from the tile before.
    """
    if blank:
        copies[...] = 0
    source = source[tile.images, tile.groups]                                       # (n, g, c, H, W)
    rows = tile.rows.stop - tile.rows.start
    for stack, blocks in enumerate(plan.stacks):
        start = 0
        for block in blocks:
            target = copies[:, :, :, stack, :, start : start + rows + block.extra]   # (n, g, c, column, r, q)
            start += rows + block.extra
            first = block.first + tile.rows.start * plan.row_step
            inside, pixels = _inside(first, plan.row_step, target.shape[-2], source.shape[-2])
            if inside.start < inside.stop:
                for column, offset in enumerate(plan.offsets):
                    left = offset + tile.columns.start * plan.column_step
                    _copy(target[:, :, :, column, inside], source[..., pixels, :], left, plan.column_step)


def _copy(target: Array, source: Array, first: int, step: int) -> None:
    """Copy columns ``first + q·step`` of the `source` (n, g, c, r, W) to columns q of the `target` (n, g, c, r, q)."""
    inside, pixels = _inside(first, step, target.shape[-1], source.shape[-1])
    if inside.start < inside.stop:
        copy_rows(target[..., inside], source[..., pixels])


def copy_rows(target: Array, source: Array) -> None:
    """Copy an array; where its rows are runs of memory, a whole row is one element, which halves the time."""
    width = target.shape[-1] * target.itemsize
    if target.dtype == source.dtype and target.strides[-1] == source.strides[-1] == target.itemsize < width:
        row = np.dtype((np.void, width))
        target, source = target.view(row), source.view(row)
    target[...] = source


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Return which r of 0 … count−1 have ``0 <= first + r·step < size``, and the pixels ``first + r·step`` of those."""
    low = min(max(0, -(first // step)), count)
    high = max(low, min(count, (size - 1 - first) // step + 1))
    return slice(low, high), slice(first + low * step, max(0, first + (high - 1) * step + 1), step)
