"""Matching: which mistake of the catalogue gives the results of a kernel, in every case in which it was tried."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..cases import ConvCase
from ..drawn_cases import draw_case
from ..subject import SIGNATURES, Subject
from ..supports import WITHOUT, keep_supported
from . import MISTAKES, as_call, result_of
from .call import Call
from .conditions import common_conditions
from .mistake import Mistake

Made = tuple[Mistake, ...]  # the mistakes that one kernel makes

SECONDS_TO_OBSERVE = 0.8  # a slow kernel is called in fewer cases, but in as many as these:
LEAST_CASES = 20
SECONDS_TO_PAIR = 0.6
SECONDS_TO_TELL_APART = 0.3
LEAST_FAILING_CASES_FOR_A_PAIR = 5
DRAWS_TO_TELL_APART = 100
LIKELIEST = 10  # mistakes of which one is in every pair that is tried
# Sizes between the multiples of common blocks, which drawn cases do not reach.
BLOCKS = [
    ConvCase(batch, groups * ins, groups * outs, groups, (3, width), (2, 2), has_bias=True, seed=width)
    for batch, ins, outs, groups, width in (
        *((n, 1, 2, 1, 3) for n in (6, 12, 24, 40)),
        *((1, n, 2, 2, 3) for n in (6, 12, 24, 36)),
        *((1, 2, n, 2, 3) for n in (3, 6, 12, 24, 36)),
        *((1, 2, 2, 1, n) for n in (7, 13, 25, 41)),
    )
]


@dataclass(frozen=True)
class Observation:
    """What a subject returned in one case, on integers."""

    case: ConvCase
    call: Call
    results: dict[str, Array]  # in NCHW, whatever their shape
    raised: tuple[str, ...]  # the directions that raised an exception


@dataclass(frozen=True)
class Identification:
    """What is known of a wrong result: the mistakes that give it, or what its failing cases share."""

    result: str
    made: Made = ()
    failing: int = 0
    passing: int = 0
    alternatives: tuple[str, ...] = ()  # mistakes that give the same results in every case tried
    decided_by: str = ""  # a key of `supports` that would tell them apart
    conditions: str = ""

    @property
    def name(self) -> str:
        """The name of the mistake, two of them joined by "and", or ""."""
        return name_of(self.made)

    def __str__(self) -> str:
        if not self.made:
            return ""
        told = (
            f"{self.result} is what a kernel computes that {self.name}: "
            f"{self.failing} of {self.failing} failing cases, {self.passing} of {self.passing} passing ones"
        )
        if self.alternatives:
            told += f"; or one that {', or that '.join(self.alternatives)}"
            told += f" ({self.decided_by} would tell them apart)" if self.decided_by else ""
        return told


def name_of(made: Made) -> str:
    """Return the names of mistakes, joined."""
    return " and ".join(mistake.name for mistake in made)


class Matcher:
    """Compares the results of a subject with those of every mistake, and keeps what was found for each result."""

    def __init__(self, subject: Subject, cases: Iterable[ConvCase]) -> None:
        self.subject, self.cases = subject, cases
        self._observations: list[Observation] | None = None
        self._found: dict[str, Identification] = {}

    @property
    def observations(self) -> list[Observation]:
        """What the subject returns in its cases, called again."""
        if self._observations is None:
            end = time.monotonic() + SECONDS_TO_OBSERVE
            self._observations = []
            for case in self.cases:
                self._observations.append(observe(self.subject, case))
                if time.monotonic() > end and len(self._observations) >= LEAST_CASES:
                    break
        return self._observations

    @np.errstate(all="ignore")
    def identify(self, name: str) -> Identification:
        """Return what is known of the result y, dx, dw or db, or of "forward" or "backward" raising exceptions."""
        if name not in self._found:
            self._found[name] = self._identify(name)
        return self._found[name]

    def _identify(self, name: str) -> Identification:
        if name in SIGNATURES:
            return self._identify_exceptions(name)
        if not self.subject.is_direct:
            return Identification(name)  # not exact on integers
        observed = [one for one in self.observations if name in one.results]
        failing = [one for one in observed if not self.fits((), name, one)]
        passing = [one for one in observed if self.fits((), name, one)]
        if not failing:
            return Identification(name)
        failing.sort(key=lambda one: one.call.x.size + one.call.weight.size)
        entries = [mistake for mistake in MISTAKES if name in mistake.results]
        fitting = self._fitting(((mistake,) for mistake in entries), name, failing, passing)
        if not fitting and len(failing) >= LEAST_FAILING_CASES_FOR_A_PAIR:
            fitting = self._fitting(self._pairs(entries, name, failing), name, failing, passing)
        fitting = the_most_specific(self._tell_apart(fitting, name), name, failing)
        if not fitting:
            conditions = common_conditions([one.case for one in failing], [one.case for one in passing])
            return Identification(name, (), len(failing), len(passing), conditions=conditions)
        alternatives = tuple(dict.fromkeys(name_of(made) for made in fitting[1:]))[:3]
        decided_by = self._what_decides(fitting[0], fitting[1], name) if alternatives else ""
        return Identification(name, fitting[0], len(failing), len(passing), alternatives, decided_by)

    def _identify_exceptions(self, role: str) -> Identification:
        failing = [one.case for one in self.observations if role in one.raised]
        passing = [one.case for one in self.observations if role not in one.raised]
        conditions = common_conditions(failing, passing) if failing else ""
        return Identification(role, (), len(failing), len(passing), conditions=conditions)

    def fits(self, made: Made, name: str, observed: Observation) -> bool:
        """Whether a kernel with these mistakes, or without any, returns what was observed."""
        try:
            expected = result_of(made, name, observed.call)
        except Exception:  # with this mistake there is no result at all
            return False
        return are_same(observed.results[name], expected, self.subject.arithmetic.exact_bits)

    def _fitting(
        self, candidates: Iterable[Made], name: str, failing: Sequence[Observation], passing: Sequence[Observation]
    ) -> list[Made]:
        """Return the candidates that give every failing result and predict every passing one."""
        at_once = [made for made in candidates if self.fits(made, name, failing[0])]
        return [made for made in at_once if all(self.fits(made, name, one) for one in chain(failing, passing))]

    def _pairs(self, entries: Sequence[Mistake], name: str, failing: Sequence[Observation]) -> Iterator[Made]:
        """Yield pairs of mistakes, those first of which one alone explains some of the failing cases.

        Where one mistake of a pair changes nothing, such as a dilation ignored where it is 1, the other one is alone.
        """
        end = time.monotonic() + SECONDS_TO_PAIR
        some = failing[:: max(1, len(failing) // 12)][:12]  # of every size
        explained = {mistake.name: sum(self.fits((mistake,), name, one) for one in some) for mistake in entries}
        ranked = sorted(entries, key=lambda mistake: -explained[mistake.name])
        for i, one in enumerate(ranked[:LIKELIEST]):
            for other in ranked[i + 1 :]:
                if time.monotonic() > end:
                    return
                if one.compute is None or other.compute is None:
                    yield one, other
                    if (one.change and other.change) or (one.finish and other.finish):
                        yield other, one

    def _tell_apart(self, fitting: list[Made], name: str) -> list[Made]:
        """Call the subject in further cases in which the candidates differ, and keep those that still fit."""
        end = time.monotonic() + SECONDS_TO_TELL_APART
        for case in further_cases(self.subject.supports):
            if len(fitting) < 2 or time.monotonic() > end:
                break
            operands = operands_of(self.subject, case)
            call = as_call(operands, case.kwargs, not self.subject.channels_first)
            if any_differ(fitting, name, call):
                observed = observe(self.subject, case)
                if name in observed.results:
                    fitting = [made for made in fitting if self.fits(made, name, observed)]
        return fitting

    def _what_decides(self, one: Made, other: Made, name: str) -> str:
        """Return a key of `supports` that is not supported and would tell two candidates apart, or ""."""
        supports = self.subject.supports
        for key in WITHOUT:
            if supports[key]:
                continue
            for case in further_cases({**supports, key: True}):
                call = as_call(case.operands(), case.kwargs, not self.subject.channels_first)
                if any_differ([one, other], name, call):
                    return key
        return ""


def further_cases(supports: Any) -> Iterator[ConvCase]:
    """Yield cases of which candidates can differ: sizes about those of blocks, and drawn ones."""
    rng = random.Random(0)
    yield from (keep_supported(case, supports) for case in BLOCKS)
    yield from (draw_case(rng.randint, supports) for _ in range(DRAWS_TO_TELL_APART))


def the_most_specific(fitting: list[Made], name: str, failing: Sequence[Observation]) -> list[Made]:
    """Return the candidates that say which value each place has, or all of them if none does."""

    def says_every_value(made: Made) -> bool:
        return not any(np.isnan(result_of(made, name, one.call)).any() for one in failing)

    return [made for made in fitting if says_every_value(made)] or fitting


def any_differ(fitting: Sequence[Made], name: str, call: Call) -> bool:
    """Whether the candidates do not all have the same result."""
    first, *others = (result_of(made, name, call) for made in fitting)
    return not all(first.shape == one.shape and np.array_equal(first, one, equal_nan=True) for one in others)


def operands_of(subject: Subject, case: ConvCase) -> dict[str, Any]:
    """Return the operands of a case on integers."""
    return case.operands(subject.arithmetic.dtype, bits=subject.arithmetic.exact_bits)


def observe(subject: Subject, case: ConvCase) -> Observation:
    """Call the subject in a case, on integers; directions that raise an exception give no result."""
    operands = operands_of(subject, case)
    call = as_call(operands, case.kwargs, not subject.channels_first)
    results: dict[str, Array] = {}
    raised = []
    for role in subject.roles_in(case):
        takes, gives = SIGNATURES[role]
        given = [subject.as_given(None if operands[name] is None else operands[name]) for name in takes]
        try:
            returned = subject.function(role)(*given, **subject.window(role, case.kwargs))  # type: ignore[misc]
        except NotImplementedError:
            continue
        except (Exception, SystemExit):
            raised.append(role)
            continue
        values = (returned,) if role == "forward" else returned
        if isinstance(values, (tuple, list)) and len(values) == len(gives):
            for name, value in zip(gives, values):
                if isinstance(value, np.ndarray):
                    results[name] = np.array(subject.as_nchw(np.asarray(value)))
    fresh = operands_of(subject, case)  # a kernel may have written into its operands
    return Observation(case, replace(call, **fresh), results, tuple(raised))


def are_same(got: Array, expected: Array, bits: int) -> bool:
    """Whether a result is the expected one: exactly on integers of so many bits, else but for some roundings.

    Where NaN is expected, memory was not written: any value will do, as long as there is another one to compare.
    """
    if got.shape != expected.shape:
        return False
    try:
        values = got.astype(np.float64)
    except (TypeError, ValueError):
        return False
    agree = (values == expected) | np.isnan(expected)
    if agree.all():
        return True
    rounded = (expected != np.rint(expected)) | (np.abs(expected) > 2.0**bits)
    near = np.abs(values - expected) <= 2.0 ** (3 - bits) * np.abs(expected)
    return bool((agree | (rounded & near)).all())
