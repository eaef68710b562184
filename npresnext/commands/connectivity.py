"""``npresnext connectivity``: which channels depend on which, with and without the 1x1 convolutions."""

from __future__ import annotations

import argparse

HELP = "show who reaches whom: which channels each output channel depends on, through a chain of convolutions"

EXAMPLES = """examples:
  npresnext connectivity resnext50_32x4d --part layer1.0                          one block
  npresnext connectivity resnext50_32x4d --start layer1.0.conv2                   from the first grouped 3x3 on
  npresnext connectivity resnext50_32x4d --part layer1.0 --plot reach.png         a picture of the masks
  npresnext connectivity net.onnx                                                 the network in a file
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
    from .._support.tables import text_table
    from ..errors import InvalidValueError
    from ..nn.init import Undrawn
    from ..paper.channel_masks import connectivity
    from ._network import network_from

    parts = dict(network_from(args.model, rng=Undrawn()).named_modules())
    if args.part not in parts:
        stages = [name for name in parts if name and name.count(".") < 2]
        raise InvalidValueError(f"{args.model} has no module {args.part!r}: choose one such as {', '.join(stages)}")
    part = parts[args.part]
    if args.plot:
        from .._support.figures import check_picture, save_figure
        from ..paper.pictures import draw_connectivity

        check_picture(args.plot, overwrite=args.force)
        figure = draw_connectivity(part, start=args.start, title=f"{args.model} {args.part}".strip())
    with_1x1, without = (connectivity(part, start=args.start, pointwise=pointwise) for pointwise in (True, False))
    rows = [
        [one.order, one.path, one.kind, f"{one.own.mean():.3%}", f"{one.reach.mean():.3%}", f"{other.reach.mean():.3%}"]
        for one, other in zip(with_1x1.steps, without.steps)
    ]
    print(text_table(["after", "layer", "kind", "its own mask", "reached with 1x1", "without 1x1"], rows))
    for name, found in (("with the 1x1", with_1x1), ("without the 1x1", without)):
        behind = "none" if found.full_after is None else found.full_after
        print(f"layers until every channel reaches every other, {name}: {behind}")
    if args.plot:
        save_figure(figure, args.plot, overwrite=args.force)
    return 0
