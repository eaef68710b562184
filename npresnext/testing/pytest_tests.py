"""``conv_tests``: the checks of a convolution as tests of pytest, one for each property and verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .conformance import check_conv
from .findings import DEATH
from .properties import PROPERTIES
from .report import CheckTally, Report, write_cause
from .subject import SIGNATURES
from .trial import CONTRACT

Check = tuple[str, str]  # a property and the verdict on it


def conv_tests(
    forward: Callable[..., Any] | None, backward: Callable[..., Any] | None = None, **options: Any
) -> Callable[..., None]:
    """Return a test function for pytest: one test for each property and verdict of :func:`check_conv`.

    The check itself is made once, when the first of the tests runs. Selection with ``-k``, JUnit files, ``xfail`` and
    the like are pytest's own. With ``--npresnext-seed`` other cases are drawn, and ``--npresnext-case`` tries one case
    alone: the text after ``case:`` in a report.

    Parameters
    ----------
    forward, backward, **options
        As for :func:`check_conv`.

    Returns
    -------
    function
        To be assigned to a name that begins with ``test_``.

    Examples
    --------
    >>> import npresnext as nx
    >>> test_my_conv = conv_tests(nx.conv2d, nx.conv2d_backward, dtype="float32")
    """
    import pytest

    reports: dict[tuple[int, str | None], Report] = {}

    def report_for(config: Any) -> Report:
        seed = config.getoption("npresnext_seed", None)
        case = config.getoption("npresnext_case", None) or options.get("only")
        chosen = options.get("seed", 0) if seed is None else seed
        if (chosen, case) not in reports:
            reports[chosen, case] = check_conv(forward, backward, **{**options, "seed": chosen, "only": case})
        return reports[chosen, case]

    checks = checks_of(forward is not None, backward is not None, options.get("algorithm", "direct") == "direct")

    @pytest.mark.parametrize("check", checks, ids=[f"{name}-{verdict}".replace(" ", "_") for name, verdict in checks])
    def test(check: Check, request: Any) -> None:
        report = report_for(request.config)
        tally = report.checks.get(check)
        if tally is None:
            pytest.skip("; ".join(report.left_out) or "no case shows this")
        elif reason := known(report, check):
            pytest.xfail(reason)
        elif tally.first is not None:
            pytest.fail(describe_failure(report, check, tally), pytrace=False)

    return test


def checks_of(has_forward: bool, has_backward: bool, is_direct: bool) -> list[Check]:
    """Return every check that a report may contain and that can fail."""
    on_integers, on_real_numbers = ("exact", "bounded") if is_direct else ("normwise", "normwise")
    roles = [role for role, there in (("forward", has_forward), ("backward", has_backward)) if there]
    results = [name for role in roles for name in SIGNATURES[role][1]]
    properties = [*(["adjoint"] if len(roles) == 2 else []), *PROPERTIES]
    checks = [(name, verdict) for name in results for verdict in (on_integers, on_real_numbers)]
    checks += [(name, on_integers) for name in properties]
    return list(dict.fromkeys([*checks, *((part, "contract") for part in (*CONTRACT, DEATH))]))


def known(report: Report, check: Check) -> str:
    """Return why a failing check is known to fail; an empty text if it is not known, or holds."""
    name, verdict = check
    expected = report.expected.get(f"{name} ({verdict})")
    return expected.reason if expected and report.checks[check].failed else ""


def describe_failure(report: Report, check: Check, tally: CheckTally) -> str:
    """Return the whole block of a fault for the check that shows it best, and one line for the others."""
    number, cause = next(
        (number, cause)
        for number, cause in enumerate(report.causes, 1)
        if any((one.finding.property, one.finding.verdict) == check for one in cause.failures)
    )
    best = cause.shown_by.finding
    if (best.property, best.verdict) != check:
        return f"fails in {tally.failed} of {tally.tried} cases: the fault shown by {best.check_name()}"
    # pytest shows the first line in its summary
    return "\n".join([cause.explanation, *write_cause(number, cause, report.where(cause.first))])
