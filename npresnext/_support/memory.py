"""Refusals of memory, said in words: what was asked for, its shape and its bytes."""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import AllocationError


@contextlib.contextmanager
def memory_for(what: str, shape: Sequence[int], dtype: Any) -> Iterator[None]:
    """Turn a refusal of memory into an error that says how much was asked for."""
    size = getattr(dtype, "itemsize", 8)
    for axis in shape:
        size *= axis

    def message() -> str:
        shape_text = f"{what} of shape {tuple(shape)} and dtype {dtype}"
        return f"{shape_text} takes {size:,} bytes, more than can be allocated here"

    if size > sys.maxsize:
        raise AllocationError(message())
    try:
        yield
    except MemoryError as error:
        raise _refused(f"{message()} (or its workspace is: {error})", error) from error


def with_memory_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let `function` turn a refusal of memory into an AllocationError with the library's words: how much was asked."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except AllocationError:  # from memory_for, which says more
            raise
        except MemoryError as error:
            raise _refused(f"{function.__name__} needs more memory than there is: {error}", error) from error

    return call


def _refused(message: str, error: MemoryError) -> AllocationError:
    """Return the error for a refusal of memory, after letting go of what the call had got so far."""
    traceback.clear_frames(error.__traceback__)
    if sys.modules.get("cupy"):
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()
    return AllocationError(message)
