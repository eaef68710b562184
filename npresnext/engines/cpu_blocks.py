"""Blocks: the same function on parts of large NumPy arrays, in the cache and on all threads.

A chain of simple operations on a large array reads and writes it from memory at every link. Cut into blocks that
fit the cache, only the first link reads from memory and only the last writes there, and blocks go to threads. What
is computed stays the text of the function: it is handed parts that it cannot tell from the whole.

Blocks depend on shapes alone, so results are the same bits for every number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .cpu_threads import run
from .cpu_tiles import chunks

Array = Any

BLOCK_BYTES = 2 * 2**20    # of one array


def by_channels(function: Callable[..., tuple[Array, ...]], x: Array, *others: Array | None) -> tuple[Array, ...]:
    """Call ``function(x, *others)`` on blocks of channels, and put its results together.

    All channels must be independent of each other. Each argument is (N, C, ...) or (C,), or None; the function
    returns one array (N, C, ...) and any number of vectors (C,).
    """
    blocks = _blocks(x, x.shape[1] if x.ndim > 1 else 1)
    if len(blocks) < 2:
        return function(x, *others)
    results: list[Array] = []
    birth = threading.Lock()

    def piece(block: slice) -> None:
        parts = [array if array is None else array[block] if array.ndim == 1 else array[:, block] for array in others]
        first, *vectors = function(x[:, block], *parts)
        with birth:    # the first block to be done tells the dtypes
            if not results:
                vectors_born = (np.empty(x.shape[1], vector.dtype) for vector in vectors)
                results.extend((np.empty((*x.shape[:2], *first.shape[2:]), first.dtype), *vectors_born))
        results[0][:, block] = first
        for vector, part in zip(results[1:], vectors):
            vector[block] = part

    run(piece, blocks)
    return tuple(results)


def by_elements(function: Callable[..., Array], x: Array, *others: Array) -> Array:
    """Call ``function(x, *others)``, which works element by element, on blocks of arrays of one shape, or ()."""
    alike = all(type(array) is np.ndarray and array.flags.c_contiguous for array in (x, *others))
    blocks = _blocks(x, x.size) if alike else []
    if len(blocks) < 2:
        return function(x, *others)
    flat = [array.reshape(-1) if array.ndim else array for array in (x, *others)]
    result = np.empty(x.shape, x.dtype)
    target = result.reshape(-1)

    def piece(block: slice) -> None:
        parts = [array[block] if array.ndim else array for array in flat]
        if isinstance(function, np.ufunc):
            function(*parts, out=target[block])
        else:
            target[block] = function(*parts)

    run(piece, blocks)
    return result


def _blocks(x: Array, total: int) -> list[slice]:
    """Cut `total` into slices, each with BLOCK_BYTES of x; none where x is no NumPy array or is empty."""
    if type(x) is not np.ndarray or x.size == 0:
        return []
    size = max(1, BLOCK_BYTES * total // x.nbytes)
    return chunks(total, -(-total // -(-total // size)))
