"""Data-parallel training: a batch is cut into shards, and any number of processes computes them with the same result.

The sum of floating-point numbers depends on their order, so a sum over processes usually changes with their number.
Here the number of shards is part of the configuration, and the number of processes is not. Each batch is cut into V
shards of equal size. Each of R processes (*ranks* of MPI) computes V/R of them. Then every rank receives the gradients
of all shards, and adds them in the order of the shards. So 1, 2 and 4 ranks give the same bits.

Batch norm normalises each shard by itself, as in the ghost batch norm of Hoffer, Hubara and Soudry, "Train longer,
generalize better", 2017, arXiv:1705.08741, algorithm 1. So another V gives other results.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._support.arguments import as_int
from .._support.integers import chunks
from .._support.typing import Array, NumPyArray
from ..backend import array_module, to_numpy
from ..data.batches import all_batches
from ..data.images import ImageSet
from ..errors import ConfigurationError, InvalidTypeError, RanksDifferError, ShapeError
from ..nn import SGD, BatchNorm2d, Module, Parameter
from .communicator import Communicator
from .loop import EVALUATION_BATCH, Meter, Trainer, count_hits, dtype_of, evaluation_mode, read_evaluation

VALUES_PER_GATHER = 2**20  # of the gradient of a shard: more need more memory, fewer need more messages


class ShardedTrainer(Trainer):
    """A trainer that cuts each batch into shards, and shares them out over ranks.

    Every rank makes one, from the same arguments except `watchers`, and calls :meth:`run`. All ranks hold the same
    weights, momentum, running statistics, meter and history at each step, so one rank can write files for all of them.

    The gradient of the batch is ``(g[0] + g[1] + ... + g[V - 1])/V`` with the gradient ``g[v]`` of the mean loss of
    shard v. The sum is computed in float64 and in this order, and rounded once to the dtype of the parameters. The
    running statistics of batch norm move towards the statistics of each shard, one shard after another.

    Parameters
    ----------
    model, optimizer, train_set, test_set
        As for :class:`Trainer`.
    shards : int
        V, the number of shards of a batch. It must divide the batch size, and be a multiple of the number of ranks.
    communicator : Communicator, optional
        That of all ranks, as :func:`connect_ranks` returns it; without it this process computes all shards.
    **options
        The other arguments of :class:`Trainer`.

    Raises
    ------
    ConfigurationError
        `shards` does not divide the batch size, or is no multiple of the number of ranks.
    TypeError
        A layer of the network has buffers other than the running statistics of batch norm.

    Examples
    --------
    >>> from npresnext.training import TrainingConfiguration
    >>> configuration = TrainingConfiguration.for_data("digits", shards=4)
    >>> trainer = configuration.build(*configuration.load_data())      # with shards, build makes a ShardedTrainer
    >>> trainer.run(steps=2)
    >>> trainer.shards, trainer.images_per_shard
    (4, 8)
    """

    def __init__(
        self,
        model: Module,
        optimizer: SGD,
        train_set: ImageSet,
        test_set: ImageSet | None = None,
        *,
        shards: int,
        communicator: Communicator | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, optimizer, train_set, test_set, **options)
        self.communicator = Communicator() if communicator is None else communicator
        self.shards = check_shards(shards, self.batch_size)
        if self.shards % self.communicator.size:
            raise ConfigurationError("shards", shards, f"a multiple of the number of ranks, {self.communicator.size}")
        self._norms = _tracking_layers(model)

    @property
    def images_per_shard(self) -> int:
        """The number of images of a shard, for which batch norm computes its statistics."""
        return self.batch_size // self.shards

    def run(self, steps: int) -> None:
        """Train as :meth:`Trainer.run` does.

        Raises
        ------
        NonFiniteLossError
            The loss became NaN or infinite; raised on all ranks in the same step.
        RanksDifferError
            The ranks began with different numbers, or hold different ones at the end of an epoch; raised on all ranks.
        """
        self._check_ranks_agree()
        super().run(steps)

    def compute_gradients(self, x: Array, target: Array) -> None:
        """Give the parameters the mean gradient of all shards, and add the shards to the meter."""
        size, remainder = divmod(len(target), self.shards)
        if remainder:
            raise ShapeError(f"target has shape ({len(target)},): expected a multiple of {self.shards}, the shards")
        count = self.shards // self.communicator.size  # shards of a rank
        first = self.communicator.rank * count
        with _without_tracking(self._norms):
            own = [
                self._compute_shard(x[start : start + size, ...], target[start : start + size])
                for start in range(first * size, (first + count) * size, size)
            ]
        self._set_gradients(own)
        results = self.communicator.allgather(np.stack([shard.results for shard in own]))  # (V, 2 + statistics)
        for loss, hits, *_ in results:
            self.meter.add_counts(self.step, loss, hits, size)
        self._track(results[:, 2:], own[0].statistics)
        self.meter.read()  # now, and so on every rank in the same step, if a loss is not finite

    def evaluate(self, data: ImageSet) -> tuple[float, float]:
        """Return the mean loss and the accuracy on `data`: each rank evaluates some of the batches of ``evaluate``."""
        own = []
        batches = all_batches(data, EVALUATION_BATCH, dtype=dtype_of(self.model))
        with evaluation_mode(self.model):
            for x, target in itertools.islice(batches, self.communicator.rank, None, self.communicator.size):
                logits = self.model(x)
                own.append((self.criterion(logits, target), count_hits(logits, target), len(target)))
        counts = [(float(to_numpy(loss)), int(to_numpy(hits)), count) for loss, hits, count in own]
        meter = Meter()
        for in_turn in itertools.zip_longest(*self.communicator.share(counts)):  # batch 0 is of rank 0, 1 of rank 1
            for batch in in_turn:
                if batch is not None:
                    meter.add_counts(0, *batch)
        return read_evaluation(meter, data)

    def _compute_shard(self, x: Array, target: Array) -> _Shard:
        """Run forward and backward on one shard, and take the gradients from the parameters."""
        logits = self.model(x)
        statistics = [layer.batch_statistics() for layer in self._norms]
        loss = self.criterion(logits, target)
        self.model.backward(self.criterion.backward())
        parameters = [parameter for parameter in self.optimizer.params if parameter.grad is not None]
        gradient = np.concatenate([to_numpy(parameter.grad).reshape(-1) for parameter in parameters])  # (L,)
        self.optimizer.zero_grad()
        numbers = [loss, count_hits(logits, target)]
        for mean, var, _ in statistics:
            numbers += [mean, var]
        results = np.concatenate([to_numpy(each).reshape(-1).astype(np.float64) for each in numbers])
        return _Shard(parameters, gradient, results, statistics)

    def _set_gradients(self, own: list[_Shard]) -> None:
        """Give the parameters the mean of the gradients of all shards."""
        mean = np.empty_like(own[0].gradient)  # (L,)
        for piece in chunks(len(mean), VALUES_PER_GATHER):
            rows = np.stack([shard.gradient[piece] for shard in own])  # (V/R, values of the piece)
            mean[piece] = mean_in_order(self.communicator.allgather(rows))
        start = 0
        for parameter in own[0].parameters:
            stop = start + math.prod(parameter.shape)
            xp = array_module(data=parameter.data)
            parameter.grad = xp.asarray(mean[start:stop].reshape(parameter.shape), dtype=parameter.data.dtype)
            start = stop

    def _track(self, results: NumPyArray, like: Sequence[tuple[Array, Array, Any]]) -> None:
        """Move the running statistics towards those of each shard in order.

        Parameters
        ----------
        results : NumPy array (V, statistics)
            For each shard the mean and the variance of every layer.
        like
            Mean, variance and shape of the input of every layer, for one shard.
        """
        for row in results:
            start = 0
            for layer, (mean, _, x_shape) in zip(self._norms, like, strict=True):
                xp, middle, stop = array_module(mean=mean), start + layer.num_features, start + 2 * layer.num_features
                layer.track(
                    xp.asarray(row[start:middle], dtype=mean.dtype),
                    xp.asarray(row[middle:stop], dtype=mean.dtype),
                    x_shape,
                )
                start = stop

    def _finish_epoch(self) -> None:
        self._check_ranks_agree()  # before a watcher writes a checkpoint
        super()._finish_epoch()

    def _check_ranks_agree(self) -> None:
        """Raise on all ranks unless they hold the same step, weights, statistics and momentum."""
        if self.communicator.size == 1:
            return
        digests = self.communicator.share(self._digest())
        others = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise RanksDifferError(
                f"at step {self.step}, rank {others[0]} holds other numbers than rank 0: all ranks need the same "
                "versions of npresnext and NumPy, the same kind of processor, and the same files to read"
            )

    def _digest(self) -> str:
        """Return a digest of everything that a checkpoint holds of the network and the optimizer."""
        digest = hashlib.sha256(str(self.step).encode())
        for array in (*self.model.state_dict().values(), *self.optimizer.state_dict()["momentum_buffers"]):
            digest.update(b"none" if array is None else to_numpy(array).tobytes())
        return digest.hexdigest()


class _Shard(NamedTuple):
    """What a rank keeps of a shard."""

    parameters: list[Parameter]  # those that have a gradient
    gradient: NumPyArray  # (L,), of all these parameters, one after another
    results: NumPyArray  # loss, hits, and mean and variance of each layer of batch norm, in float64
    statistics: list[tuple[Array, Array, Any]]  # mean, variance and shape of the input of each of these layers


def check_shards(shards: int, batch_size: int) -> int:
    """Return the number of shards as an integer, or raise unless it divides the batch size.

    >>> check_shards(5, 32)
    Traceback (most recent call last):
    ...
    npresnext.errors.ConfigurationError: shards must be a divisor of the batch size, 32, but is 5
    """
    shards = as_int(shards, "shards")
    if shards < 1:
        raise ConfigurationError("shards", shards, "at least 1")
    if batch_size % shards:
        raise ConfigurationError("shards", shards, f"a divisor of the batch size, {batch_size}")
    return shards


def mean_in_order(rows: NumPyArray) -> NumPyArray:
    """Return the mean of rows (V, L) as float64 (L,): the rows are added in their order, and V divides the sum.

    >>> mean_in_order(np.array([[1e16, 1.0], [1.0, 2.0], [-1e16, 3.0]]))      # 1e16 + 1 is rounded to 1e16
    array([0., 2.])
    """
    total = rows[0].astype(np.float64)
    for row in rows[1:]:
        total += row
    return total / len(rows)


def _tracking_layers(model: Module) -> list[BatchNorm2d]:
    """Return the layers of batch norm that have running statistics; raise if another layer has buffers."""
    for name, module in model.named_modules():
        if module.buffer_names and not isinstance(module, BatchNorm2d):
            raise InvalidTypeError(
                f"{name} is a {type(module).__name__} with the buffers {', '.join(module.buffer_names)}: shards can "
                "combine the buffers of BatchNorm2d only"
            )
    return [module for module in model.modules() if isinstance(module, BatchNorm2d) and module.running_mean is not None]


@contextlib.contextmanager
def _without_tracking(layers: Sequence[BatchNorm2d]) -> Iterator[None]:
    """Inside the block, the layers have no running statistics that a forward pass could move."""
    kept = [layer.running_mean for layer in layers]
    for layer in layers:
        layer.running_mean = None
    try:
        yield
    finally:
        for layer, mean in zip(layers, kept, strict=True):
            layer.running_mean = mean
