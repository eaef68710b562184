"""What became of each result in each case, counted by the features of the case: for a table of frameworks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cases import ConvCase
from .coverage import features
from .findings import LEFT_OUT, Finding
from .subject import SIGNATURES

EXACT, WITHIN_THE_BOUND, REFUSES, OUTSIDE, CRASHES = ("exact", "bound", "refuses", "outside", "crashes")
COMMON = "common"  # every case without an edge
# Edges: a framework that is wrong there would be wrong in the columns of all other features.
EDGES = ("empty batch", "C_in = 0", "padding: wide")

Outcome = tuple[str, str, str]  # feature, result, outcome


def outcomes_of(case: ConvCase, findings: Sequence[Finding], roles: Sequence[str]) -> Iterator[Outcome]:
    """Yield the outcome of each result of a case, once for each feature by which it is counted."""
    counted = counted_by(case)
    for role in roles:
        refused = any(
            finding.role == role
            and finding.property == "returns"
            and (finding.ratio > 1 or finding.verdict == LEFT_OUT)
            for finding in findings
        )
        for result in SIGNATURES[role][1]:
            about = [finding for finding in findings if result in (finding.property, finding.result)]
            if refused:
                outcome = REFUSES
            elif any(finding.ratio > 1 and not finding.is_advisory() for finding in about):
                outcome = OUTSIDE
            elif not about:
                continue  # no gradient of a bias that is not there
            else:
                outcome = EXACT if any(finding.verdict == "exact" for finding in about) else WITHIN_THE_BOUND
            yield from ((feature, result, outcome) for feature in counted)


def outcomes_of_a_death(case: ConvCase, role: str) -> Iterator[Outcome]:
    """Yield the outcome of each result of a direction in which the process ended."""
    for result in SIGNATURES[role][1] if role else ():
        yield from ((feature, result, CRASHES) for feature in counted_by(case))


def counted_by(case: ConvCase) -> list[str]:
    """Return the features by which a case is counted: all that it has, and "common"; of an edge, that edge alone.

    A case with two edges is not counted, since it does not tell which of them made the outcome.

    >>> counted_by(ConvCase(batch=0)), counted_by(ConvCase(batch=0, in_channels=0)), COMMON in counted_by(ConvCase())
    (['empty batch'], [], True)
    """
    of_the_case = features(case)
    edges = [feature for feature in of_the_case if feature in EDGES]
    if edges:
        return edges if len(edges) == 1 else []
    return [*of_the_case, COMMON]
