"""``npresnext gradnorms``: train, and write the gradient norm of every conv group to a file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any, TextIO

from .. import get_backend
from .._support.figures import check_picture, save_figure
from .._support.integers import ceil_div
from .._support.plurals import counted
from ..errors import InvalidValueError
from . import _gradnorms_convert, _gradnorms_draw, _gradnorms_report, _gradnorms_test
from ._gradnorms_arguments import add_format
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


ACTIONS: dict[str, Any] = {  # on a file of rows, without training
    "draw": _gradnorms_draw,
    "test": _gradnorms_test,
    "convert": _gradnorms_convert,
    "report": _gradnorms_report,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    actions = parser.add_subparsers(help=argparse.SUPPRESS, metavar="ACTION", prog=parser.prog)
    for name, action in ACTIONS.items():
        action.configure(actions.add_parser(name, description=action.HELP))
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
    add_format(files)
    files.add_argument("--plot", metavar="FILE.png", help="draw heat maps of conv group by step (.png, .pdf or .svg)")
    files.add_argument("--relative", action="store_true", help="in the picture, compare the conv groups of each layer")
    files.add_argument("--force", action="store_true", help="overwrite existing files")


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
    from ..gradients.layer_patterns import choose_layers
    from ..gradients.recording import Recording
    from ..gradients.writer import columns_with
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
