"""Matching: which mistake of the catalogue gives the results of a kernel, in every case in which it was tried."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..cases import ConvCase
from ..drawn_cases import draw_case
from ..formats import wide
from ..subject import SIGNATURES, Subject
from ..supports import WITHOUT, keep_supported
from ..trial import Trial
from . import COMPLEX, MISTAKES, as_call, result_of
from .call import Call
from .conditions import common_conditions
from .mistake import Mistake

Made = tuple[Mistake, ...]  # the mistakes that one kernel makes

# Seconds are those of the processor: another program that runs at the same time changes nothing.
SECONDS_TO_CATCH_UP = 0.8  # on cases that another process has tried, but in at least as many as these:
LEAST_CASES = 20
SECONDS_TO_PAIR = 0.6
SECONDS_TO_TELL_APART = 0.3
LEAST_FAILING_CASES_FOR_A_PAIR = 5
LEAST_FAILING_CASES_FOR_A_PART = 5
DRAWS_TO_TELL_APART = 100
LIKELIEST = 10  # mistakes of which one is in every pair that is tried
LEAST_BITS_TO_DIVIDE = 20  # in narrower formats a quotient is compared as it is
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


class IntegerCase:
    """A case on integers, with the right results; both are computed when they are first used."""

    def __init__(self, subject: Subject, case: ConvCase) -> None:
        self.subject, self.case = subject, case
        self._right: dict[str, Array] = {}

    @cached_property
    def call(self) -> Call:
        """The call, with operands that no kernel has written into."""
        arithmetic = self.subject.arithmetic
        operands = self.case.operands(arithmetic.dtype, bits=arithmetic.exact_bits)
        return as_call(operands, self.case.kwargs, not self.subject.channels_first)

    def right(self, name: str) -> Array:
        """Return the right y, dx, dw or db."""
        if name not in self._right:
            self._right[name] = self.call.result(name)
        return self._right[name]


@dataclass(frozen=True, eq=False)
class Observation:
    """What a subject returned in one case, on integers."""

    asked: IntegerCase
    right: tuple[str, ...]  # the results that are right
    wrong: dict[str, Array]  # the others, in NCHW, whatever their shape
    raised: tuple[str, ...] = ()  # the directions that raised an exception
    called: tuple[str, ...] = ()  # the directions that returned or raised

    @property
    def case(self) -> ConvCase:
        """The case."""
        return self.asked.case

    @property
    def call(self) -> Call:
        """The call."""
        return self.asked.call


def observe(trial: Trial) -> Observation:
    """Return what a trial on integers showed, with copies of the wrong results: a kernel may write into them later."""
    results = trial.results  # calls the subject
    right = tuple(name for name, got in results.items() if np.array_equal(got, trial.exact(name).high))
    wrong = {name: np.array(got) for name, got in {**results, **trial.misfits}.items() if name not in right}
    raised = tuple(finding.role for finding in trial.broken if finding.property == "returns")
    called = tuple(role for role in trial.subject.roles_in(trial.case) if role not in trial.not_implemented)
    return Observation(IntegerCase(trial.subject, trial.case), right, wrong, raised, called)


@dataclass(frozen=True)
class Identification:
    """What is known of a wrong result: the mistakes that give it, or what its failing cases share."""

    result: str
    made: Made = ()
    failing: int = 0
    passing: int = 0
    alternatives: tuple[str, ...] = ()  # mistakes that give the same results in every case tried
    decided_by: str = ""  # a key of `supports` that would tell them apart
    partly: str = ""  # what it is in every failing case, but not in every passing one
    shared: str = ""  # what the failing cases share

    @property
    def name(self) -> str:
        """The name of the mistake, two of them joined by "and", or ""."""
        return name_of(self.made)

    @property
    def conditions(self) -> str:
        """What the failing cases share, and which mistake is made in them."""
        if not self.partly:
            return self.shared
        if self.shared:
            return f"{self.shared}; there {self.partly}"
        return f"in all failing cases {self.partly}, but not in all passing ones"

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

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.missed: list[ConvCase] = []  # cases that another process has tried
        self.observations: list[Observation] = []  # one for each case
        self._found: dict[str, Identification] = {}

    def note(self, trial: Trial) -> None:
        """Keep what a trial on integers shows."""
        self.observations.append(observe(trial))

    def catch_up(self) -> None:
        """Call the subject in cases that another process has tried."""
        end = time.process_time() + SECONDS_TO_CATCH_UP
        for number, case in enumerate(self.missed):
            if time.process_time() > end and number >= LEAST_CASES:
                break
            self.note(Trial(self.subject, case, real=False))
        self.missed.clear()

    @np.errstate(all="ignore")
    def identify(self, name: str, smallest: ConvCase | None = None) -> Identification:
        """Return what is known of the result y, dx, dw or db, or of "forward" or "backward" raising exceptions.

        The conditions hold in `smallest` too, the smallest case that fails.
        """
        self.catch_up()
        if name not in self._found:
            self._found[name] = self._identify(name)
        known = self._found[name]
        return replace(known, shared=self._conditions(name, smallest)) if known.failing and not known.made else known

    def _identify(self, name: str) -> Identification:
        if name in SIGNATURES:
            return Identification(name, failing=sum(name in one.raised for one in self.observations))
        if not self.subject.is_direct:
            return Identification(name)  # not exact on integers
        failing = [one for one in self.observations if name in one.wrong]
        passing = [one for one in self.observations if name in one.right]
        if not failing:
            return Identification(name)
        failing.sort(key=lambda one: one.call.x.size + one.call.weight.size)
        catalogue = (*MISTAKES, *COMPLEX) if self.subject.is_complex else MISTAKES
        entries = [mistake for mistake in catalogue if name in mistake.results]
        in_every_failing = self._fitting([(mistake,) for mistake in entries], name, failing)
        fitting = self._predicting(in_every_failing, name, passing)
        if not (fitting or in_every_failing) and len(failing) >= LEAST_FAILING_CASES_FOR_A_PAIR:
            fitting = self._predicting(self._fitting(self._pairs(entries, name, failing), name, failing), name, passing)
        fitting = the_most_specific(self._tell_apart(fitting, name), name, failing)
        if not fitting:
            return self._describe(name, failing, passing, in_every_failing)
        alternatives = tuple(dict.fromkeys(name_of(made) for made in fitting[1:]))[:3]
        decided_by = self._what_decides(fitting[0], fitting[1], name) if alternatives else ""
        return Identification(name, fitting[0], len(failing), len(passing), alternatives, decided_by)

    def _describe(
        self, name: str, failing: Sequence[Observation], passing: Sequence[Observation], partly: list[Made]
    ) -> Identification:
        """Return the mistake that is made in every failing case and not in every passing one, if there is one."""
        if partly and len(failing) >= LEAST_FAILING_CASES_FOR_A_PART:
            partly = the_most_specific(self._tell_apart(partly, name, where_wrong=True), name, failing)
        told = f"{name} is what a kernel computes that {', or that '.join(map(name_of, partly[:2]))}" if partly else ""
        return Identification(name, (), len(failing), len(passing), partly=told)

    def _conditions(self, name: str, smallest: ConvCase | None) -> str:
        """Say what the failing cases share."""
        if name in SIGNATURES:
            failing = [one.case for one in self.observations if name in one.raised]
            passing = [one.case for one in self.observations if name in one.called and name not in one.raised]
        else:
            failing = [one.case for one in self.observations if name in one.wrong]
            passing = [one.case for one in self.observations if name in one.right]
        return common_conditions(failing, passing, smallest)

    def fits(self, made: Made, name: str, observed: Observation) -> bool:
        """Whether a kernel with these mistakes returns what was observed."""
        got = observed.wrong.get(name)
        if got is None:
            got = observed.asked.right(name)
        try:
            expected = result_of(made, name, observed.call)
        except Exception:  # with this mistake there is no result at all
            return False
        return are_same(got, expected) or self._but_for_rounding(got, expected, made, name, observed.call)

    def share_explained(self, mistake: Mistake, name: str, failing: Observation) -> float:
        """Return 1 if a mistake gives a wrong result, or else half the share of the values that it gives."""
        if self.fits((mistake,), name, failing):
            return 1.0
        got = failing.wrong[name]
        try:
            expected = mistake.result(name, failing.call)
        except Exception:
            return 0.0
        same_shape = got.shape == expected.shape and got.size > 0
        return 0.5 * float(np.isclose(wide(got), expected).mean()) if same_shape else 0.0

    def _but_for_rounding(self, got: Array, expected: Array, made: Made, name: str, call: Call) -> bool:
        """Whether a result is the expected one but for some roundings, where the mistake divides or leaves a format."""
        bits = self.subject.arithmetic.exact_bits
        rounded = (expected != np.rint(expected)) | (np.abs(expected) > 2.0**bits)
        if got.shape != expected.shape or not (rounded & ~np.isnan(expected)).any():
            return False
        limit = np.where(rounded, 2.0 ** (3 - bits) * np.abs(expected), 0)
        if bits >= LEAST_BITS_TO_DIVIDE:  # each product may be divided, before the sum
            limit = 2.0 ** (5 - bits) * np.abs(result_of(made, name, call.magnitudes()))
        return bool(((np.abs(wide(got) - expected) <= limit) | np.isnan(expected)).all())

    def _fitting(self, candidates: Iterable[Made], name: str, failing: Sequence[Observation]) -> list[Made]:
        """Return the candidates that give every failing result."""
        at_once = [made for made in candidates if self.fits(made, name, failing[0])]
        return [made for made in at_once if all(self.fits(made, name, one) for one in failing)]

    def _predicting(self, candidates: Iterable[Made], name: str, passing: Sequence[Observation]) -> list[Made]:
        """Return the candidates that give every passing result."""
        return [made for made in candidates if all(self.fits(made, name, one) for one in passing)]

    def _pairs(self, entries: Sequence[Mistake], name: str, failing: Sequence[Observation]) -> Iterator[Made]:
        """Yield pairs of mistakes, those first of which one alone explains most of the failing cases or their values.

        Where one mistake of a pair changes nothing, such as a dilation ignored where it is 1, the other one is alone.
        """
        end = time.process_time() + SECONDS_TO_PAIR
        some = failing[:: max(1, len(failing) // 12)][:12]  # of every size
        explained = {mistake.name: sum(self.share_explained(mistake, name, one) for one in some) for mistake in entries}
        ranked = sorted(entries, key=lambda mistake: -explained[mistake.name])
        for i, one in enumerate(ranked[:LIKELIEST]):
            for other in ranked[i + 1 :]:
                if time.process_time() > end:
                    return
                if one.compute is None or other.compute is None:
                    yield one, other
                    if (one.change and other.change) or (one.finish and other.finish):
                        yield other, one

    def _tell_apart(self, fitting: list[Made], name: str, where_wrong: bool = False) -> list[Made]:
        """Call the subject in further cases in which the candidates differ, and keep those that still fit.

        With `where_wrong`, only the further cases in which the subject is wrong count.
        """
        end = time.process_time() + SECONDS_TO_TELL_APART
        for case in further_cases(self.subject.supports):
            if len(fitting) < 2 or time.process_time() > end:
                break
            if any_differ(fitting, name, IntegerCase(self.subject, case).call):
                observed = observe(Trial(self.subject, case, real=False))
                if name in observed.wrong or (name in observed.right and not where_wrong):
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


def are_same(got: Array, expected: Array) -> bool:
    """Whether a result is the expected one; where NaN is expected, any value will do: memory was not written."""
    return got.shape == expected.shape and bool(((wide(got) == expected) | np.isnan(expected)).all())
