"""Ranks that are threads of one process, so that MPI is not needed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from npresnext.training import Communicator


class ThreadCommunicator(Communicator):
    """One of `size` threads. Each puts its value into `table`; when the table is full, all read it."""

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self._table, self._barrier = rank, size, table, barrier

    def share(self, value):
        self._table[self.rank] = value
        self._wait()
        values = list(self._table)
        self._wait()  # nobody writes again before all have read
        return values

    def allgather(self, rows):
        return np.concatenate(self.share(rows.copy()))

    def abort(self, code):
        self._barrier.abort()
        raise SystemExit(code)

    def _wait(self):
        try:
            self._barrier.wait(timeout=60)
        except threading.BrokenBarrierError:
            raise SystemExit("killed") from None  # as MPI_Abort does to a process


def on_ranks(size, function):
    """Return what ``function(communicator)`` returns, or the error that it raises, on each of `size` ranks."""
    table, barrier = [None] * size, threading.Barrier(size)

    def run(rank):
        communicator = ThreadCommunicator(rank, size, table, barrier)
        try:
            return function(communicator)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
