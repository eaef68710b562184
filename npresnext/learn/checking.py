"""check: is a student's function right, and if not, what is the smallest case, and which mistake gives it?"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from typing import Any

from .._support.arguments import as_int
from .._support.plurals import counted
from ..errors import InvalidTypeError
from .answers import Answer
from .calls import Outcome, overwrites, try_case, why_not_callable
from .exercise import Exercise, Wrong, agree, differences
from .exercises.own_tests import TestExercise
from .naming import name_mistakes, what_failing_cases_share
from .shown import side_by_side, write_call

# Seconds are those of the processor: another program that runs at the same time changes nothing.
SECONDS_TO_TRY = 4.0  # after which no further case is tried, if there were so many:
LEAST_CASES = 10
SECONDS_TO_SHRINK = 2.0
MOST_SMALLER_CASES = 400
ENDS_THE_CHECK = ("unwritten", "hangs", "exits")  # what the first such call says, the others would say again


Watch = Callable[[list[str]], Any]


def ignore(lines: list[str]) -> None:
    """Watch nothing."""


def check_function(
    exercise: Exercise, function: Callable[..., Any], seed: int | None = None, watch: Watch = ignore
) -> Answer:
    """Call a function in the cases of an exercise, and return the answer.

    ``watch(lines)`` is called before each call, with the lines of Python that make it.
    """
    if not callable(function):
        raise InvalidTypeError(f"function must be callable, but is of type {type(function).__name__}")
    seed = secrets.randbelow(2**16) if seed is None else as_int(seed, "seed", 0)
    if problem := why_not_callable(exercise, function):
        return Answer(exercise.name, False, problem, seed=seed, question=exercise.hints[0])
    if isinstance(exercise, TestExercise):
        return exercise.check(function, seed)
    return Check(exercise, function, seed, watch).answer()


class Check:
    """The calls of one check, and what they come to."""

    def __init__(self, exercise: Exercise, function: Callable[..., Any], seed: int, watch: Watch) -> None:
        self.exercise, self.function, self.seed, self.watch = exercise, function, seed, watch
        self.outcomes: list[tuple[Outcome, Any]] = []  # and what is right there
        self.last: Outcome | None = None
        end = time.process_time() + SECONDS_TO_TRY
        for case in exercise.cases(random.Random(seed)):
            outcome = self.call(case)
            self.outcomes.append((outcome, self.right(case)))
            late = time.process_time() > end and len(self.outcomes) >= LEAST_CASES
            if late or outcome.kind in ENDS_THE_CHECK:
                break

    def call(self, case: Any) -> Outcome:
        """Call the function in a case."""
        if self.watch is not ignore:
            self.watch(self._written(case))
        outcome = try_case(self.exercise, self.function, case)
        if not outcome.kind and self.last is not None and overwrites(self.last):
            outcome.kind = "overwrites"
            outcome.problem = "writes into the array that the call before returned: make a new array in each call"
        self.last = outcome
        return outcome

    def _written(self, case: Any, **more: int) -> list[str]:
        """Return the lines of Python that make the call of a case, with arguments that the case does not have."""
        exercise = self.exercise
        return write_call(exercise.function, exercise.parameters, {**exercise.arguments(case), **more})

    def right(self, case: Any) -> Any:
        """Return the right results in a case."""
        return self.exercise.right(self.exercise.arguments(case))

    def fault(self, outcome: Outcome, right: Any) -> str:
        """Return what is wrong with a call: the kind of its problem, the name of its first wrong result, or ""."""
        if outcome.kind:
            return outcome.kind
        for name in self.exercise.results:
            if not agree(outcome.results[name], right[name], self.exercise.tolerance):
                return name
        return ""

    def answer(self) -> Answer:
        """Return the answer."""
        faults = [self.fault(outcome, right) for outcome, right in self.outcomes]
        tried, failed = len(faults), sum(map(bool, faults))
        if not failed:
            return self._passed(tried)
        at = next(i for i, fault in enumerate(faults) if fault)
        fault, (first, right) = faults[at], self.outcomes[at]
        if fault == "unwritten":
            hints = self.exercise.hints
            told = Answer(self.exercise.name, False, f"{first.problem}.", printed=first.printed, tried=tried)
            told.seed, told.question, told.explanation = self.seed, hints[0], f"Hint: {hints[-1]}"
            return told
        smallest, right = self._shrink(first, right, fault)
        found = self._name(fault)
        told = Answer(self.exercise.name, False, self._headline(fault, first, faults), tried=tried, failed=failed)
        told.seed, told.points, told.printed = self.seed, self._points(), smallest.printed
        told.details = self._details(smallest, right, fault)
        told.mistakes = [wrong.name for wrong in found]
        if found:
            told.question, told.explanation = found[0].question, found[0].explanation
        else:
            told.question, told.explanation = self._without_a_name(fault, faults)
        return told

    def _passed(self, tried: int) -> Answer:
        name = self.exercise.function
        headline = f"{name} is right in all {counted(tried, 'case')} (seed {self.seed})."
        told = Answer(self.exercise.name, True, headline, points=1.0, tried=tried, seed=self.seed)
        told.afterwards, told.solution = self.exercise.afterwards, self.exercise.solution
        return told

    def _shrink(self, outcome: Outcome, right: Any, fault: str) -> tuple[Outcome, Any]:
        """Return the smallest case found that shows the same fault; a call that hangs is not repeated."""
        end = time.process_time() + SECONDS_TO_SHRINK
        left = 0 if fault in ENDS_THE_CHECK else MOST_SMALLER_CASES
        while True:
            for case in self.exercise.smaller(outcome.case):
                if left == 0 or time.process_time() > end:
                    return outcome, right
                left -= 1
                smaller = self.call(case)
                right_there = self.right(case)
                if self.fault(smaller, right_there) == fault:
                    outcome, right = smaller, right_there
                    break
            else:
                return outcome, right

    def _name(self, fault: str) -> list[Wrong]:
        """Return the mistakes that give the wrong result, seen from the calls that return one."""
        if fault in self.exercise.results:
            return name_mistakes(self.exercise, fault, self.outcomes)
        found: list[Wrong] = []
        for name in self.exercise.results if fault == "raises" else ():
            found = found or name_mistakes(self.exercise, name, self.outcomes)
        return found

    def _points(self) -> float:
        """Return the share of the results that are right in every case."""
        if any(outcome.kind not in ("", "returns") for outcome, _ in self.outcomes):
            return 0.0
        right = [
            all(
                name in o.results and agree(o.results[name], r[name], self.exercise.tolerance) for o, r in self.outcomes
            )
            for name in self.exercise.results
        ]
        return sum(right) / len(right)

    def _headline(self, fault: str, first: Outcome, faults: list[str]) -> str:
        function, results = self.exercise.function, list(self.exercise.results)
        seed = f"(seed {self.seed})"
        if fault in ENDS_THE_CHECK:
            return f"{function} {first.problem} {seed}"
        cases = f"in {faults.count(fault)} of {counted(len(faults), 'case')}"
        if fault not in results:
            return f"{function} {first.problem}, {cases} {seed}."
        if len(results) == 1:
            return f"{function} is wrong {cases} {seed}."
        wrong = [
            name
            for name in results
            if any(
                name in o.results and not agree(o.results[name], r[name], self.exercise.tolerance)
                for o, r in self.outcomes
            )
        ]
        rest = [name for name in results if name not in wrong]
        others = f" {', '.join(wrong[1:])} {'is' if len(wrong) == 2 else 'are'} wrong too." if wrong[1:] else ""
        fine = f" {', '.join(rest)} {'is' if len(rest) == 1 else 'are'} right." if rest else ""
        return f"{fault} of {function} is wrong {cases} {seed}.{others}{fine}"

    def _details(self, outcome: Outcome, right: Any, fault: str) -> list[str]:
        """Return the lines that show the smallest case."""
        index, shown = outcome.index, [outcome.where] if outcome.where else []
        if fault in self.exercise.results:
            wrong = differences(outcome.results[fault], right[fault], self.exercise.tolerance)
            if index and wrong is not None:  # the first value that is wrong
                index = dict(zip(index, map(int, next(zip(*wrong.nonzero())))))
            shown = side_by_side(fault, outcome.results[fault], right[fault], self.exercise.tolerance)
            if not self._fails_again(outcome, right, fault):
                shown.append("The same call was right when it was repeated: the result depends on earlier calls.")
        elif outcome.problem != "" and fault == "raises":
            shown = [outcome.problem.removeprefix("raises "), *shown]
        lines = [f"  {line}" for line in self._written(outcome.case, **index)]
        title = "Smallest failing case:" if fault not in ENDS_THE_CHECK else "In this call:"
        return [title, *lines, *([""] if shown else []), *(f"  {line}" for line in shown)]

    def _fails_again(self, outcome: Outcome, right: Any, fault: str) -> bool:
        return self.fault(self.call(outcome.case), right) == fault

    def _without_a_name(self, fault: str, faults: list[str]) -> tuple[str, str]:
        """Return a question and an explanation from what the failing cases share, and from the exercise's hints."""
        failing = [outcome.case for (outcome, _), fault in zip(self.outcomes, faults) if fault]
        passing = [outcome.case for (outcome, _), fault in zip(self.outcomes, faults) if not fault]
        shared = what_failing_cases_share(failing, passing)
        first, last = self.exercise.hints[0], self.exercise.hints[-1]
        told = (
            ["No mistake in the catalogue gives these results in every case."] if fault in self.exercise.results else []
        )
        if shared:
            first = f"It {shared}. What does your function do differently there? {first}"
            told.append(f"The function {shared}.")
        return first, " ".join([*told, f"A hint: {last}"])
