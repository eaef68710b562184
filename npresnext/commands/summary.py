"""``npresnext summary``: a network's shapes, parameters and multiply-adds, layer by layer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidValueError
from ._network import is_onnx, network_from

HELP = "show a network layer by layer: shapes, groups, parameters, MACs, and what its groups save"

SIDES = {"resnext_small": 8}  # the bundled digits; other networks without a pool in the stem are for CIFAR's 32x32

EXAMPLES = """examples:
  npresnext summary resnext50_32x4d                            for one image of 3x224x224
  npresnext summary resnext_small --input-size 64 1 28 28      for a batch of 64 images of 28x28
  npresnext summary resnet50 --depth 1 --columns input_size output_size num_params activation_bytes
  npresnext summary resnext101_64x4d --json                    everything, for other programs
  npresnext summary net.onnx                                   the network in a file
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("model", help="name of a network, or an .onnx file; a wrong name lists them all")
    parser.add_argument(
        "--input-size",
        nargs=4,
        type=int,
        metavar=("N", "C", "H", "W"),
        help="shape of the input (default: one image, 224x224; 32x32 for networks without a pool in the stem; 8x8, a "
        "digit, for resnext_small)",
    )
    parser.add_argument("--depth", type=int, default=3, help="how deep to go into the modules (default: 3)")
    parser.add_argument("--columns", nargs="+", metavar="NAME", help="which columns to show; a wrong one lists them")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the summary."""
    from ..counting.network import summary
    from ..counting.rows import DEFAULT_COLUMNS
    from ..nn.init import Undrawn

    model = network_from(args.model, rng=Undrawn())
    default = _size_of_file if is_onnx(args.model) else _size_of_network
    size = args.input_size or default(args.model, model)
    found = summary(model, size, col_names=args.columns or DEFAULT_COLUMNS, depth=args.depth)
    print(found.to_json() if args.json else found)
    return 0


def _size_of_network(name: str, model: Any) -> Sequence[int]:
    """Return the shape of one image of the size that a network is usually used for."""
    side = SIDES.get(name, 32 if model.maxpool is None else 224)
    return 1, model.conv1.in_channels, side, side


def _size_of_file(name: str, model: Any) -> Sequence[int]:
    """Return the shape of one image of the size that an ONNX file states."""
    shape: Sequence[int] | None = model.example_shape()
    if shape is None:
        raise InvalidValueError(f"{name} leaves the size of its images open: pass --input-size")
    return shape
