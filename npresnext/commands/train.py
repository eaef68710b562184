"""``npresnext train``: train a network on images, with checkpoints that survive being killed."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from . import _recipe as recipe

if TYPE_CHECKING:
    from ..data import ImageSet

HELP = "train a network on the digits, Fashion-MNIST or MNIST"

EXAMPLES = """\
examples:
  npresnext train                                     resnext_small on the embedded digits
  npresnext train --seed 3 --save digits.npz          another seed; keep the weights
  npresnext train --data fashion-mnist --data-dir /usr/share/datasets/fashion-mnist
  npresnext train --checkpoint run.npz --checkpoint-every 20
  npresnext train --checkpoint run.npz --checkpoint-every 20 --resume
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    recipe.add_arguments(parser)
    parser.add_argument("--epochs", type=recipe.count, metavar="N", help="how often every image is seen")
    files = parser.add_argument_group("files")
    files.add_argument("--save", metavar="FILE", help="the weights at the end: .npz, .safetensors or .pth")
    files.add_argument("--checkpoint", metavar="FILE.npz", help="where the run is kept, to go on if it dies")
    files.add_argument(
        "--checkpoint-every", type=recipe.count, metavar="STEPS", help="write it this often (default: after each epoch)"
    )
    files.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    files.add_argument("--force", action="store_true", help="overwrite existing files")


def run(args: argparse.Namespace) -> int:
    """Train, print a line for each epoch, and the test accuracy at the end."""
    recipe.complete(args)
    _check_files(args)
    with recipe.backend(args):
        return _train(args)


def _train(args: argparse.Namespace) -> int:
    from ..io import save
    from ..training.checkpoint import Checkpoints, load_checkpoint
    from ..training.loop import Watcher, evaluate
    from ..training.progress import Progress

    train_set, test_set = recipe.load_data(args)
    arguments = {**recipe.described(args), "data_fingerprint": train_set.fingerprint()}
    progress = Progress(args.epochs)
    watchers: list[Watcher] = [progress]
    if args.checkpoint:
        watchers.append(Checkpoints(args.checkpoint, arguments, args.checkpoint_every))
    trainer = recipe.make_trainer(args, train_set, test_set, watchers)
    if args.resume:
        load_checkpoint(args.checkpoint, trainer, arguments)
        print(f"resuming {args.checkpoint} at step {trainer.step}", flush=True)
    try:
        trainer.run(args.epochs * trainer.steps_per_epoch)
    finally:
        progress.close()
    _, accuracy = evaluate(trainer.model, test_set, dtype=args.dtype)
    if args.save:
        metadata = {"model": args.model, "preprocessing": _preprocessing(train_set)}
        save(args.save, trainer.model.state_dict(), metadata=metadata, overwrite=args.force)
    print(f"test accuracy {accuracy:.2%} ({args.model} on {args.data}, seed {args.seed})")
    return 0


def _preprocessing(data: ImageSet) -> str:
    """Return what makes pictures such as the network was trained on, as ``npresnext classify`` reads it."""
    channels, _, size = data.shape
    return json.dumps({"resize": size, "crop": size, "mean": [data.mean] * channels, "std": [data.std] * channels})


def _check_files(args: argparse.Namespace) -> None:
    """Raise now what writing the files would raise after the training."""
    from pathlib import Path

    from .._support.files import check_writable
    from ..errors import InvalidValueError
    from ..io.state import check_ending
    from ..training.checkpoint import check_checkpoint_path, previous_path

    if args.save:
        check_ending(args.save)
        check_writable(args.save, overwrite=args.force)
    if args.checkpoint is None:
        if args.resume or args.checkpoint_every:
            raise InvalidValueError("--resume and --checkpoint-every need --checkpoint FILE.npz")
        return
    check_checkpoint_path(args.checkpoint)
    kept = args.checkpoint, previous_path(args.checkpoint)
    may_go = args.resume or args.force
    if Path(args.checkpoint).is_file() and not may_go:
        raise InvalidValueError(
            f"{args.checkpoint} exists already: --resume goes on with its run, --force begins another in its place"
        )
    for path in kept:
        check_writable(path, overwrite=may_go)
    if args.save and Path(args.save).resolve() in [Path(path).resolve() for path in kept]:
        raise InvalidValueError(f"--save {args.save} is where the checkpoint, or the one before it, is kept")
