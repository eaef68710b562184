"""Diagnosis: the cheapest arithmetic that explains the errors of a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .arithmetic import AFTER_ROUNDING, Arithmetic
from .bounds import rounding_bound
from .formats import SIGNIFICAND_BITS, SMALLEST_NORMAL, round_to_format
from .oracle import ExactResult
from .rounding_statistics import standard_deviation
from .trial import Trial

WITHIN_THE_BOUND = "real numbers stay within the bound: the fault shows on other values or layouts"
BIAS_AFTER_ROUNDING = "bias added after the sum was rounded, and rounded again"
TRUNCATED = "results rounded towards zero"
UNEXPLAINED = "not explained by rounding"
UNLESS_TRANSFORM = UNEXPLAINED + ', unless it is a transform: algorithm="winograd" or "fft"'
CHANGES_WHEN_REPEATED = "right when called again: the result depends on earlier calls, or on chance"

# Diagnosis -> which format is narrower than declared, and what it is. Rounded operands come first: they leave the
# least room. After them the widest format that explains the errors is named.
NARROWER_FORMATS = {
    "inputs rounded to float32": ("input", "float32"),
    "inputs rounded to TF32": ("input", "tf32"),
    "inputs rounded to bfloat16": ("input", "bfloat16"),
    "results rounded to float32": ("output", "float32"),
    "float32 accumulator": ("accumulator", "float32"),
    "results rounded to float16": ("output", "float16"),
    "float16 accumulator": ("accumulator", "float16"),
    "results rounded to bfloat16": ("output", "bfloat16"),
    "bfloat16 accumulator": ("accumulator", "bfloat16"),
}
TRANSFORM_ROUNDINGS = 2**8  # a transform loses some hundred roundings of the largest product
LARGEST_DEVIATION = 10  # standard deviations; a bound alone holds many a bug at large n


def diagnose(trials: Iterable[Trial], name: str) -> str:
    """Name the cheapest arithmetic that explains the errors of the result `name` in all of these trials.

    Trials without that result are passed over.
    """
    judged = with_results(trials, name)
    if not judged or judged[0].subject.is_complex:
        return ""
    declared = judged[0].subject.arithmetic
    explained = [explained_by(declared, trial, name) for trial in judged]
    looks_like_a_transform = not all(explained) and all(explained_by_transform(trial, name) for trial in judged)
    real_ones_are_explained = all(ok for ok, trial in zip(explained, judged) if trial.real)
    if real_ones_are_explained and not looks_like_a_transform:
        return WITHIN_THE_BOUND
    if all(explained_by_truncation(declared, trial, name) for trial in judged):
        return TRUNCATED
    with_a_late_bias = declared._replace(bias=AFTER_ROUNDING)
    if name == "y" and all(explained_by(with_a_late_bias, trial, name) for trial in judged):
        return BIAS_AFTER_ROUNDING
    for diagnosis, (part, narrow) in NARROWER_FORMATS.items():
        if not is_narrower(narrow, getattr(declared, part), declared.dtype):
            continue
        if all(explained_by(declared._replace(**{part: narrow}), trial, name) for trial in judged):
            return diagnosis
    return UNLESS_TRANSFORM if looks_like_a_transform else UNEXPLAINED


def with_results(trials: Iterable[Trial], name: str) -> Sequence[Trial]:
    """Return the trials that have the result `name`."""
    return [trial for trial in trials if name in trial.results]


def is_narrower(format_name: str, declared: str, dtype: str) -> bool:
    """Whether a format is narrower than the declared one, and one that a kernel for this dtype would use."""
    if (format_name, dtype) == ("float16", "bfloat16"):
        return False
    return SIGNIFICAND_BITS[format_name] < SIGNIFICAND_BITS[declared]


def explained_by(arithmetic: Arithmetic, trial: Trial, name: str) -> bool:
    """Whether all errors of a result are what an arithmetic makes of it.

    Narrower inputs are tried by rounding them and comparing with the definition on the rounded ones; a narrower
    result or accumulator is tried by its bound and by ten of its standard deviations.
    """
    declared, exact = trial.subject.arithmetic, trial.exact(name)
    if arithmetic.input != declared.input:
        exact, arithmetic = exact_of_rounded_operands(trial, name, arithmetic.input), declared
    limit = rounding_bound(exact, arithmetic)
    if arithmetic._replace(bias=declared.bias) != declared:
        underflow = SMALLEST_NORMAL[arithmetic.accumulator] + SMALLEST_NORMAL[arithmetic.output]
        likely = LARGEST_DEVIATION * standard_deviation(exact, arithmetic) + underflow
        limit = np.minimum(limit, (limit > 0) * likely)
    if not trial.real and trial.subject.is_direct:  # integers of which no such arithmetic rounds a sum
        limit[exact.moment(1) <= 2**arithmetic.exact_bits] = 0
    return bool((np.abs(exact.error(trial.results[name])) <= limit).all())


def exact_of_rounded_operands(trial: Trial, name: str, format_name: str) -> ExactResult:
    """Return the exact result of the operands rounded to a format; a bias is not rounded."""
    narrow = {key: round_to_format(trial.operands[key], format_name) for key in ("x", "weight", "grad_output")}
    return ExactResult(name, trial.case, trial.operands | narrow)


def explained_by_truncation(declared: Arithmetic, trial: Trial, name: str) -> bool:
    """Whether all errors are within the bound once half a unit in the last place is added to each real result."""
    if not trial.real:
        return explained_by(declared, trial, name)
    exact = trial.exact(name)
    half_a_unit = 2.0 ** -SIGNIFICAND_BITS[declared.output] * exact.high
    error = exact.error(trial.results[name]) + half_a_unit
    return bool((np.abs(error) <= rounding_bound(exact, declared)).all())


def explained_by_transform(trial: Trial, name: str) -> bool:
    """Whether all errors are as small as those of winograd and fft."""
    exact = trial.exact(name)
    _, u, _ = trial.subject.arithmetic.unit_roundoffs
    largest_product = abs(exact.left).max(initial=0) * abs(exact.right).max(initial=0)
    limit = TRANSFORM_ROUNDINGS * u * np.sqrt(exact.terms) * largest_product
    return bool((abs(exact.error(trial.results[name])) <= limit).all())
