"""Laying out the copies of a tile: the only step of a convolution that moves data without computing.

Rows outside the image, and columns outside it, become zeros; no padded image is ever made.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .plan import Pass
from .tiles import Tile

_PAIRS = sys.byteorder == "little"  # the first of two numbers is the low half of one twice as long


@dataclass(frozen=True)
class Move:
    """Pixels of the source planes, and where they go."""

    target: Array  # (n, g, c, rows, columns), a view of the copies
    rows: slice
    first: int  # column, and every `step`-th from there
    step: int


def moves(copies: Array, plan: Pass, tile: Tile, plane: tuple[int, int]) -> list[Move]:
    """List what fills ``copies (n, g, c, stack, column, rows, columns)`` from source planes of a size."""
    found = []
    rows = tile.rows.stop - tile.rows.start
    for stack, blocks in enumerate(plan.stacks):
        start = 0
        for block in blocks:
            target = copies[:, :, :, stack, :, start : start + rows + block.extra]  # (n, g, c, column, r, q)
            start += rows + block.extra
            inside, pixels = _inside(
                block.first + tile.rows.start * plan.row_step, plan.row_step, target.shape[-2], plane[0]
            )
            for column, offset in enumerate(plan.offsets):
                across, columns = _inside(
                    offset + tile.columns.start * plan.column_step, plan.column_step, target.shape[-1], plane[1]
                )
                part = target[:, :, :, column, inside, across]
                if part.size:
                    found.append(Move(part, pixels, columns.start, plan.column_step))
    return found


def carry_out(found: list[Move], source: Array) -> None:
    """Copy from ``source (n, g, c, H, W)`` to the targets."""
    for move in found:
        target, rows = move.target, source[..., move.rows, :]
        count = target.shape[-1]
        if move.step == 2 and _PAIRS and target.itemsize == 4 and rows.strides[-1] == 4 and target.strides[-1] == 4:
            _copy_firsts_of_pairs(target, rows[..., move.first :])
        else:
            copy_rows(target, rows[..., move.first : move.first + (count - 1) * move.step + 1 : move.step])


def _copy_firsts_of_pairs(target: Array, rows: Array) -> None:
    """Copy every other of 32-bit numbers: two of them are one of 64 bits, and to cut that to 32 keeps the first."""
    pairs = min(target.shape[-1], rows.shape[-1] // 2)
    np.copyto(target[..., :pairs].view(np.uint32), rows[..., : 2 * pairs].view(np.uint64), casting="unsafe")
    target[..., pairs:] = rows[..., 2 * pairs : 2 * target.shape[-1] : 2]


def copy_rows(target: Array, source: Array) -> None:
    """Copy an array; where its rows are runs of memory, a whole row is one element, which halves the time."""
    width = target.shape[-1] * target.itemsize
    if target.dtype == source.dtype and target.strides[-1] == source.strides[-1] == target.itemsize < width:
        target, source = target.view(_row(width)), source.view(_row(width))
    target[...] = source


@functools.cache
def _row(width: int) -> np.dtype[Any]:
    """Return the dtype of a row of `width` bytes, made once: NumPy loses a Ctrl-C that comes while it makes one."""
    return np.dtype((np.void, width))


def images_first(array: Array) -> Array:
    """View what holds its images side by side, (g, …, rows, n, columns), as (n, g, …, rows, columns)."""
    return np.moveaxis(array, -2, 0)


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Return which r of 0 … count−1 have ``0 <= first + r·step < size``, and the pixels ``first + r·step`` of those."""
    low = min(max(0, -(first // step)), count)
    high = max(low, min(count, (size - 1 - first) // step + 1))
    return slice(low, high), slice(first + low * step, max(0, first + (high - 1) * step + 1), step)
