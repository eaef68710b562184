"""Copies: the only step of a convolution that moves data without computing.

Where the rows of all images follow each other in memory, they are copied as one row. A shift then takes columns from
the neighbouring image, and zeros are written over them.

Rows and columns outside the image become zeros; no padded image is ever made.
"""

from __future__ import annotations

from ..._support.typing import NumPyArray as Array
from .tiles import Tile


def fill_copies(copies: Array, tile: Tile, source: Array) -> None:
    """Fill the copies of a tile from ``source (G, C, H, N, W)``."""
    target, steps = copies, tile.copy_steps
    if tile.copies_whole_rows and source.strides[-2:] == (source.shape[-1] * source.itemsize, source.itemsize):
        source = source[:, :, :, tile.images].reshape(*source.shape[:3], 1, -1)  # (G, C, H, 1, n·W)
        target, steps = copies.reshape(*copies.shape[:-2], 1, -1), tile.run_steps
    for place, pixels in steps:
        part = source[pixels]  # (g, C, rows, n, columns)
        target[place] = part.swapaxes(1, 2) if tile.workload.row_by_row else part
    for place in tile.zero_steps:
        copies[place] = 0
