"""``npresnext check``: is this convolution right, and how do we know?"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

from ..errors import InvalidValueError, NpresnextError

HELP = "test a convolution, forward and backward, with proven error bounds"

DIRECTIONS = ("", "forward", "backward")
KEYS = (  # of `supports`; written out, so that --help need not load the kit
    "groups",
    "stride",
    "unequal_stride",
    "dilation",
    "unequal_dilation",
    "non_square_kernel",
    "padding",
    "asymmetric_padding",
    "negative_padding",
    "wide_padding",
    "unequal_padding",
    "empty_batch",
    "zero_channels",
    "bias",
    "layouts",
    "invalid_calls",
)

SIGNATURE = """\
A function in the convention npresnext takes and returns NumPy arrays:

  forward(x, weight, bias, *, stride, padding, dilation, groups) -> y
  backward(grad_output, x, weight, *, stride, padding, dilation, groups) -> dx, dw, db

x (N, C_in, H, W), weight (C_out, C_in/groups, kh, kw), bias (C_out,) or None; stride and dilation are pairs,
padding is ((top, bottom), (left, right)). An argument that the function has no parameter for is
left out: stride, padding, dilation or groups."""

EXAMPLES = """\
examples:
  npresnext check npresnext                              this package's own convolution
  npresnext check npresnext --engine im2col --dtype float64
  npresnext check onnxruntime                            ONNX Runtime's convolution
  npresnext check torch --without zero_channels          PyTorch's convolution on the CPU
  npresnext check torch --device cuda --arithmetic input=tf32 --without zero_channels
  npresnext check my_package.conv:forward --backward my_package.conv:backward
  npresnext check my_package.conv:conv2d --convention torch --without dilation negative_padding

exit codes: 0 all checks pass; 1 a check fails, or the target hangs or crashes; 2 the command line is wrong"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = f"{SIGNATURE}\n\n{EXAMPLES}"
    parser.add_argument("target", help="torch, onnxruntime, jax, npresnext, or package.module:function")
    parser.add_argument("--backward", metavar="MODULE:FUNCTION", help="its backward, in the convention npresnext")
    parser.add_argument(
        "--convention", default="npresnext", help="how the function is called: npresnext (default), torch or onnx"
    )
    parser.add_argument("--dtype", default="float32", help="float16, bfloat16, float32 (default) or float64")
    parser.add_argument(
        "--device", default="cpu", help="device of the tensors, for torch and the convention torch (default: cpu)"
    )
    parser.add_argument("--backend", default="numpy", help="of the target npresnext: numpy (default) or cupy")
    parser.add_argument("--engine", help="of the target npresnext: im2col, cpu, cuda (default: the fastest)")
    parser.add_argument(
        "--arithmetic", nargs="+", default=[], metavar="KEY=FORMAT", help="formats of input, accumulator, output"
    )
    parser.add_argument("--algorithm", default="direct", help="direct (default), winograd or fft")
    parser.add_argument("--layout", default="NCHW", help="NCHW (default) or NHWC")
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="KEY",
        help=f"features the target does not support, out of: {', '.join(KEYS)}",
    )
    parser.add_argument("--cases", type=int, default=200, help="cases to draw, besides the fixed ones (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other cases (default: 0)")
    parser.add_argument(
        "--time-limit", type=float, default=600, metavar="S", help="stop the whole check after S seconds (default: 600)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list every check and the coverage, too")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="format of the report")


def run(args: argparse.Namespace) -> int:
    """Check in a process of its own, and print the report."""
    pairs = [entry.partition("=") for entry in args.arithmetic]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidValueError(f"--arithmetic is {' '.join(args.arithmetic)}: expected KEY=FORMAT, as in input=tf32")
    if not 0 < args.time_limit <= 1e6:  # what the operating system can wait for at a time
        raise InvalidValueError(f"--time-limit must be above 0 and at most 1000000, but is {args.time_limit:g}")
    report = check_target(
        {
            "name": args.target,
            "backward": args.backward,
            "convention": args.convention,
            "device": args.device,
            "backend": args.backend,
            "engine": args.engine,
        },
        {
            "dtype": args.dtype,
            "cases": args.cases,
            "seed": args.seed,
            "supports": dict.fromkeys(args.without, False),
            "arithmetic": {key: value for key, _, value in pairs},
            "algorithm": args.algorithm,
            "layout": args.layout,
        },
        args.time_limit,
    )
    print(json.dumps(report.to_dict(), indent=2) if args.format == "json" else report.to_text(args.verbose))
    return 0 if report.passed else 1


def check_target(target: dict[str, Any], options: dict[str, Any], time_limit: float) -> Any:
    """Check what ``adapters.load(**target)`` returns in a spawned process, killed after `time_limit` seconds.

    `options` go to ``check_conv``. If the process hangs or dies, the report so far is returned with that finding: the
    case and the direction in which it happened. A target that cannot be imported, or an option that makes no sense, is
    a ValueError.
    """
    from ..testing import ConvCase, Finding, Report
    from ..testing.arithmetic import as_arithmetic

    declared = as_arithmetic(options["dtype"], options.get("arithmetic"))
    report = Report(declared, options.get("algorithm", "direct"), options["seed"])
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    direction = context.RawValue("b", 0)  # of the call in progress, an index into DIRECTIONS
    worker = context.Process(target=_work, args=(there, direction, target, options), daemon=True)
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
            where, (case, report) = f"during {content[0]}", content[1:]
        message = f"no end after {time_limit:g} seconds"
    except EOFError:
        worker.join()
        code = worker.exitcode or 0
        message = f"the process died {f'of {signal.Signals(-code).name}' if code < 0 else f'with exit code {code}'}"
    finally:
        worker.kill()
        worker.join()
        here.close()
    role = DIRECTIONS[direction.value]
    told = f"{message}, {where}" + (f"\nin the call of {role}" if role else "")
    report.cases += where.startswith("during case") or not report.cases
    report.add(Finding("returns at all", "contract", math.inf, told, case, first=report.cases, role=role))
    return report


def _noting(direction: Any, role: str, function: Any) -> Any:
    """Return a function that notes its direction in shared memory while it runs, or None for None."""
    if function is None:
        return None

    @functools.wraps(function)
    def call(*operands: Any, **window: Any) -> Any:
        direction.value = DIRECTIONS.index(role)
        try:
            return function(*operands, **window)
        finally:
            direction.value = 0

    return call


def _work(connection: Any, direction: Any, target: dict[str, Any], options: dict[str, Any]) -> None:
    """Check, and send the cases as they come and the report; what the target prints goes to standard error.

    One thread is the fastest for small cases, unless OMP_NUM_THREADS says otherwise.
    """
    from ..testing import check_conv
    from ..testing.adapters import load

    faulthandler.enable()  # a crash tells where in the target it happened
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches our parent too, which says so and ends us
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    try:
        found = load(**target)
        options["supports"] = {**found.supports, **options.get("supports", {})}

        def watch(where: str, case: Any, report: Any) -> None:
            checks = {
                key: replace(tally, first=tally.first and replace(tally.first, trials=()))  # which do not travel
                for key, tally in report.checks.items()
            }
            connection.send(("case", where, case, replace(report, checks=checks)))

        forward = _noting(direction, "forward", found.forward)
        backward = _noting(direction, "backward", found.backward)
        connection.send(("report", check_conv(forward, backward, **options, watch=watch)))
    except NpresnextError as error:
        connection.send(("mistake", str(error)))
