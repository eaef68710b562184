"""A report as workflow commands: GitHub shows each as an annotation of the run."""

from __future__ import annotations

from collections.abc import Iterator

from .report import Report


def write_annotations(report: Report) -> Iterator[str]:
    """Yield a line for each fault (error), advisory and known failure (notice).

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    for cause in report.causes:
        finding = cause.shown_by.finding
        title = f"npresnext: {cause.title} in {cause.shown_by.cases}"
        yield annotation("error", title, "\n".join([*finding.describe(), "", finding.reproduction]))
    for note in report.describe_expected():
        yield annotation("notice", "npresnext: known failure", note)
    for note in report.advisories:
        yield annotation("notice", "npresnext: advisory", note)


def annotation(level: str, title: str, message: str) -> str:
    """Return one workflow command; characters with a meaning of their own are escaped.

    >>> annotation("error", "dx: wrong", "100 %")
    '::error title=dx%3A wrong::100 %25'
    """
    escaped = escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={escaped}::{escape(message)}"


def escape(text: str) -> str:
    """Return text in one line, as workflow commands expect it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
