"""``npresnext gradnorms``: train a little, and write down where the gradient goes, group by group."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from . import _recipe as recipe

if TYPE_CHECKING:
    from ..gradients.watcher import NormDump

HELP = "dump the gradient norm of every conv group while a network trains"

EXAMPLES = """\
examples:
  {prog} -o norms.csv
  {prog} -o norms.csv --plot norms.png           the heat maps as well
  {prog} -o norms.jsonl --steps 500 --every 10 --layers '*conv2'
  {prog} --model resnext50_32x4d --steps 5 --every 1 -o norms.npz
  {prog} -o - | head                             rows to standard output

Each row is one conv group of one convolution at one step: step and epoch (counted from 0), layer,
conv_group, groups, numel, l2, rms, max_abs, weight_l2, ratio = l2/weight_l2, l2_weight_l2 = l2*weight_l2.
Gradients are raw: before weight decay and momentum. Beside FILE, FILE.meta.json says how they came about.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    recipe.add_arguments(parser)
    rows = parser.add_argument_group("rows")
    rows.add_argument("--steps", type=recipe.count, default=200, metavar="N", help="steps to train (default: 200)")
    rows.add_argument("--every", type=recipe.count, default=2, metavar="N", help="dump every N steps (default: 2)")
    rows.add_argument(
        "--layers", nargs="+", metavar="PATTERN", help="only these convolutions, such as layer1.0.conv2 or '*conv2'"
    )
    rows.add_argument("--norm", choices=("1", "2", "inf"), help="add a column norm with this norm of the gradient")
    files = parser.add_argument_group("files")
    files.add_argument("-o", "--output", metavar="FILE", required=True, help=".csv, .jsonl or .npz; - streams the rows")
    files.add_argument("--format", choices=("csv", "jsonl", "npz"), help="instead of what the ending of FILE says")
    files.add_argument("--plot", metavar="FILE.png", help="draw heat maps of conv group by step (.png, .pdf or .svg)")
    files.add_argument("--force", action="store_true", help="overwrite existing files")


def run(args: argparse.Namespace) -> int:
    """Train, writing rows on the way; then the sidecar, the picture and a table."""
    from .._support.figures import check_picture
    from .._support.files import check_writable
    from ..gradients.files import format_of

    args.format = format_of(args.output, args.format)
    if args.output != "-":
        check_writable(args.output, overwrite=args.force)
        check_writable(sidecar_path(args.output), overwrite=args.force)
    if args.plot:
        check_picture(args.plot, overwrite=args.force)
    with recipe.backend(args):
        return _dump(args)


def sidecar_path(output: str) -> str:
    """Return where the account of a file of rows is kept."""
    return f"{output}.meta.json"


def _dump(args: argparse.Namespace) -> int:
    from ..gradients.files import open_rows
    from ..gradients.norms import conv_layers
    from ..gradients.watcher import NormDump, choose_layers, columns_of
    from ..training.loop import Watcher
    from ..training.progress import Progress

    train_set, _ = recipe.load_data(args)
    recipe.complete(args)
    args.epochs = -(-args.steps // (len(train_set) // args.batch_size or 1))
    log = sys.stderr if args.output == "-" else sys.stdout
    progress = Progress(args.epochs, log)
    watchers: list[Watcher] = []
    trainer = recipe.make_trainer(args, train_set, None, watchers)
    layers = choose_layers(list(conv_layers(trainer.model)), args.layers)
    account = _account(args, trainer, train_set)
    columns = columns_of(args.norm)
    file = open_rows(args.output, columns, format=args.format, overwrite=args.force)
    dump = NormDump(file, layers, every=args.every, norm=args.norm)
    watchers += [dump, progress]
    _write_account(args, {**account, "ended": "not yet, or killed"}, overwrite=args.force)
    ended = "interrupted"
    try:
        with file:
            trainer.run(args.steps)
        ended = "finished"
    except Exception as error:
        ended = f"failed: {error}"
        raise
    finally:
        progress.close()
        done = {"ended": ended, "steps_done": trainer.step, "rows": len(dump.rows)}
        _write_account(args, {**account, **done}, overwrite=True)
    _report(args, dump, log)
    return 0


def _account(args: argparse.Namespace, trainer: Any, train_set: Any) -> dict[str, Any]:
    """Return what the sidecar says of a run: everything needed to make the same numbers again."""
    import platform

    import numpy as np

    from .. import __version__, get_backend

    arguments = {name: getattr(args, name) for name in ("steps", "every", "layers", "norm")}
    return {
        "arguments": {**recipe.described(args), **arguments},
        "initialisation": args.init,
        "model": {"name": args.model, "parameters": sum(p.data.size for p in trainer.model.parameters())},
        "data": {"name": train_set.name, "images": len(train_set), "sha256": train_set.fingerprint()},
        "gradients": "of the mean loss of a batch, raw: before weight decay and momentum; sums in float64",
        "backend": get_backend(),
        "versions": {"npresnext": __version__, "numpy": np.__version__, "python": platform.python_version()},
    }


def _write_account(args: argparse.Namespace, account: dict[str, Any], *, overwrite: bool) -> None:
    """Write the sidecar, if the rows go to a file."""
    import json

    from .._support.files import atomic_path

    if args.output == "-":
        return
    with atomic_path(sidecar_path(args.output), overwrite=overwrite) as beside:
        beside.write_text(json.dumps(account, indent=2) + "\n", "utf-8")


def _report(args: argparse.Namespace, dump: NormDump, log: Any) -> None:
    """Print the table, and draw the picture."""
    from ..gradients.tables import summary_table

    print(summary_table(dump.rows), file=log)
    if args.output != "-":
        print(f"{len(dump.rows)} rows in {args.output}, their account in {sidecar_path(args.output)}", file=log)
    if args.plot:
        from .._support.figures import save_figure
        from ..gradients.pictures import draw_grad_norms

        title = f"{args.model} on {args.data}: gradient norm of each conv group, step by step"
        save_figure(draw_grad_norms(dump.rows, title=title), args.plot, overwrite=args.force)
        print(f"picture in {args.plot}", file=log)
