"""``npresnext check``: is this convolution right, and how do we know?"""

from __future__ import annotations

import argparse
import functools
import json
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from . import FAILED
from ._numbers import natural_int

if TYPE_CHECKING:
    from ..testing import Report

HELP = "test a convolution, forward and backward, with proven error bounds"

FORMATS = ("text", "json", "html", "github")
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

TARGETS = (  # frameworks that have an adapter; written out for the same reason
    "torch",
    "torch-compile",
    "jax",
    "tensorflow",
    "keras",
    "mlx",
    "tinygrad",
    "paddle",
    "mxnet",
    "chainer",
    "mygrad",
    "autograd",
    "scipy",
    "onnxruntime",
    "onnx-reference",
    "openvino",
    "opencv",
    "ncnn",
    "mnn",
    "tract",
    "tvm",
    "litert",
    "npresnext",
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
    parser.add_argument("target", help=f"package.module:function, or one of: {', '.join(TARGETS)}")
    parser.add_argument("--backward", metavar="MODULE:FUNCTION", help="its backward, in the convention npresnext")
    parser.add_argument(
        "--convention", default="npresnext", help="how the function is called: npresnext (default), torch or onnx"
    )
    parser.add_argument(
        "--dtype", default="float32", help="float16, bfloat16, float32 (default), float64, complex64 or complex128"
    )
    parser.add_argument(
        "--device", default="cpu", help="device of the tensors, for torch and the convention torch (default: cpu)"
    )
    parser.add_argument("--backend", default="numpy", help="of the target npresnext: numpy (default) or cupy")
    parser.add_argument("--engine", help="of the target npresnext: im2col, cpu, cuda (default: the fastest)")
    parser.add_argument(
        "--arithmetic", nargs="+", default=[], metavar="KEY=FORMAT", help="formats of input, accumulator, output"
    )
    parser.add_argument("--algorithm", help="direct (default), winograd or fft")
    parser.add_argument("--layout", help="of the arrays that a function takes: NCHW (default) or NHWC")
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="KEY",
        help="features the target does not support, or backward.KEY for one direction alone, "
        f"out of: {', '.join(KEYS)}",
    )
    parser.add_argument(
        "--only-with",
        nargs="+",
        default=[],
        metavar="KEY",
        help="try only cases that have these features, such as empty_batch, even if they are left out by default",
    )
    parser.add_argument(
        "--cases", type=natural_int, default=200, help="cases to draw, besides the fixed ones (default: 200)"
    )
    parser.add_argument("--seed", type=natural_int, default=0, help="another seed draws other cases (default: 0)")
    parser.add_argument("--case", metavar="CASE", help="try one case alone: the text after 'case:' in a report")
    parser.add_argument(
        "--budget", type=float, metavar="S", help="try no further cases after S seconds, and report on those tried"
    )
    parser.add_argument(
        "--baseline", metavar="FILE", help="JSON object of known failures and their reasons; they fail nothing"
    )
    parser.add_argument(
        "--time-limit", type=float, default=600, metavar="S", help="stop the whole check after S seconds (default: 600)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="list every check and the coverage, too")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="format of the report: text (default), json, html, or github (annotations)",
    )


def run(args: argparse.Namespace) -> int:
    """Check in a process of its own, and print the report."""
    from ..testing.adapters import load
    from ..testing.baseline import read_baseline
    from ..testing.isolation import check_in_process

    if args.layout and args.target in TARGETS:
        raise InvalidValueError(f"--layout is {args.layout!r}: the target {args.target} has a layout of its own")
    pairs = [entry.partition("=") for entry in args.arithmetic]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidValueError(f"--arithmetic is {' '.join(args.arithmetic)}: expected KEY=FORMAT, as in input=tf32")
    if not 0 < args.time_limit <= 1e6:  # what the operating system can wait for at a time
        raise InvalidValueError(f"--time-limit must be above 0 and at most 1000000, but is {args.time_limit:g}")
    target = {
        "name": args.target,
        "backward": args.backward,
        "convention": args.convention,
        "device": args.device,
        "backend": args.backend,
        "engine": args.engine,
    }
    report = check_in_process(
        functools.partial(load, **target),
        {
            "dtype": args.dtype,
            "cases": args.cases,
            "seed": args.seed,
            "supports": {**read_without(args.without), **read_only_with(args.only_with)},
            "arithmetic": {key: value for key, _, value in pairs},
            "algorithm": args.algorithm,
            "layout": args.layout,
            "only": args.case,
            "budget": args.budget,
            "xfail": read_baseline(args.baseline) if args.baseline else None,
        },
        args.time_limit,
    )
    print(write_report(report, args.format, args.verbose))
    return 0 if report.passed else FAILED


def read_without(keys: list[str]) -> dict[str, Any]:
    """Return what `supports` says for keys such as "groups", or "backward.groups" for one direction.

    >>> read_without(["stride", "backward.groups"])
    {'stride': False, 'backward': {'groups': False}}
    """
    supports: dict[str, Any] = {}
    for entry in keys:
        role, dot, key = entry.partition(".")
        if dot and role in ("forward", "backward"):
            supports.setdefault(role, {})[key] = False
        else:
            supports[entry] = False
    return supports


def read_only_with(keys: list[str]) -> dict[str, Any]:
    """Return what `supports` says if only cases with these features are to be tried.

    >>> read_only_with(["empty_batch"])["empty_batch"]
    True
    """
    from ..testing.supports import WITHOUT, has_all, has_feature

    if unknown := sorted(set(keys) - set(WITHOUT)):
        raise InvalidValueError(f"--only-with is {', '.join(unknown)}: expected out of {', '.join(WITHOUT)}")
    if not keys:
        return {}
    conditions = [functools.partial(has_feature, key) for key in keys]
    return {**dict.fromkeys(keys, True), "only": functools.partial(has_all, conditions)}


def write_report(report: Report, form: str, verbose: bool) -> str:
    """Return a report in one of the formats."""
    if form == "json":
        return json.dumps(report.to_dict(), indent=2)
    if form == "html":
        from ..testing.report_as_html import write_html

        return write_html(report)
    text = report.to_text(verbose)
    if form == "github":
        from ..testing.report_as_annotations import write_annotations

        return "\n".join([*write_annotations(report), text])
    return text
