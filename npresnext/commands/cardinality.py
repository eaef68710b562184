"""``npresnext cardinality``: blocks of equal cost, and the groups that a layer can have."""

from __future__ import annotations

import argparse
import re

from .. import conv2d_parameter_count
from .._support.figures import check_picture, save_figure
from .._support.tables import text_table
from ..errors import InvalidValueError

HELP = "design blocks of C paths that cost the same, and list the groups that a layer can have"

EXAMPLES = """examples:
  npresnext cardinality                              Table 2 of the ResNeXt paper, and the networks of depth 50
  npresnext cardinality 1 16 64 --depth 101          other cardinalities, and the networks of depth 101
  npresnext cardinality --depth 3 3 3 --cifar        networks with these blocks in each stage, for 32x32 images
  npresnext cardinality --network --by macs          keep the MACs of the whole network rather than of a block
  npresnext cardinality --plot cardinality.png       the same as a picture
  npresnext cardinality --layer 64 128               every G between 64 and 128 channels, and what it costs
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "cardinalities",
        nargs="*",
        type=int,
        metavar="C",
        help="numbers of paths (default: those of the paper, 1 2 4 8 32)",
    )
    parser.add_argument("--like", default="1x64d", metavar="CxDd", help="the block whose cost to keep (default: 1x64d)")
    parser.add_argument(
        "--by", choices=["parameters", "macs"], default="parameters", help="which cost to keep (default: parameters)"
    )
    parser.add_argument(
        "--depth",
        nargs="+",
        type=int,
        default=[50],
        metavar="N",
        help="depth of the networks (default: 50), or the blocks of each stage, such as 3 4 6 3",
    )
    parser.add_argument("--cifar", action="store_true", help="networks for 32x32 images, such as --depth 29")
    parser.add_argument("--network", action="store_true", help="keep the cost of the network, not of one block")
    parser.add_argument("--layer", nargs=2, type=int, metavar=("C_IN", "C_OUT"), help="list the valid G of this layer")
    parser.add_argument("--kernel", type=int, default=3, help="kernel size of --layer (default: 3)")
    parser.add_argument("--plot", metavar="FILE", help="draw the designs: .png, .pdf or .svg")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def run(args: argparse.Namespace) -> int:
    """Print the table, and draw it if asked to."""
    from ..paper.cardinality import PAPER_CARDINALITIES, equal_complexity
    from ..paper.skeleton import Skeleton

    if args.layer:
        if args.plot:
            raise InvalidValueError("--plot draws designs, and --layer lists the groups of a layer: choose one of them")
        print(_layer_table(args.layer[0], args.layer[1], args.kernel))
        return 0
    if args.plot:
        from ..paper.pictures import draw_designs

        check_picture(args.plot, overwrite=args.force)
    kind = "cifar" if args.cifar else "imagenet"
    skeleton = Skeleton.of(args.depth[0] if len(args.depth) == 1 else args.depth, kind=kind)
    reference = _parse(args.like)
    depth = skeleton.blocks if args.network else None
    cardinalities = args.cardinalities or PAPER_CARDINALITIES
    designs = equal_complexity(cardinalities, reference=reference, by=args.by, depth=depth, kind=kind)
    rows = []
    for design in designs:
        counts = skeleton.counts(design.cardinality, design.width)
        rows.append(
            [
                design.name,
                design.cardinality,
                design.width,
                design.group_width,
                design.parameters,
                design.macs,
                counts.parameters,
                counts.macs,
            ]
        )
    header = ["block", "C", "d", "C·d", "weights", "MACs at 56x56", f"depth {skeleton.depth}: parameters", "MACs"]
    print(text_table(header, rows))
    if args.plot:
        save_figure(draw_designs(designs), args.plot, overwrite=args.force)
    return 0


def _parse(text: str) -> tuple[int, int]:
    """Return (C, d) of a name such as 32x4d."""
    found = re.fullmatch(r"(\d+)x(\d+)d?", text)
    if not found:
        raise InvalidValueError(f"--like must be written as C x d, such as 32x4d, but is {text!r}")
    return int(found[1]), int(found[2])


def _layer_table(in_channels: int, out_channels: int, kernel: int) -> str:
    """Return what each valid G costs."""
    from ..paper.cardinality import valid_groups

    dense = conv2d_parameter_count(in_channels, out_channels, kernel)
    rows = []
    for groups in valid_groups(in_channels, out_channels):
        weights = conv2d_parameter_count(in_channels, out_channels, kernel, groups=groups)
        mapping = f"{in_channels // groups} -> {out_channels // groups}"
        rows.append([groups, mapping, weights // groups, weights, f"{1 - weights / dense:.3%}"])
    return text_table(["G", "a group maps", "weights of a group", "weights", "saved in this layer"], rows)
