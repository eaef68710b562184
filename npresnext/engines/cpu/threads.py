"""Threads: pieces of work shared out over a pool, with the calling thread working too.

NumPy gives the interpreter's lock back inside its loops and matmuls, so threads help as soon as each call
does enough. Three rules make the results independent of the number of threads, bit for bit: the pieces
depend on shapes alone, no two pieces write the same element, and BLAS runs single-threaded inside a piece.

The pool is born at the first call that needs it, its threads sleep on a queue, and a fork starts afresh.
BLAS's thread count belongs to the whole process, so one lock counts who needs it at one.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..._support.arguments import as_int
from ...errors import InvalidValueError

Piece = TypeVar("Piece")

_NOTHING = object()  # left to do

_QUOTAS = (  # of control groups, version 2 and 1: the files that hold microseconds of quota and period
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)

_chosen: int | None = None  # by set_num_threads
_default: int | None = None  # from the environment or the machine, found at first use


def set_num_threads(num_threads: int) -> None:
    """Choose how many threads, the calling one included, every operation on NumPy arrays may use.

    Without a call, the environment variable ``NPRESNEXT_NUM_THREADS`` decides, read at the first use; without
    that, the cores available to this process. Results are the same bits for every number of threads.

    Parameters
    ----------
    num_threads : int
        At least 1.

    Raises
    ------
    ValueError
        A number below 1.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    """
    global _chosen
    _chosen = as_int(num_threads, "num_threads", 1)


def get_num_threads() -> int:
    """Return how many threads an operation may use."""
    global _default
    if _chosen is not None:
        return _chosen
    if _default is None:
        _default = _from_environment() or _available_cores()
    return _default


def run(work: Callable[[Piece], None], pieces: Sequence[Piece], *, small: bool = False) -> None:
    """Call ``work(piece)`` for every piece, on several threads unless it is `small` work; raise the first error."""
    if small:
        for piece in pieces:
            work(piece)
        return
    job = _Job(work, pieces)
    with _single_threaded_blas():
        for _ in range(min(get_num_threads(), len(pieces)) - 1):
            _pool.submit(job)
        job.work_on()
        job.finish()


class _Job:
    """One call of :func:`run`: the pieces that are left, and who is still at work on one."""

    def __init__(self, work: Callable[[Any], None], pieces: Sequence[Any]) -> None:
        self.work, self.pieces = work, deque(pieces)
        self.error: BaseException | None = None
        self.active, self.closed = 0, False
        self.changed = threading.Condition()
        self.context = contextvars.copy_context()  # NumPy's error state is in it

    def help(self) -> None:
        """Work on the job from another thread, unless it is over."""
        with self.changed:
            if self.closed:
                return
            self.active += 1
        self.context.copy().run(self.work_on)
        with self.changed:
            self.active -= 1
            self.changed.notify()

    def work_on(self) -> None:
        """Take piece after piece until none is left, or one has failed on any thread."""
        try:
            while self.error is None and (piece := self._take()) is not _NOTHING:
                self.work(piece)
        except BaseException as error:
            self.error = error

    def _take(self) -> Any:
        """Take one of the pieces that are left: a deque, unlike an iterator, gives each out once without any lock."""
        try:
            return self.pieces.popleft()
        except IndexError:
            return _NOTHING

    def finish(self) -> None:
        """Wait for the other threads, then raise what went wrong on any."""
        with self.changed:
            self.closed = True
            self.changed.wait_for(lambda: self.active == 0)
        del self.work, self.pieces  # a thread that comes late must not keep them, and their arrays, alive
        if self.error is not None:
            raise self.error


class _Pool:
    """Threads that wait for jobs; they end with the process."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()

    def submit(self, job: _Job) -> None:
        """Ask one thread to help with `job`."""
        with self.lock:
            if len(self.threads) < get_num_threads() - 1:
                thread = threading.Thread(target=self._serve, name="npresnext", daemon=True)
                with contextlib.suppress(RuntimeError):  # the system refuses more, or the interpreter is ending
                    thread.start()
                    self.threads.append(thread)
        if self.threads:
            self.jobs.put(job)

    def _serve(self) -> None:
        while True:
            self.jobs.get().help()


class _Blas:
    """BLAS at one thread for as long as anybody asks for it."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.libraries: list[Any] | None = None
        self.before: list[int] = []

    def hold(self) -> None:
        with self.lock:
            if self.libraries is None:
                import threadpoolctl  # here, not at the top: importing npresnext loads NumPy alone

                self.libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
            if self.users == 0:
                self.before = [library.get_num_threads() for library in self.libraries]
                self._set([1] * len(self.before))
            self.users += 1

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self._set(self.before)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self.libraries or (), numbers):
            if library.get_num_threads() != number:
                library.set_num_threads(number)


@contextlib.contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Hold BLAS at one thread inside the block."""
    _blas.hold()
    try:
        yield
    finally:
        _blas.release()


def _from_environment() -> int | None:
    text = os.environ.get("NPRESNEXT_NUM_THREADS")
    if not text:
        return None
    if not text.isdigit() or int(text) < 1:
        raise InvalidValueError(f"NPRESNEXT_NUM_THREADS must be an integer of at least 1, but is {text!r}")
    return int(text)


def _available_cores() -> int:
    """Count the cores that the process may use: its affinity, and the quota of its control group if there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in _QUOTAS:
        try:
            quota, period = (int(word) for file in files for word in Path(file).read_text(encoding="ascii").split())
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
        if quota > 0:  # -1 is no limit either
            cores = max(1, min(cores, quota // period))
    return cores


def _start_afresh() -> None:
    """In the child of a fork: its threads are gone, and locks may be held by nobody."""
    global _pool, _blas
    held, _pool, _blas = _blas, _Pool(), _Blas()
    if held.users:
        held._set(held.before)


_pool, _blas = _Pool(), _Blas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
