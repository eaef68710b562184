"""scripts/benchmark_cuda.py where nothing can be measured: one clear line; and the layers that it would measure."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import BackendError

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark_cuda.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_cuda", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_device_it_ends_with_one_line_and_a_code():
    try:
        with nx.use_backend("cupy"):
            pytest.skip("there is a device: the benchmark would run")
    except BackendError as error:
        reason = str(error)
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"benchmark_cuda.py: {reason}\n"


def test_the_layers_are_those_of_resnext50(script):
    found = script.convolutions(2, only_grouped=False)
    assert sum(found.values()) == 53
    assert sum(times * geometry.macs for geometry, times in found.items()) == 2 * (4_230_479_872 - 2048 * 1000)
    grouped = script.convolutions(2, only_grouped=True)
    assert sum(grouped.values()) == 16 and {geometry.groups for geometry in grouped} == {32}


def test_a_row_compares_with_pytorchs_best_and_with_the_ceilings(script):
    bench = script.Bench.__new__(script.Bench)
    bench.bandwidth, bench.arithmetic = 3000.0, 50.0
    row = bench.row(2.0, {"contiguous_format": 4.0, "channels_last": 1.6}, "forward", size=3e9, work=50e9)
    assert row["ratio"] == 1.25 and row["share_of_bandwidth"] == 0.5 and row["share_of_arithmetic"] == 0.5


def test_the_time_is_the_median_of_many_runs_after_a_warm_up(script):
    clock, calls = [0.0], []

    class Event:
        def record(self):
            self.at = clock[0]

        def synchronize(self):
            pass

    def run():
        calls.append(len(calls))
        clock[0] += 1000.0 if len(calls) % 10 == 0 else 20.0      # one run in ten is disturbed

    assert script.median_ms(run, Event, lambda start, stop: stop.at - start.at) == 20.0
    assert len(calls) == 5 + 15
    assert np.isfinite(clock[0])
