"""Training: one loop, written to be read, and what may look on while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._support.typing import Array
from ..backend import array_module, to_numpy
from ..data.batches import Augment, all_batches, batches_per_epoch, training_batches
from ..data.images import ImageSet
from ..errors import InvalidTypeError, NonFiniteLossError
from ..nn import SGD, CrossEntropyLoss, Module, no_grad
from .schedules import Schedule

STEPS_BETWEEN_READS = 16


class Watcher:
    """What looks on while a network trains: override what you want to know of.

    >>> class Printer(Watcher):
    ...     def after_epoch(self, trainer):
    ...         print(trainer.history[-1]["accuracy"])
    """

    def after_backward(self, trainer: Trainer) -> None:
        """Look at the gradients of step ``trainer.step``, raw, before the optimizer uses them."""

    def after_step(self, trainer: Trainer) -> None:
        """Look at the network after a step; ``trainer.step`` counts the steps done so far."""

    def after_epoch(self, trainer: Trainer) -> None:
        """Look at ``trainer.history[-1]``: what came of the epoch that just ended."""


class Trainer:
    """Trains a network on labelled images; everything that a checkpoint must hold is one of its attributes.

    Parameters
    ----------
    model
        The network.
    optimizer
        Made from the network's parameters. The schedule sets its rate at each step.
    train_set, test_set
        Images with labels. Without a test set nothing is evaluated.
    batch_size
        Images a step.
    schedule
        The learning rate by epoch; between epochs, of the fraction.
    seed
        The order of the images and their augmentation follow from it.
    augment
        What training images go through.
    dtype
        That of the network, and so of the images.
    watchers
        Told of every step and epoch, in this order.

    Attributes
    ----------
    step : int
        Steps done so far; while one is under way, its number, counted from 0.
    meter : Meter
        Loss and accuracy of the epoch so far.
    history : list of dict
        What came of each epoch.

    Raises
    ------
    TypeError
        `schedule` cannot be called, such as a rate alone.

    Examples
    --------
    >>> from npresnext import data, models, nn, schedules
    >>> train, test = data.load_digits()
    >>> model = models.resnext_small(rng=0)
    >>> optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> trainer = Trainer(model, optimizer, train, batch_size=32, schedule=schedules.constant(0.1))
    >>> trainer.run(steps=3)
    >>> trainer.step
    3
    """

    def __init__(
        self,
        model: Module,
        optimizer: SGD,
        train_set: ImageSet,
        test_set: ImageSet | None = None,
        *,
        batch_size: int,
        schedule: Schedule,
        seed: int = 0,
        augment: Augment | None = None,
        dtype: str = "float32",
        watchers: Sequence[Watcher] = (),
    ) -> None:
        if not callable(schedule):
            raise InvalidTypeError(f"schedule must be callable, as schedules.constant(0.1), but is {schedule!r}")
        self.model, self.optimizer = model, optimizer
        self.train_set, self.test_set = train_set, test_set
        self.batch_size, self.schedule, self.seed, self.augment = batch_size, schedule, seed, augment
        self.dtype, self.watchers = dtype, watchers
        self.criterion = CrossEntropyLoss()
        self.steps_per_epoch = batches_per_epoch(train_set, batch_size)
        self.step = 0
        self.meter = Meter()
        self.history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from 0."""
        return self.step // self.steps_per_epoch

    def run(self, steps: int) -> None:
        """Train until `steps` steps are done in all; an epoch has ``steps_per_epoch``.

        Raises
        ------
        NonFiniteLossError
            The loss became NaN or infinite; the message says at which step.
        """
        with np.errstate(all="ignore"):  # what overflows shows in the loss, which is watched
            while self.step < steps:
                self._run_epoch(steps)
        self.meter.read()

    def learn(self, x: Array, target: Array) -> None:
        """Take one step: forward, loss, backward, update."""
        self.optimizer.lr = self.schedule(self.step / self.steps_per_epoch)
        self.optimizer.zero_grad()
        logits = self.model(x)
        loss = self.criterion(logits, target)
        self.model.backward(self.criterion.backward())
        self.meter.add(self.step, loss, logits, target)
        for watcher in self.watchers:
            watcher.after_backward(self)
        self.optimizer.step()

    def _run_epoch(self, steps: int) -> None:
        """Train to the end of the epoch, or to step `steps`."""
        self.model.train()
        batches = training_batches(
            self.train_set,
            self.batch_size,
            seed=self.seed,
            epoch=self.epoch,
            start=self.step % self.steps_per_epoch,
            augment=self.augment,
            dtype=self.dtype,
        )
        for x, target in batches:
            self.learn(x, target)
            self.step += 1
            if self.step % STEPS_BETWEEN_READS == 0:
                self.meter.read()
            if self.step % self.steps_per_epoch == 0:
                self._finish_epoch()
            for watcher in self.watchers:
                watcher.after_step(self)
            if self.step == steps:
                return

    def _finish_epoch(self) -> None:
        """Evaluate, and write down what came of the epoch."""
        loss, accuracy = self.meter.read()
        record = {"epoch": self.epoch - 1, "lr": self.optimizer.lr, "loss": loss, "accuracy": accuracy}
        if self.test_set is not None:
            record["test_loss"], record["test_accuracy"] = evaluate(self.model, self.test_set, dtype=self.dtype)
        self.history.append(record)
        self.meter = Meter()
        for watcher in self.watchers:
            watcher.after_epoch(self)


class Meter:
    """Adds up loss and hits where they were computed, and fetches them only when read.

    Fetching a number from a GPU waits for all that was asked of it before, so not every step does.
    """

    def __init__(self, loss: float = 0.0, hits: int = 0, count: int = 0) -> None:
        self.loss, self.hits, self.count = loss, hits, count  # sums over images
        self._unread: list[tuple[int, int, Array, Array]] = []

    def add(self, step: int, loss: Array, logits: Array, target: Array) -> None:
        """Take in the mean loss () of a batch and its logits (N, classes) against the labels (N,)."""
        xp = array_module(logits=logits)
        hits = xp.sum(xp.astype(xp.argmax(logits, axis=1) == target, xp.int64))  # ()
        self._unread.append((step, logits.shape[0], loss, hits))

    def read(self) -> tuple[float, float]:
        """Return mean loss and accuracy so far.

        Raises
        ------
        NonFiniteLossError
            A loss since the last reading is NaN or infinite; the message says of which step.
        """
        for step, count, loss, hits in self._unread:
            value = float(to_numpy(loss))
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss is {value} at step {step} (counted from 0): training stopped; "
                    "a lower learning rate may help"
                )
            self.loss += value * count
            self.hits += int(to_numpy(hits))
            self.count += count
        self._unread.clear()
        return (self.loss / self.count, self.hits / self.count) if self.count else (math.nan, math.nan)


def evaluate(model: Module, data: ImageSet, *, batch_size: int = 256, dtype: str = "float32") -> tuple[float, float]:
    """Return the mean loss and the accuracy of a network on `data`, in evaluation mode, which it leaves as it was.

    Parameters
    ----------
    model
        The network.
    data
        Images with labels.
    batch_size
        Images at a time; the result depends on it by rounding at most.
    dtype
        That of the network.

    Returns
    -------
    (loss, accuracy)
        The accuracy is a share, from 0 to 1.

    Raises
    ------
    NonFiniteLossError
        A loss is NaN or infinite.

    Examples
    --------
    >>> from npresnext import data, models
    >>> loss, accuracy = evaluate(models.resnext_small(weights="digits"), data.load_digits()[1])
    >>> accuracy > 0.98
    True
    """
    criterion, meter = CrossEntropyLoss(), Meter()
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad():
            for x, target in all_batches(data, batch_size, dtype=dtype):
                logits = model(x)
                meter.add(0, criterion(logits, target), logits, target)
    finally:
        for module, mode in modes.items():
            module.training = mode
    try:
        return meter.read()
    except NonFiniteLossError as error:
        raise NonFiniteLossError(
            f"the loss on {data.name} is NaN or infinite: the network is no good; a lower learning rate may help"
        ) from error
