"""``npresnext gradnorms report``: one page of HTML on one or several files of rows."""

from __future__ import annotations

import argparse

from .._support.extras import load_extra
from .._support.files import atomic_path, check_writable
from .._support.plurals import counted
from .._support.units import size_text
from ._gradnorms_arguments import add_format, add_layers

HELP = "write one page of HTML on files of rows: verdicts, pictures, tables, and where the gradients come from"

EXAMPLES = """\
examples:
  {prog} norms.parquet -o report.html
  {prog} seed0.csv seed1.csv seed2.csv -o report.html        side by side, on one scale of colours
  {prog} norms.csv -o report.html --value ratio --layers '*conv2'

The page makes no request, so it can be sent by mail or kept beside the rows. It follows the light or dark setting of
the system.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=run)
    parser.add_argument("rows", metavar="FILE", nargs="+", help=".csv, .jsonl, .npz or .parquet files, one per run")
    parser.add_argument("-o", "--output", metavar="PAGE.html", required=True, help="a new file")
    parser.add_argument("--value", default="l2", metavar="COLUMN", help="the column to show (default: %(default)s)")
    add_layers(parser)
    parser.add_argument("--title", default="Gradient norms", help="(default: %(default)s)")
    add_format(parser, "each FILE")
    parser.add_argument("--force", action="store_true", help="overwrite an existing page")


def run(args: argparse.Namespace) -> int:
    """Read runs, and write the page."""
    from ..gradients.report import read_run, write_report

    check_writable(args.output, overwrite=args.force)
    load_extra("matplotlib", "plot", "a report")
    runs = [read_run(path, format=args.format, layers=args.layers) for path in args.rows]
    page = write_report(runs, value=args.value, title=args.title).encode(errors="backslashreplace")
    with atomic_path(args.output, overwrite=args.force) as temporary:
        temporary.write_bytes(page)
    print(f"report on {counted(len(runs), 'run')} in {args.output} ({size_text(len(page))})")
    return 0
