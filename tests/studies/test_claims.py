"""Claims: one process at a time has a run, and a dead one loses it."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from npresnext.studies import claims
from npresnext.studies.claims import Claim, records


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_claim(folder, number, **known):
    """Write the claim file of another process."""
    record = {"host": claims.socket.gethostname(), "pid": dead_process(), "began_at": None, "step": None, "steps": None}
    (folder / f"claim.{number}").write_text(json.dumps({**record, **known}))


def test_of_many_threads_that_claim_at_once_one_gets_the_run(tmp_path):
    for left in range(3):  # no claim, one of a dead process, two
        for number in range(1, left + 1):
            leave_claim(tmp_path, number)
        barrier, taken = threading.Barrier(8), []

        def take(barrier=barrier, taken=taken):
            barrier.wait()
            taken.append(Claim.take(tmp_path))

        threads = [threading.Thread(target=take) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        (claim,) = [each for each in taken if each is not None]
        assert records(tmp_path)[-1].number == left + 1
        with claim:
            assert Claim.take(tmp_path) is None
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="asks the system for a process")
def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path):
    leave_claim(tmp_path, 1)
    with Claim.take(tmp_path):
        assert [record.number for record in records(tmp_path)] == [1, 2]


def test_the_claim_of_another_host_is_taken_over_when_it_was_not_written_for_a_minute(tmp_path):
    leave_claim(tmp_path, 1, host="elsewhere", pid=1)
    assert Claim.take(tmp_path) is None
    long_ago = time.time() - claims.SECONDS_TO_LIVE - 1
    os.utime(tmp_path / "claim.1", (long_ago, long_ago))
    with Claim.take(tmp_path) as claim:
        assert not claim.is_lost


def test_a_claim_that_was_created_and_never_written_expires_too(tmp_path):
    (tmp_path / "claim.1").touch()
    assert Claim.take(tmp_path) is None
    os.utime(tmp_path / "claim.1", (0, 0))
    with Claim.take(tmp_path):
        pass


def test_a_living_process_keeps_its_claim_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "SECONDS_BETWEEN_WRITES", 0.01)
    with Claim.take(tmp_path) as claim:
        os.utime(tmp_path / "claim.1", (0, 0))
        claim.reach(7)
        deadline = time.monotonic() + 10
        while records(tmp_path)[-1].step != 7:
            assert time.monotonic() < deadline
        assert records(tmp_path)[-1].age < 10


def test_a_process_that_was_taken_for_dead_notices_it_and_leaves_the_claim_of_the_other(tmp_path):
    slow = Claim.take(tmp_path)
    with slow:
        leave_claim(tmp_path, 2)
        assert slow.is_lost
    assert (tmp_path / "claim.1").exists() and (tmp_path / "claim.2").exists()


def test_a_claim_with_the_same_number_of_another_process_is_not_the_own_one(tmp_path):
    slow = Claim.take(tmp_path)
    with slow:
        (tmp_path / "claim.1").rename(tmp_path / "gone")  # its successor has ended, and a third process begun
        leave_claim(tmp_path, 1)
        assert slow.is_lost
    assert (tmp_path / "claim.1").exists()


def test_deaths_are_counted_back_to_the_last_one_that_got_further(tmp_path):
    for number, began_at in enumerate([8, 0, 8, None, 8], 1):
        leave_claim(tmp_path, number, began_at=began_at)
    with Claim.take(tmp_path) as claim:
        assert claim.begin(8, 10) == 2
        assert claim.begin(9, 10) == 0
