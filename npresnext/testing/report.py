"""The report: every check with how often it was made and failed, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from .arithmetic import Arithmetic
from .baseline import ExpectedFailure
from .causes import Cause, Failure, group_by_cause
from .findings import Finding, indented, wrapped
from .replay import write_case

VERDICTS_ON_VALUES = ("exact", "bounded", "normwise")
VERDICTS_WITH_A_BOUND = ("bounded", "normwise", "statistical")
NOT_FOR_PROGRAMS = ("ratio", "trials")  # fields of a finding


@dataclass
class CheckTally:
    """One line of the report: how often a check was made and failed, its largest error, and its first failure."""

    tried: int = 0
    failed: int = 0
    worst: float = 0.0  # largest finite ratio of an error to its bound
    first: Finding | None = None


@dataclass
class Report:
    """The outcome of ``check_conv``: ``print`` it, or pass ``to_dict()`` to a program."""

    arithmetic: Arithmetic
    algorithm: str = "direct"
    seed: int = 0
    left_out: list[str] = field(default_factory=list)
    cases: int = 0
    checks: dict[tuple[str, str], CheckTally] = field(default_factory=dict)  # by property and verdict
    advisories: list[str] = field(default_factory=list)  # worth knowing, but no failures
    coverage: Counter[str] = field(default_factory=Counter)  # cases with each feature
    expected: dict[str, ExpectedFailure] = field(default_factory=dict)  # known failures
    layers: list[str] = field(default_factory=list)  # names of the first cases
    pairs: Counter[tuple[str, ...]] = field(default_factory=Counter)  # cases with each pair of kinds
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # cases, by feature, result and outcome
    target: str = ""  # what ran: versions, threads and the code path

    def add(self, finding: Finding) -> None:
        """Count what a check of one more case came to."""
        tally = self.checks.setdefault((finding.property, finding.verdict), CheckTally())
        tally.tried += 1
        if math.isfinite(finding.ratio):
            tally.worst = max(tally.worst, finding.ratio)
        if finding.ratio > 1:
            tally.failed += 1
            tally.first = tally.first or finding
            if finding.is_advisory():
                self.advisories.append(finding.message)

    def has_failed(self, result: str) -> bool:
        """Whether the values of y, dx, dw or db were wrong in any case."""
        return any(self.checks.get((result, verdict), CheckTally()).failed for verdict in VERDICTS_ON_VALUES)

    @property
    def failures(self) -> list[Finding]:
        """The failing checks, each in its smallest case, without those that are known to fail."""
        first_failures = [tally.first for tally in self.checks.values() if tally.first]
        return [
            found for found in first_failures if not found.is_advisory() and found.check_name() not in self.expected
        ]

    @property
    def passed(self) -> bool:
        """Whether every check passed; advisories change nothing."""
        return not self.failures

    @property
    def causes(self) -> list[Cause]:
        """The failing checks, those that show one fault together."""
        tallies = [self.checks[finding.property, finding.verdict] for finding in self.failures]
        return group_by_cause(
            Failure(finding, tally.failed, tally.tried) for finding, tally in zip(self.failures, tallies)
        )

    @property
    def mistakes(self) -> list[str]:
        """The names of the mistakes that were recognised, each once."""
        return list(dict.fromkeys(finding.mistake for finding in self.failures if finding.mistake))

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers, ready for JSON."""
        return {
            "passed": self.passed,
            **vars(self),
            "arithmetic": self.arithmetic._asdict(),
            "pairs": len(self.pairs),
            "outcomes": [[*key, count] for key, count in sorted(self.outcomes.items())],
            "checks": [
                {
                    "property": name,
                    "verdict": verdict,
                    "tried": tally.tried,
                    "failed": tally.failed,
                    "worst_ratio": tally.worst,
                }
                for (name, verdict), tally in self.checks.items()
            ],
            "expected": {key: asdict(failure) for key, failure in self.expected.items()},
            "mistakes": self.mistakes,
            "failures": [finding_as_dict(finding) for finding in self.failures],
            "causes": [
                {
                    "title": cause.title,
                    "failures": [one.finding.check_name() for one in cause.failures],
                }
                for cause in self.causes
            ],
        }

    def to_text(self, verbose: bool = False) -> str:
        """Return the report for people: a block for each cause, and the tables if nothing fails or if `verbose`."""
        if not self.cases:
            return f"Nothing was tried: {'; '.join(self.left_out)}"
        lines = [self.headline, *([f"ran: {self.target}"] if self.target else [])]
        for number, cause in enumerate(self.causes, 1):
            lines += ["", *write_cause(number, cause, self.where(cause.first), verbose)]
        if self.passed or verbose:
            lines += ["", *self._table(), ""]
            lines.append(f"coverage: {len(self.pairs)} pairs of kinds met; cases with")
            lines += [f"  {name}: {count}" for name, count in sorted(self.coverage.items())]
            lines += [f"left out: {what}" for what in self.left_out]
            lines += self.describe_expected()
            lines += [f"advisory: {note}" for note in self.advisories]
        else:
            lines += wrapped(f"left out: {'; '.join(self.left_out)}") if self.left_out else []
            lines += self.describe_expected()
            lines.append(self._what_else())
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        """Return the verdict in one line, and the whole report to unfold: what a notebook shows."""
        unfolded = "" if self.passed else " open"
        text = escape(self.to_text())
        return f"<details{unfolded}><summary>{escape(self.headline)}</summary><pre>{text}</pre></details>"

    def describe_expected(self) -> list[str]:
        """Return a line for each known failure: whether it still occurs."""
        lines = []
        for key, known in self.expected.items():
            tally = next((tally for check, tally in self.checks.items() if f"{check[0]} ({check[1]})" == key), None)
            failed, tried = (tally.failed, tally.tried) if tally else (known.failed, known.tried)
            if failed:
                lines.append(f"known: {key} ({known.reason}) fails in {failed} of {tried} cases")
            else:
                lines.append(f"known: {key} ({known.reason}) was expected to fail, but holds in {tried} cases")
        return lines

    def where(self, number: int) -> str:
        """Return "case 3", with the name of the layer if it is one."""
        return f"case {number}" + (f" ({self.layers[number - 1]})" if 0 < number <= len(self.layers) else "")

    @property
    def first_line(self) -> str:
        """The first finding in one line; empty if everything passes."""
        if not self.causes:
            return ""
        cause = self.causes[0]
        return f"{cause.title} in {cause.shown_by.cases}: {cause.explanation}"

    def _what_else(self) -> str:
        """Return what a short report does not contain."""
        number = len(self.advisories)
        advised = f", with {number} {'advisory' if number == 1 else 'advisories'}" if number else ""
        return f"{len(self.checks)} checks were made{advised}; -v, or to_text(verbose=True), lists all of them"

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        outcome = "holds" if self.passed else count_failures(len(self.failures))
        declared = f"{self.arithmetic}; {self.algorithm}"
        cases = f"{self.cases} case" if self.cases == 1 else f"{self.cases} cases"
        return f"Convolution in {self.arithmetic.dtype} ({declared}): {outcome} in {cases}, seed {self.seed}"

    def _table(self) -> list[str]:
        width = max(len(name) for name, _ in self.checks)
        lines = [f"{'property':<{width}}  {'verdict':<11}  cases  failed  worst/bound"]
        for (name, verdict), tally in self.checks.items():
            worst = f"{tally.worst:11.3g}" if verdict in VERDICTS_WITH_A_BOUND else ""
            line = f"{name:<{width}}  {verdict:<11}  {tally.tried:>5}  {tally.failed or '-':>6}  {worst}"
            lines.append(line.rstrip())
        return lines


def count_failures(number: int) -> str:
    """Return "1 check fails" or "2 checks fail".

    >>> count_failures(1), count_failures(9)
    ('1 check fails', '9 checks fail')
    """
    return f"{number} check fails" if number == 1 else f"{number} checks fail"


def write_cause(number: int, cause: Cause, where: str, verbose: bool = False) -> list[str]:
    """Return the block of a report about one cause: what is wrong, the smallest case, and how to reproduce it."""
    finding = cause.shown_by.finding
    brief = bool(finding.mistake and finding.reproduction and not finding.bound and not verbose)
    return [head_cause(number, cause, where), *indented([*describe_cause(cause, brief), *finding.shown()], "   ")]


def head_cause(number: int, cause: Cause, where: str) -> str:
    """Return the first line of such a block."""
    return f"{number}. {cause.title}: {cause.shown_by.cases}, first in {where}"


def describe_cause(cause: Cause, brief: bool = False) -> list[str]:
    """Return the explanation of a cause, its smallest case and its failing checks.

    If it is to be `brief`, there is no more than the lines of the reproduction need beside them: the name of the
    mistake and the case, and the value where no arrays show it.
    """
    finding = cause.shown_by.finding
    if brief:
        lines = [*finding.explanations(), *([] if finding.show_arrays() else finding.message.splitlines())]
    else:
        lines = finding.describe()
    if not finding.call:
        lines.append(f"case: {write_case(finding.case)}")
    if len(cause.failures) > 1 and not brief:
        checks = (f"{one.finding.check_name()} {one.failed}/{one.tried}" for one in cause.failures)
        lines += wrapped(f"failing checks: {', '.join(checks)}")
    return lines


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain values, with its arrays as lists and its case as one line."""
    told = {name: getattr(finding, name) for name in finding.__slots__ if name not in NOT_FOR_PROGRAMS}
    arrays = told.pop("arrays")
    got, expected = (as_plain(array) for array in arrays) if arrays else (None, None)
    told |= {name: as_plain(np.asarray(told[name])) for name in ("got", "expected") if told[name] is not None}
    line = write_case(finding.case)
    return {**told, "case": asdict(finding.case), "line": line, "arrays": {"got": got, "expected": expected}}


def as_plain(array: Array) -> Any:
    """Return the numbers of an array as nested lists; a complex one is a list of its two parts.

    >>> as_plain(np.array([1.0, 2.0])), as_plain(np.array([1 + 2j]))
    ([1.0, 2.0], [[1.0, 2.0]])
    """
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    return array.tolist()
