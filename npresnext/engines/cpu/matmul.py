"""The product of two NumPy matrices on the package's threads (threads.py) instead of BLAS's own.

OpenBLAS's threads wait for more work by spinning, some 100 milliseconds after each product. So long they would take a
core from the convolutions that follow a fully connected layer.
"""

from __future__ import annotations

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .threads import parallel_for


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Return ``a · b``, cut along its longer side into chunks that depend on shapes alone."""
    (rows, inner), columns = a.shape, b.shape[1]
    macs = rows * inner * columns
    if macs <= _blas_single_thread_macs(rows, columns):
        return np.matmul(a, b, out=out)
    y = np.empty((rows, columns), a.dtype) if out is None else out

    def multiply_chunk(chunk: slice) -> None:
        if columns > rows:
            np.matmul(a, b[:, chunk], out=y[:, chunk])
        else:
            np.matmul(a[chunk], b, out=y[chunk])

    longer_side = max(rows, columns)
    parallel_for(multiply_chunk, side_chunks(longer_side, macs))
    return y


def side_chunks(length: int, macs: int) -> list[slice]:
    """Cut one side of a matmul for the threads: into chunks that are long enough for BLAS, and two at least.

    Their number is even, so that two threads have the same number.
    """
    count = min(thresholds.MAX_PARTS, max(2, length // thresholds.CHUNK_SIDE // 2 * 2))
    if macs < thresholds.SINGLE_THREAD:
        count = 1
    return chunks(length, ceil_div(length, count))


def _blas_single_thread_macs(rows: int, columns: int) -> int:
    """Return up to how many multiply-adds OpenBLAS itself uses one thread."""
    has_vector = rows == 1 or columns == 1
    return thresholds.BLAS_SINGLE_THREAD_VECTOR if has_vector else thresholds.BLAS_SINGLE_THREAD
