"""check_conv and assert_conv: is this convolution right, and how do we know?"""

from collections.abc import Callable, Mapping
from typing import Any

from .._support.arguments import as_int
from ..errors import InvalidTypeError, InvalidValueError
from .cases import BITS, as_dtype
from .draws import as_supports
from .explanation import explain
from .report import Report
from .runner import Runner
from .subject import AXES, Subject
from .verdicts import as_arithmetic


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
    watch: Callable[..., Any] = lambda where, case, report: None,
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
    cases, seed : int
        How many cases to draw, beside the fixed ones; another seed draws others.
    supports : mapping, optional
        What it does not offer and is not asked for, by the keys of ``draws.SUPPORTS``: ``{"dilation": False}``.
    arithmetic : mapping, optional
        ``input``, ``accumulator`` and ``output`` out of float64, float32, tf32, float16, bfloat16. By default all
        are `dtype`, and 16-bit types are summed in float32.
    algorithm : "direct", "winograd" or "fft"
        What is not direct is judged normwise, since it is not exact on integers, and sums in float32 or float64.
    layout : "NCHW" or "NHWC"
        Channels last holds for x and grad_output (N, H, W, C) and for the weight (C_out, kh, kw, C_in/G).
    watch : callable, optional
        Hears of each case before it is tried, and what was found before: ``watch("case 1", case, report)``.

    Returns
    -------
    Report
        ``passed``, ``failures``, ``coverage``; print it. What the callables raise is in it; a call that hangs, hangs.

    Raises
    ------
    ValueError, TypeError
        For arguments of this function that make no sense.

    >>> import npresnext as nx
    >>> check_conv(nx.conv2d, nx.conv2d_backward, cases=20).passed
    True
    """
    for name, function in (("forward", forward), ("backward", backward)):
        if function is not None and not callable(function):
            raise InvalidTypeError(f"{name} must be callable, but is of type {type(function).__name__}")
    if forward is None and backward is None:
        raise InvalidValueError("forward and backward are both None: there is nothing to check")
    for name, chosen, choices in (("algorithm", algorithm, ("direct", "winograd", "fft")), ("layout", layout, AXES)):
        if chosen not in choices:
            raise InvalidValueError(f"{name} is {chosen!r}: expected one of {', '.join(choices)}")
    draws, seed = as_int(cases, "cases", 0), as_int(seed, "seed", 0)
    offers, declared = as_supports(supports), as_arithmetic(dtype, arithmetic)
    if algorithm != "direct" and BITS[declared.accumulator] < BITS["float32"]:
        raise InvalidValueError(f"{algorithm} has no useful bound in {declared.accumulator}: choose float32 or float64")
    if offers["dtypes"] is not None and declared.dtype not in {as_dtype(name).name for name in offers["dtypes"]}:
        return Report(declared, algorithm, seed, [f"dtype {declared.dtype}"])
    runner = Runner(Subject(forward, backward, declared, algorithm, AXES[layout], offers), watch)
    runner.run(draws, seed)
    for finding in runner.report.failures:
        runner.rows[finding.property, finding.verdict].first = explain(runner, finding)
    return runner.report


def assert_conv(forward: Callable[..., Any] | None, backward: Callable[..., Any] | None = None, **options: Any) -> None:
    """Raise an AssertionError with the whole report unless every check of :func:`check_conv` holds.

    >>> import npresnext as nx
    >>> assert_conv(nx.conv2d, cases=5)
    """
    report = check_conv(forward, backward, **options)
    if not report.passed:
        raise AssertionError(str(report))
