"""Which mistake gives the results of a student's function, in every case in which it was tried."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..testing.cases import ConvCase
from ..testing.mistakes.conditions import common_conditions
from .calls import Outcome
from .exercise import Arguments, Exercise, Wrong, agree, compute_with

SECONDS_FOR_PAIRS = 0.5
LIKELIEST = 8  # mistakes of which one is in every pair that is tried
LEAST_FAILING_CASES_FOR_A_PAIR = 5


@dataclass(frozen=True)
class Seen:
    """The arguments of one call, what came, and what is right."""

    arguments: Arguments
    got: Any
    right: Any
    fails: bool


@np.errstate(all="ignore")
def name_mistakes(exercise: Exercise, result: str, outcomes: Sequence[tuple[Outcome, Any]]) -> list[Wrong]:
    """Return the mistakes that give this result in every failing case and the right one in every passing case.

    Parameters
    ----------
    exercise : Exercise
    result : str
    outcomes : sequence of pairs
        Each call, and what is right there, the smallest first.

    Returns
    -------
    list of Wrong
        Several only if all cases tried have the same results with each of them, those of the exercise first, then the
        shortest; pairs if no single one fits.
    """
    seen = [
        Seen(
            exercise.arguments(outcome.case),
            outcome.results[result],
            right[result],
            not agree(outcome.results[result], right[result], exercise.tolerance),
        )
        for outcome, right in outcomes
        if result in outcome.results
    ]
    failing = [one for one in seen if one.fails]
    if not failing:
        return []
    in_order = failing + [one for one in seen if not one.fails]  # a wrong candidate fails early
    candidates = [wrong for wrong in exercise.mistakes if wrong.result == result]
    found = [wrong for wrong in candidates if fits(exercise, wrong, in_order)]
    if not found and len(failing) >= LEAST_FAILING_CASES_FOR_A_PAIR:
        found = [pair for pair in pairs(exercise, candidates, failing) if fits(exercise, pair, in_order)][:1]
    certain = [wrong for wrong in found if not leaves_something_open(wrong, failing)]
    return sorted(certain or found, key=lambda wrong: (wrong.catalogue is not None, len(wrong.name)))


def fits(exercise: Exercise, wrong: Wrong, seen: Sequence[Seen]) -> bool:
    """Whether a function with this mistake returns what came, in all of these calls."""
    return all(gives(exercise, wrong, one) for one in seen)


def gives(exercise: Exercise, wrong: Wrong, seen: Seen) -> bool:
    """Whether a function with this mistake returns what came in one call."""
    try:
        computed = wrong.compute(seen.arguments)
    except Exception:  # with this mistake there is no result at all
        return False
    if exercise.results[wrong.result] == "int":  # where nothing fits, a formula may give less than 0
        return max(int(seen.got), 0) == max(int(computed), 0)
    return agree(seen.got, computed, exercise.tolerance)


def leaves_something_open(wrong: Wrong, failing: Sequence[Seen]) -> bool:
    """Whether a mistake leaves values unwritten, so that others which say every value explain more."""
    return any(np.isnan(np.asarray(wrong.compute(one.arguments), float)).any() for one in failing)


def pairs(exercise: Exercise, candidates: Sequence[Wrong], failing: Sequence[Seen]) -> Iterator[Wrong]:
    """Yield pairs of mistakes, those first of which one explains some of the failing cases."""
    combine = exercise.combine
    if combine is None:
        return
    end = time.process_time() + SECONDS_FOR_PAIRS
    some = failing[:: max(1, len(failing) // 12)][:12]  # of every size
    able = [wrong for wrong in candidates if wrong.can_be_combined]
    explained = {wrong.name: sum(gives(exercise, wrong, one) for one in some) for wrong in able}
    ranked = sorted(able, key=lambda wrong: -explained[wrong.name])
    for i, one in enumerate(ranked[:LIKELIEST]):
        for other in ranked[i + 1 :]:
            if time.process_time() > end:
                return
            yield Wrong(
                f"{one.name} and {other.name}",
                one.result,
                " And: ".join(dict.fromkeys((one.question, other.question))),
                " ".join(dict.fromkeys((one.explanation, other.explanation))),
                compute_with(combine, one.result, [one, other]),
            )


def what_failing_cases_share(failing: Sequence[Any], passing: Sequence[Any]) -> str:
    """Say what the failing cases share and few of the passing ones have: "fails only with stride > 1", or ""."""
    if not failing or not all(isinstance(case, ConvCase) for case in (*failing, *passing)):
        return ""
    shared = common_conditions(failing, passing).partition(":")[0]
    return shared if any(case.groups > 1 for case in (*failing, *passing)) else shared.replace(" per group", "")
