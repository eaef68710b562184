"""The catalogue of mistakes: right where nothing is wrong, wrong in as many ways as it has entries, and fast."""

import itertools
from collections import defaultdict
from functools import cache

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import ConvCase, mistakes
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.oracle import ExactResult
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject

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
    return [*itertools.islice(runner.cases(100, seed=3), 120), *BLOCKS]


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


def test_there_are_more_than_sixty_mistakes_each_with_a_name_a_question_and_an_explanation():
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
