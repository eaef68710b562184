"""``npresnext train``: train a network on images, with checkpoints from which a killed run is resumed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._support.files import check_writable
from .._support.integers import ceil_div
from .._support.plurals import counted
from ..errors import InvalidValueError
from ._numbers import positive_int
from ._ranks import Ranks, join_ranks
from ._training_arguments import add_arguments, chosen_backend, configuration_from

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..training import Trainer, TrainingConfiguration

HELP = "train a network on the digits, Fashion-MNIST or MNIST"

EXAMPLES = """\
examples:
  npresnext train                                     resnext_small on the bundled digits
  npresnext train --seed 3 --save digits.npz          another seed; keep the weights
  npresnext train --data fashion-mnist --data-dir /usr/share/datasets/fashion-mnist
  npresnext train --checkpoint run.npz --checkpoint-every 20
  npresnext train --checkpoint run.npz --checkpoint-every 20 --resume
  mpirun -n 4 npresnext train --shards 8              each of 4 processes computes 2 of the 8 shards of a batch

With --resume, all other arguments must be those of the run's first start. Only --epochs may change, and only
with the schedules constant and step: with cosine, the first epochs would have had other learning rates.
"""

FINGERPRINT = "data_fingerprint"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    add_arguments(parser, epochs=True)
    parallel = parser.add_argument_group("several processes (docs/parallel.md)")
    parallel.add_argument(
        "--shards",
        type=int,
        metavar="V",
        help="cut each batch into V shards, which the processes of mpirun share; batch norm normalises each shard by "
        "itself",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--save", metavar="FILE", help="write the final weights: .npz, .safetensors or .pth")
    files.add_argument("--checkpoint", metavar="FILE.npz", help="write checkpoints, from which --resume continues")
    files.add_argument(
        "--checkpoint-every",
        type=positive_int,
        metavar="STEPS",
        help="steps from one checkpoint to the next (default: one after each epoch)",
    )
    files.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    files.add_argument("--force", action="store_true", help="overwrite existing files")


def run(args: argparse.Namespace) -> int:
    """Train, print a line for each epoch, and the test accuracy at the end."""
    with join_ranks(args.shards, args.checkpoint) as ranks:
        configuration = configuration_from(args)
        _check_files(args)
        with chosen_backend(args):
            return _train(args, configuration, ranks)


def _train(args: argparse.Namespace, configuration: TrainingConfiguration, ranks: Ranks) -> int:
    from ..io import save
    from ..training import Checkpoints, Progress, Watcher

    train_set, test_set = configuration.load_data(args.data_dir)
    arguments = {**configuration.to_dict(), FINGERPRINT: train_set.fingerprint()}
    progress = Progress(configuration.epochs)
    watchers: list[Watcher] = [progress]
    if args.checkpoint:
        watchers.append(Checkpoints(args.checkpoint, arguments, args.checkpoint_every))
    trainer = configuration.build(
        train_set, test_set, watchers if ranks.is_first else [], communicator=ranks.communicator
    )
    if args.resume:
        _resume(args.checkpoint, trainer, configuration, arguments)
    ranks.begin()
    if ranks.is_first:
        _say_how_it_begins(args, trainer)
    try:
        trainer.run(configuration.epochs * trainer.steps_per_epoch)
    finally:
        progress.close()
    if not ranks.is_first:
        return 0
    if args.save:
        metadata = {"model": configuration.model, "preprocessing": _preprocessing(train_set)}
        save(args.save, trainer.model.state_dict(), metadata=metadata, overwrite=args.force)
    accuracy = trainer.history[-1]["test_accuracy"]
    run = f"{configuration.model} on {configuration.data}, seed {configuration.seed}"
    if configuration.shards is not None:
        run += f", {counted(configuration.shards, 'shard')}"
    print(f"test accuracy {accuracy:.2%} ({run})")
    return 0


def _say_how_it_begins(args: argparse.Namespace, trainer: Trainer) -> None:
    """Print how the shards are computed, and from where a run is resumed."""
    from ..training import ShardedTrainer

    if isinstance(trainer, ShardedTrainer):
        shards, images = counted(trainer.shards, "shard"), counted(trainer.images_per_shard, "image")
        ranks = counted(trainer.communicator.size, "rank")
        print(
            f"{shards} of {images} on {ranks}; batch norm normalises each shard by itself (ghost batch norm)",
            flush=True,
        )
    if args.resume:
        print(f"resuming {args.checkpoint} at step {trainer.step}", flush=True)


def _resume(path: str, trainer: Trainer, configuration: TrainingConfiguration, arguments: dict[str, Any]) -> None:
    """Bring the trainer into the state of the checkpoint, which must belong to the same run or a shorter one."""
    from ..training import load_checkpoint
    from ..training.checkpoint import ChangedArgumentsError

    may_change = () if configuration.rates_depend_on_epochs else ("epochs",)
    try:
        load_checkpoint(path, trainer, arguments, may_change=may_change)
    except ChangedArgumentsError as error:
        changes = [_change(name, before, now) for name, (before, now) in error.changed.items()]
        message = f"{path} belongs to a run with other arguments: {'; '.join(changes)}"
        if set(error.changed) == {"epochs"}:
            message += (
                f" (with --schedule {configuration.schedule}, a run of another length has other learning rates from "
                "its first epoch on; runs with constant and step schedules can be extended)"
            )
        raise InvalidValueError(message) from error
    least = ceil_div(trainer.step, trainer.steps_per_epoch)
    if configuration.epochs < least:
        raise InvalidValueError(
            f"--epochs must be at least {least}, but is {configuration.epochs}: {path} is of step {trainer.step}, and "
            f"an epoch has {trainer.steps_per_epoch}"
        )


def _change(argument: str, before: Any, now: Any) -> str:
    """Say in the words of the command line how an argument of a run has changed."""
    if argument == FINGERPRINT:
        return "the training images are not the same"
    option = f"--{argument.replace('_', '-')}"
    return f"{option} was {before} and is {now}"


def _preprocessing(data: ImageSet) -> str:
    """Return as JSON how to make pictures like the training images; ``npresnext classify`` reads it."""
    channels, _, size = data.shape
    return json.dumps({"resize": size, "crop": size, "mean": [data.mean] * channels, "std": [data.std] * channels})


def _check_files(args: argparse.Namespace) -> None:
    """Raise now what writing the files would raise after the training."""
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
    checkpoint, previous = Path(args.checkpoint), previous_path(args.checkpoint)
    may_overwrite = args.resume or args.force
    if checkpoint.is_file() and not may_overwrite:
        raise InvalidValueError(
            f"{checkpoint} exists already: pass --resume to continue its run, or --force to start another in its place"
        )
    if args.resume and not checkpoint.is_file() and not previous.is_file():
        raise InvalidValueError(
            f"there is no checkpoint {checkpoint} to resume from: leave out --resume to start a new run"
        )
    for path in (checkpoint, previous):
        check_writable(path, overwrite=may_overwrite)
    if args.save and Path(args.save).resolve() in (checkpoint.resolve(), previous.resolve()):
        raise InvalidValueError(f"--save {args.save} is the file of the checkpoint, or of the previous one")
