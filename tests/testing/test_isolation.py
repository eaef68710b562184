"""isolate=True: a call that ends the process or never returns is a finding, and the others are judged all the same."""

import os
import subprocess
import sys
import time

import pytest

import npresnext as nx
from npresnext.testing import check_conv

from tests.support.paths import ROOT

FEW = {"cases": 5, "supports": {"invalid_calls": False, "layouts": False}, "isolate": True}


def ends_the_process(x, weight, bias, **window):
    if window["groups"] == 29:
        os._exit(7)
    return nx.conv2d(x, weight, bias, **window) + (weight.shape[2:] == (1, 7))


def ends_the_process_where_a_rule_is_broken(x, weight, bias, **window):
    if window["groups"] == 0:
        os._exit(7)
    return nx.conv2d(x, weight, bias, **window)


def sleeps(x, weight, bias, **window):
    time.sleep(60)


def test_the_remaining_cases_are_tried_and_the_death_is_reduced():
    report = check_conv(ends_the_process, **FEW)
    death, wrong = (report.checks[check] for check in (("returns at all", "contract"), ("y", "exact")))
    assert (death.failed, death.tried) == (2, report.cases) and report.cases > 150
    assert wrong.failed and wrong.first.case.kernel == (1, 7) and wrong.first.reproduction
    assert death.first.role == "forward" and "exit code 7" in death.first.message
    assert death.first.case.groups == 29 and death.first.case.kernel == (1, 1) and death.first.case.batch == 1
    assert "ends_the_process(x, weight, None, stride=(1, 1)" in death.first.reproduction


def test_a_call_that_breaks_a_rule_is_shown_as_it_was_made():
    report = check_conv(ends_the_process_where_a_rule_is_broken, cases=0, isolate=True, budget=60)
    (finding,) = report.failures
    assert finding.call.endswith("groups=0") and "groups=0)" in finding.reproduction
    assert report.checks["refuses wrong calls", "advisory"].tried > 5


def test_a_hang_ends_at_the_time_limit():
    report = check_conv(sleeps, **FEW, time_limit=4)
    (cause,) = report.causes
    finding = cause.shown_by.finding
    assert cause.title == "forward does not return" and "no end after 4 seconds" in finding.message
    assert finding.reproduction.splitlines()[-1].startswith("y = sleeps(x, weight, ")
    assert report.left_out[-1] == "what comes after case 1: the time was spent"


def test_what_does_not_travel_is_refused():
    with pytest.raises(TypeError, match="needs functions that stand at the top of a module"):
        check_conv(lambda *operands, **window: None, **FEW)


def test_a_script_whose_call_has_no_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import npresnext as nx\nnx.testing.check_conv(nx.conv2d, cases=3, isolate=True)\n", encoding="utf-8"
    )
    found = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].endswith('put the call behind if __name__ == "__main__":')


def test_a_right_convolution_passes():
    assert check_conv(nx.conv2d, nx.conv2d_backward, cases=3, isolate=True).passed
