"""check_conv, assert_conv, and the same in a process of its own: is this convolution right, and how do we know?"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, NpresnextError
from ..geometry import as_int
from .arithmetic import as_arithmetic, as_dtype
from .cases import ConvCase
from .draws import as_supports
from .explanation import explain
from .report import Finding, Report
from .runner import Runner, Watch
from .subject import Subject
from .targets import load

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
    watch: Watch = lambda where, case: None,
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
        Hears of each case before it is tried: ``watch("case 1", case)``.

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
    if offers["dtypes"] is not None and declared.dtype not in {as_dtype(name).name for name in offers["dtypes"]}:
        return Report(declared, algorithm, seed, [f"dtype {declared.dtype}"])
    runner = Runner(Subject(forward, backward, declared, algorithm, layout, offers))
    runner.run(draws, seed, watch)
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


def check_target(target: dict[str, Any], options: dict[str, Any], time_limit: float) -> Report:
    """Check what ``targets.load(**target)`` returns in a spawned process, killed after `time_limit` seconds.

    `options` go to :func:`check_conv`. A process that hangs or dies gives a report with that finding, and the case
    during which it happened. A target that cannot be imported, or an option that makes no sense, is a ValueError.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(there, target, options), daemon=True)
    worker.start()
    there.close()
    deadline, where, case = time.monotonic() + time_limit, "before the first case", ConvCase()
    try:
        while here.poll(max(0.0, deadline - time.monotonic())):
            kind, *content = here.recv()
            if kind == "mistake":
                raise InvalidValueError(*content)
            if kind == "report":
                return content[0]
            where, case = f"during {content[0]}", content[1]
        message = f"no end after {time_limit:g} seconds"
    except EOFError:
        worker.join()
        message = f"the process died with exit code {worker.exitcode}"
    finally:
        worker.kill()
        worker.join()
        here.close()
    declared = as_arithmetic(options["dtype"], options.get("arithmetic"))
    report = Report(declared, options.get("algorithm", "direct"), options["seed"], cases=1)
    report.add(Finding("returns", "contract", math.inf, f"{message}, {where}", case, first=1))
    return report


def _work(connection: Any, target: dict[str, Any], options: dict[str, Any]) -> None:
    """Check, and send the cases as they come and the report; what the target prints goes to standard error.

    One thread is the fastest for small cases, unless OMP_NUM_THREADS says otherwise.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    try:
        found = load(**target)
        options["supports"] = {**found.supports, **options.get("supports", {})}
        watch = lambda *what: connection.send(("case", *what))  # noqa: E731
        connection.send(("report", check_conv(found.forward, found.backward, **options, watch=watch)))
    except NpresnextError as error:
        connection.send(("mistake", str(error)))
