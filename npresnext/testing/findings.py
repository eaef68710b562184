"""A finding: what one check of one case came to."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from .arrays_as_text import side_by_side
from .cases import ConvCase
from .layouts import ALL_CONTIGUOUS

DEATH = "returns at all"  # the property that a process which dies or hangs does not have
NO_END = "no end after"  # how the message of such a finding begins if the process hangs
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
    got: complex | None = None  # a float, unless the operands are complex
    expected: complex | None = None
    bound: float | None = None
    first: int = 0  # number of the case that failed first
    role: str = ""  # forward or backward, if this is about a call
    mistake: str = ""  # the name of the mistake that gives this result, if there is one in the catalogue
    evidence: str = ""  # in how many cases that mistake gives the result
    conditions: str = ""  # what its failing cases share
    diagnosis: str = ""
    reproduction: str = ""
    call: str = ""  # a call that is not that of the case, in words
    arrays: tuple[Any, Any] | None = None  # the whole result, got and expected, in NCHW
    trials: tuple[Any, ...] = ()  # what was compared

    def check_name(self) -> str:
        """The check that this is about, such as "dx (exact)"."""
        return f"{self.property} ({self.verdict})"

    def is_advisory(self) -> bool:
        """Whether this is worth knowing but no failure."""
        return self.verdict in ADVISORY_VERDICTS

    def __str__(self) -> str:
        return "\n".join(indented([*self.describe(), *self.shown()], "  "))

    def describe(self) -> list[str]:
        """Return the lines that say what is wrong and in which case."""
        window = ", ".join(f"{name}={value}" for name, value in self.case.kwargs.items())
        bias = "with bias" if self.case.has_bias else "no bias"
        lines = [*self.explanations(), *self.message.splitlines()]
        if self.call:
            return [*lines, self.call]
        lines.append(f"x {self.case.x_shape}, weight {self.case.weight_shape}, {bias}, {window}")
        if self.case.layouts != ALL_CONTIGUOUS:
            lines.append(f"memory layouts of x, weight and bias, grad_output: {', '.join(self.case.layouts)}")
        return lines

    def explanations(self) -> list[str]:
        """Return the lines that explain the fault; a mistake needs no diagnosis."""
        diagnosis = "" if self.mistake else self.diagnosis
        named = {"mistake": self.evidence or self.mistake, "conditions": self.conditions, "diagnosis": diagnosis}
        return [line for name, text in named.items() if text for line in wrapped(f"{name}: {text}")]

    def shown(self) -> list[str]:
        """Return both arrays, and after an empty line the lines that reproduce the fault."""
        lines = self.reproduction.splitlines()
        return indented([*self.show_arrays(), *(["", *lines] if lines else [])])

    def show_arrays(self) -> list[str]:
        """Return both arrays side by side; nothing if there is one value, or none."""
        if self.arrays is None or self.arrays[0].size <= 1 or not self.index:
            return []
        return side_by_side(self.result, *self.arrays, self.index)


def wrapped(text: str) -> list[str]:
    """Return a text in lines that fit a page; further lines begin with two spaces."""
    return wrap(text, 112, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def indented(lines: list[str], by: str = "  ") -> list[str]:
    """Return lines moved to the right; empty ones stay empty."""
    return [by + line if line else line for line in lines]
