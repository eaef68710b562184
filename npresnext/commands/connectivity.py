"""``npresnext connectivity``: which channels depend on which, with and without the 1x1 convolutions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .._support.figures import check_picture, save_figure
from .._support.plurals import counted
from .._support.tables import text_table
from ..errors import InvalidValueError
from ._network import network_from

if TYPE_CHECKING:
    from ..paper.channel_masks import Connectivity

HELP = "show who reaches whom: which channels each output channel depends on, through a chain of convolutions"

EXAMPLES = """examples:
  npresnext connectivity resnext50_32x4d                                          from the first grouped 3x3 on
  npresnext connectivity resnext50_32x4d --part layer1.0                          one block
  npresnext connectivity resnext29_8x64d --part layer1 --start 1.conv2 --plot reach.png     a picture of the masks
  npresnext connectivity resnext50_32x4d --part layer1.0.conv2 --plot one.png     a single layer
  npresnext connectivity net.onnx                                                 the network in a file

Channels are followed from the input of the network or part. Where the input has fewer channels than the first grouped
convolution has groups, as an image has, they are followed from that convolution.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("model", help="name of a network, or an .onnx file; a wrong name lists them all")
    parser.add_argument("--part", default="", metavar="NAME", help="look at this module alone, such as layer1.0")
    parser.add_argument("--start", metavar="LAYER", help="follow the channels that go into this layer of the part")
    parser.add_argument("--plot", metavar="FILE", help="draw the masks of a part: .png, .pdf or .svg")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def run(args: argparse.Namespace) -> int:
    """Print the table, and draw the masks if asked to."""
    from ..nn.init import Undrawn
    from ..paper.channel_masks import EXPLANATION, HEADER, connectivity, share_text

    parts = dict(network_from(args.model, rng=Undrawn()).named_modules())
    if args.part not in parts:
        stages = [name for name in parts if name and name.count(".") < 2]
        raise InvalidValueError(f"{args.model} has no module {args.part!r}: choose one such as {', '.join(stages)}")
    part = parts[args.part]
    start = args.start or _first_grouped(connectivity(part))
    if args.plot:
        from ..paper.pictures import draw_connectivity

        check_picture(args.plot, overwrite=args.force)
        figure = draw_connectivity(part, start=start, title=f"Who reaches whom in {args.model} {args.part}".strip())
    with_1x1, without = (connectivity(part, start=start, pointwise=pointwise) for pointwise in (True, False))
    rows = [
        [step.name, step.kind, step.order, *map(share_text, (step.own.mean(), step.reach.mean(), other.reach.mean()))]
        for step, other in zip(with_1x1.steps, without.steps)
    ]
    print(_start_text(with_1x1, is_chosen=start != args.start), end="\n\n")
    print(text_table([*HEADER, "Without the 1x1"], rows))
    print(*EXPLANATION, "Without the 1x1: the same share if the 1x1 convolutions are left out.", sep="\n", end="\n\n")
    for name, found in (("with the 1x1", with_1x1), ("without the 1x1", without)):
        behind = "none" if found.full_after is None else found.full_after
        print(f"layers until every channel reaches every other, {name}: {behind}")
    if args.plot:
        save_figure(figure, args.plot, overwrite=args.force)
    return 0


def _first_grouped(from_input: Connectivity) -> str | None:
    """Return the first grouped convolution if the input has fewer channels than it has groups: there groups show."""
    for step in from_input.steps:
        groups = getattr(step.layer, "groups", 1)
        if groups > 1:
            return step.path if from_input.matrix.shape[1] < groups else None
    return None


def _start_text(found: Connectivity, *, is_chosen: bool) -> str:
    """Say which channels are followed, and why if the command has chosen them."""
    starts = counted(found.matrix.shape[1], "channel")
    if found.start is None:
        return f"start: the {starts} of the input"
    chosen = ", the first grouped convolution (--start LAYER chooses another)" if is_chosen else ""
    goes = "goes" if found.matrix.shape[1] == 1 else "go"
    return f"start: the {starts} that {goes} into {found.start}{chosen}"
