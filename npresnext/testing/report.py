"""The report: every check with how often it was made and failed, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from .arithmetic import Arithmetic
from .findings import Finding

VERDICTS_WITH_A_BOUND = ("bounded", "normwise", "statistical")
NOT_FOR_PROGRAMS = ("ratio", "role", "trials")  # fields of a finding


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
    pairs: Counter[tuple[str, ...]] = field(default_factory=Counter)  # cases with each pair of kinds

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

    @property
    def failures(self) -> list[Finding]:
        """The failing checks, each in its smallest case."""
        first_failures = [tally.first for tally in self.checks.values() if tally.first]
        return [finding for finding in first_failures if not finding.is_advisory()]

    @property
    def passed(self) -> bool:
        """Whether every check passed; advisories change nothing."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers, ready for JSON."""
        return {
            "passed": self.passed,
            **vars(self),
            "arithmetic": self.arithmetic._asdict(),
            "pairs": len(self.pairs),
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
            "failures": [
                {name: value for name, value in asdict(finding).items() if name not in NOT_FOR_PROGRAMS}
                for finding in self.failures
            ],
        }

    def __str__(self) -> str:
        if not self.cases:
            return f"Nothing was tried: {'; '.join(self.left_out)}"
        lines = [self._headline(), "", *self._table(), ""]
        lines.append(f"coverage: {len(self.pairs)} pairs of kinds met; cases with")
        lines += [f"  {name}: {count}" for name, count in sorted(self.coverage.items())]
        lines += [f"left out: {what}" for what in self.left_out]
        lines += [f"advisory: {note}" for note in self.advisories]
        for finding in self.failures:
            tally = self.checks[finding.property, finding.verdict]
            failed = f"{tally.failed} of {tally.tried} cases, first in case {finding.first}"
            lines += ["", f"FAIL {finding.property} ({finding.verdict}): {failed}", str(finding)]
        return "\n".join(lines)

    def _headline(self) -> str:
        outcome = "holds" if self.passed else count_failures(len(self.failures))
        declared = f"{self.arithmetic}; {self.algorithm}"
        return f"Convolution in {self.arithmetic.dtype} ({declared}): {outcome} in {self.cases} cases, seed {self.seed}"

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
