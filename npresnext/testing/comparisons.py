"""Comparisons of a trial's results: with the oracle, with each other, and with what a property says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .._support.typing import NumPyArray as Array
from .bounds import exact_bound, normwise_bound, rounding_bound
from .findings import LEFT_OUT, Finding
from .formats import wide
from .mistakes import RESULTS
from .properties import Property
from .trial import CONTRACT, Trial

KEPT_PART = {part: Finding(part, "contract", ratio=0.0) for part in CONTRACT}


def verdict_on(trial: Trial) -> str:
    """Return the verdict by which the values of a trial are judged."""
    if not trial.subject.is_direct:
        return "normwise"
    return "bounded" if trial.real else "exact"


def error_bound(trial: Trial, name: str) -> Array:
    """Return how far each value of a result may be off."""
    exact, subject = trial.exact(name), trial.subject
    verdict = verdict_on(trial)
    if verdict == "normwise":
        return normwise_bound(exact, subject.arithmetic, subject.algorithm)
    return rounding_bound(exact, subject.arithmetic) if verdict == "bounded" else exact_bound(exact)


def compare_with_oracle(trial: Trial, names: Sequence[str] = RESULTS) -> Iterator[Finding]:
    """Compare every result, or those of these names, with the exact one."""
    for name, got in trial.results.items():
        if name not in names:
            continue
        exact = trial.exact(name)
        if (got == exact.high).all() and not exact.low.any():
            yield Finding(name, verdict_on(trial), ratio=0.0)
            continue
        bound = error_bound(trial, name)
        yield worst_value(name, name, (trial,), got, exact.high, exact.error(got), bound)


def check_contract(trial: Trial) -> Iterator[Finding]:
    """Yield what the calls of a trial break of the contract, and that the remaining parts hold."""
    broken = {finding.property for finding in trial.broken}
    yield from trial.broken
    yield from (KEPT_PART[part] for part in CONTRACT if part not in broken)


def note_what_is_not_implemented(trial: Trial) -> Iterator[Finding]:
    """Yield a finding, which fails nobody, for each direction that raised NotImplementedError."""
    for role, message in trial.not_implemented.items():
        yield Finding("returns", LEFT_OUT, 0.0, f"{role} raised {message}", trial.case, role=role, trials=(trial,))


def compare_adjoint(trial: Trial) -> Iterator[Finding]:
    """Check the adjoint identities <grad_output, y − bias> = <x, dx> = <weight, dw>, which need no oracle.

    The sums are float64: sums of small integers are exact there. Of complex ones the real parts are compared.
    """
    if not {"y", "dx", "dw"} <= set(trial.results):
        return
    y = wide(trial.results["y"])
    if trial.operands["bias"] is not None:
        y = y - wide(trial.operands["bias"]).reshape(1, -1, 1, 1)
    of_y, slack_of_y = _inner_product(trial, "grad_output", "y", y)
    for operand, name in (("x", "dx"), ("weight", "dw")):
        got, slack = _inner_product(trial, operand, name, wide(trial.results[name]))
        yield worst_value("adjoint", operand, (trial,), got, of_y, got - of_y, slack_of_y + slack)


def _inner_product(trial: Trial, operand: str, name: str, result: Array) -> tuple[Array, Array]:
    """Return <operand, result>, and how far the bounds of the result allow it to be off."""
    values = wide(trial.operands[operand])
    return np.sum(values.conj() * result).real, np.sum(np.abs(values) * error_bound(trial, name))


def compare_with_property(trial: Trial, name: str, tried: Property) -> Iterator[Finding]:
    """Compare the results with what a property makes of other trials' results."""
    others, combine = tried.plan(trial)
    trials = (trial, *others)
    results = [other.results for other in others]
    for other in others:
        yield from other.broken
    if not all(one.is_complete for one in trials):
        return  # what is missing cannot be combined
    for result, combined in combine(results).items():
        got, expected = wide(trial.results[result]), wide(combined)
        slack = np.zeros(())  # on integers nothing is rounded
        if not trial.subject.is_direct:
            slack = np.sum([error_bound(one, result).max(initial=0.0) for one in trials])
        yield worst_value(name, result, trials, got, expected, got - expected, slack)


def worst_value(
    name: str, result: str, trials: tuple[Trial, ...], got: Array, expected: Array, error: Array, bound: Array
) -> Finding:
    """Return the value that is furthest beyond its bound, or nearest to it."""
    trial = trials[0]
    verdict = verdict_on(trial)
    if not error.any():
        return Finding(name, verdict, ratio=0.0)
    ratios = np.where(error == 0, 0.0, np.abs(error) / bound)
    largest = np.argmax(ratios)
    if ratios.flat[largest] <= 1:
        return Finding(name, verdict, ratio=float(ratios.flat[largest]))
    index = tuple(map(int, np.unravel_index(largest, ratios.shape)))
    got, expected, bound = np.broadcast_arrays(got, expected, bound)
    got_here, expected_here, bound_here = got[index].item(), expected[index].item(), float(bound[index])
    place = list(trial.subject.place_given(index))
    return Finding(
        name,
        verdict,
        ratio=float(ratios[index]),
        message=f"{result}{place} is {got_here!r}: expected {expected_here!r} within {bound_here:.3g}",
        case=trial.case,
        result=result,
        index=index,
        got=got_here,
        expected=expected_here,
        bound=bound_here,
        trials=trials,
    )
