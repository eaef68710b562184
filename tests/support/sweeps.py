"""Sweeps of runs that take a fraction of a second, and processes that are killed while they make them."""

import os
import signal
import subprocess
import sys
import time

from npresnext.studies import RunOptions, collect, create_folders, read_study, sweep, write_table
from npresnext.studies.folder import run_folders
from npresnext.studies.locks import records

from tests.support.paths import ROOT

STUDY = """
title = "tiny networks"

[common]
data = "digits"
limit = 64
batch_size = 16
epochs = {epochs}
blocks = [1]
planes = 8
measure = ["history", "gradnorms"]

[[grid]]
design = ["1x8d", "4x2d"]
seeds = {seeds}
"""


def write_study(folder, *, seeds, epochs):
    """Write a study of two networks and `seeds` seeds, with 4 steps an epoch."""
    path = folder / "study.toml"
    path.write_text(STUDY.format(seeds=seeds, epochs=epochs))
    return path


def tables(folder):
    """The bytes of the three tables of a sweep."""
    found = {}
    for what in ("results", "history", "gradnorms"):
        path = folder.parent / f"{folder.name}-{what}.csv"
        write_table(collect([folder], what), path, overwrite=True)
        found[what] = path.read_bytes()
    return found


def undisturbed(study, folder):
    """The tables of a sweep in this process."""
    runs = read_study(study).runs
    create_folders(folder, runs)
    sweep(folder, [run.name for run in runs], options=RunOptions(), report=lambda line: None)
    return tables(folder)


def start(*command):
    """Start ``python -m`` with its children in a session of their own, which :func:`end` kills."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end(processes):
    """Kill processes with their children, those too that outlived them."""
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()


def wait_for_worker(folder, *, seconds=60):
    """The process of a run that has written a checkpoint and not ended; None if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for run in run_folders(folder) if folder.is_dir() else []:
            locks = records(run.path)
            if locks and locks[-1].is_alive and run.file("checkpoint.npz").exists() and run.state == "running":
                return locks[-1].pid
        time.sleep(0.01)
    return None


def kill(pid):
    """Send SIGKILL to a process that may have ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
