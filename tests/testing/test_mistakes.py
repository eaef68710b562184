"""The catalogue of mistakes: right where nothing is wrong, wrong in as many ways as it has entries, and fast."""

import itertools
from collections import defaultdict
from functools import cache

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import ConvCase, diagnosis, mistakes
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.explanation import explain_failures
from npresnext.testing.formats import SIGNIFICAND_BITS
from npresnext.testing.oracle import ExactResult
from npresnext.testing.preparation import make_runner
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject
from npresnext.testing.trial import NEVER_WRITTEN

SIZES = (3, 7, 12, 24, 40)
# Blocks of 4, 8, 16 and 32 columns, output channels, input channels of a group, images
BLOCKS = [
    *(ConvCase(1, 1, 1, size=(2, size), kernel=(2, 1), has_bias=True, seed=size) for size in SIZES),
    *(ConvCase(1, 1, size, size=(2, 2), kernel=(1, 2), has_bias=True, seed=size) for size in SIZES),
    *(ConvCase(1, size, 2, size=(2, 2), kernel=(1, 2), has_bias=True, seed=size) for size in SIZES),
    *(ConvCase(size, 1, 2, size=(2, 2), kernel=(1, 2), has_bias=True, seed=size) for size in SIZES),
    ConvCase(1, 72, 2, 2, size=(2, 2), kernel=(1, 2), seed=72),
    ConvCase(1, 1, 1, size=(4, 7), kernel=(2, 5), seed=5),
    ConvCase(1, 1, 1, size=(4, 6), kernel=(1, 4), seed=6),
]


@cache
def cases():
    runner = Runner(Subject(nx.conv2d, nx.conv2d_backward, as_arithmetic("float32")))
    return [*itertools.islice(runner.cases(100, seed=3), 95), *BLOCKS]


@cache
def calls():
    return [mistakes.as_call(case.operands(), case.kwargs) for case in cases()]


@cache
def right(name):
    return [call.result(name) for call in calls()]


@cache
def wrong(mistake, name):
    return [mistake.result(name, call) for call in calls()]


def differ(one, other):
    return sum(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(one, other))


PAIRS = [(mistake, name) for mistake in mistakes.MISTAKES for name in mistake.results]


def test_there_are_two_hundred_mistakes_each_with_a_name_a_question_and_an_explanation():
    assert len({mistake.name for mistake in mistakes.MISTAKES}) == len(mistakes.MISTAKES) >= 200
    for mistake in mistakes.MISTAKES:
        assert mistake.question.endswith(("?", ".")) and mistake.explanation.endswith(".")
        assert set(mistake.results) <= set(mistakes.RESULTS) and mistake.results
        assert mistake.change or mistake.compute or mistake.finish
        assert mistakes.find(mistake.name) is mistake
    assert {name: sum(name in mistake.results for mistake in mistakes.MISTAKES) >= 25 for name in mistakes.RESULTS} == {
        name: True for name in mistakes.RESULTS
    }


@pytest.mark.parametrize("name", mistakes.RESULTS)
def test_without_a_mistake_a_call_gives_what_the_oracle_gives(name):
    for case, got in zip(cases(), right(name)):
        assert np.array_equal(got, ExactResult(name, case, case.operands()).high), case


def test_each_mistake_changes_each_result_that_it_names_in_more_than_one_case():
    for mistake, name in PAIRS:
        assert differ(wrong(mistake, name), right(name)) > 1, (mistake.name, name)


def test_no_two_mistakes_are_the_same():
    alike = defaultdict(list)
    for mistake, name in PAIRS:
        results = wrong(mistake, name)
        alike[name, tuple((one.shape, (one + 0.0).tobytes()) for one in results)].append(mistake.name)
    assert [names for names in alike.values() if len(names) > 1] == []


def test_a_mistake_leaves_the_operands_alone_and_needs_no_second_pass():
    operands = ConvCase(2, 4, 6, 2, (5, 6), (2, 3), padding=((1, 0), (2, 1)), has_bias=True).operands()
    before = {name: array.copy() for name, array in operands.items()}
    call = mistakes.as_call(operands, ConvCase(groups=2, padding=((1, 0), (2, 1))).kwargs)
    for mistake, name in PAIRS:
        first = mistake.result(name, call)
        assert np.array_equal(first, mistake.result(name, call), equal_nan=True)
    assert all(np.array_equal(operands[name], before[name]) for name in before)


INEXACT = [(mistake, name) for mistake in mistakes.INEXACT for name in mistake.results]
PADDED = ConvCase(2, 4, 6, 2, (4, 5), (2, 3), padding=((1, 0), (0, 1)), has_bias=True)


def test_every_diagnosis_of_a_narrower_format_stands_for_a_mistake():
    of_entries = [mistake.diagnosis for mistake in mistakes.INEXACT]
    others = {diagnosis.BIAS_AFTER_ROUNDING, diagnosis.TRUNCATED, diagnosis.CHANGES_WHEN_REPEATED, NEVER_WRITTEN}
    assert len(of_entries) == len(set(of_entries)) and set(of_entries) == {*diagnosis.NARROWER_FORMATS, *others}
    for mistake in (*mistakes.INEXACT, *mistakes.KEPT):
        assert mistakes.find(mistake.name) is mistake and mistake.question and mistake.explanation.endswith(".")
    assert not any(mistake.diagnosis for mistake in mistakes.MISTAKES)


@pytest.mark.parametrize(("mistake", "name"), INEXACT, ids=lambda one: getattr(one, "name", one))
def test_an_inexact_mistake_is_as_far_off_as_its_format_and_right_on_small_integers(mistake, name):
    dtype = "float64" if mistake.name.endswith("float32") else "float32"
    call = mistakes.as_call(PADDED.operands(dtype, real=True), PADDED.kwargs)
    got, right = mistake.result(name, call), call.result(name)
    if np.isnan(got).any():  # whatever lay in memory, or came before
        assert np.isnan(got).all() and got.shape == right.shape
        return
    bits = next((bits for name, bits in SIGNIFICAND_BITS.items() if mistake.name.lower().endswith(f" {name}")), 24)
    error = np.abs(got - right) / (np.abs(call.magnitudes().result(name)) + 1)
    assert 0.01 * 2.0**-bits < error.max() < 20 * 2.0**-bits
    case = ConvCase(2, 4, 6, 2, (3, 3), (2, 2), has_bias=True, span=1)
    integers = mistakes.as_call(case.operands("float32"), case.kwargs)
    assert np.array_equal(mistake.result(name, integers), integers.result(name))


def keeping(kept):
    """A kernel that keeps operands by the array in which they came, with the values of the first call."""
    first = {}

    def of_first_call(**operands):
        return [first.setdefault(id(a), (a, a.copy()))[1] if name in kept and a is not None else a
                for name, a in operands.items()]  # fmt: skip

    def forward(x, weight, bias, **window):
        return nx.conv2d(*of_first_call(x=x, weight=weight, bias=bias), **window)

    def backward(grad_output, x, weight, **window):
        return nx.conv2d_backward(*of_first_call(grad_output=grad_output, x=x, weight=weight), **window)

    return forward, backward


@pytest.mark.parametrize("mistake", mistakes.KEPT, ids=lambda mistake: mistake.name)
def test_what_a_kernel_keeps_between_calls_is_named(mistake):
    kept = [name for name in ("x", "weight", "bias", "grad_output") if f" {name} " in mistake.name]
    runner = make_runner(*keeping(kept or ["x", "weight", "bias", "grad_output"]))
    for case in list(runner.cases(40, seed=2))[:70]:
        runner.try_case(case)
    explain_failures(runner)
    assert runner.report.mistakes == [mistake.name], str(runner.report)
    assert {finding.property for finding in runner.report.failures} == {"overwritten operands"}
