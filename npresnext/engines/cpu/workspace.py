"""Workspace: one scratch buffer for each thread, bounded, and kept for the next call.

Whatever a convolution needs beyond its input and output lies in this buffer. So its size depends neither on the batch
nor on the size of the images, and only the first call pays for fresh memory from the system.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._support.arguments import as_int
from ..._support.integers import ceil_div
from ..._support.typing import NumPyArray as Array
from ...errors import InvalidValueError

DEFAULT_LIMIT = 14 * 2**20
CACHE_LINE = 64  # bytes

_limit = DEFAULT_LIMIT


class _Workspace(threading.local):
    """The buffer of one thread."""

    def __init__(self) -> None:
        self.release()

    def release(self) -> None:
        """Free the buffer."""
        self.limit, self.buffer = _limit, np.empty(0, np.uint8)


_workspace = _Workspace()


def set_workspace_limit(num_bytes: int) -> None:
    """Choose how many bytes a convolution may use on each thread, beyond its input and output.

    A limit that is too small for one pixel of a convolution's output is an error of that convolution, which says how
    many bytes it needs. The default is 14 MiB.

    Parameters
    ----------
    num_bytes : int
        At least 1.

    Raises
    ------
    ValueError
        A number below 1.

    Examples
    --------
    >>> set_workspace_limit(14 * 2**20)
    """
    global _limit
    _limit = as_int(num_bytes, "num_bytes", 1)


def get_workspace_limit() -> int:
    """Return how many bytes a convolution may use on each thread."""
    return _limit


def scratch_arrays(dtype: np.dtype[Any], *shapes: Sequence[int]) -> list[Array]:
    """Return arrays that lie in this thread's buffer, from its beginning on; their contents are undefined."""
    starts, end = [], 0
    for shape in shapes:
        starts.append(end)
        end += ceil_div(dtype.itemsize * math.prod(shape), CACHE_LINE) * CACHE_LINE
    if _workspace.limit != _limit or _workspace.buffer.size < end:
        _workspace.release()  # the old buffer is freed before the new one is allocated
        _workspace.buffer = aligned_empty((end,), np.dtype(np.uint8))
    buffer = _workspace.buffer
    return [np.ndarray(shape, dtype, buffer, start) for shape, start in zip(shapes, starts)]


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Return an undefined array that begins at a cache line, where NumPy adds and multiplies up to twice as fast."""
    buffer = np.empty(dtype.itemsize * math.prod(shape) + CACHE_LINE, np.uint8)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer.data))  # in a third of the time of __array_interface__
    return np.ndarray(shape, dtype, buffer, -address % CACHE_LINE)


def limit_too_small(what: str, needed: int) -> InvalidValueError:
    """Return the error for a limit in which even `what` does not fit."""
    return InvalidValueError(
        f"the workspace limit of {_limit:,} bytes is too small: {what} needs {needed:,} bytes on each thread; "
        f"call set_workspace_limit with at least that"
    )
