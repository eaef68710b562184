"""Tests are scored by the wrong convolutions that they catch."""

import numpy as np
import pytest

from npresnext import conv2d as right_conv2d
from npresnext import conv2d_backward as right_backward
from npresnext import learn
from npresnext.learn.kernels import make_kernels
from npresnext.testing.mistakes import MISTAKES, find

from tests.support.planted import load

EXERCISE = learn.find_exercise("write_tests")
RNG = np.random.default_rng(3)


def integers(*shape):
    return RNG.integers(-5, 6, shape).astype(float)


X, WEIGHT, BIAS = integers(2, 6, 8, 9), integers(9, 2, 3, 2), integers(9)
WINDOW = {"groups": 3, "padding": ((2, 0), (1, 2)), "stride": (2, 1), "dilation": (1, 2)}
Y = right_conv2d(X, WEIGHT, BIAS, **WINDOW)
GRAD_OUTPUT = integers(*Y.shape)
GRADIENTS = right_backward(GRAD_OUTPUT, X, WEIGHT, **WINDOW)


def compare_all(conv2d, conv2d_backward):
    y = conv2d(X, WEIGHT, BIAS, **WINDOW)
    assert y.shape == Y.shape and (y == Y).all()
    for got, right in zip(conv2d_backward(GRAD_OUTPUT, X, WEIGHT, **WINDOW), GRADIENTS):
        assert got.shape == right.shape and (got == right).all()


def test_a_test_of_unequal_numbers_catches_most_and_ones_catch_few():
    def ones(conv2d, conv2d_backward):
        x, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))
        assert conv2d(x, weight) == 9
        dx, dweight, dbias = conv2d_backward(np.ones((1, 1, 1, 1)), x, weight)
        assert (dx == 1).all() and (dweight == 1).all() and (dbias == 1).all()

    few, most = learn.score_test(ones), learn.score_test(compare_all, seconds=600)
    assert few.tried == most.tried == len(MISTAKES)
    assert few.points < 0.3 and 0.8 < most.points < 1
    assert "rotates the kernel" in few.missed and "rotates the kernel" in most.caught
    assert set(few.caught) | set(few.missed) == {mistake.name for mistake in MISTAKES}
    assert (
        str(most).splitlines()[0]
        == f"The test catches {len(most.caught)} of {len(MISTAKES)} wrong convolutions ({most.points:.0%})."
    )


def test_a_test_that_returns_whether_all_is_right_is_told_to_assert():
    score = learn.score_test(lambda conv2d, conv2d_backward: bool((conv2d(X, WEIGHT, BIAS, **WINDOW) == Y).all()))
    assert score.points == 0 and score.tried == 0
    assert str(score) == "The test returns a bool, which nobody reads: write assert in place of return."


def test_a_value_that_is_returned_for_a_wrong_convolution_does_not_catch_it():
    def returns_when_wrong(conv2d, conv2d_backward):
        if not np.array_equal(conv2d(X, WEIGHT, BIAS, **WINDOW), Y):
            return False

    score = learn.score_test(returns_when_wrong, results=("y",))
    assert score.caught == [] and score.tried > 100


def test_results_limit_the_mistakes():
    def forward_only(conv2d, conv2d_backward):
        assert (conv2d(X, WEIGHT, BIAS, **WINDOW) == Y).all()

    of_y, of_db = (learn.score_test(forward_only, results=(result,)) for result in ("y", "db"))
    assert of_y.tried == sum("y" in mistake.results for mistake in MISTAKES) and of_y.points > 0.8
    assert of_db.points == 0 and of_db.tried == sum("db" in mistake.results for mistake in MISTAKES)


@pytest.mark.parametrize(
    ("test", "refusal"),
    [
        (lambda conv2d, conv2d_backward: 1 / 0, "refuses a right convolution: it raises ZeroDivisionError"),
        (lambda conv2d: None, r"has the parameters (conv2d): expected (conv2d, conv2d_backward)"),
        (load(EXERCISE.starter, EXERCISE.function), "test_convolution is not written yet"),
    ],
    ids=["always fails", "other parameters", "not written"],
)
def test_a_test_that_refuses_a_right_convolution_scores_nothing(test, refusal):
    score = learn.score_test(test)
    assert score.points == 0 and score.tried == 0 and score.refusal.startswith(refusal)


def test_an_empty_test_catches_nothing():
    score = learn.score_test(lambda conv2d, conv2d_backward: None)
    assert score.points == 0 and len(score.missed) == len(MISTAKES) and not score.refusal


def test_a_slow_test_is_tried_on_mistakes_of_every_kind(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(learn.scoring.time, "process_time", lambda: now[0])

    def slow(conv2d, conv2d_backward):
        now[0] += 1.0

    score = learn.score_test(slow, seconds=20)
    assert 15 <= score.tried <= 25 and score.tried + score.left_out == len(MISTAKES)
    assert {len(find(name).results) for name in score.missed} >= {1, 3}
    assert "could not be tried in time" in score.headline()


def test_wrong_arguments_are_errors():
    with pytest.raises(TypeError, match="test must be callable, but is of type str"):
        learn.score_test("test")
    with pytest.raises(ValueError, match="results must be names out of y, dx, dw, db, but is"):
        learn.score_test(compare_all, results=("dz",))


def test_the_right_kernels_are_those_of_the_package():
    conv2d, conv2d_backward = make_kernels(None, ("y",))
    compare_all(conv2d, conv2d_backward)
    assert conv2d(X, WEIGHT, padding="same", groups=3).shape == (2, 9, 8, 9)
    with pytest.raises(ValueError, match="grad_output has shape"):
        conv2d_backward(GRAD_OUTPUT[1:], X, WEIGHT, **WINDOW)


def test_exercise_16_is_solved_by_its_solution_and_by_nine_of_ten():
    answer = learn.check(load(EXERCISE.solution, EXERCISE.function), 16)
    assert answer.passed and answer.points > 0.95 and answer.tried == len(MISTAKES)
    answer = learn.check(compare_all, 16)
    assert not answer.passed and 0.8 < answer.points < 0.9
    assert answer.headline.endswith("The exercise is solved at 90%.")
    assert answer.question.startswith("Would your test notice this? ")
    told = answer.step(3).replace("\n", " ")
    assert any(f"a convolution that {one.name}. " in told and one.question in answer.question for one in MISTAKES)
    refused = learn.check(lambda conv2d, conv2d_backward: 1 / 0, 16)
    assert "refuses a right convolution" in refused.headline and refused.points == 0
