"""scripts/benchmarks/gpu.py without a GPU: one clear line, its comparisons, and a rehearsal of all of it on the CPU."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import BackendError
from npresnext.geometry import ConvGeometry

from tests.support.paths import SCRIPTS

SMALL = {
    ConvGeometry.of_conv((2, 3, 8, 8), (8, 3, 3, 3), padding=1): 1,
    ConvGeometry.of_conv((2, 8, 8, 8), (8, 2, 3, 3), padding=1, groups=4): 3,
}


@pytest.fixture
def subjects(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")
    return importlib.import_module("_gpu_subjects")


@pytest.fixture
def script(subjects):
    return importlib.import_module("gpu")


@pytest.fixture
def rehearsal(script, subjects, monkeypatch, tmp_path):
    """Call main on the CPU, on a small network, with the subjects in this process; returns what is in the file."""
    pytest.importorskip("torch")
    monkeypatch.setattr(subjects, "NETWORK", "resnet18")
    monkeypatch.setattr(subjects, "convolutions", lambda batch, image: SMALL)
    monkeypatch.setattr(subjects, "median_ms", lambda run, event, elapsed, seconds: run() is None or 2.0)
    monkeypatch.setattr(
        script,
        "measure",
        lambda subject, what, **arguments: json.loads(
            json.dumps(subjects.result(subject, what, json.loads(json.dumps(arguments))))
        ),
    )

    def run(*arguments):
        path = tmp_path / "cuda.json"
        script.main(["--out", str(path), "--device", "cpu", "--image", "32", "--rounds", "2", *arguments])
        return json.loads(path.read_text())

    return run


def test_without_a_device_it_ends_with_one_line_and_a_code_and_writes_nothing(tmp_path):
    try:
        with nx.use_backend("cupy"):
            pytest.skip("there is a device: the benchmark would run")
    except BackendError as error:
        reason = str(error)
    path = tmp_path / "cuda.json"
    command = [sys.executable, SCRIPTS / "benchmarks" / "gpu.py", "--out", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and not path.exists()
    assert done.stderr == f"gpu.py: npresnext, machine: {reason}\n"


def test_the_layers_are_those_of_resnext50(subjects):
    found = subjects.convolutions(2, 224)
    assert sum(found.values()) == 53
    assert sum(times * geometry.macs for geometry, times in found.items()) == 2 * (4_230_479_872 - 2048 * 1000)
    assert sum(times for geometry, times in found.items() if geometry.groups == 32) == 16


def test_the_time_is_the_median_of_many_runs_after_a_warm_up(subjects):
    clock, calls = [0.0], []

    class Event:
        def record(self):
            self.at = clock[0]

        def synchronize(self):
            pass

    def run():
        calls.append(len(calls))
        clock[0] += 1000.0 if len(calls) % 10 == 0 else 20.0  # one run in ten is disturbed

    assert subjects.median_ms(run, Event, lambda start, stop: stop.at - start.at, seconds=0.3) == 20.0
    assert len(calls) == 5 + 15


def test_gradients_are_compared_tensor_by_tensor_with_the_exact_ones(script):
    exact = {"a": np.array([3.0, 4.0]), "b": np.zeros(1)}
    theirs = {"a": np.array([3.0, 4.5], np.float32), "b": np.zeros(1, np.float32)}
    ours = {"a": np.array([3.0, 2.0], np.float32), "b": np.zeros(1, np.float32)}
    found = script.compare(ours, theirs, exact)
    assert found == {"a": [0.4, 0.1], "b": [0.0, 0.0]}  # ‖(0, −2)‖/‖(3, 4)‖ and ‖(0, 0.5)‖/‖(3, 4)‖
    assert script.factor(found["a"]) == 4 and script.factor(found["b"]) == 1
    assert script.factor([1e-9, 0.0]) == float("inf")
    with pytest.raises(ValueError, match="different names: .'b'."):
        script.compare({"a": ours["a"]}, theirs, exact)
    with pytest.raises(ValueError, match="gradient of a is not finite"):
        script.compare({**ours, "a": ours["a"] * np.float32("nan")}, theirs, exact)
    with pytest.raises(TypeError, match="exact gradient of a has dtype float32"):
        script.compare(ours, theirs, theirs)


def test_a_ratio_is_taken_to_the_better_of_pytorchs_two_layouts(script):
    rounds = [
        {"npresnext": 2.0, "torch": 4.0, "torch-channels-last": 1.6},
        {"npresnext": 2.0, "torch": 2.0, "torch-channels-last": 3.0},
    ]
    assert script.ratios(rounds, float) == [1.25, 1.0]
    times = [{"forward": 5.0}, {"forward": 7.0}]
    assert script.grouped_times("forward", SMALL)(times) == 3 * 7.0  # the dense one does not count


@pytest.mark.oracle
def test_both_start_from_the_same_weights_and_take_the_same_batch(script, subjects, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(subjects, "NETWORK", "resnet18")
    ours = subjects.NpresnextSubject("cpu", False, 0).gradients(4, 32, "float64")
    theirs = subjects.TorchSubject("cpu", False, 0, channels_last=True).gradients(4, 32, "float64")
    errors = script.compare(ours, ours, theirs)
    assert len(errors) == 62 and max(error for error, _ in errors.values()) < 1e-9


@pytest.mark.oracle
def test_a_rehearsal_on_the_cpu_runs_every_part_and_its_tables(script, rehearsal, capsys):
    data = rehearsal("--batch", "2")
    assert set(data) == {"machine", *script.PARTS}
    one = data["layers tf32"][1]
    assert set(one) == {*script.SUBJECTS, "ceilings"} and all(len(one[who]) == 2 for who in script.SUBJECTS)
    assert set(one["npresnext"][0]) == set(script.KINDS)
    assert len(data["gradients"]) == 1 and len(data["gradients"][0]["tensors"]) == 62
    printed = capsys.readouterr().out
    assert "these times mean nothing" in printed and "not measured yet" not in printed
    assert "| 8→8 3x3 at 8x8, G=4 | 3 | 2.000 | 1.00 (1.00–1.00) |" in printed
    assert printed.partition("worst gradients")[2].count("\n| ") == script.WORST


@pytest.mark.oracle
def test_parts_are_added_to_a_file_that_was_measured_alike_and_to_no_other(script, rehearsal, monkeypatch, capsys):
    first = rehearsal("--batch", "2", "--only", "step float32")
    assert "| not measured yet |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="was measured otherwise"):
        rehearsal("--batch", "3", "--only", "gradients")
    both = rehearsal("--batch", "2", "--only", "gradients")
    assert both["step float32"] == first["step float32"] and "gradients" in both
    monkeypatch.setattr(script, "one_round", lambda part, common: sys.exit("out of memory"))
    with pytest.raises(SystemExit):
        rehearsal("--batch", "2", "--only", "layers float32")
    assert rehearsal("--table") == both


@pytest.mark.oracle
def test_a_subject_runs_in_a_process_of_its_own(script):
    pytest.importorskip("torch")
    found = script.measure("torch", "machine", device="cpu", batch=1, image=32, seconds=0, tf32=True)
    assert found["torch"]
