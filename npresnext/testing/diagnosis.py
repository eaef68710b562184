"""Which arithmetic explains the errors: the cheapest departure from what was declared whose bound holds them all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .arithmetic import PRECISIONS, Arithmetic, rounded
from .cases import ConvCase
from .oracle import truth
from .properties import Trial
from .runner import Runner
from .subject import Broken
from .verdicts import bounded, gamma

Array = np.ndarray

NOT_ROUNDING = "not explained by rounding"


def diagnose(runner: Runner, case: ConvCase, name: str) -> str:
    """Name the arithmetic that explains the errors of a result, in a failing case and in a large one.

    Rounded operands are tried by rounding them and comparing with the definition of what is left, a narrower
    result or accumulator by its bound. A bound of half the magnitude or more explains nothing and does not count.
    """
    trials = []
    for trial in (Trial.draw(runner.subject, case, runner.arithmetic, real=True), runner.large):
        try:
            trials += [trial] if name in trial.results else []
        except Broken:
            continue
    if not trials:
        return ""
    if all(_holds(trial, name, runner.arithmetic, None) is not False for trial in trials):
        return "real numbers stay within the bound: the fault shows on other values or layouts"
    for words, arithmetic, operands in explanations(runner.arithmetic):
        verdicts = [_holds(trial, name, arithmetic, operands) for trial in trials]
        if True in verdicts and False not in verdicts:
            return words
    return NOT_ROUNDING


def explanations(declared: Arithmetic) -> Iterator[tuple[str, Arithmetic, str | None]]:
    """Yield (words, arithmetic, what the operands are rounded to), the narrowest departure first."""
    labels = {"tf32": "TF32 (or float16)"}
    for name in ("float32", "tf32", "float16", "bfloat16"):
        bits = PRECISIONS[name].bits
        if bits < PRECISIONS[declared.output].bits and name != "tf32":
            yield f"results rounded to {name}", declared._replace(output=name), None
        if bits < PRECISIONS[declared.input].bits and name != "float16":
            yield f"inputs rounded to {labels.get(name, name)}", declared, name
        if bits < PRECISIONS[declared.accumulator].bits and name != "tf32":
            yield f"{name} accumulator", declared._replace(accumulator=name), None


def _holds(trial: Trial, name: str, arithmetic: Arithmetic, operands: str | None) -> bool | None:
    """Whether the bound of an arithmetic holds all errors of a trial; None where the bound is too wide to tell."""
    exact = trial.truth(name)
    if operands is not None:
        grad, x, weight = (
            None if array is None else rounded(array, operands) for array in (trial.grad, trial.x, trial.weight)
        )
        exact = truth(name, trial.case, grad, x, weight, trial.bias)
    if gamma(exact.terms, PRECISIONS[arithmetic.accumulator].u) > 0.5:
        return None
    return bool((np.abs(exact.error(trial.results[name])) <= bounded(exact, arithmetic)).all())
