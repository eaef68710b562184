"""Workspace: one buffer a thread, bounded, and kept for the next call.

What a convolution needs beyond its input and output lies in here, so that neither the batch nor the size of
the image matters to it, and only the first call pays for the system's handing out of memory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..geometry import as_int

Array = np.ndarray[Any, Any]

DEFAULT_LIMIT = 14 * 2**20
_ALIGNMENT = 64    # bytes: a cache line

_limit = DEFAULT_LIMIT
_of_thread = threading.local()


def set_workspace_limit(num_bytes: int) -> None:
    """Choose how many bytes a convolution may use on each thread, beyond its input and output.

    A limit that is too small for one row of a convolution's output is reported by that convolution, with the
    least that it needs. The default is 14 MiB.

    Raises
    ------
    ValueError
        A number below 1.

    >>> set_workspace_limit(14 * 2**20)
    """
    global _limit
    _limit = as_int(num_bytes, "num_bytes", 1)
    _of_thread.buffer = _of_thread.owner = None


def get_workspace_limit() -> int:
    """Return how many bytes a convolution may use on each thread."""
    return _limit


def carve(dtype: np.dtype[Any], *shapes: Sequence[int], owner: object = None) -> tuple[list[Array], bool]:
    """Return arrays out of this thread's buffer, and whether the same `owner` has kept its own there since.

    What they hold is undefined otherwise. The next call on this thread hands out the same memory.
    """
    sizes = [-(-dtype.itemsize * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT for shape in shapes]
    buffer = getattr(_of_thread, "buffer", None)
    known = owner is not None and getattr(_of_thread, "owner", None) == owner
    _of_thread.owner = None
    if buffer is None or buffer.size < sum(sizes) or buffer.size > max(_limit, sum(sizes)):
        buffer = _of_thread.buffer = None    # let the old one go before the new one comes
        buffer = _of_thread.buffer = np.empty(sum(sizes), np.uint8)
        known = False
    arrays, start = [], 0
    for shape, size in zip(shapes, sizes):
        arrays.append(buffer[start : start + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape))
        start += size
    return arrays, known


def keep(owner: object) -> None:
    """Note that the arrays carved last are complete, so that the same `owner` finds them again if it comes next."""
    _of_thread.owner = owner


def too_small(what: str, least: int) -> InvalidValueError:
    """Return the error for a limit that does not even fit the smallest piece of work."""
    return InvalidValueError(
        f"the workspace limit of {_limit:,} bytes is too small: {what} needs {least:,} bytes on each thread; "
        f"call set_workspace_limit with at least that"
    )
