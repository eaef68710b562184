"""Locks: one process at a time has a run, and a dead one loses it."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from npresnext.studies import locks
from npresnext.studies.locks import RunLock, records


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_lock(folder, number, **known):
    """Write the lock file of another process."""
    record = {"host": locks.socket.gethostname(), "pid": dead_process(), "began_at": None, "step": None, "steps": None}
    (folder / f"lock.{number}").write_text(json.dumps({**record, **known}))


def test_of_many_threads_that_lock_at_once_one_gets_the_run(tmp_path):
    for left in range(3):  # no lock, one of a dead process, two
        for number in range(1, left + 1):
            leave_lock(tmp_path, number)
        barrier, taken = threading.Barrier(8), []

        def acquire(barrier=barrier, taken=taken):
            barrier.wait()
            taken.append(RunLock.acquire(tmp_path))

        threads = [threading.Thread(target=acquire) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        (lock,) = [each for each in taken if each is not None]
        assert records(tmp_path)[-1].number == left + 1
        with lock:
            assert RunLock.acquire(tmp_path) is None
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="asks the system for a process")
def test_the_lock_of_a_dead_process_is_taken_over_at_once(tmp_path):
    leave_lock(tmp_path, 1)
    with RunLock.acquire(tmp_path):
        assert [record.number for record in records(tmp_path)] == [1, 2]


def test_the_lock_of_another_host_is_taken_over_when_it_was_not_written_for_a_minute(tmp_path):
    leave_lock(tmp_path, 1, host="elsewhere", pid=1)
    assert RunLock.acquire(tmp_path) is None
    long_ago = time.time() - locks.SECONDS_TO_LIVE - 1
    os.utime(tmp_path / "lock.1", (long_ago, long_ago))
    with RunLock.acquire(tmp_path) as lock:
        assert not lock.is_lost


def test_a_lock_that_was_created_and_never_written_expires_too(tmp_path):
    (tmp_path / "lock.1").touch()
    assert RunLock.acquire(tmp_path) is None
    os.utime(tmp_path / "lock.1", (0, 0))
    with RunLock.acquire(tmp_path):
        pass


def test_a_living_process_keeps_its_lock_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "SECONDS_BETWEEN_WRITES", 0.01)
    with RunLock.acquire(tmp_path) as lock:
        os.utime(tmp_path / "lock.1", (0, 0))
        lock.reach(7)
        deadline = time.monotonic() + 10
        while records(tmp_path)[-1].step != 7:
            assert time.monotonic() < deadline
        assert records(tmp_path)[-1].age < 10


def test_a_process_that_was_taken_for_dead_notices_it_and_leaves_the_lock_of_the_other(tmp_path):
    slow = RunLock.acquire(tmp_path)
    with slow:
        leave_lock(tmp_path, 2)
        assert slow.is_lost
    assert (tmp_path / "lock.1").exists() and (tmp_path / "lock.2").exists()


def test_a_lock_with_the_same_number_of_another_process_is_not_the_own_one(tmp_path):
    slow = RunLock.acquire(tmp_path)
    with slow:
        (tmp_path / "lock.1").rename(tmp_path / "gone")  # its successor has ended, and a third process begun
        leave_lock(tmp_path, 1)
        assert slow.is_lost
    assert (tmp_path / "lock.1").exists()


def test_deaths_are_counted_back_to_the_last_one_that_got_further(tmp_path):
    for number, began_at in enumerate([8, 0, 8, None, 8], 1):
        leave_lock(tmp_path, number, began_at=began_at)
    with RunLock.acquire(tmp_path) as lock:
        assert lock.begin(8, 10) == 2
        assert lock.begin(9, 10) == 0
