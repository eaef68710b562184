"""A finding: what one check of one case came to."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import Any

from .cases import ConvCase
from .layouts import ALL_CONTIGUOUS

LEFT_OUT = "left out"  # the verdict on a call that is not implemented
ADVISORY_VERDICTS = ("statistical", "advisory")  # which fail nobody


@dataclass(slots=True)
class Finding:
    """What one check of one case came to; a failing one holds the smallest case, the value, and its reproduction."""

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

    def is_advisory(self) -> bool:
        """Whether this is worth knowing but no failure."""
        return self.verdict in ADVISORY_VERDICTS

    def __str__(self) -> str:
        window = ", ".join(f"{name}={value}" for name, value in self.case.kwargs.items())
        bias = "with bias" if self.case.has_bias else "no bias"
        lines = [self.message, f"x {self.case.x_shape}, weight {self.case.weight_shape}, {bias}, {window}"]
        if self.case.layouts != ALL_CONTIGUOUS:
            lines.append(f"memory layouts of x, weight and bias, grad_output: {', '.join(self.case.layouts)}")
        if self.diagnosis:
            lines.append(f"diagnosis: {self.diagnosis}")
        return indent("\n".join(lines), "  ") + "\n\n" + indent(self.reproduction, "    ")
