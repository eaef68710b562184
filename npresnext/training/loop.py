"""The training loop, and the watchers (callbacks) that it calls."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import array_module, to_numpy
from ..data.batches import Augment, all_batches, batches_per_epoch, training_batches
from ..data.images import ImageSet
from ..errors import InvalidTypeError, NonFiniteLossError
from ..nn import SGD, CrossEntropyLoss, Module, no_grad
from ..nn.module import check_module
from .memory import keep_freed_memory
from .schedules import Schedule

STEPS_BETWEEN_READS = 16
EVALUATION_BATCH = 256  # images per forward pass


class Watcher:
    """Methods that a :class:`Trainer` calls while it trains (callbacks); override those that you need.

    In each step the trainer calls ``after_backward``, then ``after_step``. After the last step of an epoch it
    evaluates the network and calls ``after_epoch``.

    >>> class Printer(Watcher):
    ...     def after_epoch(self, trainer):
    ...         print(trainer.history[-1]["accuracy"])
    """

    def after_backward(self, trainer: Trainer) -> None:
        """Called when the parameters have their gradients of step ``trainer.step``, before the optimizer's update."""

    def after_step(self, trainer: Trainer) -> None:
        """Called after the optimizer's update; ``trainer.step`` is the number of steps done so far."""

    def after_epoch(self, trainer: Trainer) -> None:
        """Called at the end of each epoch; ``trainer.history[-1]`` holds its results."""


class Trainer:
    """Trains a network on labelled images.

    :meth:`TrainingConfiguration.build` makes one from a configuration.

    Parameters
    ----------
    model : Module
        The network. Images get the dtype of its parameters.
    optimizer : SGD
        Made from the network's parameters. The schedule sets its learning rate at each step.
    train_set, test_set : ImageSet
        Images with labels. After each epoch the network is evaluated on the test set, if there is one.
    batch_size : int
        Images per step.
    schedule : function of the epoch
        Returns the learning rate; see :mod:`npresnext.training.schedules`.
    seed : int
        The order of the images and their augmentation follow from it.
    augment : Augment, optional
        Random changes of the training images.
    watchers : sequence of Watcher
        Called in this order in every step and epoch.

    Attributes
    ----------
    step : int
        The number of steps done so far; during a step, the step's own number, counted from 0.
    steps_per_epoch : int
        The number of whole batches in the training set.
    meter : Meter
        Loss and accuracy of the epoch so far.
    history : list of dict
        For each epoch: epoch, lr, loss, accuracy, and with a test set test_loss and test_accuracy.
    watchers : list of Watcher
        May be changed between two calls of :meth:`run`.

    Raises
    ------
    TypeError
        `schedule` cannot be called, such as a rate alone; `model` is not a Module, or `watchers` not a list.

    Examples
    --------
    >>> from npresnext import data, models, nn
    >>> from npresnext.training import schedules
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
        watchers: Sequence[Watcher] = (),
    ) -> None:
        check_module(model, "model")
        if not callable(schedule):
            raise InvalidTypeError(f"schedule must be callable, such as schedules.constant(0.1), but is {schedule!r}")
        if not isinstance(watchers, Sequence):
            raise InvalidTypeError(f"watchers must be a list of watchers, but is of type {type(watchers).__name__}")
        self.model, self.optimizer = model, optimizer
        self.train_set, self.test_set = train_set, test_set
        self.batch_size, self.schedule, self.seed = batch_size, schedule, as_int(seed, "seed", 0)
        self.augment = augment
        self.watchers = list(watchers)
        self.criterion = CrossEntropyLoss()
        self.steps_per_epoch = batches_per_epoch(train_set, batch_size)
        self.step = 0
        self.meter = Meter()
        self.history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 0."""
        return self.step // self.steps_per_epoch

    def run(self, steps: int) -> None:
        """Train until `steps` steps are done in total; an epoch has ``steps_per_epoch`` of them.

        The gradient of the images is not computed: nobody needs it here.

        Raises
        ------
        NonFiniteLossError
            The loss became NaN or infinite; the message says at which step.
        """
        steps = as_int(steps, "steps", 0)
        silent = np.errstate(all="ignore")  # an overflow shows in the loss
        with silent, _without_input_grad(self.model), keep_freed_memory():
            while self.step < steps:
                self._run_epoch(steps)
        self.meter.read()

    def learn(self, x: Array, target: Array) -> None:
        """Take one step: forward, loss, backward, update."""
        self.optimizer.lr = self.schedule(self.step / self.steps_per_epoch)
        self.optimizer.zero_grad()
        self.compute_gradients(x, target)
        for watcher in self.watchers:
            watcher.after_backward(self)
        self.optimizer.step()

    def compute_gradients(self, x: Array, target: Array) -> None:
        """Give the parameters the gradients of the mean loss of a batch, and add the batch to the meter."""
        logits = self.model(x)
        loss = self.criterion(logits, target)
        self.model.backward(self.criterion.backward())
        self.meter.add(self.step, loss, logits, target)

    def evaluate(self, data: ImageSet) -> tuple[float, float]:
        """Return the mean loss and the accuracy on `data`, as :func:`evaluate` does."""
        return evaluate(self.model, data)

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
            dtype=dtype_of(self.model),
        )
        for x, target in batches:
            self.learn(x, target)
            self.step += 1
            if self.step % STEPS_BETWEEN_READS == 0:
                self.meter.read()
            for watcher in self.watchers:
                watcher.after_step(self)
            if self.step % self.steps_per_epoch == 0:
                self._finish_epoch()
            if self.step == steps:
                return

    def _finish_epoch(self) -> None:
        """Evaluate the network, and add the results of the epoch to the history."""
        loss, accuracy = self.meter.read()
        record = {"epoch": self.epoch - 1, "lr": float(self.optimizer.lr), "loss": loss, "accuracy": accuracy}
        if self.test_set is not None:
            record["test_loss"], record["test_accuracy"] = self.evaluate(self.test_set)
        self.history.append(record)
        self.meter = Meter()
        for watcher in self.watchers:
            watcher.after_epoch(self)


class Meter:
    """The mean loss and the accuracy over batches.

    On a GPU, fetching a number waits until the device has finished. So :meth:`add` fetches nothing, and :meth:`read`
    fetches the losses of all batches since the last reading.

    Parameters
    ----------
    loss : float
        The sum of the losses of all images so far.
    hits : int
        The number of images classified correctly so far.
    count : int
        The number of images so far.

    Examples
    --------
    >>> meter = Meter()
    >>> logits = np.array([[2.0, 1.0], [3.0, 0.0]])
    >>> meter.add(0, np.array(0.5), logits, target=np.array([0, 1]))
    >>> meter.read()
    (0.5, 0.5)
    """

    def __init__(self, loss: float = 0.0, hits: int = 0, count: int = 0) -> None:
        self.loss, self.hits, self.count = loss, hits, count  # sums over images
        self._unread: list[tuple[int, int, Array, Array]] = []

    def add(self, step: int, loss: Array, logits: Array, target: Array) -> None:
        """Add a batch of step `step`: its mean loss (), its logits (N, classes) and its labels (N,)."""
        self._unread.append((step, logits.shape[0], loss, count_hits(logits, target)))

    def add_counts(self, step: int, loss: Array, hits: Array, count: int) -> None:
        """Add `count` images of step `step`: their mean loss (), and how many () of them were classified correctly."""
        self._unread.append((step, count, loss, hits))

    def read(self) -> tuple[float, float]:
        """Return the mean loss and the accuracy so far; NaN without images.

        Raises
        ------
        NonFiniteLossError
            A loss since the last reading is NaN or infinite; the message names its step.
        """
        for step, count, loss, hits in self._unread:
            value = float(to_numpy(loss))
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss is {value} at step {step} (counted from 0): training stopped; try a lower learning rate"
                )
            self.loss += value * count
            self.hits += int(to_numpy(hits))
            self.count += count
        self._unread.clear()
        return (self.loss / self.count, self.hits / self.count) if self.count else (math.nan, math.nan)


def evaluate(model: Module, data: ImageSet, *, batch_size: int = EVALUATION_BATCH) -> tuple[float, float]:
    """Return the mean loss and the accuracy of a network on `data`, computed in evaluation mode.

    Every layer has its own mode again afterwards.

    Parameters
    ----------
    model : Module
        The network. Images get the dtype of its parameters.
    data : ImageSet
        Images with labels.
    batch_size : int
        Images per forward pass; it changes the result by rounding at most.

    Returns
    -------
    (loss, accuracy) : pair of float
        The accuracy is a fraction from 0 to 1.

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
    check_module(model, "model")
    criterion, meter = CrossEntropyLoss(), Meter()
    with evaluation_mode(model):
        for x, target in all_batches(data, batch_size, dtype=dtype_of(model)):
            logits = model(x)
            meter.add(0, criterion(logits, target), logits, target)
    return read_evaluation(meter, data)


def read_evaluation(meter: Meter, data: ImageSet) -> tuple[float, float]:
    """Return the mean loss and the accuracy in a meter, or raise a NonFiniteLossError that names `data`."""
    try:
        return meter.read()
    except NonFiniteLossError as error:
        raise NonFiniteLossError(
            f"the loss on {data.name} is NaN or infinite: the network has diverged; try a lower learning rate"
        ) from error


@contextlib.contextmanager
def evaluation_mode(model: Module) -> Iterator[None]:
    """Inside the block, the network evaluates and saves nothing; every layer has its own mode again afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def count_hits(logits: Array, target: Array) -> Array:
    """Return the number () of images whose largest logit (N, classes) is that of their label (N,)."""
    xp = array_module(logits=logits)
    return xp.sum(xp.astype(xp.argmax(logits, axis=1) == target, xp.int64))


def dtype_of(model: Module) -> str:
    """Return the name of the dtype of a network's parameters."""
    dtype = next(iter(model.parameters())).data.dtype
    return str(dtype).rpartition(".")[2]  # some libraries write their own name before it


@contextlib.contextmanager
def _without_input_grad(model: Module) -> Iterator[None]:
    """Inside the block, ``model.backward`` computes the gradients of the parameters only."""
    before = model.needs_input_grad
    model.needs_input_grad = False
    try:
        yield
    finally:
        model.needs_input_grad = before
