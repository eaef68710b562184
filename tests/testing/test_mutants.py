"""Every known wrong is caught within 200 cases, by the check that is named for it and that it needs."""

from functools import cache

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import check_conv, rounding_statistics
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.diagnosis import diagnose
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject
from npresnext.testing.trial import Trial

from tests.support.mutants import MUTANTS

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
CHECKS = sorted({mutant.caught_by for mutant in MUTANTS})


def runner_for(mutant):
    arithmetic = as_arithmetic(mutant.options.get("dtype", "float32"))
    return Runner(Subject(mutant.forward, mutant.backward, arithmetic, mutant.options.get("algorithm", "direct")))


def case_that_catches(name, most):
    """The number of the case in which the mutant's own check fails, or None if there is none up to `most`."""
    mutant = BY_NAME[name]
    runner = runner_for(mutant)
    with np.errstate(all="ignore"):
        if mutant.caught_by[1] == "statistical":
            runner.try_large_case()
            return 1 if runner.report.checks[mutant.caught_by].failed else None
        for case in runner.cases(most, seed=0):
            runner.try_case(case)
            if mutant.caught_by in runner.report.checks and runner.report.checks[mutant.caught_by].failed:
                return runner.report.cases
            if runner.report.cases == most:
                return None


first_catch = cache(case_that_catches)


def test_there_are_forty_mutants_and_more_by_every_verdict_under_different_names():
    assert len(BY_NAME) == len(MUTANTS) >= 40
    assert {verdict for _, verdict in CHECKS} == {"exact", "bounded", "normwise", "statistical", "contract"}


@pytest.mark.parametrize("name", BY_NAME)
def test_mutant_is_caught(name):
    assert first_catch(name, 200) is not None


@pytest.mark.parametrize("check", CHECKS, ids=", ".join)
def test_without_its_check_no_mutant_is_caught(check, monkeypatch):
    """Disable one check, and the test above turns red for every mutant that names it."""
    mutants = [mutant.name for mutant in MUTANTS if mutant.caught_by == check]
    caught = {name: first_catch(name, 200) for name in mutants}
    examine = Runner.examine

    def kept(*args):
        return (found for found in examine(*args) if (found.property, found.verdict) != check)

    monkeypatch.setattr(Runner, "examine", kept)
    if check[1] == "statistical":
        monkeypatch.setattr(rounding_statistics, "compare_with_random_rounding", lambda *args: (0.0, 0.0))
    for name in mutants:
        assert case_that_catches(name, caught[name]) is None, name


# of the bounded ones these two are wrong on integers as well
ON_INTEGERS = {"a factor of 1 + 2^-20", "results rounded to bfloat16"}
SUBTLE = [m.name for m in MUTANTS if m.caught_by[1] in ("bounded", "statistical") and m.name not in ON_INTEGERS]


@pytest.mark.parametrize("name", SUBTLE)
def test_rounding_faults_pass_every_verdict_but_one(name):
    """Small integers survive a narrower format, and long sums a worst-case bound: the named verdict alone sees them."""
    runner = runner_for(BY_NAME[name])
    for case in list(runner.cases(20, seed=0))[:40]:
        runner.try_case(case)
    runner.try_large_case()
    failed = {verdict for (_, verdict), row in runner.report.checks.items() if row.failed}
    assert failed <= {BY_NAME[name].caught_by[1], "statistical"}


def test_what_is_statistical_is_told_and_fails_nobody():
    mutant = BY_NAME["long sums of 20 bits"]
    report = check_conv(mutant.forward, cases=0, supports={"groups": False, "layouts": False})
    assert report.passed and report.checks["y", "statistical"].failed
    assert any("errors of y are not like rounding" in note for note in report.advisories)


DIAGNOSES = {
    "inputs rounded to TF32 undeclared": "inputs rounded to TF32",
    "inputs rounded to bfloat16": "inputs rounded to bfloat16",
    "results rounded to float16": "results rounded to float16",
    "float32 sums behind float64": "float32 accumulator",
    "float16 sums": "float16 accumulator",
    "results rounded towards zero": "results rounded towards zero",
    "weights held in 8 bits": "not explained by rounding",
    "rotates the kernel": "not explained by rounding",
}


def test_sums_of_bfloat16_are_not_called_float16_which_would_explain_them_too():
    pytest.importorskip("ml_dtypes")

    def backward(grad_output, x, weight, **window):
        dx, dw, db = nx.conv2d_backward(grad_output, x, weight, **window)
        images = zip(grad_output[:, None], x[:, None])
        return dx, sum((nx.conv2d_weight_grad(*image, dw.shape, **window) for image in images), 0 * weight), db

    report = check_conv(None, backward, dtype="bfloat16", cases=10, supports={"layouts": False})
    assert [(found.property, found.diagnosis) for found in report.failures] == [("dw", "bfloat16 accumulator")]


@pytest.mark.parametrize("name", DIAGNOSES)
def test_the_diagnosis_names_what_was_narrower(name):
    runner = runner_for(BY_NAME[name])
    case = next(case for case in list(runner.cases(20, seed=0))[4:] if case.batch and case.inner["y"] > 4)
    trials = [Trial(runner.subject, case, real) for real in (True, False)]
    assert diagnose([*trials, runner.large_trial], "y") == DIAGNOSES[name]
