"""Blocks: the same function on parts of large NumPy arrays, in the cache and on all threads.

A chain of simple operations on a large array reads it from memory and writes it back at every step. Cut into blocks
that fit in the cache, only the first step reads from memory and only the last one writes there. The blocks are shared
out over the threads; they depend on shapes alone, so results are the same bits for any number of threads.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import Array
from . import thresholds
from .threads import Tasks, parallel_for
from .workspace import get_workspace_limit, scratch_arrays

try:
    from numpy.lib.array_utils import byte_bounds
except ModuleNotFoundError:  # NumPy 1, which some libraries under test need: the conformance kit runs on it
    from numpy import byte_bounds  # type: ignore[attr-defined,no-redef]

_owns_memory = operator.attrgetter("flags.owndata")  # of an array


def for_each_block(function: Callable[[slice], None], x: Array, length: int) -> None:
    """Call ``function(block)`` for all blocks of ``range(length)``: the channels, rows or values of the array x."""
    if not x.size:
        return
    count = ceil_div(x.nbytes, thresholds.BLOCK_BYTES)
    before = np.setbufsize(thresholds.UFUNC_BUFFER)  # on the other threads, too: they run in a copy of this context
    try:
        if count == 1:
            function(slice(0, length))
        else:
            count = min(length, count + count % 2)  # even, so that two threads have the same number
            parallel_for(function, chunks(length, ceil_div(length, count)))
    finally:
        np.setbufsize(before)


def by_elements(calls: Iterable[tuple[Callable[..., None], tuple[Array | None, ...]]]) -> None:
    """Make every call ``function(*arrays)`` block by block: for functions that work element by element.

    The arrays of a call have one shape, or are None; the first is an array. Small arrays share a block. Where the first
    arrays of two calls share memory, as those of tied weights do, all calls are made whole and in order.
    """
    calls = list(calls)
    if _overlap([arrays[0] for _, arrays in calls]):
        for function, arrays in calls:
            function(*arrays)
        return
    tasks: list[list[Callable[[], None]]] = []  # the calls of one block each
    size = bytes_left = 0  # of all calls; in the block of the last task
    for function, arrays in calls:
        for parts in _parts(arrays):
            part_bytes = parts[0].nbytes
            if part_bytes > bytes_left:
                tasks.append([])
                bytes_left = thresholds.UPDATE_BYTES
            tasks[-1].append(functools.partial(function, *parts))
            bytes_left -= part_bytes
            size += part_bytes
    parallel_for(_run_in_order, tasks, on_one_thread=size < thresholds.SINGLE_THREAD_UPDATE)


def _parts(arrays: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Cut arrays of one shape, or None, into blocks; small ones and those that are not contiguous stay whole."""
    first = arrays[0]
    if first.nbytes <= thresholds.UPDATE_BYTES:
        return [arrays]
    if not all(array is None or (type(array) is np.ndarray and array.flags.c_contiguous) for array in arrays):
        return [arrays]
    flat = [array if array is None else array.reshape(-1) for array in arrays]
    blocks = chunks(first.size, thresholds.UPDATE_BYTES // first.itemsize)
    return [[array if array is None else array[block] for array in flat] for block in blocks]


def _overlap(arrays: Sequence[Any]) -> bool:
    """Return whether two of the arrays use some of the same range of memory."""
    if len(set(map(id, arrays))) == len(arrays) and all(map(_owns_memory, arrays)):
        return False  # the usual case: each has memory of its own
    ranges = sorted(byte_bounds(array) for array in arrays if array.size)
    return any(end > start for (_, end), (start, _) in itertools.pairwise(ranges))


def _run_in_order(calls: Tasks) -> None:
    """Make every call."""
    for call in calls:
        call()


def block_scratch(dtype: np.dtype[Any], *shapes: tuple[int, ...]) -> list[Array]:
    """Return undefined arrays for one block: from this thread's workspace, or new ones where they do not fit in it.

    They are valid until the thread asks again.
    """
    if sum(map(math.prod, shapes)) * dtype.itemsize > get_workspace_limit() // 2:
        return [np.empty(shape, dtype) for shape in shapes]
    return scratch_arrays(dtype, *shapes)
