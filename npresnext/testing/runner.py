"""The runner: tries cases, makes every check of each, and keeps the tally in a report."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from . import rounding_statistics
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
from .fixed_cases import sweep
from .invalid_calls import NEEDS, broken_calls
from .properties import PROPERTIES
from .report import Report
from .rounding_statistics import LARGEST_BIAS, LARGEST_RMS
from .subject import SIGNATURES, Subject
from .supports import OF_ONE_DIRECTION, SUPPORTS
from .trial import Trial

# Long inner products for y (576), dx (144) and dw (70), long rows, and thousands of values for the statistical verdict.
LARGE_CASE = ConvCase(batch=1, in_channels=64, out_channels=16, size=(4, 37), kernel=(3, 3), seed=1)


def ignore(where: str, case: ConvCase, report: Report) -> None:
    """Watch nothing."""


class Runner:
    """Makes every check of every case, and keeps the tally in a report."""

    def __init__(self, subject: Subject, watch: Callable[[str, ConvCase, Report], Any] = ignore) -> None:
        self.subject, self.watch = subject, watch
        self.report = Report(subject.arithmetic, subject.algorithm, left_out=describe_left_out(subject))
        self.times_tried = Counter[str]()  # of each property
        self.not_implemented: dict[str, list[Finding]] = {role: [] for role in subject.roles}
        self.large_trial = Trial(subject, LARGE_CASE, real=True)

    def cases(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield `draws` drawn cases and the fixed ones in turn, as far as the subject supports them."""
        rng = random.Random(seed)
        drawn = (draw_case(rng.randint, self.subject.supports) for _ in range(draws))
        for pair in zip_longest(drawn, sweep(self.subject.supports)):
            yield from (case for case in pair if case is not None and self.subject.roles_in(case))

    def run(self, draws: int, seed: int) -> None:
        """Try `draws` drawn cases and the fixed ones, and then what is advisory."""
        self.report.seed = seed
        for case in chain(self.cases(draws, seed), [LARGE_CASE]):
            self.watch(f"case {self.report.cases + 1}", case, self.report)
            self.try_case(case)
        self.count_what_is_not_implemented()
        self.try_large_case()
        if self.subject.forward is not None and self.subject.supports["invalid_calls"]:
            self.try_invalid_calls(self.subject.forward)

    @np.errstate(all="ignore")
    def try_case(self, case: ConvCase) -> None:
        """Make the checks of one case, and count the worst finding of each."""
        self.report.cases += 1
        self.report.coverage.update(features(case))
        self.report.pairs.update(kind_pairs(case))
        worst: dict[tuple[str, str], Finding] = {}
        for finding in self.examine(case, self._next_property(case)):
            if finding.verdict == LEFT_OUT:
                self.not_implemented[finding.role].append(finding)
                continue
            check = finding.property, finding.verdict
            if check not in worst or finding.ratio > worst[check].ratio:
                worst[check] = finding
        for finding in worst.values():
            finding.first = self.report.cases
            self.report.add(finding)

    def _next_property(self, case: ConvCase) -> str:
        """Return the property that has been tried least of those that the case can show."""
        applicable = [name for name, tried in PROPERTIES.items() if tried.applies_to(case)]
        name = min(applicable, key=self.times_tried.__getitem__)
        self.times_tried[name] += 1
        return name

    def examine(self, case: ConvCase, name: str) -> Iterator[Finding]:
        """Yield what every check of a case comes to, with one of the properties."""
        on_integers, on_real_numbers = (Trial(self.subject, case, real) for real in (False, True))
        yield from compare_with_oracle(on_integers)
        yield from note_what_is_not_implemented(on_integers)
        yield from compare_adjoint(on_integers)
        yield from compare_with_property(on_integers, name, PROPERTIES[name])
        yield from compare_with_oracle(on_real_numbers)
        for trial in (on_integers, on_real_numbers):
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
            if self.subject.is_direct:
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
        has_bias = bool(self.subject.supports["bias"])
        case = ConvCase(batch=1, in_channels=2, out_channels=2, size=(4, 4), kernel=(2, 2), has_bias=has_bias)
        for rule, call in broken_calls(case).items():
            if rule in NEEDS and not self.subject.supports[NEEDS[rule]]:
                continue
            self.watch(f"the call that breaks the rule: {rule}", case, self.report)
            operands = [self.subject.as_given(array) for array in call.operands(self.subject.arithmetic.dtype)]
            refused = False
            try:
                forward(*operands, **self.subject.window("forward", call.kwargs))
            except (Exception, SystemExit):
                refused = True
            note = f"no error from a call that breaks the rule: {rule}"
            self.report.add(Finding("refuses wrong calls", "advisory", 0.0 if refused else math.inf, note))


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
