"""``npresnext gradnorms test``: do the groups in files of rows differ by more than chance?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .._support.files import check_writable
from .._support.plurals import counted
from ..errors import ConfigurationError, InvalidValueError
from ._gradnorms_arguments import add_format, add_layers
from ._numbers import positive_int

if TYPE_CHECKING:
    from ..gradients.norms import Row

HELP = "test whether conv groups have equal gradient norms, in one run or over runs with different seeds"

EXAMPLES = """\
examples:
  {prog} norms.csv                         do groups differ throughout this run?
  {prog} seed0.csv seed1.csv seed2.csv     is the same group large with each seed?
  {prog} norms.csv --value l2_weight_l2 --from-step 50 --layers '*conv2'
  {prog} norms.csv -o groups.csv           the numbers as rows

Each FILE holds the rows of one run, as npresnext gradnorms writes them. Several files are runs that differ only in
their seed. The verdict on a layer is "nothing to see", unless its groups differ by more than chance: p (Holm), which is
corrected for the number of layers, is at most ALPHA.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=run)
    parser.add_argument(
        "rows", metavar="FILE", nargs="+", help=".csv, .jsonl, .npz or .parquet files of rows, one per run"
    )
    parser.add_argument("--value", default="l2", metavar="COLUMN", help="the column to compare (default: %(default)s)")
    add_layers(parser)
    parser.add_argument("--from-step", type=int, metavar="N", help="leave out the steps before N")
    parser.add_argument("--alpha", type=float, default=0.05, help="the probability of a wrong verdict (default: 0.05)")
    parser.add_argument(
        "--permutations", type=positive_int, default=9999, metavar="N", help="for each layer (default: 9999)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the permutations (default: 0)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write a row for each conv group to a file as well")
    add_format(parser, "each FILE")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> int:
    """Test the groups in files of rows."""
    from ..gradients import COMPARISON_COLUMNS, compare_groups, compare_seeds, open_rows
    from ..gradients.files import format_of

    if args.seed < 0:
        raise ConfigurationError("seed", args.seed, "at least 0")
    if args.output:
        format_of(args.output)
    if args.output and args.output != "-":
        check_writable(args.output, overwrite=args.force)
    runs = [_chosen_rows(path, args) for path in args.rows]
    options = {"value": args.value, "alpha": args.alpha, "n_resamples": args.permutations, "rng": args.seed}
    comparison = compare_groups(runs[0], **options) if len(runs) == 1 else compare_seeds(runs, **options)
    messages = sys.stderr if args.output == "-" else sys.stdout
    print(comparison, file=messages)
    print(f"\n{comparison.meaning}", file=messages)
    if args.output:
        rows = comparison.rows()
        with open_rows(args.output, COMPARISON_COLUMNS, overwrite=args.force) as file:
            file.write(rows)
        if args.output != "-":
            print(f"{counted(len(rows), 'row')} in {args.output}")
    return 0


def _chosen_rows(path: str, args: argparse.Namespace) -> list[Row]:
    """Read a file, and keep the rows of the chosen layers and steps."""
    from ..gradients import read_rows
    from ..gradients.layer_patterns import rows_of_layers

    rows = rows_of_layers(read_rows(path, format=args.format), args.layers)
    if args.from_step is None:
        return rows
    if any(row.get("step") is None for row in rows):
        raise InvalidValueError(f"{path} has rows without a step: --from-step needs the column step")
    rows = [row for row in rows if row["step"] >= args.from_step]
    if not rows:
        raise InvalidValueError(f"{path} has no step from {args.from_step} on")
    return rows
