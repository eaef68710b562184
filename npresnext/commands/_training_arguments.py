"""The arguments that describe a training run, for the commands that train."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from typing import TYPE_CHECKING

from .. import use_backend

if TYPE_CHECKING:
    from ..training import TrainingConfiguration


def add_arguments(parser: argparse.ArgumentParser, *, epochs: bool, files: bool = False) -> None:
    """Declare the arguments that become fields of a TrainingConfiguration, which checks their values.

    A command that counts its length in steps has no ``--epochs``. `files` says whether ``--model`` may be a file.
    """
    what = parser.add_argument_group("network and data")
    kinds = "a network, or an .onnx file, whose weights are trained further" if files else "a network"
    what.add_argument("--model", default="resnext_small", metavar="NAME", help=f"{kinds} (default: %(default)s)")
    what.add_argument(
        "--init",
        default="fan_out",
        metavar="NAME",
        help="the initial weights: fan_out (as torchvision, which ignores groups) or fan_out_per_group "
        "(default: %(default)s)",
    )
    what.add_argument(
        "--data", default="digits", metavar="NAME", help="digits, fashion-mnist or mnist (default: %(default)s)"
    )
    what.add_argument("--data-dir", metavar="DIR", help="the folder with the IDX files of fashion-mnist or mnist")
    what.add_argument("--limit", type=int, metavar="N", help="use only the first N training images")
    what.add_argument(
        "--dtype",
        default="float32",
        metavar="NAME",
        help="the dtype of weights and images: float16, bfloat16, float32 or float64 (default: %(default)s)",
    )
    what.add_argument("--backend", choices=("numpy", "cupy"), help="the array library (default: numpy)")
    how = parser.add_argument_group("training (without a default here: it depends on the data)")
    if epochs:
        how.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    how.add_argument("--batch-size", type=int, metavar="N", help="images per step")
    how.add_argument("--lr", type=float, metavar="RATE", help="learning rate at the start")
    how.add_argument("--crop", type=int, metavar="PIXELS", help="random crops after padding by PIXELS; 0 for none")
    how.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror images at random")
    how.add_argument("--seed", type=int, default=0, metavar="N", help="for everything random (default: 0)")
    how.add_argument(
        "--momentum", type=float, default=0.9, metavar="M", help="Nesterov momentum, unless 0 (default: 0.9)"
    )
    how.add_argument(
        "--weight-decay", type=float, default=5e-4, metavar="W", help="(default: 5e-4, as in the ResNeXt paper)"
    )
    how.add_argument(
        "--schedule",
        default="cosine",
        metavar="NAME",
        help="the learning rate over the epochs: cosine, constant, or step:E1,E2,... which divides it by ten at "
        "these epochs (default: cosine)",
    )


def configuration_from(args: argparse.Namespace) -> TrainingConfiguration:
    """Return what the arguments describe; the defaults of the data set stand for those left out."""
    from ..training import TrainingConfiguration

    names = {field.name for field in dataclasses.fields(TrainingConfiguration)}
    return TrainingConfiguration.for_data(**{name: value for name, value in vars(args).items() if name in names})


def chosen_backend(args: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Return a context in which new arrays belong to the library of ``--backend``."""
    return contextlib.nullcontext() if args.backend is None else use_backend(args.backend)
