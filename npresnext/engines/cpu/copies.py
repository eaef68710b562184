"""Laying out the copies of a tile: the only step of a convolution that moves data without computing.

Rows and columns outside the image become zeros; no padded image is ever made.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .plan import GatherPlan
from .tiles import Tile

_LITTLE_ENDIAN = sys.byteorder == "little"  # the first of two numbers is the low half of one twice as long


@dataclass(frozen=True)
class CopyStep:
    """Pixels of the source, and where they are copied to."""

    target: Array  # (n, g, in, rows, columns), a view of the copies
    rows: slice
    first_column: int
    column_step: int


def copy_steps(copies: Array, plan: GatherPlan, tile: Tile, map_shape: tuple[int, int]) -> list[CopyStep]:
    """List what fills ``copies (n, g, in, row stack, column offset, rows, columns)`` from maps of a shape (H, W)."""
    steps = []
    height, width = map_shape
    for stack, blocks in enumerate(plan.row_stacks):
        block_start = 0
        for block in blocks:
            block_end = block_start + tile.shape.rows + block.extra
            target = copies[:, :, :, stack, :, block_start:block_end]  # (n, g, in, column offset, rows, columns)
            block_start = block_end
            first_row = block.first + tile.rows.start * plan.row_step
            target_rows, rows = _inside_image(first_row, plan.row_step, target.shape[-2], height)
            for number, offset in enumerate(plan.column_offsets):
                first_column = offset + tile.columns.start * plan.column_step
                target_columns, columns = _inside_image(first_column, plan.column_step, target.shape[-1], width)
                part = target[:, :, :, number, target_rows, target_columns]  # (n, g, in, rows, columns)
                if part.size:
                    steps.append(CopyStep(part, rows, columns.start, plan.column_step))
    return steps


def run_copy_steps(steps: list[CopyStep], source: Array) -> None:
    """Copy from ``source (n, g, in, H, W)`` to the targets."""
    for step in steps:
        target, rows = step.target, source[..., step.rows, :]
        count = target.shape[-1]
        if step.column_step == 2 and _can_copy_halves(target, rows):
            _copy_every_other(target, rows[..., step.first_column :])
        else:
            end = step.first_column + (count - 1) * step.column_step + 1
            copy_rows(target, rows[..., step.first_column : end : step.column_step])


def _can_copy_halves(target: Array, source: Array) -> bool:
    """Whether rows of both are contiguous 32-bit numbers, on a machine where :func:`_copy_every_other` is right."""
    return _LITTLE_ENDIAN and target.itemsize == source.strides[-1] == target.strides[-1] == 4


def _copy_every_other(target: Array, rows: Array) -> None:
    """Copy every other 32-bit number: two of them are one of 64 bits, and to cut that to 32 bits keeps the first."""
    pairs = min(target.shape[-1], rows.shape[-1] // 2)
    np.copyto(target[..., :pairs].view(np.uint32), rows[..., : 2 * pairs].view(np.uint64), casting="unsafe")
    target[..., pairs:] = rows[..., 2 * pairs : 2 * target.shape[-1] : 2]


def copy_rows(target: Array, source: Array) -> None:
    """Copy an array; where its rows are contiguous, a whole row is one element, which halves the time."""
    row_bytes = target.shape[-1] * target.itemsize
    if target.dtype == source.dtype and target.strides[-1] == source.strides[-1] == target.itemsize < row_bytes:
        target, source = target.view(_row_dtype(row_bytes)), source.view(_row_dtype(row_bytes))  # (…, 1)
    target[...] = source


@functools.cache
def _row_dtype(row_bytes: int) -> np.dtype[Any]:
    """Return the dtype of a row, made once: NumPy loses a Ctrl-C that comes while it makes one."""
    return np.dtype((np.void, row_bytes))


def images_first(array: Array) -> Array:
    """View images that lie side by side, (g, …, rows, n, columns), as (n, g, …, rows, columns)."""
    return np.moveaxis(array, -2, 0)


def _inside_image(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Return the r of 0 … count−1 for which ``0 <= first + r·step < size``, and those pixels ``first + r·step``."""
    low = min(max(0, -(first // step)), count)
    high = max(low, min(count, (size - 1 - first) // step + 1))
    return slice(low, high), slice(first + low * step, max(0, first + (high - 1) * step + 1), step)
