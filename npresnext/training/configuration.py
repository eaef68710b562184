"""The configuration of a training run: every choice that decides its numbers, as one value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import models
from .._support.arguments import as_int, check_number
from .._support.dtypes import DTYPES
from ..data import Augment, ImageSet, load_digits, load_fashion_mnist, load_mnist
from ..data.idx import FASHION_MNIST_HELP, MNIST_HELP
from ..errors import ConfigurationError, InvalidTypeError, InvalidValueError
from ..nn import SGD, Module, trace
from ..nn.init import INITIALISATIONS
from .communicator import Communicator
from .loop import Trainer, Watcher
from .schedules import Schedule, schedule_from_text
from .shards import ShardedTrainer, check_shards

# Settings that train `resnext_small` well on each data set: the defaults of `TrainingConfiguration.for_data`
DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 10, "batch_size": 32, "lr": 0.1, "crop": 1, "flip": False},
    "fashion-mnist": {"epochs": 2, "batch_size": 64, "lr": 0.1, "crop": 0, "flip": False},
    "mnist": {"epochs": 2, "batch_size": 64, "lr": 0.1, "crop": 2, "flip": False},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfiguration:
    """Every choice that decides the numbers of a training run; what ``npresnext train`` makes of its options.

    :meth:`for_data` fills in the fields that depend on the data set. :meth:`build` makes a trainer.

    Attributes
    ----------
    data : str
        The data set: "digits", "fashion-mnist" or "mnist".
    epochs : int
        Number of passes over the training images.
    batch_size : int
        Images per step.
    lr : float
        The learning rate at the start, above 0.
    crop : int
        Random crops, after padding each side by this many pixels; 0 for none.
    flip : bool
        Whether images are mirrored at random.
    model : str
        The name of a network, one of :func:`npresnext.models.list_models`; or the name of an .onnx file, whose network
        is given to :meth:`build`.
    init : str
        The initial weights: "fan_out" or "fan_out_per_group"; see :func:`npresnext.nn.init.kaiming_normal`.
    limit : int, optional
        Train on the first `limit` training images only.
    dtype : str
        The dtype of weights and images.
    seed : int
        The initial weights, the order of the images and the augmentation follow from it.
    momentum : float
        Nesterov momentum, unless it is 0.
    weight_decay : float
        As in :class:`npresnext.nn.SGD`; the default is that of the ResNeXt paper for CIFAR.
    schedule : str
        "cosine", "constant", or "step:E1,E2,...", which divides the learning rate by ten at these epochs.
    shards : int, optional
        Cut each batch into this number of shards, as :class:`ShardedTrainer` does; None computes it as a whole.

    Raises
    ------
    ConfigurationError
        A field has a value that no run can have; the message names the field.
    TypeError
        A field has the wrong type.

    Examples
    --------
    >>> configuration = TrainingConfiguration.for_data("digits", lr=0.05, limit=320)
    >>> configuration.epochs, configuration.batch_size, configuration.lr
    (10, 32, 0.05)
    >>> trainer = configuration.build(*configuration.load_data())
    >>> trainer.run(steps=3)
    >>> trainer.step, trainer.steps_per_epoch
    (3, 10)
    """

    data: str
    epochs: int
    batch_size: int
    lr: float
    crop: int
    flip: bool
    model: str = "resnext_small"
    init: str = "fan_out"
    limit: int | None = None
    dtype: str = "float32"
    seed: int = 0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    shards: int | None = None

    def __post_init__(self) -> None:
        self._check_choice("data", tuple(DEFAULTS))
        if not str(self.model).lower().endswith(".onnx"):
            self._check_choice("model", tuple(models.list_models()))
        self._check_choice("init", INITIALISATIONS)
        self._check_choice("dtype", DTYPES)
        # NumPy's numbers become Python's, which JSON can hold: checkpoints and records store the fields
        self._set_integer("epochs", 1)
        self._set_integer("batch_size", 1)
        self._set_integer("crop", 0)
        self._set_integer("seed", 0)
        if self.limit is not None:
            self._set_integer("limit", 1)
        if not isinstance(self.flip, (bool, np.bool_)):
            raise InvalidTypeError(f"flip must be a bool, but {self.flip!r} is of type {type(self.flip).__name__}")
        self._set("flip", bool(self.flip))
        for name in ("lr", "momentum", "weight_decay"):
            try:
                check_number(getattr(self, name), name)
            except InvalidValueError:
                raise ConfigurationError(name, getattr(self, name), "a finite number") from None
            self._set(name, float(getattr(self, name)))
        if not self.lr > 0:
            raise ConfigurationError("lr", self.lr, "above 0")
        for name in ("momentum", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(name, getattr(self, name), "at least 0")
        if self.shards is not None:
            self._set("shards", check_shards(self.shards, self.batch_size))
        self.learning_rates()  # raises if `schedule` names none

    @classmethod
    def for_data(cls, data: str = "digits", **chosen: Any) -> TrainingConfiguration:
        """Return a configuration for a data set, whose defaults stand for every field not chosen.

        Parameters
        ----------
        data : str
            "digits", "fashion-mnist" or "mnist".
        **chosen
            Other fields. None leaves a field at its default.

        Examples
        --------
        >>> TrainingConfiguration.for_data("mnist", epochs=None, seed=3).epochs
        2
        """
        if data not in DEFAULTS:
            raise _no_choice("data", data, tuple(DEFAULTS))
        given = {name: value for name, value in chosen.items() if value is not None}
        return cls(**{"data": data, **DEFAULTS[data], **given})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, for a file; ``TrainingConfiguration(**fields)`` is the way back."""
        return dataclasses.asdict(self)

    def load_data(self, data_dir: str | os.PathLike[str] | None = None) -> tuple[ImageSet, ImageSet]:
        """Return the training images, the first `limit` of them, and the test images.

        Parameters
        ----------
        data_dir : path, optional
            The folder with the IDX files of Fashion-MNIST or MNIST. The digits are inside the package.

        Raises
        ------
        ConfigurationError
            `data_dir` is missing, or given for the digits; or `limit` is larger than the training set.
        ValueError
            A file is missing or damaged.
        """
        if self.data == "digits":
            if data_dir is not None:
                raise ConfigurationError("data_dir", data_dir, "left out: the digits are inside the package")
            train_set, test_set = load_digits()
        else:
            load, advice = {
                "fashion-mnist": (load_fashion_mnist, FASHION_MNIST_HELP),
                "mnist": (load_mnist, MNIST_HELP),
            }[self.data]
            if data_dir is None:
                raise ConfigurationError("data_dir", None, f"the folder with the files of {self.data} ({advice})")
            train_set, test_set = load(data_dir)
        if self.limit is None:
            return train_set, test_set
        if self.limit > len(train_set):
            raise ConfigurationError("limit", self.limit, f"at most {len(train_set)}, the images of {train_set.name}")
        return train_set.first(self.limit), test_set

    def steps_per_epoch(self, train_set: ImageSet) -> int:
        """Return the number of whole batches in `train_set`.

        Raises
        ------
        ConfigurationError
            There is not even one.
        """
        if self.batch_size > len(train_set):
            raise ConfigurationError(
                "batch_size", self.batch_size, f"at most {len(train_set)}, the images of {train_set.name}"
            )
        return len(train_set) // self.batch_size

    def learning_rates(self) -> Schedule:
        """Return the learning rate as a function of the epoch."""
        return schedule_from_text(self.schedule, self.lr, self.epochs)

    @property
    def rates_depend_on_epochs(self) -> bool:
        """Whether another number of epochs changes the learning rates of the first epochs too."""
        return self.schedule == "cosine"

    def build(
        self,
        train_set: ImageSet,
        test_set: ImageSet | None = None,
        watchers: Sequence[Watcher] = (),
        *,
        model: Module | None = None,
        communicator: Communicator | None = None,
    ) -> Trainer:
        """Return a trainer, at step 0; a :class:`ShardedTrainer` if `self.shards` is not None.

        Parameters
        ----------
        train_set, test_set : ImageSet
            As from :meth:`load_data`. Without a test set nothing is evaluated.
        watchers : sequence of Watcher
            As for :class:`Trainer`.
        model : Module, optional
            The network to train, which is converted to `dtype`; a new one, called `self.model`, if None.
        communicator : Communicator, optional
            That of the ranks which share the shards; see :func:`connect_ranks`.

        Raises
        ------
        ConfigurationError
            There are several ranks, and `self.shards` is None or no multiple of their number.
            The images are fewer than `batch_size`, or not larger than `crop`; or `model` does not return a number for
            each class.
        ValueError
            `model` does not take the images.
        """
        if self.shards is None and communicator is not None and communicator.size > 1:
            raise ConfigurationError("shards", None, f"a multiple of the number of ranks, {communicator.size}")
        self.steps_per_epoch(train_set)
        channels, height, width = train_set.shape
        if self.crop >= min(height, width):
            raise ConfigurationError(
                "crop", self.crop, f"less than {min(height, width)}, the size of the images of {train_set.name}"
            )
        if model is None:
            model = models.get_model(
                self.model,
                num_classes=train_set.num_classes,
                in_channels=channels,
                init=self.init,
                rng=self.seed,
                dtype=self.dtype,
            )
        else:
            model = model.to(dtype=self.dtype)
            returned = trace(model, (1, channels, height, width)).output.shape
            if returned != (1, train_set.num_classes):
                expected = f"a network that returns (N, {train_set.num_classes}), one number for each class"
                raise ConfigurationError("model", self.model, f"{expected}, not {('N', *returned[1:])}")
        optimizer = SGD(
            model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "schedule": self.learning_rates(),
            "seed": self.seed,
            "augment": Augment(self.flip, self.crop),
            "watchers": watchers,
        }
        if self.shards is None:
            return Trainer(model, optimizer, train_set, test_set, **options)
        return ShardedTrainer(
            model, optimizer, train_set, test_set, shards=self.shards, communicator=communicator, **options
        )

    def _check_choice(self, name: str, choices: Sequence[str]) -> None:
        if getattr(self, name) not in choices:
            raise _no_choice(name, getattr(self, name), choices)

    def _set_integer(self, name: str, least: int) -> None:
        value = as_int(getattr(self, name), name)
        if value < least:
            raise ConfigurationError(name, value, f"at least {least}")
        self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen


def _no_choice(name: str, value: Any, choices: Sequence[str]) -> ConfigurationError:
    """Return the error that lists the values that a field can have."""
    return ConfigurationError(name, value, f"one of {', '.join(choices)}")
