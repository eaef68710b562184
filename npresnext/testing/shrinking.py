"""Shrinking: the smallest case in which the same check still fails."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

from .baseline import expected_in
from .cases import ConvCase
from .comparisons import compare_adjoint, compare_with_oracle, compare_with_property
from .findings import Finding
from .mistakes import RESULTS
from .properties import PROPERTIES
from .runner import Runner
from .subject import SIGNATURES
from .supports import keep_supported
from .trial import Trial

EXTRA_TIME = 0.5  # of a budget, for the search of the smallest cases
REAL_NUMBERS = {"exact": (False,), "bounded": (True,), "normwise": (False, True)}  # verdict -> trials that it is about


def shrink(runner: Runner, failure: Finding, budget: int, start: Iterable[ConvCase] = ()) -> Finding:
    """Return the failure in the smallest case found, after at most `budget` further cases.

    The search starts from the first of the cases in `start` that show the failure, or else from its own. A failure that
    does not occur a second time, because the callable keeps a state, is returned as it came.
    """
    alone = True
    again = fails_again(runner, failure, failure.case, alone)
    if again is None:  # it may depend on the calls before it
        alone = False
        again = fails_again(runner, failure, failure.case, alone)
    if again is None and not failure.trials:  # found by a process that died later
        return failure
    failure = again or failure
    tried = (fails_again(runner, failure, case, alone) for case in start if may_be_tried(runner, case))
    failure = next((found for found in tried if found is not None), failure)
    remaining = budget
    while True:
        for candidate in smaller_cases(failure.case, runner.subject.supports):
            if not may_be_tried(runner, candidate):
                continue
            if remaining == 0 or time.monotonic() > runner.deadline + EXTRA_TIME * runner.plan.budget:
                return failure
            remaining -= 1
            again = fails_again(runner, failure, candidate, alone)
            if again is not None:
                failure = again
                break
        else:
            return failure  # no smaller case fails


def may_be_tried(runner: Runner, candidate: ConvCase) -> bool:
    """Whether a case is supported, is not known to fail, and has not ended the process."""
    is_known = expected_in(candidate, runner.report.expected) is not None
    return bool(runner.subject.roles_in(candidate)) and not is_known and candidate not in runner.plan.avoid


def fails_again(runner: Runner, failure: Finding, candidate: ConvCase, alone: bool) -> Finding | None:
    """Return the same failure in another case, or None if that check passes there.

    If it is to be tried `alone`, nothing is called but what its check needs.
    """
    name, verdict = failure.property, failure.verdict
    runner.watch(f"the search for the smallest case of {name} ({verdict})", candidate, runner.report)
    for found in (make_check if alone else make_every_check)(runner, failure, candidate):
        if (found.property, found.verdict) == (name, verdict) and found.ratio > 1:
            return replace(found, case=candidate, first=failure.first)
    return None


def make_every_check(runner: Runner, failure: Finding, candidate: ConvCase) -> Iterator[Finding]:
    """Make every check of a case, with the property of the failure if it is about one."""
    name = failure.property
    can_show = name in PROPERTIES and PROPERTIES[name].applies_to(candidate)
    return runner.examine(candidate, name if can_show else "linear in x")


def make_check(runner: Runner, failure: Finding, candidate: ConvCase) -> Iterator[Finding]:
    """Make the check that a failure is about, in another case."""
    name, verdict = failure.property, failure.verdict
    if verdict == "contract":
        yield from make_every_check(runner, failure, candidate)
    elif name in RESULTS:
        for real in REAL_NUMBERS[verdict]:
            roles = [role for role, (_, gives) in SIGNATURES.items() if name in gives]
            yield from compare_with_oracle(Trial(runner.subject, candidate, real, roles=roles), (name,))
    elif name in PROPERTIES:
        if PROPERTIES[name].applies_to(candidate):
            yield from compare_with_property(Trial(runner.subject, candidate, real=False), name, PROPERTIES[name])
    else:
        yield from compare_adjoint(Trial(runner.subject, candidate, real=False))


def much_smaller_cases(case: ConvCase, supports: Mapping[str, Any]) -> Iterator[ConvCase]:
    """Yield supported cases that keep at most two numbers of a case; the others are the simplest."""
    names = [field.name for field in fields(case) if field.name != "seed"]
    for count in range(3):
        for kept in combinations(names, count):
            groups = case.groups if "groups" in kept else 1
            simplest = ConvCase(1, groups, groups, groups, size=(1, 1), span=1, seed=case.seed)
            changed = replace(simplest, **{name: getattr(case, name) for name in kept})
            offered = keep_supported(changed, supports)
            if changed.in_channels % groups == 0 and changed.out_channels % groups == 0 and case != offered:
                yield offered


def smaller_cases(case: ConvCase, supports: Mapping[str, Any]) -> Iterator[ConvCase]:
    """Yield supported cases with one number nearer to its simplest, the largest step first."""
    simplest = ConvCase(batch=1, in_channels=case.groups, out_channels=case.groups, size=(1, 1), span=1)
    for name in (field.name for field in fields(case) if field.name != "seed"):
        for value in nearer_values(getattr(case, name), getattr(simplest, name)):
            changed = replace(case, **{name: value})
            if name == "groups":  # keep the channels per group
                changed = replace(
                    changed,
                    in_channels=case.in_channels // case.groups * value,
                    out_channels=case.out_channels // case.groups * value,
                )
            divisible = changed.in_channels % changed.groups == 0 and changed.out_channels % changed.groups == 0
            offered = keep_supported(changed, supports)
            if divisible and case != offered and offered.size == changed.size:
                yield offered


def nearer_values(value: Any, simplest: Any) -> Iterator[Any]:
    """Yield values between one and its simplest, the simplest first; of a tuple, then with one entry changed.

    The steps from a number are powers of two, so that it may keep its remainder modulo 2, 4 or 8.

    >>> list(nearer_values(9, 1)), list(nearer_values((3, 2), (1, 1)))
    ([1, 5, 7, 8], [(1, 1), (1, 2), (2, 2), (3, 1)])
    """
    if value == simplest:
        return
    yield simplest
    if isinstance(value, tuple):
        for i, (entry, simplest_entry) in enumerate(zip(value, simplest)):
            for nearer in nearer_values(entry, simplest_entry):
                yield (*value[:i], nearer, *value[i + 1 :])
    elif not isinstance(value, str):
        distance = abs(value - simplest)
        for exponent in reversed(range((distance - 1).bit_length())):
            yield value - 2**exponent if value > simplest else value + 2**exponent
