"""An explained failure: the smallest case, the value furthest from the definition, a diagnosis and a reproduction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .cases import ConvCase
from .causes import VERDICTS_IN_ORDER
from .comparisons import compare_with_oracle, error_bound
from .diagnosis import CHANGES_WHEN_REPEATED, NARROWER_FORMATS, UNEXPLAINED, WITHIN_THE_BOUND, diagnose
from .findings import DEATH, Finding
from .formats import wide
from .layouts import ALL_CONTIGUOUS
from .mistakes import INEXACT, KEPT, RESULTS, as_call
from .mistakes.matching import Identification, are_same
from .properties import PROPERTIES
from .reproduction import write_reproduction
from .runner import Runner
from .shrinking import shrink
from .trial import NEVER_WRITTEN, Trial

OVERWRITTEN = "overwritten operands"
SECONDS_TO_OVERWRITE = 0.5  # of the processor, in which calls are made that follow each other
ONE_CALL = "# These lines may pass: the result depends on earlier calls, or on chance."


def explain_failures(runner: Runner) -> None:
    """Replace each first failure by the same one explained, in its smallest case."""
    smallest: list[ConvCase] = []
    for finding in sorted(runner.report.failures, key=lambda one: VERDICTS_IN_ORDER.index(one.verdict)):
        if finding.property != DEATH:
            told = explain(runner, finding, start=smallest)
            runner.report.checks[finding.property, finding.verdict].first = told
            smallest.append(told.case)
    for cause in runner.report.causes:
        share_the_diagnosis([failure.finding for failure in cause.failures])
    for finding in runner.report.failures:
        name_by_diagnosis(finding)


def share_the_diagnosis(findings: list[Finding]) -> None:
    """Give findings of one fault one diagnosis: what shows on some values alone is what it is on these.

    A result that is not always the same explains the errors that nothing else explains.
    """
    if any(finding.diagnosis == NEVER_WRITTEN for finding in findings):
        for finding in findings:
            finding.diagnosis = NEVER_WRITTEN
    if any(finding.diagnosis == CHANGES_WHEN_REPEATED for finding in findings):
        for finding in findings:
            if finding.diagnosis in ("", UNEXPLAINED):
                finding.diagnosis = CHANGES_WHEN_REPEATED
    others = [finding.diagnosis for finding in findings if finding.diagnosis not in ("", WITHIN_THE_BOUND)]
    for finding in findings:
        if others and finding.diagnosis == WITHIN_THE_BOUND:
            finding.diagnosis = others[0]


@np.errstate(all="ignore")
def explain(runner: Runner, failure: Finding, budget: int = 400, start: Sequence[ConvCase] = ()) -> Finding:
    """Return a failure in its smallest case, told by the value that is furthest from the definition.

    The cases in `start` are those of other failures, and tried first.
    """
    smallest = shrink(runner, failure, budget, dict.fromkeys(start))
    if not smallest.trials:  # it did not occur a second time
        return replace(smallest, diagnosis=CHANGES_WHEN_REPEATED)
    if smallest.verdict == "contract":
        case = smallest.trials[0].case
        told = replace(smallest, case=case, reproduction=write_reproduction(smallest), trials=())
        return name_the_mistake(runner, told, smallest.result or smallest.role)
    worst = furthest_from_the_definition(smallest)
    trial: Trial = worst.trials[0]
    if is_right_when_repeated(worst):
        diagnosis = CHANGES_WHEN_REPEATED
    else:
        diagnosis = diagnose(trials_to_diagnose(runner, worst, failure), worst.result)
        if diagnosis == UNEXPLAINED and changes_after_another(worst, failure.case):
            diagnosis = CHANGES_WHEN_REPEATED
    told = replace(
        worst,
        property=smallest.property,
        verdict=smallest.verdict,
        first=smallest.first,
        diagnosis=diagnosis,
        reproduction=write_reproduction(worst),
        arrays=(trial.results[worst.result], trial.exact(worst.result).high),
        trials=(),
    )
    if smallest.property == OVERWRITTEN:
        told = name_what_is_kept(runner, told)
    if told.mistake:
        return told
    if diagnosis == CHANGES_WHEN_REPEATED:
        return replace(told, conditions=runner.matcher.identify(worst.result, told.case).shared)
    return name_the_mistake(runner, told, worst.result)


def name_the_mistake(runner: Runner, finding: Finding, result: str) -> Finding:
    """Return a finding with the mistake that gives this result, or with what its failing cases share."""
    if result not in RESULTS and result not in runner.subject.roles:
        return finding
    known = runner.matcher.identify(result, finding.case)
    return replace(finding, mistake=known.name, conditions=known.conditions, evidence=str(known))


def name_what_is_kept(runner: Runner, finding: Finding) -> Finding:
    """Return a finding about overwritten operands with the operand that the kernel keeps from the call before."""
    name, tried = finding.result, []
    end = time.process_time() + SECONDS_TO_OVERWRITE
    for observed in runner.matcher.observations:
        if time.process_time() > end:
            break
        trial = Trial(runner.subject, observed.case, real=False)
        (again,), _ = PROPERTIES[OVERWRITTEN].plan(trial)
        if name in again.results:
            tried.append((as_call(trial.operands, trial.case.kwargs), again.results[name]))
    for mistake in KEPT:
        if name in mistake.results and all(are_same(got, mistake.result(name, call)) for call, got in tried):
            failing = sum(not are_same(got, call.result(name)) for call, got in tried)
            if failing:
                evidence = str(Identification(name, (mistake,), failing, len(tried) - failing))
                return replace(finding, mistake=mistake.name, evidence=evidence)
    return finding


def name_by_diagnosis(finding: Finding) -> None:
    """Name the mistake that a diagnosis stands for, and what would declare it if it is intended."""
    if finding.mistake:
        return
    for mistake in INEXACT:
        if mistake.diagnosis == finding.diagnosis and (finding.result in mistake.results or not finding.result):
            finding.mistake = mistake.name
            if finding.diagnosis == CHANGES_WHEN_REPEATED and finding.reproduction:
                finding.reproduction += f"\n{ONE_CALL}"
            what = finding.result or finding.role
            finding.evidence = f"{what} is what a kernel returns that {mistake.name}"
            if finding.diagnosis in NARROWER_FORMATS:
                part, narrow = NARROWER_FORMATS[finding.diagnosis]
                finding.evidence += f'; if that is intended, declare arithmetic={{"{part}": "{narrow}"}}'


def furthest_from_the_definition(finding: Finding) -> Finding:
    """Return the value of any trial of a finding that is furthest beyond its bound.

    A finding about one result is told by that result, one about an adjoint identity by any that the identity joins.
    """
    is_about_one = finding.result in finding.trials[0].results
    results = (finding.result,) if is_about_one else ("y", "dx", "dw")
    compared = (found for trial in finding.trials for found in compare_with_oracle(trial) if found.property in results)
    return max(compared, key=lambda found: found.ratio)


def trials_to_diagnose(runner: Runner, worst: Finding, failure: Finding) -> list[Trial]:
    """Return the trial at fault, the smallest and the first failing case on all values, and the large case."""
    kinds = reversed(runner.subject.on_real_numbers)
    fresh = [Trial(runner.subject, case, real) for real in kinds for case in (worst.case, failure.case)]
    return [worst.trials[0], *fresh, runner.large_trial]


def is_right_when_repeated(worst: Finding) -> bool:
    """Whether a second call, on other arrays with the same values in the same memory layouts, gives a right result."""
    again = [found for found in compare_with_oracle(repeat(worst.trials[0])) if found.property == worst.result]
    return bool(again) and again[0].ratio <= 1


def changes_after_another(worst: Finding, case: ConvCase) -> bool:
    """Whether a second call, after one in another case, gives a result so different that rounding cannot explain it."""
    trial: Trial = worst.trials[0]
    first = np.array(trial.results[worst.result])
    Trial(trial.subject, case, real=not trial.subject.is_complex).results  # noqa: B018
    again = repeat(trial).results.get(worst.result)
    if again is None:
        return False
    limit = 2 * error_bound(trial, worst.result)  # one bound for each of the two
    return not (np.abs(wide(first) - wide(again)) <= limit).all()


def repeat(trial: Trial) -> Trial:
    """Return a trial of other arrays with the same values in the same memory layouts."""
    return trial.again() if trial.case.layouts == ALL_CONTIGUOUS else Trial(trial.subject, trial.case, trial.real)
