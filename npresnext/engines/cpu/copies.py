"""Copies: the only step of a convolution that moves data without computing.

Where the rows of all images follow each other in memory, they are copied as one row. A shift then takes columns from
the neighbouring image, and zeros are written over them.

Rows and columns outside the image become zeros; no padded image is ever made.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .tiles import Tile

_LITTLE_ENDIAN = sys.byteorder == "little"  # the first of two numbers is the low half of one twice as long


def fill_copies(copies: Array, tile: Tile, source: Array) -> None:
    """Fill the copies of a tile from ``source (G, C, H, N, W)``."""
    by_row, every_other = tile.workload.row_by_row, tile.workload.correlation.column_step == 2
    targets, steps = copies, tile.copy_steps
    if tile.copies_whole_rows and source.strides[-2:] == (source.shape[-1] * source.itemsize, source.itemsize):
        source = source[:, :, :, tile.images].reshape(*source.shape[:3], 1, -1)  # (G, C, H, 1, n·W)
        targets, steps = copies.reshape(*copies.shape[:-2], 1, -1), tile.run_steps
    for place, pixels in steps:
        target = targets[place]
        if every_other and _can_copy_halves(target, source):
            part = source[(*pixels[:-1], slice(pixels[-1].start, None))]
            _copy_every_other(target, part.swapaxes(1, 2) if by_row else part)
        else:
            part = source[pixels]  # (g, C, rows, n, columns)
            copy_rows(target, part.swapaxes(1, 2) if by_row else part)
    for place in tile.zero_steps:
        copies[place] = 0


def copy_rows(target: Array, source: Array) -> None:
    """Copy an array; where its rows are contiguous, a whole row is one element, which halves the time."""
    row_bytes = target.shape[-1] * target.itemsize
    if target.dtype == source.dtype and target.strides[-1] == source.strides[-1] == target.itemsize < row_bytes:
        target, source = target.view(_row_dtype(row_bytes)), source.view(_row_dtype(row_bytes))  # (…, 1)
    target[...] = source


def _can_copy_halves(target: Array, source: Array) -> bool:
    """Whether rows of both are contiguous 32-bit numbers, on a machine where :func:`_copy_every_other` is right."""
    return _LITTLE_ENDIAN and target.itemsize == source.strides[-1] == target.strides[-1] == 4


def _copy_every_other(target: Array, rows: Array) -> None:
    """Copy every other 32-bit number: two of them are one of 64 bits, and to cut that to 32 bits keeps the first."""
    pairs = min(target.shape[-1], rows.shape[-1] // 2)
    np.copyto(target[..., :pairs].view(np.uint32), rows[..., : 2 * pairs].view(np.uint64), casting="unsafe")
    target[..., pairs:] = rows[..., 2 * pairs : 2 * target.shape[-1] : 2]


@functools.cache
def _row_dtype(row_bytes: int) -> np.dtype[Any]:
    """Return the dtype of a row, made once: NumPy loses a Ctrl-C that comes while it makes one."""
    return np.dtype((np.void, row_bytes))
