"""scripts/benchmarks/_cpu_report.py: the layers it counts, and its verdicts on the targets."""

import importlib
import subprocess
import sys

import pytest

from npresnext import models

from tests.support.paths import SCRIPTS


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")
    return importlib.import_module("_cpu_report")


def times(report, **milliseconds):
    return [
        {kind: milliseconds.get(report.layer_name(each), 1.0) for kind in report.KINDS}
        for each in report.resnext50_layers()
    ]


def weights_of(each):
    return each["inputs"] * each["outputs"] * each["kernel"] ** 2 // each["groups"]


def test_layers_are_the_53_convolutions_of_the_network(report):
    layers = report.resnext50_layers()
    of_model = [p.data for p in models.resnext50_32x4d(rng=0).parameters() if p.data.ndim == 4]
    assert sum(each["count"] for each in layers) == len(of_model) == 53
    assert sum(each["count"] * weights_of(each) for each in layers) == sum(weight.size for weight in of_model)


def test_dense_layers_are_the_3x3_convolutions_of_resnet18(report):
    layers = report.resnet18_layers()
    of_model = [p.data for p in models.resnet18(rng=0).parameters() if p.data.shape[2:] == (3, 3)]
    assert sum(each["count"] for each in layers) == len(of_model) == 16
    assert sum(each["count"] * weights_of(each) for each in layers) == sum(weight.size for weight in of_model)


def test_median_of_the_rounds_decides_whether_a_target_is_reached(report):
    def steps(*ratios):
        keys = ("training step", "inference", "peak memory of training")
        rounds = [{"npresnext": dict.fromkeys(keys, ratio), "torch": dict.fromkeys(keys, 1.0)} for ratio in ratios]
        lines = report.report({"machine": {"threads": 2}, "network:resnet18": rounds})
        return next(line for line in lines if line.startswith("| training step of resnet18"))

    assert steps(1.0, 1.15, 3.0) == "| training step of resnet18 | ≤ 1.2 | 1.15 (1.00–3.00) | reached |"
    assert steps(1.0, 1.25, 1.3) == "| training step of resnet18 | ≤ 1.2 | 1.25 (1.00–1.30) | **missed** |"


def test_ratios_are_those_of_one_round_and_weighted_by_how_often_a_layer_occurs(report):
    slow = {"1024→1024 3x3 at 7, G=32": 10.0}  # which occurs twice
    rounds = [
        {"npresnext": times(report, **slow), "torch": times(report)},
        {"npresnext": times(report), "torch": times(report, **slow)},
    ]
    found = {name: values for name, _, values in report.layer_targets(rounds)}
    assert found["the 53 convolutions of ResNeXt-50, forward"] == [71 / 53, 53 / 71]
    assert found["the grouped 3x3, backward"] == [34 / 16, 16 / 34]
    assert found["the slowest layer (1024→1024 3x3 at 7, G=32, forward)"] == [10.0, 0.1]


def test_dense_layers_have_a_table_of_their_own(report):
    rounds = [{who: [dict.fromkeys(report.KINDS, time)] * 7 for who, time in (("npresnext", 3.0), ("torch", 2.0))}]
    lines = list(report.report({"machine": {"threads": 2}, "dense": rounds}))
    half_more = "1.50 (1.50–1.50)"
    assert f"| the 3x3 of ResNet-18 | {half_more} | {half_more} |" in lines
    assert f"| 512→512 3x3 at 7 | 3 | 3000.00 | {half_more} | {half_more} | {half_more} | {half_more} |" in lines


def test_a_table_of_nothing_is_one_line_and_not_a_traceback(tmp_path):
    command = [sys.executable, SCRIPTS / "benchmarks" / "cpu.py", "--out", tmp_path, "--table"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr
        == f"cpu.py: there are no results in {tmp_path / 'benchmark.json'}: measure first, without --table\n"
    )


@pytest.mark.parametrize("part", ["_cpu_subjects.py", "_gpu_subjects.py"])
def test_a_part_that_is_run_alone_says_what_it_is_part_of(part):
    done = subprocess.run([sys.executable, SCRIPTS / "benchmarks" / part, "--help"], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"The libraries that {part[1:4]}.py compares.")
