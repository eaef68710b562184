"""Locks: at most one process at a time works on a run, and the lock of a dead process is taken over.

The locks of a run are the files lock.1, lock.2, ... in its folder. A process locks a run by creating the file with
the next number, which the file system grants to one process alone (O_EXCL). It may do so where there is no lock, or
where the process of the last one is dead: where no process of this host has its number, or where its file was not
written for a minute. A living process writes its file every few seconds, from a thread of its own.

Two processes can still work on one run, for example when one was suspended for minutes. This is harmless, because both
write the same bytes, and every file is renamed into its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path

SECONDS_BETWEEN_WRITES = 2.0
SECONDS_TO_LIVE = 60.0
RECORD_LENGTH = 256  # bytes: every record is written over the one before


@dataclasses.dataclass(frozen=True)
class LockRecord:
    """What a lock file says.

    Attributes
    ----------
    number : int
        That of the file.
    host, pid : str, int
        The process; "" and 0 if it died before it wrote them.
    began_at : int, optional
        The step of the run at which the process began; None if it has not begun yet.
    step, steps : int, optional
        The step at which the run is, and the number of steps that it takes.
    age : float
        Seconds since the file was written.
    """

    number: int
    host: str
    pid: int
    began_at: int | None
    step: int | None
    steps: int | None
    age: float

    @property
    def is_alive(self) -> bool:
        """Whether the process still works on the run, as far as one can tell."""
        if os.name == "posix" and self.host == socket.gethostname() and not _is_running(self.pid):
            return False
        return self.age < SECONDS_TO_LIVE


class RunLock:
    """The lock of this process on a run, for use in a ``with`` block; :meth:`acquire` makes one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RunLock.acquire(folder) as lock:
    ...         RunLock.acquire(folder) is None, records(folder)[-1].pid == os.getpid()
    ...     records(folder)
    (True, True)
    []
    """

    def __init__(self, folder: Path, number: int, descriptor: int, earlier: list[LockRecord]) -> None:
        self._folder, self._number, self._descriptor, self._earlier = folder, number, descriptor, earlier
        self._began_at: int | None = None
        self._step: int | None = None
        self._steps: int | None = None
        self._ended, self._writing = threading.Event(), threading.Lock()

    @classmethod
    def acquire(cls, folder: str | os.PathLike[str]) -> RunLock | None:
        """Lock the run of a folder; return None if a living process has done so."""
        folder = Path(folder)
        earlier = records(folder)
        if earlier and earlier[-1].is_alive:
            return None
        number = earlier[-1].number + 1 if earlier else 1
        try:
            descriptor = os.open(_path(folder, number), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileExistsError:  # another process was faster
            return None
        lock = cls(folder, number, descriptor, earlier)
        try:
            lock._write()
        except OSError:  # a full disk
            lock._release()
            raise
        return lock

    def __enter__(self) -> RunLock:
        self._thread = threading.Thread(target=self._keep_writing, name="lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._release()

    @property
    def is_lost(self) -> bool:
        """Whether another process took this one for dead, and locked the run."""
        try:
            is_own = os.path.samestat(os.stat(_path(self._folder, self._number)), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True
        return not is_own or _path(self._folder, self._number + 1).exists()

    def begin(self, step: int, steps: int) -> int:
        """Write at which step of how many the process begins; return how many in a row died after beginning there."""
        self._began_at, self._step, self._steps = step, step, steps
        self._write()
        deaths = 0
        for record in reversed(self._earlier):
            if record.began_at not in (step, None):
                break
            deaths += record.began_at == step
        return deaths

    def reach(self, step: int) -> None:
        """Note the step at which the run is; it is written within seconds."""
        self._step = step

    def _release(self) -> None:
        """Remove the locks of this run, unless they are another process's."""
        is_lost = self.is_lost
        os.close(self._descriptor)
        if not is_lost:
            for number in range(1, self._number + 1):  # the own one last: until then, nobody can lock the run
                _path(self._folder, number).unlink(missing_ok=True)

    def _keep_writing(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_WRITES):
            with contextlib.suppress(OSError):  # then the lock expires, which is harmless
                self._write()

    def _write(self) -> None:
        record = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began_at": self._began_at,
            "step": self._step,
            "steps": self._steps,
        }
        with self._writing:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, json.dumps(record).ljust(RECORD_LENGTH - 1).encode() + b"\n")


def records(folder: str | os.PathLike[str]) -> list[LockRecord]:
    """Return what the lock files of a folder say, in the order of their numbers."""
    folder = Path(folder)
    numbers = sorted(int(path.suffix[1:]) for path in folder.glob("lock.*") if path.suffix[1:].isdigit())
    if not numbers:
        return []
    now = _time_of_file_system(folder)
    found = []
    for number in numbers:
        path = _path(folder, number)
        try:
            written, text = path.stat().st_mtime, path.read_text(encoding="utf-8")
        except FileNotFoundError:  # released meanwhile
            continue
        try:
            known = json.loads(text)
        except ValueError:  # its process has created it, and not written it
            known = {"host": "", "pid": 0, "began_at": None, "step": None, "steps": None}
        found.append(LockRecord(number=number, age=now - written, **known))
    return found


def _path(folder: Path, number: int) -> Path:
    return folder / f"lock.{number}"


def _time_of_file_system(folder: Path) -> float:
    """Return the time by the clock that dates the files, which is not always that of this host."""
    probe = folder / f".clock.{secrets.token_hex(4)}"
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:  # no permission to write there, or a full disk
        return time.time()
    return now


def _is_running(pid: int) -> bool:
    """Return whether a process of this host has this number; on Linux, a dead one that nobody waited for is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
