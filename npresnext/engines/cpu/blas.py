"""BLAS's own threads: kept at one while the package's threads work.

BLAS's thread count belongs to the whole process. So all calls share one count of those that need it at one, under a
lock, and the last of them to end restores what it was.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any


class _BlasThreads:
    """The thread counts of all BLAS libraries of the process, and how many calls hold them at one."""

    def __init__(self) -> None:
        self.lock, self.holders = threading.Lock(), 0
        self.libraries: list[Any] | None = None
        self.held: list[tuple[Any, int]] = []  # the libraries that are held at one thread, and their counts before

    def __enter__(self) -> None:
        """Set every library to one thread, unless another call has done so already."""
        with self.lock:
            if self.libraries is None:
                import threadpoolctl  # here, not at the top: importing npresnext loads NumPy alone

                self.libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
            if self.holders == 0:
                counts = [(library, library.get_num_threads()) for library in self.libraries]
                self.held = [(library, count) for library, count in counts if count != 1]
                for library, _ in self.held:
                    library.set_num_threads(1)
            self.holders += 1

    def __exit__(self, *_: object) -> None:
        """Restore the thread counts, if no other call needs them at one."""
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                self.restore()

    def restore(self) -> None:
        """Give the libraries the counts that they had before."""
        for library, count in self.held:
            library.set_num_threads(count)


def single_threaded_blas() -> contextlib.AbstractContextManager[None]:
    """Keep BLAS at one thread inside the block."""
    return _blas_threads


def _reset_after_fork() -> None:
    """In the child of a fork: the lock may be held by a thread that does not exist there, and no call is running."""
    global _blas_threads
    of_parent, _blas_threads = _blas_threads, _BlasThreads()
    if of_parent.holders:
        of_parent.restore()


_blas_threads = _BlasThreads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
