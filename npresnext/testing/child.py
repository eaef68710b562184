"""A spawned process that announces what it does next: if it ends or hangs, the last announcement says where."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from ..errors import InvalidValueError, NpresnextError

DIRECTIONS = ("", "forward", "backward")
HANGS = "hangs"
NOT_STARTED = (
    "the process of isolate=True first imports the running script again, and that failed: put the call behind "
    'if __name__ == "__main__":'
)


class Child:
    """A spawned process that reports over a pipe what it is about to do."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self.has_begun = False
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe(duplex=False)
        self.direction = context.RawValue("b", 0)  # of the call in progress, an index into DIRECTIONS
        self.process = context.Process(target=_work, args=(there, self.direction, work, arguments), daemon=True)
        self.process.start()
        there.close()

    @property
    def role(self) -> str:
        """The direction of the call in progress."""
        return DIRECTIONS[self.direction.value]

    def follow(self, deadline: float, note: Callable[..., None], silence: float = math.inf) -> str:
        """Pass on what the process announces until it ends; return "", HANGS, or how it died.

        It hangs if it has not ended at the deadline, or if it announces nothing for as many seconds as `silence`.
        """
        try:
            while self.here.poll(min(silence, max(0.0, deadline - time.monotonic()))):
                kind, *content = self.here.recv()
                self.has_begun = True
                if kind == "mistake":
                    raise InvalidValueError(*content)
                if kind == "end":
                    return ""
                if kind != "begin":
                    note(*content)
            return HANGS
        except EOFError:
            self.process.join()
            code = self.process.exitcode or 0
            if code > 0 and not self.has_begun:
                raise InvalidValueError(NOT_STARTED) from None
            return f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        finally:
            self.process.kill()
            self.process.join()
            self.here.close()


def _work(connection: Any, direction: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Prepare a process, and do the work in it; what the target prints goes to standard error.

    One thread is the fastest for small cases, unless OMP_NUM_THREADS says otherwise.
    """
    connection.send(("begin",))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches our parent too, which says so and ends us
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    try:
        work(connection, direction, *arguments)
        connection.send(("end",))
    except NpresnextError as error:
        connection.send(("mistake", str(error)))


def noting(direction: Any, role: str, function: Any) -> Any:
    """Return a function that notes its direction in shared memory while it runs, or None for None."""
    if function is None:
        return None

    @functools.wraps(function)
    def call(*operands: Any, **window: Any) -> Any:
        direction.value = DIRECTIONS.index(role)
        try:
            return function(*operands, **window)
        finally:
            direction.value = 0

    return call
