"""``npresnext gradnorms convert``: a file of rows in another format, in wide form, or for TensorBoard."""

from __future__ import annotations

import argparse
import sys

from .._support.extras import load_extra
from .._support.files import check_writable
from .._support.plurals import counted
from ..errors import InvalidValueError
from ._gradnorms_arguments import FORMATS

HELP = "write a file of rows in another format, in wide form, or for TensorBoard"

EXAMPLES = """\
examples:
  {prog} norms.csv -o norms.parquet
  {prog} norms.parquet -o wide.csv --wide            one row per step
  {prog} norms.parquet -o wide.csv --wide l2 ratio
  {prog} norms.parquet --tensorboard runs/norms      then: tensorboard --logdir runs

The wide form has a column step and columns such as layer1.0.conv2/3/l2, for conv group 3 of layer1.0.conv2.
TensorBoard gets five numbers per layer and step, and one picture.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=run)
    parser.add_argument("rows", metavar="FILE", help="a .csv, .jsonl, .npz or .parquet file of rows")
    parser.add_argument("-o", "--output", metavar="FILE", help="a new .csv, .jsonl, .npz or .parquet file, or -")
    parser.add_argument(
        "--wide", nargs="*", metavar="COLUMN", help="the wide form, of these columns of norms (default: l2)"
    )
    parser.add_argument("--tensorboard", metavar="DIR", help="a folder for event files of TensorBoard")
    parser.add_argument("--format", choices=FORMATS, help="of FILE, the input (default: by its extension)")
    parser.add_argument("--output-format", choices=FORMATS, help="of the output (default: by its extension)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> int:
    """Read rows, and write them."""
    from ..gradients import open_rows, read_rows, wide_rows
    from ..gradients.files import format_of

    if args.output is None and args.tensorboard is None:
        raise InvalidValueError("pass -o FILE, or --tensorboard DIR, or both")
    if args.wide is not None and args.output is None:
        raise InvalidValueError("--wide is about the output: pass -o FILE as well")
    if args.tensorboard is not None:
        for module in ("tensorboardX", "matplotlib"):
            load_extra(module, "tensorboard", "--tensorboard")
    if args.output is not None:
        format_of(args.output, args.output_format)
        if args.output != "-":
            check_writable(args.output, overwrite=args.force)
    rows = read_rows(args.rows, format=args.format)
    messages = sys.stderr if args.output == "-" else sys.stdout
    if args.output is not None:
        written = rows if args.wide is None else wide_rows(rows, args.wide or ["l2"])
        columns = list(dict.fromkeys(name for row in written for name in row))
        with open_rows(args.output, columns, format=args.output_format, overwrite=args.force) as file:
            file.write(written)
        if args.output != "-":
            print(
                f"{counted(len(written), 'row')} of {counted(len(columns), 'column')} in {args.output}", file=messages
            )
    if args.tensorboard is not None:
        from ..gradients.trackers import TensorBoardTracker, log_rows

        tracker = TensorBoardTracker(args.tensorboard)
        log_rows(tracker, rows)
        tracker.close()
        print(f"event files in {args.tensorboard}", file=messages)
    return 0
