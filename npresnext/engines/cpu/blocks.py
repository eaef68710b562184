"""Blocks: the same function on parts of large NumPy arrays, in the cache and on all threads.

A chain of simple operations on a large array reads and writes it from memory at every link. Cut into blocks that
fit the cache, only the first link reads from memory and only the last writes there, and blocks go to threads.

Blocks depend on shapes alone, so results are the same bits for every number of threads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..._support.integers import chunks
from ..._support.typing import Array
from .threads import run
from .workspace import carve, get_workspace_limit, take

BLOCK_BYTES = 5 * 2**19  # of one array: several fit the cache, and one NumPy call outlasts a wait for the lock


def in_blocks(work: Callable[[slice], None], x: Array, total: int) -> None:
    """Call ``work(block)`` for blocks of the `total` channels, rows or values that the array x consists of."""
    if x.size:
        count = -(-x.nbytes // BLOCK_BYTES)
        if count > 1:
            count = min(total, count + count % 2)  # even, to be shared out evenly; more would be too small
        run(work, chunks(total, -(-total // count)), small=count < 2)


def by_elements(calls: Iterable[tuple[Callable[..., None], tuple[Array | None, ...]]]) -> None:
    """Make all calls ``work(*arrays)``, each changing arrays of one shape element by element, on blocks of them.

    Small arrays share a block; no memory may be changed by two calls.
    """
    pieces: list[list[Callable[[], None]]] = []
    left = 0
    for work, arrays in calls:
        given = [array for array in arrays if array is not None]
        if not all(type(array) is np.ndarray and array.flags.c_contiguous for array in given):
            work(*arrays)
            continue
        flat, itemsize = [array if array is None else array.reshape(-1) for array in arrays], given[0].itemsize
        for block in chunks(given[0].size, BLOCK_BYTES // itemsize):
            if (block.stop - block.start) * itemsize > left:
                pieces.append([])
                left = BLOCK_BYTES
            pieces[-1].append(functools.partial(work, *(array if array is None else array[block] for array in flat)))
            left -= (block.stop - block.start) * itemsize

    def work_on(piece: list[Callable[[], None]]) -> None:
        for call in piece:
            call()

    run(work_on, pieces, small=len(pieces) < 2)


def room(dtype: np.dtype[Any], *shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays to work in until this thread asks again: out of its workspace, unless they are too large for it."""
    if sum(map(math.prod, shapes)) * dtype.itemsize > get_workspace_limit() // 2:
        return [np.empty(shape, dtype) for shape in shapes]
    take(None)  # whoever has left data there finds them gone
    return carve(dtype, *shapes)
