"""Trying cases: every check of one case, and the tally over all of them."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from . import verdicts
from .arithmetic import Arithmetic
from .cases import ConvCase, build
from .coverage import features, pairs, sweep
from .invalid import RULES, break_rule
from .properties import PROPERTIES
from .report import Finding, Row
from .subject import CONTRACT, Broken, Subject, Trial

Array = np.ndarray
Watch = Callable[[str, ConvCase], None]

# long inner products for y (576), dx (144) and dw (64), and thousands of values each, for the statistical verdict
LARGE = ConvCase(1, 64, 16, 1, (10, 10), (3, 3), seed=1)


class Runner:
    """Makes every check of every case, and keeps the tally."""

    def __init__(self, subject: Subject, arithmetic: Arithmetic, algorithm: str, supports: Mapping[str, Any]) -> None:
        self.subject, self.arithmetic, self.algorithm, self.supports = subject, arithmetic, algorithm, supports
        self.rows: defaultdict[tuple[str, str], Row] = defaultdict(Row)  # by property and verdict
        self.advisories: list[str] = []
        self.coverage, self.turns = Counter[str](), Counter[str]()
        self.pairs: set[tuple[str, str]] = set()
        self.tried = 0

    def cases(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield drawn cases and the fixed sweeps in turn."""
        rng = random.Random(seed)
        drawn = (build(rng.randint, self.supports) for _ in range(draws))
        in_turn = chain.from_iterable(zip_longest(drawn, sweep(self.supports)))
        return (case for case in in_turn if case is not None)

    def run(self, draws: int, seed: int, watch: Watch) -> None:
        """Try `draws` drawn cases, the fixed ones, and what is advisory; `watch` hears of each beforehand."""
        for case in chain(self.cases(draws, seed), [LARGE]):
            watch(f"case {self.tried + 1}", case)
            self.try_case(case)
        self.try_large()
        if self.subject.functions["forward"] and self.supports["invalid_calls"]:
            self.try_invalid(self.subject.functions["forward"], watch)

    def try_case(self, case: ConvCase) -> None:
        """Make the checks of one case and tally them."""
        self.tried += 1
        self.coverage.update(features(case))
        self.pairs |= pairs(case)
        able = [name for name, (_, shows) in PROPERTIES.items() if shows(case)]
        turn = min(able, key=self.turns.__getitem__)  # the one that has been tried least
        self.turns[turn] += 1
        worst: dict[tuple[str, str], Finding] = {}
        for finding in self.examine(case, turn):
            key = finding.property, finding.verdict
            worst[key] = max(worst.get(key, finding), finding, key=lambda found: found.ratio)
        for key, finding in worst.items():
            finding.first, finding.turn = self.tried, turn
            self.rows[key].add(finding)

    def examine(self, case: ConvCase, turn: str) -> Iterator[Finding]:
        """Yield what every check of a case comes to; `turn` is the property beyond comparison to try."""
        try:
            trial = Trial.draw(self.subject, case, self.arithmetic, real=False)
            yield from chain(self.defined(trial), self._adjoint(trial), self._property(trial, turn))
            yield from self.defined(Trial.draw(self.subject, case, self.arithmetic, real=True))
            yield from (Finding(part, "contract", 0.0) for part in CONTRACT)
        except Broken as broken:
            found = Finding(broken.part, "contract", math.inf, str(broken), case)
            found.role, found.trials = broken.role, (broken.trial,)
            yield found

    def bound(self, trial: Trial, name: str) -> Array:
        """Return how far each value of a result may be off."""
        truth = trial.truth(name)
        if self.algorithm == "direct":
            return verdicts.bounded(truth, self.arithmetic) if trial.real else verdicts.exact(truth)
        down, across = (size + sum(map(abs, sides)) for size, sides in zip(trial.case.size, trial.case.padding))
        return verdicts.normwise(truth, self.arithmetic, self.algorithm, down * across)

    def _compare(
        self, name: str, result: str, trials: tuple[Trial, ...], got: Any, expected: Any, error: Any, bound: Any
    ) -> Finding:
        """Return the value that is furthest beyond its bound, or nearest to it."""
        verdict = "normwise" if self.algorithm != "direct" else "bounded" if trials[0].real else "exact"
        if not error.any():
            return Finding(name, verdict, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(error == 0, 0.0, np.abs(error) / bound)
        index = tuple(map(int, np.unravel_index(np.argmax(ratios), ratios.shape)))
        ratio, *at = (float(np.broadcast_to(array, ratios.shape)[index]) for array in (ratios, got, expected, bound))
        found = Finding(name, verdict, ratio, "", trials[0].case, result, index)
        (found.got, found.expected, found.bound), found.trials = at, trials
        return found

    def defined(self, trial: Trial) -> Iterator[Finding]:
        """Compare results with the definition."""
        for name, got in trial.results.items():
            truth = trial.truth(name)
            yield self._compare(name, name, (trial,), got, truth.high, truth.error(got), self.bound(trial, name))

    def _property(self, trial: Trial, turn: str) -> Iterator[Finding]:
        """Compare results with what a property makes of other results."""
        others, together = PROPERTIES[turn][0](trial)
        for name, other in together([other.results for other in others]).items():
            expected, slack = other.astype(np.float64), 0.0
            if self.algorithm != "direct":
                slack = sum(self.bound(one, name).max(initial=0.0) for one in (trial, *others))
            got = trial.results[name].astype(np.float64)
            yield self._compare(turn, name, (trial, *others), got, expected, got - expected, slack)

    def _adjoint(self, trial: Trial) -> Iterator[Finding]:
        """Check <grad_output, y − bias> = <x, dx> = <weight, dw>; sums of small integers are exact in float64."""
        if not {"y", "dx", "dw"} <= set(trial.results):
            return
        sums, slack, bias = {}, {}, trial.operands["bias"]
        for operand, name in (("grad_output", "y"), ("x", "dx"), ("weight", "dw")):
            values, result = (array.astype(np.float64) for array in (trial.operands[operand], trial.results[name]))
            if name == "y" and bias is not None:
                result = result - bias.astype(np.float64).reshape(1, -1, 1, 1)
            sums[operand] = np.sum(values * result)
            slack[operand] = np.sum(np.abs(values) * self.bound(trial, name))
        expected, of_y = sums.pop("grad_output"), slack.pop("grad_output")
        for operand, got in sums.items():
            bound = of_y + slack[operand]
            yield self._compare("adjoint", f"<{operand}, its gradient>", (trial,), got, expected, got - expected, bound)

    @cached_property
    def large(self) -> Trial:
        """The large case with real numbers."""
        return Trial.draw(self.subject, LARGE, self.arithmetic, real=True)

    def try_large(self) -> None:
        """Ask of one large case what its errors as a whole and a second call tell."""
        try:
            results, repeated = self.large.results, self.large.again().results
        except Broken:
            return
        for name, got in results.items():
            same = np.array_equal(got, repeated[name])
            self._advise("the same bits twice", "advisory", 0.0 if same else math.inf, f"a second call changes {name}")
            if self.algorithm == "direct":
                truth = self.large.truth(name)
                rms, bias = verdicts.statistical(truth, truth.error(got), self.arithmetic)
                note = f"errors of {name} are not like rounding: rms {rms:.2f} (1.25 expected), bias {bias:+.1f} (6)"
                self._advise(name, "statistical", max(rms / 1.25, abs(bias) / 6), note)

    def try_invalid(self, forward: Callable[..., Any], watch: Watch) -> None:
        """Make calls that break one rule each."""
        case = ConvCase(1, 2, 2, 1, (4, 4), (2, 2), has_bias=bool(self.supports["bias"]))
        for rule in RULES:
            call, ratio = break_rule(case, rule), math.inf
            watch(f"the call that breaks the rule: {rule}", case)
            try:
                forward(*map(self.subject.as_given, call.operands(self.subject.dtype)), **call.kwargs)
            except (Exception, SystemExit):
                ratio = 0.0
            self._advise("refuses wrong calls", "advisory", ratio, f"no error from a call that breaks the rule: {rule}")

    def _advise(self, name: str, verdict: str, ratio: float, note: str) -> None:
        self.rows[name, verdict].add(Finding(name, verdict, ratio))
        self.advisories += [note] if ratio > 1 else []
