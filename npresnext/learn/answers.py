"""The answer to a check: what is wrong in the smallest case, then a question, then the mistake, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from textwrap import wrap

WIDTH = 100


@dataclass
class Answer:
    """What a check found: print it, and ask for more with :meth:`hint`.

    Attributes
    ----------
    exercise : str
        The name of the exercise.
    passed : bool
        Whether the function is right in every case.
    headline : str
        The verdict in one sentence.
    details : list of str
        The smallest failing case: the call, and both arrays side by side.
    printed : str
        What the function printed in that case.
    question : str
        A question that points at the mistake.
    mistakes : list of str
        The mistakes that give these results in every case: one, unless several do.
    explanation : str
        What is wrong, or what the failing cases share if no mistake gives the results.
    points : float
        From 0 to 1: the share of the results that are right, or of the wrong kernels that a test catches.
    tried, failed, seed : int
        Number of cases, number of failing ones, and the seed of the cases.
    afterwards, solution : str
        What to know once the exercise is solved, and a solution; empty before.
    """

    exercise: str
    passed: bool
    headline: str
    details: list[str] = field(default_factory=list)
    printed: str = ""
    question: str = ""
    mistakes: list[str] = field(default_factory=list)
    explanation: str = ""
    points: float = 0.0
    tried: int = 0
    failed: int = 0
    seed: int = 0
    afterwards: str = ""
    solution: str = ""
    steps_shown: int = field(default=1, compare=False, repr=False)

    def text(self, steps: int = 1) -> str:
        """Return the first step or steps of the answer: 1 the smallest case, 2 a question, 3 the mistake."""
        return "\n\n".join(self.step(number) for number in range(1, min(steps, self.last_step) + 1))

    @property
    def last_step(self) -> int:
        """The number of steps that there are."""
        if self.passed or not self.question:
            return 1
        return 3 if self.mistakes or self.explanation else 2

    def step(self, number: int) -> str:
        """Return one step: 1 the smallest case, 2 a question, 3 the mistake."""
        if self.passed:
            return "\n\n".join(paragraph(part) for part in (self.headline, self.afterwards) if part)
        if number == 1:
            parts = ["\n".join([paragraph(self.headline), *([""] if self.details else []), *self.details])]
            if self.printed:
                printed = (f"  {line}" for line in self.printed.splitlines())
                parts.append("\n".join(["Your code printed:", *printed]))
            return "\n\n".join(parts)
        if number == 2:
            return paragraph(f"Question: {self.question}")
        return self._named()

    def _named(self) -> str:
        """Return the last step."""
        if not self.mistakes:
            return paragraph(self.explanation)
        first, *others = self.mistakes
        told = f"Mistake: it {first}."
        if others:
            told += f" Or it {', or it '.join(others)}: the results are the same in every case tried."
        return paragraph(f"{told} {self.explanation}")

    def hint(self) -> Answer:
        """Return the same answer with one step more: first the question, then the mistake."""
        self.steps_shown = min(self.steps_shown + 1, self.last_step)
        return self

    def raise_unless_passed(self) -> None:
        """Raise an AssertionError with the first step of the answer, unless the check passed.

        >>> Answer("windows", False, "count_windows is wrong in 3 of 60 cases").raise_unless_passed()
        Traceback (most recent call last):
        ...
        AssertionError: count_windows is wrong in 3 of 60 cases
        """
        __tracebackhide__ = True
        if not self.passed:
            raise AssertionError(self.text())

    def __str__(self) -> str:
        return self.text(self.steps_shown)

    def __repr__(self) -> str:
        if self.steps_shown >= self.last_step:
            return str(self)
        more = "asks a question" if self.steps_shown == 1 else "says more"
        return f"{self}\n\nOne step more: .hint() {more}."

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return f"<pre>{escape(repr(self))}</pre>"


def paragraph(text: str) -> str:
    """Return a text in lines of at most 100 characters; lines that begin with spaces stay as they are."""
    lines: list[str] = []
    for line in text.splitlines():
        indented = line.startswith(" ") or not line
        lines += [line] if indented else wrap(line, WIDTH, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)
