"""What the commands that train have in common: their arguments, and the trainer that these describe."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from .._support.dtypes import DTYPES
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..training.loop import Trainer, Watcher


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What trains a small network well on a data set, where the user says nothing else."""

    epochs: int
    batch_size: int
    lr: float
    crop: int
    flip: bool


RECIPES = {
    "digits": Recipe(epochs=10, batch_size=32, lr=0.1, crop=1, flip=False),
    "fashion-mnist": Recipe(epochs=2, batch_size=64, lr=0.1, crop=0, flip=False),
    "mnist": Recipe(epochs=2, batch_size=64, lr=0.1, crop=2, flip=False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what describes a training run."""
    what = parser.add_argument_group("what is trained, and on what")
    what.add_argument("--model", default="resnext_small", metavar="NAME", help="a network (default: %(default)s)")
    what.add_argument(
        "--init",
        default="fan_out",
        choices=("fan_out", "fan_out_per_group"),
        help="initial weights: torchvision's, which ignore groups, or those that count them (default: %(default)s)",
    )
    what.add_argument("--data", default="digits", choices=RECIPES, help="the images (default: %(default)s)")
    what.add_argument("--data-dir", metavar="DIR", help="the folder with the IDX files of fashion-mnist or mnist")
    what.add_argument("--limit", type=count, metavar="N", help="use the first N training images only")
    what.add_argument("--dtype", default="float32", choices=DTYPES, help="of weights and images (default: %(default)s)")
    what.add_argument("--backend", choices=("numpy", "cupy"), help="the array library (default: numpy)")
    how = parser.add_argument_group("how (the defaults depend on the data)")
    how.add_argument("--seed", type=seed, default=0, metavar="N", help="of all that is random (default: 0)")
    how.add_argument("--batch-size", type=count, metavar="N", help="images a step")
    how.add_argument("--lr", type=float, metavar="RATE", help="learning rate at the start")
    how.add_argument("--momentum", type=float, default=0.9, metavar="M", help="Nesterov's, unless 0 (default: 0.9)")
    how.add_argument("--weight-decay", type=float, default=5e-4, metavar="W", help="default: 5e-4, as the paper uses")
    how.add_argument("--crop", type=int, metavar="PIXELS", help="random crops after so much padding; 0: none")
    how.add_argument("--flip", action=argparse.BooleanOptionalAction, help="random mirror images")
    how.add_argument(
        "--schedule",
        default="cosine",
        metavar="NAME",
        help="cosine, constant, or step:E1,E2,... which divides the rate by ten at these epochs (default: cosine)",
    )


def complete(args: argparse.Namespace) -> None:
    """Fill in what the user left to the recipe of the data set."""
    recipe = RECIPES[args.data]
    for name in ("epochs", "batch_size", "lr", "crop", "flip"):
        if getattr(args, name, None) is None:
            setattr(args, name, getattr(recipe, name))


def described(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that decide the numbers of a run, for a checkpoint or a sidecar."""
    names = (
        "model",
        "init",
        "data",
        "limit",
        "dtype",
        "seed",
        "epochs",
        "batch_size",
        "lr",
        "momentum",
        "weight_decay",
        "crop",
        "flip",
        "schedule",
    )
    return {name: getattr(args, name) for name in names}


def load_data(args: argparse.Namespace) -> tuple[ImageSet, ImageSet]:
    """Return the training and the test set."""
    from .. import data

    if args.data == "digits":
        if args.data_dir is not None:
            raise InvalidValueError("--data-dir goes with fashion-mnist and mnist: the digits are inside the package")
        train, test = data.load_digits()
    else:
        load, advice = {
            "fashion-mnist": (data.load_fashion_mnist, data.idx.FASHION_MNIST_HELP),
            "mnist": (data.load_mnist, data.idx.MNIST_HELP),
        }[args.data]
        if args.data_dir is None:
            raise InvalidValueError(f"--data {args.data} needs --data-dir, the folder with its files. {advice}")
        train, test = load(args.data_dir)
    return train if args.limit is None else train.first(args.limit), test


def make_trainer(
    args: argparse.Namespace, train_set: ImageSet, test_set: ImageSet | None, watchers: list[Watcher]
) -> Trainer:
    """Build the network and all that trains it."""
    from .. import models, nn
    from ..data import Augment
    from ..training.loop import Trainer

    model = models.get_model(
        args.model,
        num_classes=train_set.num_classes,
        in_channels=train_set.shape[0],
        init=args.init,
        rng=args.seed,
        dtype=args.dtype,
    )
    optimizer = nn.SGD(
        model.parameters(),
        lr=args.lr,
        momentum=args.momentum,
        nesterov=args.momentum > 0,
        weight_decay=args.weight_decay,
    )
    return Trainer(
        model,
        optimizer,
        train_set,
        test_set,
        batch_size=args.batch_size,
        schedule=_schedule(args),
        seed=args.seed,
        augment=Augment(args.flip, args.crop),
        dtype=args.dtype,
        watchers=watchers,
    )


def backend(args: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Return the block inside which new arrays are born where the user asked for."""
    from .. import use_backend

    return contextlib.nullcontext() if args.backend is None else use_backend(args.backend)


def _schedule(args: argparse.Namespace) -> Any:
    from ..training import schedules

    name, _, milestones = args.schedule.partition(":")
    if name == "step" and milestones:
        try:
            return schedules.step(args.lr, [int(epoch) for epoch in milestones.split(",")])
        except ValueError as error:
            raise InvalidValueError(f"--schedule {args.schedule}: {error}") from error
    if args.schedule == "cosine":
        return schedules.cosine(args.lr, args.epochs)
    if args.schedule == "constant":
        return schedules.constant(args.lr)
    raise InvalidValueError(f"--schedule {args.schedule}: expected cosine, constant, or step:E1,E2,...")


def count(text: str) -> int:
    """Read a number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def seed(text: str) -> int:
    """Read a number that is not negative."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number
