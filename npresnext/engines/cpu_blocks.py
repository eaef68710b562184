"""Blocks: the same function on parts of large NumPy arrays, in the cache and on all threads.

A chain of simple operations on a large array reads and writes it from memory at every link. Cut into blocks that
fit the cache, only the first link reads from memory and only the last writes there, and blocks go to threads.

Blocks depend on shapes alone, so results are the same bits for every number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .cpu_threads import run
from .cpu_tiles import chunks
from .cpu_workspace import carve, get_workspace_limit, take

Array = Any

BLOCK_BYTES = 5 * 2**19    # of one array: several fit the cache, and one NumPy call outlasts a wait for the lock


def in_blocks(work: Callable[[slice], None], x: Array, total: int) -> None:
    """Call ``work(block)`` for blocks of the `total` channels, rows or values that the array x consists of."""
    if x.size:
        count = -(-x.nbytes // BLOCK_BYTES)
        if count > 1:
            count = min(total, count + count % 2)    # even, to be shared out evenly; more would be too small
        run(work, chunks(total, -(-total // count)), small=count < 2)


def by_elements(work: Callable[..., None], x: Array, *others: Array | None) -> None:
    """Call ``work(x, *others)``, which changes arrays of one shape element by element, on blocks of them."""
    given = [x, *(array for array in others if array is not None)]
    if not all(type(array) is np.ndarray and array.flags.c_contiguous for array in given):
        work(x, *others)
        return
    flat = [array if array is None else array.reshape(-1) for array in (x, *others)]
    in_blocks(lambda block: work(*(array if array is None else array[block] for array in flat)), x, x.size)


def room(dtype: np.dtype[Any], *shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays to work in until this thread asks again: out of its workspace, unless they are too large for it."""
    if sum(map(math.prod, shapes)) * dtype.itemsize > get_workspace_limit() // 2:
        return [np.empty(shape, dtype) for shape in shapes]
    take(None)    # whoever has left data there finds them gone
    return carve(dtype, *shapes)
