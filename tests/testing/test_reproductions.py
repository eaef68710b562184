"""Lines that reproduce a failure without the kit: ten at most, and executed here, with what is right as well."""

import importlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import MissingExtraError
from npresnext.testing import ConvCase, Finding, adapters, check_conv, explanation
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.layouts import LAYOUTS
from npresnext.testing.reproduction import write_reproduction
from npresnext.testing.runner import Runner
from npresnext.testing.subject import AXES, Subject
from npresnext.testing.trial import Trial

from tests.support.mutants import MUTANTS

PROVEN = [mutant for mutant in MUTANTS if mutant.caught_by[1] != "statistical"]
RIGHT = {"forward": nx.conv2d, "backward": nx.conv2d_backward}
CASE = ConvCase(2, 4, 4, 2, (3, 4), (2, 2), padding=((1, 0), (0, 0)), has_bias=True)


def first_failure(mutant):
    """What the mutant's own check finds first, in the case as it was drawn."""
    arithmetic = as_arithmetic(mutant.options.get("dtype", "float32"))
    runner = Runner(Subject(mutant.forward, mutant.backward, arithmetic, mutant.options.get("algorithm", "direct")))
    for case in runner.cases(200, seed=0):
        runner.try_case(case)
        if mutant.caught_by in runner.report.checks and runner.report.checks[mutant.caught_by].failed:
            return runner, runner.report.checks[mutant.caught_by].first


@pytest.mark.parametrize("mutant", PROVEN, ids=lambda mutant: mutant.name)
def test_ten_lines_fail_for_a_mutant_and_hold_for_a_right_convolution(mutant):
    with np.errstate(all="ignore"):
        runner, failure = first_failure(mutant)
        lines = explanation.explain(runner, failure, budget=15).reproduction
        assert len(lines.splitlines()) <= 10 and ("npresnext" not in lines or "too many values" in lines)
        wrong = {"forward": mutant.forward, "backward": mutant.backward}
        if not mutant.name.startswith(("gradients of the last call", "packed weights")):  # whose first call is right
            with pytest.raises(Exception):  # noqa: B017
                exec(lines, wrong)
        exec(lines.replace("from mutants import _", "").replace(" _(", " forward("), dict(RIGHT))


def written_down(trial, name, expected):
    """The lines of a finding that one value of a result is not as expected."""
    at = (0,) * trial.exact(name).high.ndim
    found = Finding(name, "exact", 2, "", trial.case, name, at, None, expected, 0.0, trials=(trial,))
    return write_reproduction(found)


# torch-compile makes the same call as torch, and compiles for seconds.
@pytest.fixture(scope="module", params=[name for name in adapters.FRAMEWORKS if name != "torch-compile"])
def framework(request):
    try:
        return request.param, adapters.load(request.param)
    except MissingExtraError as error:
        pytest.skip(str(error))


# What builds a model, a graph or a loop takes more lines than a call.
MORE_LINES = {"scipy": 13, "tvm": 14, "litert": 15, "openvino": 12, "ncnn": 13, "mnn": 13, "tract": 14, "opencv": 12}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_the_lines_of_a_framework_are_ten_and_run_in_each_layout(framework, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    name, target = framework
    if dtype not in target.supports.get("dtypes", [dtype]):
        pytest.skip(f"{name} has no {dtype}")
    subject = Subject(target.forward, target.backward, as_arithmetic(dtype), axes=AXES[target.layout])
    for layout in target.supports.get("layouts", LAYOUTS):
        trial = Trial(subject, replace(CASE, layouts=(layout,) * 3), real=False)
        for result in ("y", "dx", "dw", "db") if target.backward else ("y",):
            expected = float(trial.exact(result).high.ravel()[0])
            lines = written_down(trial, result, expected)
            assert len(lines.splitlines()) <= MORE_LINES.get(name, 10) and "npresnext.testing" not in lines
            exec(lines, {})
            with pytest.raises(AssertionError):
                exec(written_down(trial, result, expected + 1), {})


@pytest.mark.parametrize("layouts", list(itertools.combinations_with_replacement(LAYOUTS, 3)), ids=", ".join)
def test_the_lines_of_a_function_are_ten_and_run_in_each_layout(layouts):
    def forward(x, weight, bias, **window):
        before.append((x.strides, weight.strides))
        y = nx.conv2d(x.transpose(0, 3, 1, 2), weight.transpose(0, 3, 1, 2), bias, **window)
        return y.transpose(0, 2, 3, 1)

    before = []
    for layout, function in (("NCHW", nx.conv2d), ("NHWC", forward)):
        subject = Subject(function, None, as_arithmetic("float32"), axes=AXES[layout])
        trial = Trial(subject, replace(CASE, layouts=layouts), real=False)
        expected = float(trial.exact("y").high[0, 0, 0, 0])
        lines = written_down(trial, "y", expected)
        assert len(lines.splitlines()) <= 10
        trial.results  # noqa: B018
        exec(lines, {"forward": function})
        with pytest.raises(AssertionError):
            exec(written_down(trial, "y", expected + 1), {"forward": function})
    assert before[0] == before[1] == before[2], "the operands lie in memory as they were tried"


@pytest.mark.oracle
def test_a_failure_of_torch_reproduces_in_lines_of_torch():
    pytest.importorskip("torch")
    target = adapters.load("torch")
    failures = check_conv(target.forward, target.backward, cases=2, supports=target.supports).failures
    _, finding = sorted(failures, key=lambda failure: "y has shape" in failure.message)
    assert "y has shape" in finding.message
    assert "torch\n" in finding.reproduction and "npresnext" not in finding.reproduction
    assert len(finding.reproduction.splitlines()) <= 10
    with pytest.raises(AssertionError):
        exec(finding.reproduction, {})


def test_operands_that_fill_pages_are_drawn_by_their_case():
    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return y + (x.shape[1] > 200)

    (best, *_) = check_conv(forward, cases=0, supports={"invalid_calls": False}).failures
    assert max(map(len, best.reproduction.splitlines())) <= 1000 and len(best.reproduction.splitlines()) <= 10
    with pytest.raises(AssertionError):
        exec(best.reproduction, {"forward": forward})
    exec(best.reproduction, {"forward": nx.conv2d})


def test_the_lines_import_a_function_from_a_file_that_begins_with_a_number(tmp_path, monkeypatch):
    """As the files of exercises do: `from 11_conv import conv` is no Python."""
    (tmp_path / "11_conv.py").write_text("def conv(x, weight, bias, **window):\n    return x\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    conv = importlib.import_module("11_conv").conv
    case = ConvCase(size=(1, 2), kernel=(1, 2), seed=1)
    lines = check_conv(conv, only=case).failures[0].reproduction
    with pytest.raises(AssertionError):
        exec(lines, {})
