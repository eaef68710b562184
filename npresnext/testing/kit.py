"""check_conv and assert_conv: is this convolution right, and how do we know?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from ..geometry import as_int
from .arithmetic import as_arithmetic
from .cases import SUPPORTS, ConvCase, as_dtype, as_supports
from .diagnosis import diagnose
from .report import Finding, Report
from .reproduction import reproduction
from .runner import Failure, Row, Runner
from .shrinking import fails, smallest
from .subject import Subject

ALGORITHMS = ("direct", "winograd", "fft")


def check_conv(
    forward: Callable[..., Any] | None,
    backward: Callable[..., Any] | None = None,
    *,
    dtype: Any = "float32",
    cases: int = 200,
    seed: int = 0,
    supports: Mapping[str, Any] | None = None,
    arithmetic: Mapping[str, str] | None = None,
    algorithm: str = "direct",
    layout: str = "NCHW",
    watch: Callable[[ConvCase], None] | None = None,
) -> Report:
    """Judge a convolution, forward and backward, by the definition and by proven error bounds.

    Parameters
    ----------
    forward : callable or None
        ``forward(x, weight, bias, *, stride, padding, dilation, groups) -> y`` on NumPy arrays; bias may be None,
        stride and dilation are pairs, padding is ``((top, bottom), (left, right))``.
    backward : callable, optional
        ``backward(grad_output, x, weight, *, stride, padding, dilation, groups) -> (dx, dw, db)``.
    dtype : dtype
        float16, bfloat16, float32 or float64: of all operands and results.
    cases : int
        How many cases to draw; the fixed sweeps come on top.
    seed : int
        Another seed, other draws.
    supports : mapping, optional
        What the implementation does not offer and is not asked for, by the keys of `SUPPORTS`:
        ``{"dilation": False}``.
    arithmetic : mapping, optional
        ``input``, ``accumulator`` and ``output`` out of float64, float32, tf32, float16, bfloat16. By default all
        are `dtype`, and 16-bit types are summed in float32.
    algorithm : "direct", "winograd" or "fft"
        What is not direct is judged normwise, since it is not exact on integers.
    layout : "NCHW" or "NHWC"
        Channels last holds for every four-dimensional array: x and grad_output (N, H, W, C), weight
        (C_out, kh, kw, C_in/G).
    watch : callable, optional
        Hears of each case before it is tried.

    Returns
    -------
    Report
        ``passed``, ``failures``, ``coverage``; print it. What the callables do wrong, raising included, is in
        it. There is no time limit on calls: a callable that hangs, hangs.

    Raises
    ------
    ValueError, TypeError
        For arguments of this function that make no sense.

    Examples
    --------
    >>> import npresnext as nx
    >>> report = check_conv(nx.conv2d, nx.conv2d_backward, cases=20)
    >>> report.passed, report.failures
    (True, [])
    """
    for name, function in (("forward", forward), ("backward", backward)):
        if function is not None and not callable(function):
            raise InvalidTypeError(f"{name} must be callable, but is of type {type(function).__name__}")
    if forward is None and backward is None:
        raise InvalidValueError("forward and backward are both None: there is nothing to check")
    if algorithm not in ALGORITHMS:
        raise InvalidValueError(f"algorithm is {algorithm!r}: expected one of {', '.join(ALGORITHMS)}")
    if layout not in ("NCHW", "NHWC"):
        raise InvalidValueError(f'layout is {layout!r}: expected "NCHW" or "NHWC"')
    draws, seed = as_int(cases, "cases", 0), as_int(seed, "seed", 0)
    offers, declared = as_supports(supports), as_arithmetic(dtype, arithmetic)
    left_out = [
        f"{key} (only {', '.join(offers[key])})" if key == "layouts" else key
        for key, everything in SUPPORTS.items()
        if offers[key] != everything and key != "dtypes"
    ]
    runner = Runner(Subject(forward, backward, dtype, layout), declared, algorithm, offers)
    if offers["dtypes"] is not None and as_dtype(dtype) not in map(as_dtype, offers["dtypes"]):
        left_out = [f"dtype {as_dtype(dtype)}"]
    else:
        runner.run(draws, seed, watch)
    return Report(
        dtype=as_dtype(dtype).name,
        arithmetic=declared,
        algorithm=algorithm,
        cases=runner.tried,
        seed=seed,
        rows=runner.rows,
        advice=runner.advice,
        statistics=runner.statistics,
        failures=_findings(runner),
        coverage=dict(runner.coverage),
        pairs=len(runner.pairs),
        left_out=left_out,
    )


def assert_conv(forward: Callable[..., Any] | None, backward: Callable[..., Any] | None = None, **options: Any) -> None:
    """Raise an AssertionError with the whole report unless every check of :func:`check_conv` holds.

    >>> import npresnext as nx
    >>> assert_conv(nx.conv2d, cases=5)
    """
    report = check_conv(forward, backward, **options)
    if not report.passed:
        raise AssertionError(str(report))


def _findings(runner: Runner) -> list[Finding]:
    """Shrink every failure, and describe it."""
    findings: list[Finding] = []
    shrunk: list[Failure] = []
    for key, row in runner.rows.items():
        if row.first is None:
            continue
        failure = next((known for one in shrunk if (known := _as_well(runner, one, key))), None)
        if failure is None:
            failure = smallest(runner, row.first)
            shrunk.append(failure)
        findings.append(_describe(runner, key, row, row.first, failure))
    return findings


def _as_well(runner: Runner, known: Failure, key: tuple[str, str]) -> Failure | None:
    """Return the failure of another check in a case that is small already, if it fails there."""
    outcome = fails(runner, known.case, known.turn, key)
    return known._replace(outcome=outcome) if outcome is not None else None


def _describe(runner: Runner, key: tuple[str, str], row: Row, first: Failure, failure: Failure) -> Finding:
    shown = reproduction(runner, failure)
    seen = shown.outcome or failure.outcome
    message = failure.outcome.message
    if seen.result:
        what = f"{seen.result}[{', '.join(map(str, seen.at))}] is {seen.got!r}: expected {seen.expected!r}"
        message += f"{'; ' if message else ''}{what} within {seen.bound:.3g}"
    diagnosis = diagnose(runner, first.case, seen.result) if seen.result else ""
    return Finding(
        property=key[0],
        verdict=key[1],
        message=message,
        case=failure.case,
        failed=row.failed,
        tried=row.tried,
        first=first.number,
        result=seen.result,
        index=seen.at,
        got=seen.got if seen.result else None,
        expected=seen.expected if seen.result else None,
        bound=seen.bound if seen.result else None,
        diagnosis=diagnosis,
        reproduction=shown.text,
    )
