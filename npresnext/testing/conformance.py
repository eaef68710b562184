"""check_conv and assert_conv: is this convolution right, and how do we know?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._support.arguments import as_int
from ..errors import InvalidTypeError, InvalidValueError
from .arithmetic import Arithmetic, as_arithmetic
from .explanation import explain
from .formats import SIGNIFICAND_BITS, operand_dtype
from .parameters import missing_parameters
from .report import Report
from .runner import Runner, ignore
from .subject import AXES, Subject
from .supports import as_supports

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
    watch: Callable[..., Any] = ignore,
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
        How many cases to draw, besides the fixed ones; another seed draws others.
    supports : mapping, optional
        What the callables do not support, by the keys of ``supports.SUPPORTS``: ``{"dilation": False}``. The report
        lists it as left out. So it does with stride, padding, dilation and groups where a callable has no such
        parameter; it is then called without.
    arithmetic : mapping, optional
        ``input``, ``accumulator`` and ``output`` out of float64, float32, tf32, float16, bfloat16. By default all
        are `dtype`, and 16-bit types are summed in float32.
    algorithm : "direct", "winograd" or "fft"
        What is not direct is judged normwise, since it is not exact on integers, and sums in float32 or float64.
    layout : "NCHW" or "NHWC"
        Channels last holds for x and grad_output (N, H, W, C) and for the weight (C_out, kh, kw, C_in/G).
    watch : callable, optional
        Called before each case, with the findings so far: ``watch("case 1", case, report)``.

    Returns
    -------
    Report
        ``passed``, ``failures``, ``coverage``; print it. It holds what the callables raise. If a call hangs, so does
        check_conv.

    Raises
    ------
    ValueError, TypeError
        For arguments of this function that make no sense.

    >>> import npresnext as nx
    >>> check_conv(nx.conv2d, nx.conv2d_backward, cases=20).passed
    True
    """
    check_callables(forward, backward)
    check_choice("algorithm", algorithm, ALGORITHMS)
    check_choice("layout", layout, tuple(AXES))
    cases, seed = as_int(cases, "cases", 0), as_int(seed, "seed", 0)
    missing = missing_parameters(forward, backward)
    chosen = as_supports(supports) | dict.fromkeys(missing, False)
    declared = as_arithmetic(dtype, arithmetic)
    check_accumulator(algorithm, declared)
    if not is_dtype_supported(declared.dtype, chosen["dtypes"]):
        return Report(declared, algorithm, seed, left_out=[f"dtype {declared.dtype}"])

    runner = Runner(Subject(forward, backward, declared, algorithm, AXES[layout], chosen, missing), watch)
    runner.run(cases, seed)
    explain_failures(runner)
    return runner.report


def assert_conv(forward: Callable[..., Any] | None, backward: Callable[..., Any] | None = None, **options: Any) -> None:
    """Raise an AssertionError with the whole report unless every check of :func:`check_conv` passes.

    >>> import npresnext as nx
    >>> assert_conv(nx.conv2d, cases=5)
    """
    report = check_conv(forward, backward, **options)
    if not report.passed:
        raise AssertionError(str(report))


def explain_failures(runner: Runner) -> None:
    """Replace each first failure by the same one explained, in its smallest case."""
    for finding in runner.report.failures:
        runner.report.checks[finding.property, finding.verdict].first = explain(runner, finding)


def check_callables(forward: Any, backward: Any) -> None:
    """Raise unless there is something to check, and it can be called."""
    for name, function in (("forward", forward), ("backward", backward)):
        if function is not None and not callable(function):
            raise InvalidTypeError(f"{name} must be callable, but is of type {type(function).__name__}")
    if forward is None and backward is None:
        raise InvalidValueError("forward and backward are both None: there is nothing to check")


def check_choice(name: str, chosen: str, choices: tuple[str, ...]) -> None:
    """Raise unless an argument is one of its choices."""
    if chosen not in choices:
        raise InvalidValueError(f"{name} is {chosen!r}: expected one of {', '.join(choices)}")


def check_accumulator(algorithm: str, declared: Arithmetic) -> None:
    """Raise if the bound of a transform would let anything pass."""
    narrow = SIGNIFICAND_BITS[declared.accumulator] < SIGNIFICAND_BITS["float32"]
    if algorithm != "direct" and narrow:
        raise InvalidValueError(f"{algorithm} has no useful bound in {declared.accumulator}: choose float32 or float64")


def is_dtype_supported(name: str, supported: Any) -> bool:
    """Whether a dtype is among the supported ones; None stands for all."""
    return supported is None or name in {operand_dtype(one).name for one in supported}
