"""What the kit found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .arithmetic import Arithmetic
from .cases import ConvCase
from .runner import Row
from .verdicts import Statistics


@dataclass(frozen=True)
class Finding:
    """A check that failed, in the smallest case found: where, what came, what was expected, and how to see it again."""

    property: str
    verdict: str
    message: str
    case: ConvCase
    failed: int  # cases
    tried: int
    first: int  # number of the case that failed first
    result: str = ""  # y, dx, dw or db
    index: tuple[int, ...] = ()
    got: float | None = None
    expected: float | None = None
    bound: float | None = None
    diagnosis: str = ""
    reproduction: str = ""

    def __str__(self) -> str:
        case = self.case
        lines = [
            f"{self.property} ({self.verdict}): {self.failed} of {self.tried} cases, first in case {self.first}",
            f"  {self.message}",
            f"  x {case.x_shape}, weight {case.weight_shape}, {'with' if case.has_bias else 'no'} bias, "
            + ", ".join(f"{name}={value}" for name, value in case.kwargs.items()),
        ]
        if set(case.layouts) != {"contiguous"}:
            lines.append("  memory layouts of x, weight, grad_output: " + ", ".join(case.layouts))
        lines += [f"  diagnosis: {self.diagnosis}"] if self.diagnosis else []
        lines += ["", *(f"    {line}" for line in self.reproduction.splitlines())] if self.reproduction else []
        return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """The outcome of ``check_conv``; ``print`` shows it, ``to_dict`` hands it to programs."""

    dtype: str
    arithmetic: Arithmetic
    algorithm: str
    cases: int
    seed: int
    rows: dict[tuple[str, str], Row]
    advice: dict[str, Row]
    statistics: dict[str, Statistics]
    failures: list[Finding]
    coverage: dict[str, int]
    pairs: int
    left_out: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check held; what is advisory changes nothing."""
        return not self.failures

    @property
    def advisories(self) -> list[str]:
        """What is worth knowing and fails nobody."""
        notes = [f"not so in {row.failed} of {row.tried}: {name}" for name, row in self.advice.items() if row.failed]
        for name, seen in self.statistics.items():
            if seen.suspicious:
                notes.append(
                    f"errors of {name} are not like independent rounding: root mean square {seen.rms:.2f} (at most "
                    f"1.25 expected), bias {seen.bias:+.1f} (within 6 expected), over {seen.outputs} values"
                )
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers, ready for JSON."""
        checks = [
            {"property": key[0], "verdict": key[1], "tried": row.tried, "failed": row.failed,
             "worst_ratio": row.worst if row.worst < float("inf") else None}
            for key, row in self.rows.items()
        ]  # fmt: skip
        failures = [
            {
                **{name: value for name, value in vars(finding).items() if name != "case"},
                "case": {**vars(finding.case), "output_shape": finding.case.output_shape},
            }
            for finding in self.failures
        ]
        return {
            "passed": self.passed, "dtype": self.dtype, "arithmetic": self.arithmetic._asdict(),
            "algorithm": self.algorithm, "cases": self.cases, "seed": self.seed, "checks": checks,
            "statistics": {name: seen._asdict() for name, seen in self.statistics.items()},
            "failures": failures, "advisories": self.advisories, "coverage": self.coverage, "pairs": self.pairs,
            "left_out": self.left_out,
        }  # fmt: skip

    def __str__(self) -> str:
        if not self.cases:
            return f"Nothing was tried: {'; '.join(self.left_out)}"
        verdict = "holds" if self.passed else f"{len(self.failures)} checks FAIL"
        width = max((len(name) for name, _ in self.rows), default=8)
        lines = [
            f"Convolution in {self.dtype} ({self.arithmetic}; {self.algorithm}): {verdict} in {self.cases} cases, "
            f"seed {self.seed}",
            "",
            f"{'property':<{width}}  {'verdict':<11}  cases  failed  worst/bound",
        ]
        for (name, kind), row in self.rows.items():
            worst = f"{row.worst:11.3g}" if kind in ("bounded", "normwise") else ""
            lines.append(f"{name:<{width}}  {kind:<11}  {row.tried:>5}  {row.failed or '-':>6}  {worst}".rstrip())
        for name, seen in self.statistics.items():
            state = "suspicious" if seen.suspicious else "-" if seen.outputs else "too few"
            what = f"{seen.outputs} values: rms {seen.rms:.2f}, bias {seen.bias:+.1f}"
            lines.append(f"{name:<{width}}  statistical      1  {state:>6}  {what}")
        lines += ["", f"coverage: {self.pairs} pairs of kinds met; cases with"]
        lines += [f"  {name}: {count}" for name, count in sorted(self.coverage.items())]
        lines += [f"left out: {what}" for what in self.left_out]
        lines += [f"advisory: {note}" for note in self.advisories]
        for finding in self.failures:
            lines += ["", f"FAIL {finding}"]
        return "\n".join(lines)
