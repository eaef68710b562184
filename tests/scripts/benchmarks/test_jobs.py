"""scripts/benchmarks/jobs.py: both libraries do the same work, ratios are those of one round, commits are compared."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

import npresnext as nx
from npresnext.data import Augment, load_digits, training_batches
from npresnext.training import TrainingConfiguration

from tests.support.paths import ROOT, SCRIPTS

JOBS = SCRIPTS / "benchmarks" / "jobs.py"
TINY = ["--rounds", "1", "--threads", "1", "--seconds", "0", "--epochs", "1"]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")
    return importlib.import_module


def run(*arguments):
    return subprocess.run([sys.executable, JOBS, *arguments], capture_output=True, text=True)


def copy_weights(model, theirs):
    import torch

    with torch.no_grad():
        for ours, parameter in zip(model.parameters(), theirs.parameters(), strict=True):
            parameter.copy_(torch.from_numpy(ours.data))


@pytest.mark.parametrize("name", ["digits", "28x28", "resnet20", "8x16d"])
def test_both_libraries_have_the_same_network(load, name):
    torch = pytest.importorskip("torch")
    subjects = load("_jobs_subjects")
    model, theirs = subjects.numpy_network(name), subjects.torch_network(name)
    copy_weights(model, theirs)
    x = subjects.batch_of(name)[0][:2]
    with nx.no_grad(), torch.no_grad():
        np.testing.assert_allclose(model(x), theirs(torch.from_numpy(x)).numpy(), rtol=1e-3, atol=1e-4)


def test_digits_and_28x28_are_resnext_small(load):
    model = load("_jobs_subjects").numpy_network("digits")
    expected = nx.models.resnext_small(rng=0)
    assert {name: array.shape for name, array in model.state_dict().items()} == {
        name: array.shape for name, array in expected.state_dict().items()
    }


def test_training_in_pytorch_has_the_batches_of_ours(load):
    pytest.importorskip("torch")
    theirs = load("_torch_training")
    train, _, black = theirs.digits()
    ours = training_batches(load_digits()[0], 32, seed=0, epoch=3, augment=Augment(crop=1))
    count = 0
    for (x, target), (their_x, their_target) in zip(ours, theirs.batches(*train, black, epoch=3), strict=True):
        np.testing.assert_array_equal(x, their_x.numpy())
        np.testing.assert_array_equal(target, their_target.numpy())
        count += 1
    assert count == 45


def test_training_in_pytorch_is_what_our_command_trains(load, monkeypatch):
    pytest.importorskip("torch")
    theirs = load("_torch_training")
    train, test, black = theirs.digits()
    doubles = [(images.double(), labels) for images, labels in (train, test)]
    monkeypatch.setattr(theirs, "digits", lambda: (*doubles, black))
    monkeypatch.setattr(theirs, "BATCH", 200)
    monkeypatch.setattr(theirs, "RATE", 0.01)  # at 0.1, or in float32, roundings grow to visible differences
    configuration = TrainingConfiguration.for_data("digits", epochs=2, batch_size=200, lr=0.01, dtype="float64")
    trainer = configuration.build(*configuration.load_data())
    model = load("_jobs_subjects").torch_network("digits").double()
    copy_weights(trainer.model, model)
    trainer.run(2 * 7)
    names = ("loss", "accuracy", "test_loss", "test_accuracy")
    ours = [[record[name] for name in names] for record in trainer.history]
    np.testing.assert_allclose(list(theirs.train(model, epochs=2)), ours, atol=1e-4)


def test_least_multiply_adds_are_those_of_forward_and_both_gradients(load):
    jobs = load("jobs")
    stem = 32 * 8 * 8 * 16 * 9  # whose images need no gradient
    assert jobs.multiply_adds("digits-step", 1) == 3 * jobs.multiply_adds("digits-inference", 1) - stem
    assert jobs.multiply_adds("train", 2) == 2 * (
        45 * jobs.multiply_adds("digits-step", 1) + 355 * (jobs.multiply_adds("digits-inference", 1) // 32)
    )
    assert jobs.multiply_adds("check", 1) is None


def test_ratios_are_those_of_one_round(load):
    def one(ours, theirs):
        times = {"npresnext": {"seconds": ours}, "torch": {"seconds": theirs}, "least": {"seconds": 0.001}}
        return {"threads": 2, "GFLOP/s": 100.0, "jobs": {"import": times, "check": {"npresnext": {"seconds": ours}}}}

    machine = {"against": "PyTorch", "epochs": 1}
    lines = list(load("jobs").report({"machine": machine, "rounds": [one(1, 2), one(4, 4), one(3, 12)]}))
    assert lines[2] == "\n2 threads, 3 rounds, large matmul 100.00 (100.00–100.00) GFLOP/s\n"
    assert lines[-2:] == [
        "| import | 3000.0 | 4000.0 | 1.0 | 0.50 (0.25–1.00) | – | – |",
        "| check | 3000.0 | – | – | – | – | – |",
    ]


def test_a_tiny_run_prints_the_table_of_what_it_writes(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "jobs.json"
    done = run("--jobs", "digits-step", "import", "train", "--out", out, *TINY)
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(out.read_text())["rounds"]
    assert {job: set(times) for job, times in one["jobs"].items()} == {
        "digits-step": {"npresnext", "torch"},
        "import": {"npresnext", "torch", "least"},
        "train": {"npresnext", "torch"},
    }
    assert all(0 < each["seconds"] for times in one["jobs"].values() for each in times.values())
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[-3:]] == [
        "| digits-step",
        "| train",
        "| import",
    ]
    assert run("--out", out, "--table").stdout == done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout of git")
def test_a_commit_is_measured_beside_the_code_here():
    done = run("--jobs", "digits-inference", "--against", "HEAD", *TINY)
    assert done.returncode == 0, done.stderr
    assert "| job | npresnext, ms | HEAD, ms |" in done.stdout and "| digits-inference |" in done.stdout


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout of git")
def test_sources_of_a_commit_are_that_commits(load):
    with load("jobs").sources_of("HEAD") as sources:
        code = "import npresnext; print(npresnext.__file__)"
        environment = {"PYTHONPATH": str(sources), "PATH": ""}
        found = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True, cwd=sources.parent)
        assert found.strip() == str(sources / "npresnext" / "__init__.py")
    assert str(sources) not in subprocess.check_output(["git", "-C", ROOT, "worktree", "list"], text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "no-such-commit"], "jobs.py: there is no commit no-such-commit to compare with"),
        (["--table"], "jobs.py: --table needs --out with a file that an earlier run has written"),
        (["--jobs", "digits"], "invalid choice: 'digits'"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, message):
    done = run(*arguments)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr


def test_help_has_examples_and_says_what_a_ratio_is():
    done = run("--help")
    assert done.returncode == 0
    assert "--jobs digits-step --against main~3" in done.stdout and "below 1, npresnext is faster" in done.stdout
