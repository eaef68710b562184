"""Workspace: one buffer a thread, bounded, and kept for the next call.

What a convolution needs beyond its input and output lies in here, so that neither the batch nor the size of
the image matters to it, and only the first call pays for the system's handing out of memory. Views into the buffer
are kept with it: making those of one tile takes Python as long as its matmuls take.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from ..._support.arguments import as_int
from ..._support.typing import NumPyArray as Array
from ...errors import InvalidValueError

Views = TypeVar("Views")

DEFAULT_LIMIT = 14 * 2**20
_ALIGNMENT = 64  # bytes: a cache line
_MOST = 512  # views kept for as many kinds of tiles

_limit = DEFAULT_LIMIT


class _Workspace(threading.local):
    """What one thread keeps."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let the buffer go, and all views into it."""
        self.limit, self.buffer = _limit, np.empty(0, np.uint8)
        self.views: dict[Hashable, Any] = {}
        self.user: object = None  # whose data lie in the buffer


_mine = _Workspace()


def set_workspace_limit(num_bytes: int) -> None:
    """Choose how many bytes a convolution may use on each thread, beyond its input and output.

    A limit that is too small for one row of a convolution's output is reported by that convolution, with the
    least that it needs. The default is 14 MiB.

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


def views(key: Hashable, make: Callable[[], Views]) -> Views:
    """Return ``make()``, views into this thread's buffer, or what it made when asked for the same `key` before."""
    if _mine.limit != _limit:
        _mine.forget()
    found: Views | None = _mine.views.get(key)
    if found is None:
        found = make()  # through carve: this may empty the dictionary
        if len(_mine.views) >= _MOST:
            _mine.views.clear()
        _mine.views[key] = found
    return found


def carve(dtype: np.dtype[Any], *shapes: Sequence[int]) -> list[Array]:
    """Return arrays out of this thread's buffer, the same memory at every call; what they hold is undefined."""
    sizes = [-(-dtype.itemsize * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT for shape in shapes]
    if _mine.limit != _limit or _mine.buffer.size < sum(sizes):
        _mine.forget()  # the old buffer goes before the new one comes
        _mine.buffer = np.empty(sum(sizes), np.uint8)
    arrays, start = [], 0
    for shape, size in zip(shapes, sizes):
        arrays.append(_mine.buffer[start : start + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape))
        start += size
    return arrays


def take(user: object) -> bool:
    """Take the buffer over for a `user`, and tell whether its data still lie there as it has left them."""
    untouched, _mine.user = _mine.user is user, None
    return untouched


def leave(user: object) -> None:
    """Leave the data of a `user` in the buffer, whole."""
    _mine.user = user


def too_small(what: str, least: int) -> InvalidValueError:
    """Return the error for a limit that does not even fit the smallest piece of work."""
    return InvalidValueError(
        f"the workspace limit of {_limit:,} bytes is too small: {what} needs {least:,} bytes on each thread; "
        f"call set_workspace_limit with at least that"
    )
