"""Workspace: one scratch buffer for each thread, bounded, and kept for the next call.

Whatever a convolution needs beyond its input and output lies in this buffer. So its size depends neither on the batch
nor on the size of the images, and only the first call pays for fresh memory from the system. The views into the buffer
are kept with it: to make those of one tile takes Python as long as the matmuls of the tile take.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..._support.arguments import as_int
from ..._support.integers import ceil_div
from ..._support.typing import NumPyArray as Array
from ...errors import InvalidValueError

Views = TypeVar("Views")

DEFAULT_LIMIT = 14 * 2**20
_ALIGNMENT = 64  # bytes: a cache line
_MAX_CACHED_VIEWS = 512  # layouts of tiles whose views are kept

_limit = DEFAULT_LIMIT


class _Workspace(threading.local):
    """The buffer of one thread."""

    def __init__(self) -> None:
        self.release()

    def release(self) -> None:
        """Free the buffer and all views into it."""
        self.limit, self.buffer = _limit, np.empty(0, np.uint8)
        self.views: dict[Hashable, Any] = {}
        self.intact_owner: object = None  # whose contents lie in the buffer, complete


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

    >>> set_workspace_limit(14 * 2**20)
    """
    global _limit
    _limit = as_int(num_bytes, "num_bytes", 1)


def get_workspace_limit() -> int:
    """Return how many bytes a convolution may use on each thread."""
    return _limit


def cached_views(key: Hashable, make: Callable[[], Views]) -> Views:
    """Return ``make()``, views into this thread's buffer, or what it made when called for the same `key` before."""
    if _workspace.limit != _limit:
        _workspace.release()
    found: Views | None = _workspace.views.get(key)
    if found is None:
        found = make()  # calls scratch_arrays, which may empty the dictionary
        if len(_workspace.views) >= _MAX_CACHED_VIEWS:
            _workspace.views.clear()
        _workspace.views[key] = found
    return found


def scratch_arrays(dtype: np.dtype[Any], *shapes: Sequence[int]) -> list[Array]:
    """Return arrays that lie in this thread's buffer, from its beginning on; their contents are undefined."""
    lengths = [dtype.itemsize * math.prod(shape) for shape in shapes]
    sizes = [ceil_div(length, _ALIGNMENT) * _ALIGNMENT for length in lengths]
    if _workspace.limit != _limit or _workspace.buffer.size < sum(sizes):
        _workspace.release()  # the old buffer is freed before the new one is allocated
        _workspace.buffer = np.empty(sum(sizes), np.uint8)
    arrays, start = [], 0
    for shape, length, size in zip(shapes, lengths, sizes):
        arrays.append(_workspace.buffer[start : start + length].view(dtype).reshape(shape))
        start += size
    return arrays


def claim(owner: object) -> bool:
    """Claim the buffer for writing; return whether it still holds the contents that `owner` marked as intact."""
    was_intact = _workspace.intact_owner is owner
    _workspace.intact_owner = None
    return was_intact


def mark_intact(owner: object) -> None:
    """Note that the buffer holds the contents of `owner`, complete, until the next claim."""
    _workspace.intact_owner = owner


def limit_too_small(what: str, needed: int) -> InvalidValueError:
    """Return the error for a limit in which even `what` does not fit."""
    return InvalidValueError(
        f"the workspace limit of {_limit:,} bytes is too small: {what} needs {needed:,} bytes on each thread; "
        f"call set_workspace_limit with at least that"
    )
