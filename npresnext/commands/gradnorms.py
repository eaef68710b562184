"""``npresnext gradnorms``: train, and write the gradient norm of every conv group to a file; draw or test a file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .. import get_backend
from .._support.figures import check_picture, save_figure
from .._support.files import check_writable
from .._support.integers import ceil_div
from .._support.plurals import counted
from ..errors import ConfigurationError, InvalidValueError
from . import _gradnorms_convert, _gradnorms_report
from ._network import is_onnx, network_from
from ._numbers import positive_int
from ._training_arguments import add_arguments, chosen_backend, configuration_from

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..gradients.norms import Row
    from ..training import Trainer, TrainingConfiguration

HELP = "write the gradient norm of every conv group to a file while a network trains"

EXAMPLES = """\
examples:
  {prog} -o norms.csv
  {prog} -o norms.csv --plot norms.png           the heat maps as well
  {prog} -o norms.jsonl --steps 500 --every 10 --layers '*conv2'
  {prog} --model resnext50_32x4d --steps 5 --every 1 -o norms.npz
  {prog} --model net.onnx -o norms.csv           go on with the network in a file
  {prog} -o - | head                             rows to standard output
  {prog} draw norms.csv -o norms.png             draw a file of rows: see {prog} draw --help
  {prog} test norms.csv                          is a group special, or is it chance? see {prog} test --help
  {prog} convert norms.csv -o norms.parquet      write it in another form: see {prog} convert --help
  {prog} report norms.csv -o report.html         one page on it: see {prog} report --help

A conv group is one of the G groups of a convolution. Each row is one conv group of one convolution at one step,
with these columns: step and epoch (counted from 0), layer, conv_group, groups, numel, l2, rms, max_abs, weight_l2,
ratio = l2/weight_l2, l2_weight_l2 = l2*weight_l2, and seven that say where the gradient comes from. The gradients are
those of the mean loss of the batch, before weight decay and momentum. A second file, FILE.meta.json, records how the
rows were produced.
"""


DRAW_HELP = "draw heat maps of conv group by step from a file of rows, without training"

DRAW_EXAMPLES = """\
examples:
  {prog} norms.csv -o norms.png
  {prog} norms.csv -o groups.png --relative      compare the conv groups of each layer
  {prog} norms.jsonl -o ratio.pdf --value ratio --layers '*conv2'

FILE is written by npresnext gradnorms, by npresnext.gradients.open_rows, or by a program of your own. It has the
columns layer, conv_group, groups, a column to draw such as l2, and usually step.
"""


TEST_HELP = "test whether conv groups have equal gradient norms, in one run or over runs with different seeds"

TEST_EXAMPLES = """\
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
    actions = parser.add_subparsers(help=argparse.SUPPRESS, metavar="ACTION", prog=parser.prog)
    _configure_draw(actions.add_parser("draw", description=DRAW_HELP))
    _configure_test(actions.add_parser("test", description=TEST_HELP))
    _gradnorms_convert.configure(actions.add_parser("convert", description=_gradnorms_convert.HELP))
    _gradnorms_report.configure(actions.add_parser("report", description=_gradnorms_report.HELP))
    parser.usage = (
        f"{parser.prog} -o FILE [options]\n       {parser.prog} draw FILE -o PICTURE [options]\n"
        f"       {parser.prog} test FILE [FILE ...] [options]\n"
        f"       {parser.prog} convert FILE -o FILE [options]\n"
        f"       {parser.prog} report FILE [FILE ...] -o PAGE.html [options]"
    )
    add_arguments(parser, epochs=False, files=True)
    rows = parser.add_argument_group("rows")
    rows.add_argument("--steps", type=positive_int, default=200, metavar="N", help="steps to train (default: 200)")
    rows.add_argument("--every", type=positive_int, default=2, metavar="N", help="write every N-th step (default: 2)")
    rows.add_argument(
        "--layers", nargs="+", metavar="PATTERN", help="only these convolutions, such as layer1.0.conv2 or '*conv2'"
    )
    rows.add_argument("--norm", choices=("1", "2", "inf"), help="add a column norm with this norm of the gradient")
    files = parser.add_argument_group("files")
    files.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="a .csv, .jsonl, .npz or .parquet file, or - for standard output (required)",
    )
    files.add_argument(
        "--format", choices=("csv", "jsonl", "npz", "parquet"), help="(default: by the extension of FILE)"
    )
    files.add_argument("--plot", metavar="FILE.png", help="draw heat maps of conv group by step (.png, .pdf or .svg)")
    files.add_argument("--relative", action="store_true", help="in the picture, compare the conv groups of each layer")
    files.add_argument("--force", action="store_true", help="overwrite existing files")


def _configure_draw(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gradnorms draw``."""
    parser.epilog = DRAW_EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=draw)
    parser.add_argument("rows", metavar="FILE", help="a .csv, .jsonl, .npz or .parquet file of rows")
    parser.add_argument("-o", "--output", metavar="PICTURE", required=True, help="a .png, .pdf or .svg file")
    parser.add_argument("--value", default="l2", metavar="COLUMN", help="the column to draw (default: %(default)s)")
    parser.add_argument(
        "--relative", action="store_true", help="divide each value by the mean of its layer at that step"
    )
    parser.add_argument("--layers", nargs="+", metavar="PATTERN", help="only these layers, such as '*conv2'")
    parser.add_argument(
        "--format", choices=("csv", "jsonl", "npz", "parquet"), help="(default: by the extension of FILE)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing picture")


def _configure_test(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gradnorms test``."""
    parser.epilog = TEST_EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(run=test)
    parser.add_argument(
        "rows", metavar="FILE", nargs="+", help=".csv, .jsonl, .npz or .parquet files of rows, one per run"
    )
    parser.add_argument("--value", default="l2", metavar="COLUMN", help="the column to compare (default: %(default)s)")
    parser.add_argument("--layers", nargs="+", metavar="PATTERN", help="only these layers, such as '*conv2'")
    parser.add_argument("--from-step", type=int, metavar="N", help="leave out the steps before N")
    parser.add_argument("--alpha", type=float, default=0.05, help="the probability of a wrong verdict (default: 0.05)")
    parser.add_argument(
        "--permutations", type=positive_int, default=9999, metavar="N", help="for each layer (default: 9999)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the permutations (default: 0)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write a row for each conv group to a file as well")
    parser.add_argument(
        "--format", choices=("csv", "jsonl", "npz", "parquet"), help="(default: by the extension of each FILE)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def test(args: argparse.Namespace) -> int:
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
    from ..gradients.watcher import choose_layers

    rows = read_rows(path, format=args.format)
    layers = set(choose_layers(list(dict.fromkeys(row["layer"] for row in rows)), args.layers))
    chosen = [row for row in rows if row["layer"] in layers]
    if args.from_step is None:
        return chosen
    if any(row.get("step") is None for row in chosen):
        raise InvalidValueError(f"{path} has rows without a step: --from-step needs the column step")
    chosen = [row for row in chosen if row["step"] >= args.from_step]
    if not chosen:
        raise InvalidValueError(f"{path} has no step from {args.from_step} on")
    return chosen


def draw(args: argparse.Namespace) -> int:
    """Draw a file of rows."""
    from ..gradients import draw_grad_norms, read_rows
    from ..gradients.watcher import choose_layers

    check_picture(args.output, overwrite=args.force)
    rows = read_rows(args.rows, format=args.format)
    layers = set(choose_layers(list(dict.fromkeys(row["layer"] for row in rows)), args.layers))
    chosen = [row for row in rows if row["layer"] in layers]
    name = Path(args.rows).name.encode(errors="backslashreplace").decode()  # a name need not be UTF-8, a title must
    title = f"{name}: {args.value} of each conv group"
    save_figure(
        draw_grad_norms(chosen, value=args.value, relative=args.relative, title=title),
        args.output,
        overwrite=args.force,
    )
    print(f"picture of {counted(len(chosen), 'row')} in {args.output}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Train and write rows; at the end, write the second file and the picture, and print a table."""
    from ..gradients.recording import check_recording

    if args.output is None:
        raise InvalidValueError("the following arguments are required: -o/--output (see npresnext gradnorms --help)")
    if args.relative and not args.plot:
        raise InvalidValueError("--relative is about the picture: pass --plot FILE.png as well")
    configuration = configuration_from(args)
    check_recording(args.output, format=args.format, overwrite=args.force)
    if args.plot:
        check_picture(args.plot, overwrite=args.force)
    with chosen_backend(args):
        return _write_norms(args, configuration)


def _write_norms(args: argparse.Namespace, configuration: TrainingConfiguration) -> int:
    from ..gradients import GradNormWriter, conv_layers
    from ..gradients.recording import Recording
    from ..gradients.watcher import choose_layers, columns_with
    from ..training import Progress

    train_set, _ = configuration.load_data(args.data_dir)
    epochs = ceil_div(args.steps, configuration.steps_per_epoch(train_set))
    configuration = dataclasses.replace(configuration, epochs=epochs)
    network = network_from(configuration.model) if is_onnx(configuration.model) else None
    trainer = configuration.build(train_set, model=network)
    layers = choose_layers(list(conv_layers(trainer.model)), args.layers)
    record = _record(args, configuration, trainer, train_set)
    messages = sys.stderr if args.output == "-" else sys.stdout
    progress = Progress(epochs, messages)
    recording = Recording(args.output, columns_with(args.norm), record, format=args.format, overwrite=args.force)
    writer = GradNormWriter(recording, layers, every=args.every, norm=args.norm)
    trainer.watchers = [writer, progress]
    ended = "interrupted"
    try:
        trainer.run(args.steps)
        ended = "finished"
    except Exception as error:
        ended = f"failed: {error}"
        raise
    finally:
        progress.close()
        try:
            recording.close(ended, steps_done=trainer.step)
        finally:
            if writer.rows and ended != "interrupted":  # of a run that diverged, too
                _report(args, configuration, writer.rows, messages)
    return 0


def _record(
    args: argparse.Namespace, configuration: TrainingConfiguration, trainer: Trainer, train_set: ImageSet
) -> dict[str, Any]:
    """Return everything that is needed to produce the same rows again."""
    arguments = {name: getattr(args, name) for name in ("steps", "every", "layers", "norm")}
    parameters = sum(parameter.data.size for parameter in trainer.model.parameters())
    return {
        "arguments": {**configuration.to_dict(), **arguments},
        "initialisation": f"read from {configuration.model}" if is_onnx(configuration.model) else configuration.init,
        "model": {"name": configuration.model, "parameters": parameters},
        "data": {"name": train_set.name, "images": len(train_set), "sha256": train_set.fingerprint()},
        "gradients": "of the mean loss of a batch, before weight decay and momentum; sums in float64",
        "backend": get_backend(),
    }


def _report(args: argparse.Namespace, configuration: TrainingConfiguration, rows: list[Row], messages: TextIO) -> None:
    """Print the table, and draw the picture."""
    from ..gradients.recording import record_path
    from ..gradients.tables import summary_table

    print(summary_table(rows), file=messages)
    if args.output != "-":
        print(f"{counted(len(rows), 'row')} in {args.output}, described in {record_path(args.output)}", file=messages)
    if args.plot:
        from ..gradients import draw_grad_norms

        title = f"{configuration.model} on {configuration.data}: gradient norm of each conv group at each step"
        save_figure(draw_grad_norms(rows, relative=args.relative, title=title), args.plot, overwrite=args.force)
        print(f"picture in {args.plot}", file=messages)
