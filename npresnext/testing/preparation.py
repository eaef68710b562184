"""What a check needs before it starts: checked arguments, and a runner."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._support.arguments import check_number
from ..errors import InvalidTypeError, InvalidValueError
from .arithmetic import Arithmetic, as_arithmetic
from .baseline import as_expected
from .cases import ConvCase
from .explanation import explain_failures
from .formats import REAL_FORMATS, SIGNIFICAND_BITS, operand_dtype
from .layers import as_layers
from .parameters import check_parameters, missing_parameters
from .replay import read_case
from .report import Report
from .runner import Plan, Runner, ignore
from .subject import AXES, SIGNATURES, Subject
from .supports import as_supports

ALGORITHMS = ("direct", "winograd", "fft")


def make_runner(
    forward: Callable[..., Any] | None,
    backward: Callable[..., Any] | None,
    *,
    dtype: Any = "float32",
    supports: Mapping[str, Any] | None = None,
    arithmetic: Mapping[str, str] | None = None,
    algorithm: str = "direct",
    layout: str = "NCHW",
    watch: Callable[..., Any] = ignore,
    cases_from: Iterable[ConvCase | Mapping[str, Any]] | None = None,
    only: ConvCase | str | None = None,
    xfail: Mapping[str, str] | None = None,
    budget: float | None = None,
    done: frozenset[str] = frozenset(),
    avoid: frozenset[ConvCase] = frozenset(),
) -> Runner:
    """Return the runner of a check; the parameters are those of ``check_conv`` and of ``Plan``."""
    check_callables(forward, backward)
    check_choice("algorithm", algorithm, ALGORITHMS)
    check_choice("layout", layout, tuple(AXES))
    missing = missing_parameters(forward, backward)
    chosen = as_supports(supports) | dict.fromkeys(missing, False)
    declared = as_arithmetic(dtype, arithmetic)
    check_accumulator(algorithm, declared)
    as_expected(xfail)
    if only is not None and not isinstance(only, (ConvCase, str)):
        raise InvalidTypeError(f"only must be a ConvCase or its text, but is of type {type(only).__name__}")
    plan = Plan(
        layers=as_layers(cases_from),
        only=read_case(only) if isinstance(only, str) else only,
        xfail=xfail or {},
        budget=math.inf if budget is None else check_budget(budget),
        done=done,
        avoid=avoid,
    )
    return Runner(Subject(forward, backward, declared, algorithm, AXES[layout], chosen, missing), watch, plan)


def run(runner: Runner, cases: int, seed: int) -> Report:
    """Try the cases, explain the failures, and return the report."""
    declared = runner.subject.arithmetic
    if not is_dtype_supported(declared.dtype, runner.subject.supports["dtypes"]):
        return Report(declared, runner.subject.algorithm, seed, left_out=[f"dtype {declared.dtype}"])
    runner.run(cases, seed)
    explain_failures(runner)
    return runner.report


def check_budget(budget: float) -> float:
    """Return a budget in seconds; raise unless it is a number above 0."""
    check_number(budget, "budget")
    if budget <= 0:
        raise InvalidValueError(f"budget must be above 0 seconds, but is {budget}")
    return float(budget)


def check_callables(forward: Any, backward: Any) -> None:
    """Raise unless there is something to check, and it can be called."""
    for name, function in (("forward", forward), ("backward", backward)):
        if function is not None and not callable(function):
            raise InvalidTypeError(f"{name} must be callable, but is of type {type(function).__name__}")
        if function is not None:
            check_parameters(name, function, *SIGNATURES[name])
    if forward is None and backward is None:
        raise InvalidValueError("forward and backward are both None: there is nothing to check")


def check_choice(name: str, chosen: str, choices: tuple[str, ...]) -> None:
    """Raise unless an argument is one of its choices."""
    if chosen not in choices:
        raise InvalidValueError(f"{name} is {chosen!r}: expected one of {', '.join(choices)}")


def check_accumulator(algorithm: str, declared: Arithmetic) -> None:
    """Raise if the bound of a transform would let anything pass."""
    narrow = SIGNIFICAND_BITS[declared.accumulator] < SIGNIFICAND_BITS["float32"]
    if algorithm != "direct" and declared.dtype in REAL_FORMATS:
        raise InvalidValueError(f"{algorithm} has no bound for {declared.dtype}: choose float32 or float64")
    if algorithm != "direct" and narrow:
        raise InvalidValueError(f"{algorithm} has no useful bound in {declared.accumulator}: choose float32 or float64")


def is_dtype_supported(name: str, supported: Any) -> bool:
    """Whether a dtype is among the supported ones; None stands for all."""
    return supported is None or name in {operand_dtype(one).name for one in supported}
