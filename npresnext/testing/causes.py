"""Causes: the failing checks of a report, one group for each fault that they show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .findings import NO_END, Finding

# The verdict that shows a fault best comes first: integers can be checked by hand.
VERDICTS_IN_ORDER = ("exact", "normwise", "bounded", "contract")
TITLES = {
    "returns": "{role} raises an error",
    "returns at all": "the process does not survive {role}",
    "result type": "what {role} returns is of the wrong type",
    "shape": "{result} has the wrong shape",
    "dtype": "{result} has the wrong dtype",
    "finite": "{result} is NaN or infinite",
    "inputs untouched": "{role} changes its operand {result}",
}


class Failure(NamedTuple):
    """A failing check: its first finding, and in how many of how many cases it failed."""

    finding: Finding
    failed: int
    tried: int

    @property
    def cases(self) -> str:
        """Such as "182 of 377 cases"."""
        return f"{self.failed} of {self.tried} cases"


class Cause(NamedTuple):
    """A fault, with the failing checks that show it."""

    failures: list[Failure]  # the one that shows it best comes first

    @property
    def shown_by(self) -> Failure:
        """The failing check that shows it best."""
        return self.failures[0]

    @property
    def title(self) -> str:
        """What is wrong, in a few words."""
        finding = self.shown_by.finding
        if finding.property in TITLES and finding.verdict == "contract":
            role = finding.role or "the target"
            if finding.message.startswith(NO_END):
                return f"{role} does not return"
            return TITLES[finding.property].format(role=role, result=finding.result)
        return f"{finding.result or finding.property} is wrong"

    @property
    def explanation(self) -> str:
        """What is known of the fault in one line: the mistake, or the conditions, or the first line of the message."""
        finding = self.shown_by.finding
        return finding.mistake or finding.conditions or finding.message.partition("\n")[0]

    @property
    def first(self) -> int:
        """The number of the case that failed first."""
        return min(failure.finding.first for failure in self.failures)


def group_by_cause(failures: Iterable[Failure]) -> list[Cause]:
    """Return the failing checks in groups: those about one result, with one mistake, have one cause.

    NaN in a result belongs to the fault of that result. Another broken part of the contract is a cause of its own,
    unless a mistake explains it: one that changes the shape makes the values wrong as well where the shape is right.
    The cause that shows in most cases comes first.
    """
    groups: dict[tuple[str, ...], list[Failure]] = {}
    for failure in sorted(failures, key=lambda one: VERDICTS_IN_ORDER.index(one.finding.verdict)):
        finding = failure.finding
        of_its_own = (finding.property, finding.role) if breaks_the_contract(finding) and not finding.mistake else ()
        groups.setdefault((finding.result, finding.mistake, *of_its_own), []).append(failure)
    causes = [Cause(most_often_first(group)) for group in groups.values()]
    return sorted(causes, key=lambda cause: -cause.shown_by.failed)


def breaks_the_contract(finding: Finding) -> bool:
    """Whether a finding is about a part of the contract other than finite values."""
    return finding.verdict == "contract" and finding.property != "finite"


def most_often_first(group: list[Failure]) -> list[Failure]:
    """Return the failures of a cause, a broken contract first if it is broken more often than values are wrong."""
    broken = [failure for failure in group if failure.finding.verdict == "contract"]
    others = [failure for failure in group if failure.finding.verdict != "contract"]
    if sum(failure.failed for failure in broken[:1]) > max((failure.failed for failure in others), default=0):
        return broken + others
    return group
