"""One error for memory that cannot be had: what was being allocated, its shape, its dtype and its bytes."""

from __future__ import annotations

import functools
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ..errors import AllocationError

Function = TypeVar("Function", bound=Callable[..., Any])


class allocating:
    """Turn a MemoryError inside a ``with`` block, or inside a decorated function, into an AllocationError.

    Its message names what was being allocated. Before it is raised, everything that the failed call had allocated is
    freed, CuPy's memory pool included, so that the next call can succeed. An AllocationError from a block inside
    this one passes unchanged, since it says more.

    Parameters
    ----------
    what : str
        What is being allocated, as the message calls it: "the output", "a weight".
    shape : sequence of int, optional
        Its shape, where that is known beforehand.
    dtype : dtype, optional
        Its dtype; given together with `shape`.

    Raises
    ------
    AllocationError
        At once, where `shape` and `dtype` make more bytes than an address can count; otherwise where the block raises
        a MemoryError.

    Examples
    --------
    >>> import numpy as np
    >>> with allocating("the output", (2**40, 2**40), np.dtype("float32")):
    ...     pass
    Traceback (most recent call last):
    ...
    npresnext.errors.AllocationError: the output of shape (1099511627776, 1099511627776) and dtype float32 takes \
4,835,703,278,458,516,698,824,704 bytes, more than can be allocated here

    >>> @allocating("the table")
    ... def build():
    ...     raise MemoryError("Unable to allocate 8.00 TiB")
    >>> build()
    Traceback (most recent call last):
    ...
    npresnext.errors.AllocationError: the table needs more memory than there is: Unable to allocate 8.00 TiB
    """

    def __init__(self, what: str, shape: Sequence[int] | None = None, dtype: Any = None) -> None:
        self.what, self.shape, self.dtype = what, shape, dtype

    def __call__(self, function: Function) -> Function:
        """Decorate a function; in the usual case, without an error, its calls cost almost nothing more."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except MemoryError as error:
                self.__exit__(type(error), error, error.__traceback__)
                raise

        return call  # type: ignore[return-value]

    def __enter__(self) -> None:
        if self.shape is not None and self._bytes() > sys.maxsize:
            raise AllocationError(f"{self._size()}, more than can be allocated here")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or not isinstance(error, MemoryError) or isinstance(error, AllocationError):
            return
        traceback.clear_frames(trace)  # the error keeps alive what the failed call had allocated
        if sys.modules.get("cupy"):
            sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
        if self.shape is None:
            raise AllocationError(f"{self.what} needs more memory than there is: {error}") from error
        raise AllocationError(f"{self._size()}, and there is no memory for it or for its workspace: {error}") from error

    def _bytes(self) -> int:
        return math.prod(self.shape or ()) * getattr(self.dtype, "itemsize", 8)

    def _size(self) -> str:
        return f"{self.what} of shape {tuple(self.shape or ())} and dtype {self.dtype} takes {self._bytes():,} bytes"
