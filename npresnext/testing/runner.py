"""Trying cases: every check of one case, and the tally over all of them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import numpy as np

from . import verdicts
from .arithmetic import Arithmetic
from .cases import ConvCase, build
from .coverage import features, pairs, sweep
from .invalid import RULES, break_rule
from .properties import PROPERTIES, Trial
from .subject import CONTRACT, Broken, Subject

Array = np.ndarray
Key = tuple[str, str]  # property, verdict

# long inner products for y (576), dx (144) and dw (64), and thousands of values each, for the statistical verdict
LARGE = ConvCase(1, 64, 16, 1, (10, 10), (3, 3), seed=1)


class Outcome(NamedTuple):
    """What one check of one case came to; a ratio to the bound above 1 is a failure."""

    key: Key
    ratio: float
    message: str = ""
    result: str = ""  # y, dx, dw or db, if the outcome is about one value of it
    at: tuple[int, ...] = ()
    got: float = math.nan
    expected: float = math.nan
    bound: float = math.nan


class Failure(NamedTuple):
    """A case in which a check failed."""

    case: ConvCase
    number: int  # of the case
    turn: str  # the property whose turn it was
    outcome: Outcome


@dataclass
class Row:
    """A line of the report: how often a check was made and failed, how near the bound it came, its first failure."""

    tried: int = 0
    failed: int = 0
    worst: float = 0.0
    first: Failure | None = None


class Runner:
    """Makes every check of every case, and keeps the tally."""

    def __init__(self, subject: Subject, arithmetic: Arithmetic, algorithm: str, supports: Mapping[str, Any]) -> None:
        self.subject, self.arithmetic, self.algorithm, self.supports = subject, arithmetic, algorithm, supports
        self.rows: dict[Key, Row] = {}
        self.advice: dict[str, Row] = {}
        self.statistics: dict[str, verdicts.Statistics] = {}
        self.coverage: Counter[str] = Counter()
        self.turns: Counter[str] = Counter()
        self.pairs: set[tuple[str, str]] = set()
        self.tried = 0

    def cases(self, draws: int, seed: int) -> Iterator[ConvCase]:
        """Yield drawn cases and the fixed sweeps in turn."""
        rng = random.Random(seed)
        drawn = (build(rng.randint, self.supports) for _ in range(draws))
        in_turn = chain.from_iterable(zip_longest(drawn, sweep(self.supports)))
        return (case for case in in_turn if case is not None)

    def run(self, draws: int, seed: int, watch: Callable[[ConvCase], None] | None = None) -> None:
        """Try `draws` drawn cases, the fixed ones, and what is advisory; `watch` hears of each case beforehand."""
        for case in self.cases(draws, seed):
            if watch is not None:
                watch(case)
            self.try_case(case)
        self.try_large()
        self.try_invalid()

    def try_case(self, case: ConvCase) -> None:
        """Make the checks of one case and tally them."""
        self.tried += 1
        self.coverage.update(features(case))
        self.pairs |= pairs(case)
        able = [name for name, (_, shows) in PROPERTIES.items() if shows(case)]
        turn = min(able, key=self.turns.__getitem__)  # the one that has been tried least
        self.turns[turn] += 1
        seen: dict[Key, Outcome] = {}
        for outcome in self.examine(case, turn):
            if outcome.key not in seen or outcome.ratio > seen[outcome.key].ratio:
                seen[outcome.key] = outcome
        for key, outcome in seen.items():
            row = self.rows.setdefault(key, Row())
            row.tried += 1
            row.worst = max(row.worst, outcome.ratio)
            if outcome.ratio > 1:
                row.failed += 1
                row.first = row.first or Failure(case, self.tried, turn, outcome)

    def examine(self, case: ConvCase, turn: str) -> Iterator[Outcome]:
        """Yield the outcome of every check of a case; `turn` is the property beyond comparison to try."""
        try:
            yield from self._integers(case, turn)
            yield from self._reals(case)
        except Broken as broken:
            yield Outcome((broken.part, "contract"), math.inf, str(broken))
        else:
            yield from (Outcome((part, "contract"), 0.0) for part in CONTRACT)

    def bound(self, trial: Trial, name: str) -> Array:
        """Return how far each value of a result may be off."""
        truth = trial.truth(name)
        if self.algorithm == "direct":
            return verdicts.bounded(truth, self.arithmetic) if trial.real else verdicts.exact(truth)
        operands = {"y": (trial.weight, trial.x), "dx": (trial.grad, trial.weight), "dw": (trial.grad, trial.x)}
        left, right = operands.get(name, (trial.grad, np.ones(1)))
        padded = [size + sum(map(abs, sides)) for size, sides in zip(trial.case.size, trial.case.padding)]
        return verdicts.normwise(truth, self.arithmetic, self.algorithm, left, right, padded[0] * padded[1])

    def _integers(self, case: ConvCase, turn: str) -> Iterator[Outcome]:
        """Compare results of small integers with the definition, with each other, and with other calls."""
        trial = Trial.draw(self.subject, case, self.arithmetic, real=False)
        verdict = "exact" if self.algorithm == "direct" else "normwise"
        bounds = {name: self.bound(trial, name) for name in trial.results}
        for name, got in trial.results.items():
            truth = trial.truth(name)
            yield compare((name, verdict), name, got, truth.high, truth.error(got), bounds[name])
        if {"y", "dx", "dw"} <= set(trial.results):
            yield from self._adjoint(trial, verdict, bounds)
        for name, got, expected in PROPERTIES[turn][0](trial):
            expected = expected.astype(np.float64)
            slack = np.full(expected.shape, 4 * bounds[name].max(initial=0))
            yield compare((turn, verdict), name, got, expected, got.astype(np.float64) - expected, slack)

    def _adjoint(self, trial: Trial, verdict: str, bounds: dict[str, Array]) -> Iterator[Outcome]:
        """Check <grad_output, y − bias> = <x, dx> = <weight, dw>; sums of small integers are exact in float64."""
        y = trial.results["y"].astype(np.float64)
        y = y if trial.bias is None else y - trial.bias.astype(np.float64).reshape(1, -1, 1, 1)
        sides = {"y": (trial.grad, y), "dx": (trial.x, trial.results["dx"]), "dw": (trial.weight, trial.results["dw"])}
        sums, slack = {}, {}
        for name, (operand, result) in sides.items():
            operand = operand.astype(np.float64)
            sums[name] = float((operand * result.astype(np.float64)).sum())
            slack[name] = float((np.abs(operand) * bounds[name]).sum())
        for name, operand_name in (("dx", "x"), ("dw", "weight")):
            ratio = _ratio(abs(sums["y"] - sums[name]), slack["y"] + slack[name])
            message = f"<grad_output, y − bias> = {sums['y']:g} but <{operand_name}, {name}> = {sums[name]:g}"
            yield Outcome(("adjoint", verdict), ratio, message)

    def _reals(self, case: ConvCase) -> Iterator[Outcome]:
        """Compare results of real numbers with the definition, within the bound."""
        trial = Trial.draw(self.subject, case, self.arithmetic, real=True)
        verdict = "bounded" if self.algorithm == "direct" else "normwise"
        for name, got in trial.results.items():
            truth = trial.truth(name)
            yield compare((name, verdict), name, got, truth.high, truth.error(got), self.bound(trial, name))

    @cached_property
    def large(self) -> Trial:
        """The large case with real numbers."""
        return Trial.draw(self.subject, LARGE, self.arithmetic, real=True)

    def try_large(self) -> None:
        """Try one large case: as any other, and for what its errors as a whole and a second call tell."""
        self.try_case(LARGE)
        trial = self.large
        try:
            results = trial.results
            repeated = self.subject.results(LARGE, trial.grad, trial.x, trial.weight, trial.bias)
        except Broken:
            return
        row = self.advice.setdefault("the same bits twice", Row())
        for name, got in results.items():
            row.tried += 1
            row.failed += not np.array_equal(got, repeated[name])
            if self.algorithm == "direct":
                truth = trial.truth(name)
                self.statistics[name] = verdicts.statistical(truth, truth.error(got), self.arithmetic)

    def try_invalid(self) -> None:
        """Hand over calls that break one rule each, but for steps of 0, which make loops endless."""
        if not self.subject.functions["forward"] or not self.supports["invalid_calls"]:
            return
        case = ConvCase(1, 2, 2, 1, (4, 4), (2, 2), has_bias=bool(self.supports["bias"]))
        for rule in RULES:
            call = break_rule(case, rule)
            if rule.startswith(("stride", "dilation")) or ("bias" in rule and not case.has_bias):
                continue
            shapes = (call.x_shape, call.weight_shape, call.bias_shape)
            operands = [None if shape is None else np.ones(shape, self.subject.dtype) for shape in shapes]
            row = self.advice.setdefault(f"refuses a call unless {rule}", Row())
            row.tried += 1
            row.failed += not self.subject.refuses(operands, call.kwargs)


def compare(key: Key, result: str, got: Array, expected: Array, error: Array, bound: Array) -> Outcome:
    """Return the outcome at the value that is furthest beyond its bound, or nearest to it."""
    if not error.any():
        return Outcome(key, 0.0)
    error = np.abs(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(error == 0, 0.0, error / bound)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(ratios), ratios.shape))
    at = [float(array[index]) for array in (ratios, got, expected, bound)]
    return Outcome(key, at[0], "", result, index, *at[1:])


def _ratio(error: float, bound: float) -> float:
    return 0.0 if error == 0 else error / bound if bound else math.inf
