"""Every exercise: its solution passes, its starter does not, and every mistake planted into a solution is named."""

import inspect
import random
import re
import textwrap

import numpy as np
import pytest

from npresnext import learn
from npresnext.learn import checking, naming
from npresnext.learn.exercises import NAMES, file_name_of
from npresnext.testing import check_conv
from npresnext.testing.mistakes import MISTAKES

from tests.support.planted import applying_mistakes, changes, load, plant

COMPUTED = [exercise for exercise in learn.EXERCISES if exercise.results]
# How many mistakes change a result within what the exercise asks for. A lower number means that cases got easier.
APPLYING = {
    "windows": 7,
    "output_size": 19,
    "sum_of_products": 82,
    "im2col": 77,
    "col2im": 44,
    "forward": 130,
    "input_grad": 80,
    "strided_input_grad": 100,
    "weight_grad": 79,
    "bias_grad": 25,
    "grouped_forward": 140,
    "grouped_backward": 210,
    "batch_norm": 35,
    "block_forms": 18,
    "cardinality": 12,
}
IN_CI = 3  # mistakes of each exercise


@pytest.fixture(autouse=True)
def without_a_clock(monkeypatch):
    """A busy machine finds as much as an idle one."""
    monkeypatch.setattr(checking, "SECONDS_TO_TRY", 60)
    monkeypatch.setattr(checking, "SECONDS_TO_SHRINK", 60)
    monkeypatch.setattr(naming, "SECONDS_FOR_PAIRS", 60)


def by_name(exercise):
    return exercise.name


def named(exercise, wrong, seed):
    """Whether a function with this mistake fails and is told its mistake; if not, what was told instead."""
    answer = learn.check(plant(exercise, wrong), exercise.name, seed=seed)
    assert not answer.passed, wrong.name
    return "" if wrong.name in answer.mistakes else f"{wrong.result}, {wrong.name}: {answer.headline} {answer.mistakes}"


def test_there_are_sixteen_with_files_functions_and_titles_of_their_own():
    assert len(learn.EXERCISES) == len(set(NAMES)) == 16
    assert len({exercise.title for exercise in learn.EXERCISES}) == 16
    assert len({exercise.function for exercise in learn.EXERCISES}) == 16  # so that one notebook can hold them all
    assert file_name_of(learn.EXERCISES[3]) == "04_im2col.py"


@pytest.mark.parametrize("exercise", COMPUTED, ids=by_name)
@pytest.mark.parametrize("seed", [1])
def test_the_solution_passes(exercise, seed):
    answer = learn.check(load(exercise.solution, exercise.function), exercise.name, seed=seed)
    assert answer.passed, answer
    assert answer.points == 1 and answer.solution == exercise.solution and answer.afterwards


def test_the_solutions_of_the_grouped_exercises_hold_in_the_conformance_kit():
    forward, backward = (learn.find_exercise(name) for name in ("grouped_forward", "grouped_backward"))
    functions = (load(exercise.solution, exercise.function) for exercise in (forward, backward))
    report = check_conv(*functions, dtype="float64", cases=0)
    assert report.passed, str(report)


@pytest.mark.parametrize("exercise", learn.EXERCISES, ids=by_name)
def test_the_starter_differs_from_the_solution_in_the_body_alone(exercise):
    starter, solution = exercise.starter, exercise.solution
    assert "TODO" in starter and "TODO" not in solution
    assert not {"[solution", "solution]"} & set(starter.split()) and "NotImplementedError" not in solution
    assert exercise.task.startswith(f"Exercise {NAMES.index(exercise.name) + 1}:")
    of_starter, of_solution = load(starter, exercise.function), load(solution, exercise.function)
    assert tuple(inspect.signature(of_starter).parameters) == exercise.parameters
    assert inspect.signature(of_starter) == inspect.signature(of_solution)
    assert of_starter.__doc__ == of_solution.__doc__
    answer = learn.check(of_starter, exercise.name)
    assert not answer.passed and answer.points == 0
    assert answer.headline == f"{exercise.function} is not written yet."
    assert answer.question == exercise.hints[0]
    assert exercise.hints[-1] in answer.step(3).replace("\n", " ")


@pytest.mark.parametrize("exercise", COMPUTED, ids=by_name)
def test_every_kind_of_mistake_is_tried(exercise):
    applying = applying_mistakes(exercise, exercise.cases(random.Random(11)))
    assert len(applying) >= APPLYING[exercise.name]
    assert {wrong.result for wrong in applying} == set(exercise.results)


@pytest.mark.parametrize("exercise", COMPUTED, ids=by_name)
def test_a_mistake_planted_into_a_solution_is_caught_and_named(exercise):
    applying = applying_mistakes(exercise, exercise.cases(random.Random(11))[:30])
    chosen = random.Random(5).sample(applying, IN_CI)
    assert [told for wrong in chosen if (told := named(exercise, wrong, seed=3))] == []


@pytest.mark.slow
@pytest.mark.parametrize("exercise", COMPUTED, ids=by_name)
def test_all_mistakes_planted_into_a_solution_are_caught_and_named(exercise):
    applying = applying_mistakes(exercise, exercise.cases(random.Random(11)))
    assert [told for wrong in applying if (told := named(exercise, wrong, seed=5))] == []


def test_two_mistakes_of_one_result_are_named_as_a_pair():
    exercise = learn.find_exercise("strided_input_grad")
    mistakes = {wrong.name: wrong for wrong in exercise.mistakes}
    names = "forgets to rotate the kernel", "ignores the dilation"
    made = tuple(mistakes[name].catalogue for name in names)
    both = plant(exercise, made_of(exercise, made))
    (told,) = learn.check(both, exercise.name, seed=4).mistakes
    assert set(told.split(" and ")) == set(names)


def made_of(exercise, made):
    return learn.exercise.Wrong("", "dx", "", "", lambda arguments: exercise.combine(made, "dx", arguments))


def test_a_mistake_of_one_gradient_leaves_the_points_of_the_others():
    exercise = learn.find_exercise("grouped_backward")
    wrong = next(one for one in exercise.mistakes if one.name == "averages over the batch" and one.result == "dw")
    answer = learn.check(plant(exercise, wrong), exercise.name, seed=1)
    assert answer.headline.startswith("dw of grouped_conv2d_backward is wrong in ")
    assert answer.headline.endswith("dx, db are right.")
    assert answer.points == pytest.approx(2 / 3) and answer.mistakes == ["averages over the batch"]


def test_what_no_mistake_explains_is_told_by_what_the_failing_cases_share():
    exercise = learn.find_exercise("grouped_forward")
    right = load(exercise.solution, exercise.function)

    def shifted(x, weight, bias, stride, padding, dilation, groups):
        y = right(x, weight, bias, stride, padding, dilation, groups)
        return y + 1 if groups > 1 and stride[0] > 1 else y

    answer = learn.check(shifted, exercise.name, seed=2)
    assert not answer.mistakes
    assert "fails only with" in answer.question and "stride > 1" in answer.question and "groups > 1" in answer.question


def test_the_catalogue_is_used():
    used = {wrong.catalogue.name for exercise in COMPUTED for wrong in exercise.mistakes if wrong.catalogue}
    assert {mistake.name for mistake in MISTAKES} == used


@pytest.mark.parametrize("name", ["im2col", "windows"])
def test_a_seed_repeats_the_answer_and_none_draws_new_cases(name):
    exercise = learn.find_exercise(name)
    wrong = plant(exercise, exercise.mistakes[0])
    first, again = (learn.check(wrong, name, seed=8) for _ in range(2))
    assert str(first) == str(again) and first.seed == 8
    assert len({learn.check(wrong, name).seed for _ in range(4)}) > 1


def test_the_smallest_case_is_small():
    exercise = learn.find_exercise("forward")
    wrong = next(one for one in exercise.mistakes if one.name == "rotates the kernel")
    answer = learn.check(plant(exercise, wrong), "forward", seed=6)
    arrays = [line for line in answer.details if " = np.array(" in line]
    assert len(arrays) == 2 and all(len(line) < 50 for line in arrays)  # x and the weight: bias=None
    assert any(" | " in line and "*" in line for line in answer.details)
    assert answer.step(3).startswith("Mistake: it rotates the kernel.")


def test_an_answer_shows_one_step_after_another_in_a_notebook():
    wrong = learn.check(lambda size, kernel, stride: size, "windows", seed=1)
    assert repr(wrong).endswith("One step more: .hint() asks a question.")
    assert "Question: " not in repr(wrong) and "Question: " in repr(wrong.hint())
    assert repr(wrong.hint()) == str(wrong)  # the last step
    assert wrong._repr_html_().startswith("<pre>") and "&#x27;" not in wrong.headline
    with pytest.raises(AssertionError, match="count_windows is wrong in"):
        wrong.raise_unless_passed()
    learn.check(lambda size, kernel, stride: (size - kernel) // stride + 1, 1).raise_unless_passed()


def test_wrong_arguments_of_check_are_errors_of_their_own():
    with pytest.raises(ValueError, match=r"no exercise 'imcol' \(did you mean 'im2col'\?\)"):
        learn.check(len, "imcol")
    with pytest.raises(TypeError, match="function must be callable, but is of type int"):
        learn.check(3, "im2col")
    with pytest.raises(ValueError, match="seed must be at least 0"):
        learn.check(len, "im2col", seed=-1)


def test_numbers_that_only_look_right_are_wrong():
    """No broadcasting, nothing but rounding is forgiven, and NaN is no number."""
    exercise = learn.find_exercise("bias_grad")
    for function in (
        lambda g: g.sum(axis=(0, 2, 3), keepdims=True),
        lambda g: g.sum(axis=(0, 2, 3)) * (1 + 1e-7),
        lambda g: np.full(g.shape[1], np.nan),
    ):
        assert not learn.check(function, exercise.name, seed=1).passed


@pytest.mark.parametrize("exercise", COMPUTED, ids=by_name)
def test_the_lines_of_the_smallest_case_make_the_call(exercise):
    """Pasted behind the student's file, they run, and the mistake shows."""
    applying = applying_mistakes(exercise, exercise.cases(random.Random(11))[:30])
    wrong = random.Random(1).choice(applying)
    details = learn.check(plant(exercise, wrong), exercise.name, seed=1).details
    lines = textwrap.dedent("\n".join(details[1 : details.index("")]))
    seen = []

    def record(*values, **more):
        seen.append({**dict(zip(exercise.parameters, values)), **more})

    exec(lines, {"np": np, exercise.function: record})
    (arguments,) = seen
    assert changes(exercise, wrong, arguments, exercise.right(arguments))


@pytest.mark.parametrize("dtype", [int, np.float32])
def test_a_result_has_the_dtype_of_the_arguments(dtype):
    """On integers an array of integers has the right values, and would cut off the digits of any other gradient."""
    exercise = learn.find_exercise("grouped_backward")
    right = load(exercise.solution, exercise.function)

    def backward(*arguments):
        dx, dw, db = right(*arguments)
        return dx, dw, db.astype(dtype)

    answer = learn.check(backward, exercise.name, seed=1)
    dtype = np.dtype(dtype)
    assert f"returns as db an array of dtype {dtype}: expected float64" in answer.headline
    assert answer.points == pytest.approx(2 / 3)
    assert "catalogue" not in answer.step(3)  # there is no result to compare


def test_a_result_that_a_later_call_overwrites_is_wrong():
    buffer = np.zeros(100)

    def bias_grad(grad_output):
        db = buffer[: grad_output.shape[1]]
        db[:] = grad_output.sum(axis=(0, 2, 3))
        return db

    answer = learn.check(bias_grad, "bias_grad", seed=1)
    assert "writes into the array that the call before returned" in answer.headline


def test_every_check_has_the_limits_of_a_width():
    """A width is right if it fits and the next one does not: both are tried just before and just behind the limit."""
    exercise = learn.find_exercise("cardinality")
    wrong = {one.name: plant(exercise, one) for one in exercise.mistakes}
    for name in ("rounds to the nearest width", "returns at least 1", "demands fewer weights than allowed"):
        for seed in range(3):
            assert learn.check(wrong[name], exercise.name, seed=seed).mistakes == [name], seed


def test_a_large_smallest_case_is_cut():
    """Wrong in a large image alone: the part around a difference is shown, and no array of a thousand numbers."""
    right = load(learn.find_exercise("forward").solution, "conv2d")

    def conv2d(x, weight, bias, stride, padding, dilation):
        y = right(x, weight, bias, stride, padding, dilation)
        return np.concatenate([y[..., :-1], y[..., -1:] + (y.shape[3] > 30)], axis=3)

    text = learn.check(conv2d, "forward", seed=1).text()
    assert "# x: random integers of shape (" in text or len(text) < 4000
    assert re.search(r"y\[0, 0, \d+:\d+, \d+:\d+\]: yours \| expected", text)
