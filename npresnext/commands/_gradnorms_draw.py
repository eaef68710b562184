"""``npresnext gradnorms draw``: heat maps of a file of rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._support.figures import check_picture, save_figure
from .._support.plurals import counted
from ._gradnorms_arguments import add_format, add_layers

HELP = "draw heat maps of conv group by step from a file of rows, without training"

EXAMPLES = """\
examples:
  {prog} norms.csv -o norms.png
  {prog} norms.csv -o groups.png --relative      compare the conv groups of each layer
  {prog} norms.jsonl -o ratio.pdf --value ratio --layers '*conv2'

FILE is written by npresnext gradnorms, by npresnext.gradients.open_rows, or by a program of your own. It has the
columns layer, conv_group, groups, a column to draw such as l2, and usually step.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=run)
    parser.add_argument("rows", metavar="FILE", help="a .csv, .jsonl, .npz or .parquet file of rows")
    parser.add_argument("-o", "--output", metavar="PICTURE", required=True, help="a .png, .pdf or .svg file")
    parser.add_argument("--value", default="l2", metavar="COLUMN", help="the column to draw (default: %(default)s)")
    parser.add_argument(
        "--relative", action="store_true", help="divide each value by the mean of its layer at that step"
    )
    add_layers(parser)
    add_format(parser)
    parser.add_argument("--force", action="store_true", help="overwrite an existing picture")


def run(args: argparse.Namespace) -> int:
    """Draw a file of rows."""
    from ..gradients import draw_grad_norms, read_rows
    from ..gradients.layer_patterns import rows_of_layers

    check_picture(args.output, overwrite=args.force)
    rows = rows_of_layers(read_rows(args.rows, format=args.format), args.layers)
    name = Path(args.rows).name.encode(errors="backslashreplace").decode()  # a name need not be UTF-8, a title must
    title = f"{name}: {args.value} of each conv group"
    save_figure(
        draw_grad_norms(rows, value=args.value, relative=args.relative, title=title),
        args.output,
        overwrite=args.force,
    )
    print(f"picture of {counted(len(rows), 'row')} in {args.output}")
    return 0
