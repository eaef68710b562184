"""check_conv and assert_conv: is this convolution right, and how do we know?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from .._support.arguments import as_int
from .adapters.target import Target
from .cases import ConvCase
from .isolation import check_in_process, check_that_it_travels
from .preparation import make_runner, run
from .report import Report
from .runner import ignore


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
    cases_from: Iterable[ConvCase | Mapping[str, Any]] | None = None,
    only: ConvCase | str | None = None,
    xfail: Mapping[str, str] | None = None,
    budget: float | None = None,
    isolate: bool = False,
    time_limit: float = 600,
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
        float16, bfloat16, float32, float64, complex64 or complex128: of all operands and results. Complex ones are
        tried on integers alone, and gradients are taken as PyTorch takes them.
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
        Called before each case, with the findings so far: ``watch("case 1", case, report)``. It is also called before
        each step of the search for the smallest cases.
    cases_from : iterable, optional
        Layers of your own to try first: cases, or mappings such as ``{"name": "stem", "x": (1, 3, 32, 32), "weight":
        (8, 3, 7, 7), "stride": 2, "padding": 3}``. The time for one grows with its multiply-adds.
    only : ConvCase or str, optional
        The only case to try: the text after ``case:`` in a report.
    xfail : mapping of str to str, optional
        Known failures and their reasons: keys of `supports`, or checks such as "dw (bounded)". They do not count as
        failures; the report states whether they still occur.
    budget : float, optional
        Stop trying cases after this many seconds. Fixed cases that show new kinds are then tried first. The search for
        the smallest cases may take half as many seconds more.
    isolate : bool
        Run in a spawned process: if a call ends the process or hangs, that is a failure in the report, and the
        remaining cases are still tried. The functions must be importable from their modules. The process imports the
        running script again: in a script, put the call behind ``if __name__ == "__main__":``.
    time_limit : float
        With `isolate`, end the process after this many seconds.

    Returns
    -------
    Report
        ``passed``, ``failures``, ``causes``, ``coverage``; print it. It contains what the callables raise. If a call
        hangs, so does check_conv, unless `isolate` is True.

    Raises
    ------
    ValueError, TypeError
        For arguments of this function that make no sense.

    Examples
    --------
    >>> import npresnext as nx
    >>> check_conv(nx.conv2d, nx.conv2d_backward, cases=20).passed
    True
    """
    cases, seed = as_int(cases, "cases", 0), as_int(seed, "seed", 0)
    options: dict[str, Any] = {
        "dtype": dtype,
        "supports": supports,
        "arithmetic": arithmetic,
        "algorithm": algorithm,
        "layout": layout,
        "cases_from": cases_from,
        "only": only,
        "xfail": xfail,
        "budget": budget,
    }
    cases, seed = as_int(cases, "cases", 0), as_int(seed, "seed")
    runner = make_runner(forward, backward, **options, watch=watch)
    if not isolate:
        return run(runner, cases, seed)
    options["cases_from"] = list(runner.plan.layers.values())
    load = partial(Target, forward, backward, {})
    check_that_it_travels(load, options)
    return check_in_process(load, options | {"cases": cases, "seed": seed}, time_limit)


def assert_conv(forward: Callable[..., Any] | None, backward: Callable[..., Any] | None = None, **options: Any) -> None:
    """Raise an AssertionError unless every check of :func:`check_conv` passes; its first line is the first finding.

    >>> import npresnext as nx
    >>> assert_conv(nx.conv2d, cases=5)
    """
    __tracebackhide__ = True  # pytest shows the line that called, not this one
    report = check_conv(forward, backward, **options)
    if not report.passed:
        raise AssertionError(f"{report.first_line}\n\n{report}")
