"""Trying cases: every check of one case, and the tally over all of them."""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from . import verdicts
from .cases import ConvCase
from .draws import SUPPORTS, broken_calls, build, features, pairs, sweep
from .properties import PROPERTIES
from .report import Finding, Report
from .subject import CONTRACT, Broken, Subject, Trial

# long inner products for y (576), dx (144) and dw (70), thousands of values each for the statistical verdict, long rows
LARGE = ConvCase(1, 64, 16, 1, (4, 37), (3, 3), seed=1)


class Runner:
    """Makes every check of every case, and keeps the tally in a report."""

    def __init__(self, subject: Subject, watch: Callable[..., Any] = lambda *what: None) -> None:
        self.subject, self.watch, self.turns = subject, watch, Counter[str]()
        self.direct = subject.algorithm == "direct"
        lacks = [key for key, all_ in SUPPORTS.items() if key != "dtypes" and subject.supports[key] != all_]
        left_out = [f"{key} (only {', '.join(subject.supports[key])})" if key == "layouts" else key for key in lacks]
        self.report = Report(subject.arithmetic, subject.algorithm, left_out=left_out)
        self.rows = self.report.rows
        self.large = Trial(subject, LARGE, real=True)

    def cases(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield drawn cases and the fixed sweeps in turn."""
        rng = random.Random(seed)
        drawn = (build(rng.randint, self.subject.supports) for _ in range(draws))
        return (case for both in zip_longest(drawn, sweep(self.subject.supports)) for case in both if case)

    def run(self, draws: int, seed: int) -> None:
        """Try `draws` drawn cases, the fixed ones, and what is advisory."""
        self.report.seed = seed
        for case in chain(self.cases(draws, seed), [LARGE]):
            self.watch(f"case {self.report.cases + 1}", case, self.report)
            self.try_case(case)
        self.try_large()
        if self.subject.forward and self.subject.supports["invalid_calls"]:
            self.try_invalid(self.subject.forward)

    @np.errstate(all="ignore")
    def try_case(self, case: ConvCase) -> None:
        """Make the checks of one case and tally them."""
        self.report.cases += 1
        self.report.coverage.update(features(case))
        self.report.pairs.update(pairs(case))
        able = [name for name, (_, shows) in PROPERTIES.items() if shows(case)]
        turn = min(able, key=self.turns.__getitem__)  # the one that has been tried least
        self.turns[turn] += 1
        worst: dict[tuple[str, str], Finding] = {}
        for finding in self.examine(case, turn):
            key = finding.property, finding.verdict
            worst[key] = max(worst.get(key, finding), finding, key=lambda found: found.ratio)
        for finding in worst.values():
            finding.first = self.report.cases
            self.report.add(finding)

    def examine(self, case: ConvCase, turn: str) -> Iterator[Finding]:
        """Yield what every check of a case comes to; `turn` is the property beyond comparison to try."""
        try:
            trial = Trial(self.subject, case, real=False)
            yield from chain(self.defined(trial), self._adjoint(trial), self._property(trial, turn))
            yield from self.defined(Trial(self.subject, case, real=True))
            yield from (Finding(part, "contract", 0.0) for part in CONTRACT)
        except Broken as broken:
            yield broken.finding

    def bound(self, trial: Trial, name: str) -> Array:
        """Return how far each value of a result may be off."""
        truth, arithmetic = trial.truth(name), self.subject.arithmetic
        if not self.direct:
            return verdicts.normwise(truth, arithmetic, self.subject.algorithm)
        return verdicts.bounded(truth, arithmetic) if trial.real else verdicts.exact(truth)

    def _compare(
        self, name: str, result: str, trials: tuple[Trial, ...], got: Any, expected: Any, error: Any, bound: Any
    ) -> Finding:
        """Return the value that is furthest beyond its bound, or nearest to it."""
        verdict = "normwise" if not self.direct else "bounded" if trials[0].real else "exact"
        if not error.any():
            return Finding(name, verdict, 0.0)
        ratios = np.where(error == 0, 0.0, np.abs(error) / bound)
        index = tuple(map(int, np.unravel_index(np.argmax(ratios), ratios.shape)))
        at = [float(array[index]) for array in np.broadcast_arrays(ratios, got, expected, bound)]
        place = [*self.subject.place_given(index)]
        message = f"{result}{place} is {at[1]!r}: expected {at[2]!r} within {at[3]:.3g}"
        return Finding(name, verdict, at[0], message, trials[0].case, result, index, *at[1:], trials=trials)  # type: ignore[misc, arg-type]

    def defined(self, trial: Trial) -> Iterator[Finding]:
        """Compare results with the definition."""
        for name, got in trial.results.items():
            truth = trial.truth(name)
            yield self._compare(name, name, (trial,), got, truth.high, truth.error(got), self.bound(trial, name))

    def _property(self, trial: Trial, turn: str) -> Iterator[Finding]:
        """Compare results with what a property makes of other results."""
        others, together = PROPERTIES[turn][0](trial)
        trials = (trial, *others)
        for name, other in together([other.results for other in others]).items():
            got, expected = trial.results[name].astype(np.float64), other.astype(np.float64)
            slack = 0.0 if self.direct else sum(self.bound(one, name).max(initial=0.0) for one in trials)
            yield self._compare(turn, name, trials, got, expected, got - expected, slack)

    def _adjoint(self, trial: Trial) -> Iterator[Finding]:
        """Check <grad_output, y − bias> = <x, dx> = <weight, dw>; sums of small integers are exact in float64."""
        if not {"y", "dx", "dw"} <= set(trial.results):
            return
        bias, sums = trial.operands["bias"], {}
        for operand, name in (("grad_output", "y"), ("x", "dx"), ("weight", "dw")):
            values, result = (array.astype(np.float64) for array in (trial.operands[operand], trial.results[name]))
            if name == "y" and bias is not None:
                result = result - bias.astype(np.float64).reshape(1, -1, 1, 1)
            sums[operand] = np.sum(values * result), np.sum(np.abs(values) * self.bound(trial, name))
        of_y, slack_of_y = sums.pop("grad_output")
        for operand, (got, slack) in sums.items():
            yield self._compare("adjoint", operand, (trial,), got, of_y, got - of_y, slack_of_y + slack)

    @np.errstate(all="ignore")
    def try_large(self) -> None:
        """Ask of one large case what its errors as a whole and a second call tell."""
        with suppress(Broken):
            repeated = self.large.again().results
            for name, got in self.large.results.items():
                ratio = 0.0 if np.array_equal(got, repeated[name]) else math.inf
                self.report.add(Finding("the same bits twice", "advisory", ratio, f"a second call changes {name}"))
                if self.direct:
                    truth = self.large.truth(name)
                    rms, bias = verdicts.statistical(truth, truth.error(got), self.subject.arithmetic)
                    note = f"errors of {name} are not like rounding: rms {rms:.2f} (1.25 allowed), bias {bias:+.1f} (6)"
                    self.report.add(Finding(name, "statistical", max(rms / 1.25, abs(bias) / 6), note))

    def try_invalid(self, forward: Callable[..., Any]) -> None:
        """Make calls that break one rule each."""
        case = ConvCase(1, 2, 2, 1, (4, 4), (2, 2), has_bias=bool(self.subject.supports["bias"]))
        for rule, call in broken_calls(case).items():
            ratio = math.inf
            self.watch(f"the call that breaks the rule: {rule}", case, self.report)
            try:
                forward(*map(self.subject.as_given, call.operands(self.subject.arithmetic.dtype)), **call.kwargs)
            except (Exception, SystemExit):
                ratio = 0.0
            note = f"no error from a call that breaks the rule: {rule}"
            self.report.add(Finding("refuses wrong calls", "advisory", ratio, note))
