"""Threads: independent items of work shared out over a pool of threads, of which the calling thread is one.

NumPy releases the interpreter's lock inside its loops and matmuls, so threads help as soon as each call does enough.
Three rules make the results the same bits for any number of threads: the items depend on shapes alone, no two items
write the same element, and BLAS uses one thread inside an item.

The pool is made at the first call that needs it, and its threads sleep on a queue in between. After a fork the child
makes its own.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from ..._support.arguments import as_int
from ...errors import InvalidValueError
from . import thresholds
from .blas import single_threaded_blas

Item = TypeVar("Item")
Tasks: TypeAlias = Sequence[Callable[[], None]]  # in any order, on any threads

_NO_ITEM = object()

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

    Examples
    --------
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


def parallel_for(function: Callable[[Item], None], items: Sequence[Item], *, on_one_thread: bool = False) -> None:
    """Call ``function(item)`` for every item, in any order on several threads, and raise the first error.

    With `on_one_thread` the calling thread does all of them, in order, without the cost of starting another; BLAS keeps
    its threads then.
    """
    if on_one_thread:
        for item in items:
            function(item)
        return
    with single_threaded_blas():
        helpers = min(get_num_threads(), len(items)) - 1
        if helpers < 1:
            for item in items:
                function(item)
            return
        job = _Job(function, items)
        for _ in range(helpers):
            _pool.submit(job)
        job.work()
        job.finish()


def run_tasks(tasks: Tasks, macs: int) -> None:
    """Run all tasks of a convolution of `macs` multiply-adds, on several threads if that is enough work."""
    if macs < thresholds.SINGLE_THREAD:
        with single_threaded_blas() if macs > thresholds.BLAS_SINGLE_THREAD else contextlib.nullcontext():
            for task in tasks:
                task()
    else:
        parallel_for(lambda task: task(), tasks)


class _Job:
    """One call of :func:`parallel_for`: the items that are left, and how many other threads work on them."""

    def __init__(self, function: Callable[[Any], None], items: Sequence[Any]) -> None:
        self.function, self.items = function, deque(items)
        self.error: BaseException | None = None
        self.helpers, self.closed = 0, False
        self.changed = threading.Condition()
        self.context = contextvars.copy_context()  # NumPy's error state is in it

    def help(self) -> None:
        """Work on the job from another thread, unless it is over."""
        with self.changed:
            if self.closed:
                return
            self.helpers += 1
        with single_threaded_blas():  # in this thread, too
            self.context.copy().run(self.work)
        with self.changed:
            self.helpers -= 1
            self.changed.notify()

    def work(self) -> None:
        """Take item after item until none is left, or one has failed on any thread."""
        try:
            while self.error is None and (item := self._take()) is not _NO_ITEM:
                self.function(item)
        except BaseException as error:
            self.error = error

    def _take(self) -> Any:
        """Take one of the items that are left: a deque, unlike an iterator, gives each out once without any lock."""
        try:
            return self.items.popleft()
        except IndexError:
            return _NO_ITEM

    def finish(self) -> None:
        """Wait for the other threads, then raise the error of any of them."""
        with self.changed:
            self.closed = True
            self.changed.wait_for(lambda: self.helpers == 0)
        del self.function, self.items  # a thread that comes late must not keep them, and their arrays, alive
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
        """Help with job after job, for ever."""
        while True:
            self.jobs.get().help()


def _from_environment() -> int | None:
    """Return the number of threads that NPRESNEXT_NUM_THREADS asks for, or None if it is not set."""
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


def _reset_after_fork() -> None:
    """In the child of a fork: the threads of the pool do not exist there, and one may have held its lock."""
    global _pool
    _pool = _Pool()


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
