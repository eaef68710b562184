"""What the kit found, for people and for programs."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from textwrap import indent
from typing import Any

from .cases import CONTIGUOUS, ConvCase
from .verdicts import Arithmetic

ADVISORY = ("statistical", "advisory")  # verdicts that fail nobody


@dataclass(slots=True)
class Finding:
    """What one check of one case came to; a failing one holds the smallest case, the value, and how to see it again."""

    property: str
    verdict: str
    ratio: float  # of the error to its bound: above 1 the check fails
    message: str = ""
    case: ConvCase = ConvCase()
    result: str = ""  # y, dx, dw or db, or an operand, if this is about one
    index: tuple[int, ...] = ()
    got: float | None = None
    expected: float | None = None
    bound: float | None = None
    first: int = 0  # number of the case that failed first
    role: str = ""  # forward or backward, if this is about a call
    diagnosis: str = ""
    reproduction: str = ""
    trials: tuple[Any, ...] = ()  # what was compared

    def __str__(self) -> str:
        window = ", ".join(f"{name}={value}" for name, value in self.case.kwargs.items())
        bias = "with" if self.case.has_bias else "no"
        text = f"{self.message}\nx {self.case.x_shape}, weight {self.case.weight_shape}, {bias} bias, {window}"
        if self.case.layouts != CONTIGUOUS:
            text += f"\nmemory layouts of x, weight and bias, grad_output: {', '.join(self.case.layouts)}"
        text += f"\ndiagnosis: {self.diagnosis}" if self.diagnosis else ""
        return indent(text, "  ") + "\n\n" + indent(self.reproduction, "    ")


@dataclass
class Row:
    """A line of the report: how often a check was made and failed, how near its bound it came, what it found first."""

    tried: int = 0
    failed: int = 0
    worst: float = 0.0  # of the finite ratios
    first: Finding | None = None


@dataclass
class Report:
    """The outcome of ``check_conv``; ``print`` shows it, ``to_dict`` hands it to programs."""

    arithmetic: Arithmetic
    algorithm: str = "direct"
    seed: int = 0
    left_out: list[str] = field(default_factory=list)
    cases: int = 0
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)  # by property and verdict
    advisories: list[str] = field(default_factory=list)  # what is worth knowing and fails nobody
    coverage: Counter[str] = field(default_factory=Counter)  # cases with each feature
    pairs: Counter[tuple[str, ...]] = field(default_factory=Counter)  # cases with each pair of kinds

    def add(self, finding: Finding) -> None:
        """Count what a check of one more case came to."""
        row = self.rows.setdefault((finding.property, finding.verdict), Row())
        row.tried += 1
        row.worst = max(row.worst, finding.ratio if math.isfinite(finding.ratio) else 0.0)
        if finding.ratio > 1:
            row.failed += 1
            row.first = row.first or finding
            self.advisories += [finding.message] if finding.verdict in ADVISORY else []

    @property
    def failures(self) -> list[Finding]:
        """What failed, each in its smallest case."""
        return [row.first for (_, verdict), row in self.rows.items() if row.first and verdict not in ADVISORY]

    @property
    def passed(self) -> bool:
        """Whether every check held; what is advisory changes nothing."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, strings and numbers, ready for JSON."""
        told = vars(self) | {"arithmetic": self.arithmetic._asdict(), "pairs": len(self.pairs)}
        told["checks"] = [
            {"property": name, "verdict": verdict, "tried": row.tried, "failed": row.failed, "worst_ratio": row.worst}
            for (name, verdict), row in told.pop("rows").items()
        ]
        inner = ("ratio", "role", "trials")
        told["failures"] = [{k: v for k, v in asdict(found).items() if k not in inner} for found in self.failures]
        return {"passed": self.passed, **told}

    def __str__(self) -> str:
        if not self.cases:
            return f"Nothing was tried: {'; '.join(self.left_out)}"
        outcome, width = f"{len(self.failures)} checks FAIL", max(len(name) for name, _ in self.rows)
        lines = [
            f"Convolution in {self.arithmetic.dtype} ({self.arithmetic}; {self.algorithm}): "
            f"{'holds' if self.passed else outcome} in {self.cases} cases, seed {self.seed}",
            f"\n{'property':<{width}}  {'verdict':<11}  cases  failed  worst/bound",
        ]
        for (name, verdict), row in self.rows.items():
            worst = f"{row.worst:11.3g}" if verdict in ("bounded", "normwise", "statistical") else ""
            lines.append(f"{name:<{width}}  {verdict:<11}  {row.tried:>5}  {row.failed or '-':>6}  {worst}".rstrip())
        counts = (f"  {name}: {count}" for name, count in sorted(self.coverage.items()))
        lines += [f"\ncoverage: {len(self.pairs)} pairs of kinds met; cases with", *counts]
        lines += [f"left out: {what}" for what in self.left_out]
        lines += [f"advisory: {note}" for note in self.advisories]
        for found in self.failures:
            row = self.rows[found.property, found.verdict]
            failed = f"{row.failed} of {row.tried} cases, first in case {found.first}"
            lines.append(f"\nFAIL {found.property} ({found.verdict}): {failed}\n{found}")
        return "\n".join(lines)
