"""Sweeps whose processes are killed: nothing is lost but the steps since a checkpoint, and no byte changes."""

import os
import random
import socket
import subprocess
import time

import pytest

from npresnext.studies.folder import run_folders
from npresnext.studies.locks import records

from tests.support.sweeps import end, kill, start, tables, undisturbed, wait_for_worker, write_study

posix = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


@posix
def test_a_killed_sweep_goes_on_to_the_same_bytes(tmp_path):
    study, runs = write_study(tmp_path, seeds=2, epochs=4), tmp_path / "runs"
    expected = undisturbed(study, tmp_path / "undisturbed")
    command = ("npresnext", "sweep", study, "-o", runs, "--checkpoint-every", "2")
    processes = [start(*command)]
    try:
        worker = wait_for_worker(runs)
        assert worker == processes[0].pid
        kill(worker)
        processes[0].wait()
        (killed,) = [run for run in run_folders(runs) if run.state == "stopped"]
        assert len(records(killed.path)) == 1
        processes.append(start(*command))
        output = processes[1].communicate()[0].decode()
        assert processes[1].returncode == 0, output
        assert f"in {runs}: 4 runs: 4 done" in output
        assert records(killed.path) == []
    finally:
        end(processes)
    assert tables(runs) == expected


class Joblib:
    """Two processes of joblib; the sweep itself is the scheduler."""

    def __init__(self, study, runs):
        pytest.importorskip("joblib")
        self._command = ("npresnext", "sweep", study, "-o", runs, "--jobs", "2", "--checkpoint-every", "4")
        self.started = [start(*self._command)]

    def kill_scheduler(self):
        kill(self.started[-1].pid)
        self.started[-1].wait()

    def mend(self):
        """Start again what is not there any more; return whether the sweep has ended."""
        if self.started[-1].poll() is not None:
            if self.started[-1].returncode == 0:
                return True
            assert self.started[-1].returncode == -9, self.started[-1].stdout.read().decode()
            self.started.append(start(*self._command))
        return False


class Shards:
    """Two parts of a job array; instead of a scheduler, both are killed at once."""

    def __init__(self, study, runs):
        self._commands = [
            ("npresnext", "sweep", study, "-o", runs, "--shard", f"{part}/2", "--checkpoint-every", "4")
            for part in (1, 2)
        ]
        self._parts = [start(*command) for command in self._commands]
        self.started = list(self._parts)

    def kill_scheduler(self):
        for part in self._parts:
            kill(part.pid)

    def mend(self):
        """Start again what is not there any more; return whether the sweep has ended."""
        for number, part in enumerate(self._parts):
            if part.poll() not in (None, 0):
                assert part.returncode == -9, part.stdout.read().decode()
                self._parts[number] = start(*self._commands[number])
                self.started.append(self._parts[number])
        return all(part.poll() == 0 for part in self._parts)


class Dask:
    """A Dask scheduler with two workers, and a sweep that waits for a scheduler when its own is gone."""

    def __init__(self, study, runs):
        pytest.importorskip("distributed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        folder = runs.parent / "dask"
        here = ("--local-directory", folder, "--no-dashboard")
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        worker = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--death-timeout", "20", *here)
        sweep = ("npresnext", "sweep", study, "-o", runs, "--dask", address, "--checkpoint-every", "4")
        self._commands = [scheduler, worker, worker, sweep]
        self._processes = [self._start(scheduler), self._start(worker), self._start(worker)]
        self.started = list(self._processes)
        time.sleep(5)
        self._processes.append(start(*sweep))
        self.started.append(self._processes[-1])

    @staticmethod
    def _start(command):
        process = start(*command)
        process.stdout.close()  # nobody reads it, and a full pipe stops a process
        process.stdout = open(os.devnull)
        return process

    def kill_scheduler(self):
        kill(self._processes[0].pid)
        self._processes[0].wait()

    def mend(self):
        """Start again what is not there any more; return whether the sweep has ended."""
        if self._processes[-1].poll() is not None:
            assert self._processes[-1].returncode == 0, self._processes[-1].stdout.read().decode()
            return True
        for number in range(3):
            if self._processes[number].poll() is not None:
                self._processes[number] = self._start(self._commands[number])
                self.started.append(self._processes[number])
        return False


@posix
@pytest.mark.slow
@pytest.mark.parametrize("make", [Joblib, Shards, Dask])
def test_forty_runs_survive_ten_kills_of_workers_and_two_of_the_scheduler(make, tmp_path):
    study, runs = write_study(tmp_path, seeds=20, epochs=12), tmp_path / "runs"
    expected = undisturbed(study, tmp_path / "undisturbed")
    choose = random.Random(0)
    kills = ["worker"] * 10 + ["scheduler"] * 2
    choose.shuffle(kills)
    sweep = make(study, runs)
    try:
        for victim in kills:
            worker = wait_for_worker(runs)
            assert worker is not None, "all runs had ended before the last kill"
            time.sleep(choose.uniform(0, 0.3))
            sweep.kill_scheduler() if victim == "scheduler" else kill(worker)
            assert not sweep.mend(), "the sweep had ended before the last kill"
        deadline = time.monotonic() + 200
        while not sweep.mend():
            assert time.monotonic() < deadline, subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout
            time.sleep(0.2)
    finally:
        end(sweep.started)
    assert tables(runs) == expected
