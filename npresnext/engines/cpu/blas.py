"""BLAS's own threads: kept at one while the package's threads work.

The thread count of most BLAS libraries belongs to the whole process. So all calls share one count of those that need it
at one, under a lock, and the last of them to end restores what it was. In an OpenBLAS that is built with OpenMP, every
thread has a thread count of its own; there each call changes and restores that of its thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class _Library(NamedTuple):
    """How to read and to change the thread count of a BLAS library."""

    read: Callable[[], int]
    change: Callable[[int], Any]
    per_thread: bool  # whether every thread has a count of its own


class _BlasThreads:
    """The thread counts of all BLAS libraries of the process, and how many calls hold them at one."""

    def __init__(self) -> None:
        self.lock, self.holders, self.found = threading.Lock(), 0, False
        self.of_process: list[_Library] = []
        self.of_thread: list[_Library] = []
        self.held: list[tuple[_Library, int]] = []  # those of the process that are held, and their counts before
        self.local = threading.local()  # its `held`: the same for each call of this thread

    def __enter__(self) -> None:
        """Set every library to one thread, unless another call has done so already."""
        with self.lock:
            if not self.found:
                self._find()
            if self.holders == 0:
                self.held = _hold(self.of_process)
            self.holders += 1
        if self.of_thread:
            vars(self.local).setdefault("held", []).append(_hold(self.of_thread))

    def __exit__(self, *_: object) -> None:
        """Restore the thread counts, if no other call needs them at one."""
        if self.of_thread:
            _restore(self.local.held.pop())
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                _restore(self.held)

    def _find(self) -> None:
        """Find the libraries that are loaded."""
        libraries = _loaded_libraries()
        self.of_process = [library for library in libraries if not library.per_thread]
        self.of_thread = [library for library in libraries if library.per_thread]
        self.found = True


def single_threaded_blas() -> contextlib.AbstractContextManager[None]:
    """Keep BLAS at one thread inside the block; where every thread has a count of its own, in this thread."""
    return _blas_threads


def _hold(libraries: list[_Library]) -> list[tuple[_Library, int]]:
    """Set libraries to one thread; return those that had more, and how many."""
    counts = [(library, library.read()) for library in libraries]
    held = [(library, count) for library, count in counts if count != 1]
    for library, _ in held:
        library.change(1)
    return held


def _restore(held: list[tuple[_Library, int]]) -> None:
    """Give libraries the counts that they had before."""
    for library, count in held:
        library.change(count)


def _loaded_libraries() -> list[_Library]:
    """Return the BLAS libraries that threadpoolctl finds.

    Those of an OpenBLAS are asked directly: from version 3.8 on, threadpoolctl changes their thread count only for the
    first thread of Python that asks, and does nothing for the others, without an error.
    """
    import threadpoolctl  # here, not at the top: importing npresnext loads NumPy alone

    libraries = []
    for library in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
        per_thread = getattr(library, "threading_layer", None) == "openmp" and library.internal_api == "openblas"
        read, change = library.get_num_threads, library.set_num_threads
        if library.internal_api == "openblas" and not per_thread:
            name = next(name for name in library.check_symbols if hasattr(library.dynlib, name))
            read, change = (getattr(library.dynlib, name.replace("get", verb)) for verb in ("get", "set"))
        libraries.append(_Library(read, change, per_thread))
    return libraries


def _reset_after_fork() -> None:
    """In the child of a fork: the lock may be held by a thread that does not exist there, and no call is running."""
    global _blas_threads
    of_parent, _blas_threads = _blas_threads, _BlasThreads()
    if of_parent.holders:
        _restore(of_parent.held)


_blas_threads = _BlasThreads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
