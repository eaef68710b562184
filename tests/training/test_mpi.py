"""Runs on several processes of MPI; skipped where mpi4py or mpirun is not installed (pip install mpi4py mpich)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from npresnext import cli, io

from tests.support.paths import ROOT

pytest.importorskip("mpi4py")
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MPIRUN is None, reason="no mpirun: pip install mpich")

RUN = ["train", "--limit", "64", "--batch-size", "16", "--epochs", "2", "--shards", "4"]

DYING = """
import os, signal, sys
from npresnext import cli
from npresnext.training import ShardedTrainer

compute = ShardedTrainer.compute_gradients

def die(trainer, x, target):
    if trainer.communicator.rank == 1 and trainer.step == 6:
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("no space left")
    compute(trainer, x, target)

ShardedTrainer.compute_gradients = die
sys.exit(cli.main(sys.argv[2:]))
"""


def mpirun(size, *arguments):
    """Run Python with these arguments on `size` ranks, and return the finished mpirun."""
    settings = {
        "PYTHONPATH": str(ROOT),
        "NPRESNEXT_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",  # Open MPI refuses to run as root, and more ranks than cores
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return subprocess.run(
        [MPIRUN, "-n", str(size), sys.executable, *map(str, arguments)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run on one process: its checkpoint and its weights."""
    folder = tmp_path_factory.mktemp("alone")
    files = ["--checkpoint", str(folder / "run.npz"), "--save", str(folder / "weights.npz")]
    assert cli.main([*RUN, *files]) == 0
    return folder


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_write_the_bytes_of_one_process(size, alone, tmp_path):
    files = ["--checkpoint", tmp_path / "run.npz", "--save", tmp_path / "weights.npz"]
    run = mpirun(size, "-m", "npresnext", *RUN, *files)
    assert run.returncode == 0, run.stderr
    for name in ("run.npz", "run.previous.npz", "weights.npz"):
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes()
    lines = run.stdout.splitlines()  # of rank 0 alone
    assert lines[0].startswith(f"4 shards of 4 images on {size} ranks; batch norm normalises each shard by itself")
    assert [line.split("  ")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"] and len(lines) == 4


@pytest.mark.parametrize("how", ["killed", "raised"])
def test_a_rank_that_dies_ends_the_job_and_leaves_a_checkpoint_for_more_ranks(how, alone, tmp_path):
    files = ["--checkpoint", tmp_path / "run.npz"]
    run = mpirun(2, "-c", DYING, how, *RUN, *files, "--checkpoint-every", "1")
    assert run.returncode != 0
    if how == "raised":
        assert run.stderr.count("rank 1 of 2 on ") == run.stderr.count("OSError: no space left") == 1
        assert f"this ends all ranks; add --resume to continue from {tmp_path / 'run.npz'}" in run.stderr
        assert int(io.load(tmp_path / "run.npz").metadata["step"]) in (5, 6)
    else:
        assert "signal 9" in run.stdout + run.stderr
        resumed = mpirun(4, "-m", "npresnext", *RUN, *files, "--resume")
        assert resumed.returncode == 0, resumed.stderr
        assert (tmp_path / "run.npz").read_bytes() == (alone / "run.npz").read_bytes()


def test_ranks_that_do_not_divide_the_shards_are_told_once():
    run = mpirun(3, "-m", "npresnext", *RUN)
    assert run.returncode == 2
    expected = "npresnext: error: argument --shards: must be a multiple of the number of ranks, 3, but is 4\n"
    assert run.stderr.count("npresnext: error") == run.stderr.count(expected) == 1 and run.stdout == ""
