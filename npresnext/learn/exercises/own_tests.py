"""The last exercise: the student writes a test, and the wrong convolutions that it catches are the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...testing.mistakes import find
from ..answers import Answer
from ..exercise import Exercise
from ..scoring import TestScore, score_test

LEAST_SHARE = 0.9  # of the wrong convolutions, to solve the exercise
MOST_NAMES = 8


@dataclass(frozen=True)
class TestExercise(Exercise):
    """An exercise whose answer is a score."""

    __test__ = False  # pytest shall not take this for a class of tests

    def check(self, function: Callable[..., Any], seed: int) -> Answer:
        """Score a test, and return the answer."""
        score = score_test(function)
        told = Answer(self.name, score.points >= LEAST_SHARE, score.headline(), points=score.points, seed=seed)
        told.tried, told.failed, told.printed = score.tried, len(score.missed), score.printed
        if score.refusal:
            return self._refused(told, score)
        if told.passed:
            told.afterwards, told.solution = self.afterwards, self.solution
            if score.missed:
                told.headline += f" It still lets pass one that {find(score.missed[0]).name}."
            return told
        told.headline += f" The exercise is solved at {LEAST_SHARE:.0%}."
        missed = find(score.missed[len(score.missed) // 2])  # not always the same kind
        told.question = f"Would your test notice this? {missed.question}"
        names = [name for name in score.missed if name != missed.name]
        more = f"; and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        told.explanation = f"Your test lets pass a convolution that {missed.name}. {missed.explanation}"
        if names:
            told.explanation += f" It also lets pass one that {'; '.join(names[:MOST_NAMES])}{more}."
        return told

    def _refused(self, told: Answer, score: TestScore) -> Answer:
        if score.kind == "unwritten":
            told.headline = f"{score.refusal}."
        told.details = [f"  {score.where}"] if score.where else []
        told.question = self.hints[0]
        told.explanation = self.hints[1]
        return told


WRITE_TESTS = TestExercise(
    name="write_tests",
    title="write a test that catches wrong convolutions",
    function="test_convolution",
    parameters=("conv2d", "conv2d_backward"),
    results={},
    cases=lambda rng: [],
    smaller=lambda case: iter(()),
    arguments=dict,
    right=dict,
    mistakes=(),
    hints=(
        "Which wrong convolutions give the right result for ones, for one channel, for a square kernel, for one group?",
        "Draw random integers. Make all sizes, strides, paddings and dilations unequal, use two images, several groups "
        "of several channels and a bias, and compare shapes and values of y, dx, dw and db.",
    ),
    afterwards=(
        "A test is as good as the mistakes that it catches, and you have counted them. `npresnext check` uses 377 "
        "cases for the same purpose, and names the mistake."
    ),
)
