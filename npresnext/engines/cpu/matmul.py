"""The product of two NumPy matrices on the threads of threads.py instead of BLAS's own.

OpenBLAS's threads wait for more work by spinning, some 100 milliseconds after each product: so long they take a core
from the convolutions that follow a fully connected layer.
"""

from __future__ import annotations

import numpy as np

from ..._support.integers import chunks
from ..._support.typing import NumPyArray as Array
from .sweep import SINGLE
from .threads import run
from .tiles import PIECES

UNTHREADED = 2**18  # multiply-adds up to which OpenBLAS itself keeps to one thread (its interface/gemm.c),
UNTHREADED_VECTOR = 2**13  # and with a vector (interface/gemv.c)


def matmul(a: Array, b: Array) -> Array:
    """Return ``a · b``, cut along its longer side into pieces that depend on shapes alone."""
    (rows, inner), columns = a.shape, b.shape[1]
    macs = rows * inner * columns
    if macs <= (UNTHREADED_VECTOR if 1 in (rows, columns) else UNTHREADED):
        return np.matmul(a, b)
    y = np.empty((rows, columns), a.dtype)

    def piece(part: slice) -> None:
        if columns > rows:
            np.matmul(a, b[:, part], out=y[:, part])
        else:
            np.matmul(a[part], b, out=y[part])

    longer = max(rows, columns)
    run(piece, chunks(longer, -(-longer // (1 if macs < SINGLE else PIECES))))
    return y
