"""The runner: tries cases, makes every check of each, and keeps the tally in a report."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from . import rounding_statistics
from .baseline import as_expected, expected_in
from .cases import ConvCase
from .comparisons import (
    check_contract,
    compare_adjoint,
    compare_with_oracle,
    compare_with_property,
    note_what_is_not_implemented,
)
from .coverage import features, kind_pairs
from .drawn_cases import draw_case
from .findings import LEFT_OUT, Finding
from .fixed_cases import new_kinds_first, sweep
from .invalid_calls import NEEDS, broken_calls
from .mistakes.matching import Matcher
from .outcomes import outcomes_of
from .properties import PROPERTIES
from .report import Report
from .rounding_statistics import LARGEST_BIAS, LARGEST_RMS
from .subject import SIGNATURES, Subject
from .supports import OF_ONE_DIRECTION, SUPPORTS
from .trial import Trial, call

# Long inner products for y (576), dx (144) and dw (70), long rows, and thousands of values for the statistical verdict.
LARGE_CASE = ConvCase(batch=1, in_channels=64, out_channels=16, size=(4, 37), kernel=(3, 3), seed=1)
WRONG_CALL = "the call that breaks the rule: "  # the beginning of the step's name, which ends in the rule


@dataclass(frozen=True)
class Plan:
    """What a runner tries besides drawn and fixed cases, what it expects, and when it stops."""

    layers: Mapping[str, ConvCase] = field(default_factory=dict)  # tried first
    only: ConvCase | None = None  # in place of all others
    xfail: Mapping[str, str] = field(default_factory=dict)
    budget: float = math.inf  # seconds
    done: frozenset[str] = frozenset()  # steps that an earlier process has made
    avoid: frozenset[ConvCase] = frozenset()  # cases that end the process


def ignore(where: str, case: ConvCase, report: Report) -> None:
    """Watch nothing."""


def ignore_trial(trial: Trial) -> None:
    """Note nothing."""


class Runner:
    """Makes every check of every case, and keeps the tally in a report."""

    def __init__(
        self, subject: Subject, watch: Callable[[str, ConvCase, Report], Any] = ignore, plan: Plan | None = None
    ) -> None:
        self.subject, self.watch, self.plan = subject, watch, plan or Plan()
        self.deadline = time.monotonic() + self.plan.budget
        self.report = Report(
            subject.arithmetic,
            subject.algorithm,
            left_out=describe_left_out(subject),
            expected=as_expected(self.plan.xfail),
            layers=list(self.plan.layers),
        )
        self.times_tried = Counter[str]()  # of each property
        self.not_implemented: dict[str, list[Finding]] = {role: [] for role in subject.roles}
        self.large_trial = Trial(subject, LARGE_CASE, real=not subject.is_complex)
        self.matcher = Matcher(subject)

    def cases(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield `draws` drawn cases and the fixed ones in turn, as far as the subject supports them."""
        rng = random.Random(seed)
        drawn = (draw_case(rng.randint, self.subject.supports) for _ in range(draws))
        fixed = sweep(self.subject.supports)
        if self.plan.budget < math.inf:
            fixed = new_kinds_first(fixed)
        for pair in zip_longest(drawn, fixed):
            yield from (case for case in pair if case is not None and self.subject.roles_in(case))

    def every_case(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield the layers of the plan, the drawn cases and the fixed ones, and a large one."""
        return chain(self.plan.layers.values(), self.cases(draws, seed), [LARGE_CASE])

    def run(self, draws: int, seed: int) -> None:
        """Try the layers of the plan, `draws` drawn cases and the fixed ones, and then what is advisory.

        What an earlier process has tried is not tried again. After the budget nothing more is tried.
        """
        self.report.seed = seed
        if self.plan.only is not None:
            self._try_cases([self.plan.only])
            return
        self._try_cases(self.every_case(draws, seed))
        self.count_what_is_not_implemented()
        if time.monotonic() > self.deadline:
            return
        if self._is_next("the errors of a large case", LARGE_CASE):
            self.try_large_case()
        if self.subject.forward is not None and self.subject.supports["invalid_calls"]:
            self.try_invalid_calls(self.subject.forward)

    def _try_cases(self, cases: Iterable[ConvCase]) -> None:
        for number, case in enumerate(cases, 1):
            if self.report.cases and time.monotonic() > self.deadline:
                self.report.left_out.append(f"every case after {self.report.cases}: the budget was spent")
                return
            if self._is_next(f"case {number}", case):
                self.try_case(case)

    def catch_up(self, draws: int, seed: int) -> None:
        """Leave the cases that an earlier process has tried to the matcher, which has not seen them."""
        steps = ((f"case {number}", case) for number, case in enumerate(self.every_case(draws, seed), 1))
        self.matcher.missed += [case for step, case in steps if step in self.plan.done and case not in self.plan.avoid]

    def _is_next(self, where: str, case: ConvCase) -> bool:
        """Announce a step to whoever watches, unless an earlier process has made it."""
        if where in self.plan.done:
            return False
        self.watch(where, case, self.report)
        return True

    @np.errstate(all="ignore")
    def try_case(self, case: ConvCase) -> None:
        """Make the checks of one case, and count the worst finding of each."""
        self.report.cases += 1
        self.report.coverage.update(features(case))
        self.report.pairs.update(kind_pairs(case))
        expected = expected_in(case, self.report.expected)
        worst: dict[tuple[str, str], Finding] = {}
        note = self.matcher.note if expected is None else ignore_trial
        findings = list(self.examine(case, self._next_property(case), note))
        self.report.outcomes.update(outcomes_of(case, findings, self.subject.roles_in(case)))
        for finding in findings:
            if finding.verdict == LEFT_OUT:
                self.not_implemented[finding.role].append(finding)
                continue
            check = finding.property, finding.verdict
            if check not in worst or finding.ratio > worst[check].ratio:
                worst[check] = finding
        if expected is not None:
            expected.tried += 1
            expected.failed += any(finding.ratio > 1 for finding in worst.values())
            return
        for finding in worst.values():
            if finding.ratio > 1:
                finding.first = self.report.cases
            self.report.add(finding)

    def _next_property(self, case: ConvCase) -> str:
        """Return the property that has been tried least of those that the case can show."""
        applicable = [name for name, tried in PROPERTIES.items() if tried.applies_to(case)]
        name = min(applicable, key=self.times_tried.__getitem__)
        self.times_tried[name] += 1
        return name

    def examine(self, case: ConvCase, name: str, note: Callable[[Trial], None] = ignore_trial) -> Iterator[Finding]:
        """Yield what every check of a case comes to, with one of the properties; `note` gets the trial on integers."""
        on_integers, *on_real_numbers = (Trial(self.subject, case, real) for real in self.subject.on_real_numbers)
        yield from compare_with_oracle(on_integers)
        note(on_integers)
        yield from note_what_is_not_implemented(on_integers)
        yield from compare_adjoint(on_integers)
        yield from compare_with_property(on_integers, name, PROPERTIES[name])
        for trial in on_real_numbers:
            yield from compare_with_oracle(trial)
        for trial in (on_integers, *on_real_numbers):
            yield from check_contract(trial)

    def count_what_is_not_implemented(self) -> None:
        """List the cases that raised NotImplementedError as left out; if a direction raised it in all, that fails."""
        for role, findings in self.not_implemented.items():
            if not findings:
                continue
            last = findings[-1]
            if len(findings) < self.report.cases:
                self.report.left_out.append(f"{len(findings)} cases of {role}, such as one in which {last.message}")
            else:
                message = f"{last.message}, and so in every case"
                self.report.add(replace(last, verdict="contract", ratio=math.inf, message=message, first=1))

    @np.errstate(all="ignore")
    def try_large_case(self) -> None:
        """Look at the errors of one large case as a whole, and at a second call."""
        repeated = self.large_trial.again().results
        for name, got in self.large_trial.results.items():
            if name not in repeated:
                continue
            same = np.array_equal(got, repeated[name])
            note = f"a second call changes {name}"
            self.report.add(Finding("the same bits twice", "advisory", 0.0 if same else math.inf, note))
            if self.large_trial.real and self.subject.is_direct and not self.report.has_failed(name):
                self._look_at_the_errors(name, got)

    def _look_at_the_errors(self, name: str, got: Any) -> None:
        exact = self.large_trial.exact(name)
        rms, bias = rounding_statistics.compare_with_random_rounding(exact, exact.error(got), self.subject.arithmetic)
        allowed = f"rms {rms:.2f} ({LARGEST_RMS:g} allowed), bias {bias:+.1f} ({LARGEST_BIAS:g})"
        ratio = max(rms / LARGEST_RMS, abs(bias) / LARGEST_BIAS)
        note = f"errors of {name} are not like rounding: {allowed}"
        self.report.add(Finding(name, "statistical", ratio, note))

    def try_invalid_calls(self, forward: Callable[..., Any]) -> None:
        """Make calls that break one rule each."""
        case = case_to_break(self.subject)
        for rule, broken in broken_calls(case).items():
            if rule in NEEDS and not self.subject.supports[NEEDS[rule]]:
                continue
            if not self._is_next(f"{WRONG_CALL}{rule}", case):
                continue
            operands = [self.subject.as_given(array) for array in broken.operands(self.subject.arithmetic.dtype)]
            refused = False
            try:
                call(forward, *operands, **self.subject.window("forward", broken.kwargs))
            except (Exception, SystemExit):
                refused = True
            note = f"no error from a call that breaks the rule: {rule}"
            self.report.add(Finding("refuses wrong calls", "advisory", 0.0 if refused else math.inf, note))


def case_to_break(subject: Subject) -> ConvCase:
    """Return the valid case of which invalid calls are made."""
    has_bias = bool(subject.supports["bias"])
    return ConvCase(batch=1, in_channels=2, out_channels=2, size=(4, 4), kernel=(2, 2), has_bias=has_bias)


def describe_left_out(subject: Subject) -> list[str]:
    """Return what the subject does not support, a line for each key."""
    left_out = []
    for key, everything in SUPPORTS.items():
        supported = subject.supports[key]
        if key == "dtypes" or supported == everything:
            continue
        if key == "layouts":
            left_out.append(f"{key} (only {', '.join(supported)})")
        elif key in SIGNATURES:
            left_out += [f"{one} of {key}" for one in OF_ONE_DIRECTION if supported[one] != SUPPORTS[one]]
        elif key == "only":
            left_out.append('cases in which the function under supports["only"] is false')
        elif key in subject.missing:
            left_out.append(f"{key} ({subject.missing[key]})")
        else:
            left_out.append(key)
    return left_out
