"""conv_tests and the plugin: what pytest makes of them, in a run of its own."""

import ast
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

TESTS = """
import npresnext as nx
from npresnext.testing import assert_conv, conv_tests

calls = []

def forward(x, weight, bias, **window):
    calls.append(x.shape)
    return nx.conv2d(x, weight, bias, **window) + (x.shape[1] == 0)

options = {"cases": 3, "supports": {"invalid_calls": False}, "budget": 60}
test_wrong = conv_tests(forward, **options)
test_known = conv_tests(forward, xfail={"zero_channels": "issue 7"}, **options)
test_check = conv_tests(forward, xfail={"y (exact)": "issue 8"}, **options)
test_right = conv_tests(nx.conv2d, nx.conv2d_backward, **options)

def test_assert():
    assert_conv(forward, **options)
"""


@pytest.fixture(scope="module")
def run_pytest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_conv.py").write_text(TESTS)

    def run(*arguments):
        command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "npresnext_pytest"]
        alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # where it is installed, it would be loaded twice
        alone |= {"CI": "", "BUILD_NUMBER": ""}  # where these are set, pytest repeats whole messages in its summary
        done = subprocess.run(
            [*command, *arguments], cwd=folder, env=alone, capture_output=True, text=True, timeout=300
        )
        return done.stdout + done.stderr

    return run


def test_each_property_and_result_is_a_test(run_pytest):
    told = run_pytest("-k", "right or wrong")
    for name in ("y-exact", "dx-bounded", "adjoint-exact", "groups_are_local-exact", "shape-contract"):
        assert f"PASSED test_conv.py::test_right[{name}]" in told
    assert "FAILED test_conv.py::test_wrong[y-exact] - Failed: fails only with " in told
    assert "PASSED test_conv.py::test_wrong[shape-contract]" in told
    assert "the fault shown by y (exact)" in told and told.count("import numpy as np") == 1


def test_known_failures_do_not_fail(run_pytest):
    told = run_pytest("-k", "known or check")
    assert "PASSED test_conv.py::test_known[y-exact]" in told and "FAILED test_conv.py::test_known" not in told
    assert "XFAIL test_conv.py::test_check[y-exact] - issue 8" in told


def test_one_case_is_tried_alone(run_pytest):
    case = "ConvCase(in_channels=0, out_channels=1, size=(1, 1))"
    told = run_pytest("-k", "wrong", "--npresnext-case", case)
    assert "1 of 1 cases" in told and "case: ConvCase(in_channels=0, " in told
    assert "expected a line such as ConvCase" in run_pytest("-k", "wrong", "--npresnext-case", "nonsense")


def test_the_assertion_begins_with_the_finding_and_ends_in_the_test_of_its_author(run_pytest):
    told = run_pytest("-k", "test_assert")
    assert "E       AssertionError: y is wrong in " in told
    assert "conformance.py" not in told


def test_the_plugin_imports_nothing():
    tree = ast.parse((ROOT / "npresnext_pytest.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert "npresnext = npresnext_pytest" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
