"""The gradient norms of a training run, written to a file while the network trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..training import ShardedTrainer, Trainer, Watcher
from .norms import COLUMNS, Row, group_grad_norms
from .provenance import PROVENANCE, Provenance


class RowSink(Protocol):
    """What rows are written to: a file of :func:`npresnext.gradients.open_rows`, or anything with its `write`."""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""


class GradNormWriter(Watcher):
    """Writes the gradient norms of every conv group to a file while a network trains.

    Parameters
    ----------
    file : RowSink
        An open file, as from :func:`npresnext.gradients.open_rows`.
    layers : sequence of str
        The names of the convolutions, as from :func:`~npresnext.gradients.layer_patterns.choose_layers`.
    every : int
        The number of steps from one set of rows to the next; the first is of step 0.
    norm : "1", "2" or "inf", optional
        As for :func:`npresnext.group_grad_norms`.

    Attributes
    ----------
    rows : list of dict
        All rows written so far.

    Examples
    --------
    >>> import tempfile
    >>> from npresnext.gradients import open_rows
    >>> from npresnext.training import TrainingConfiguration
    >>> configuration = TrainingConfiguration.for_data("digits", limit=64)
    >>> train, test = configuration.load_data()
    >>> with tempfile.TemporaryDirectory() as folder, open_rows(f"{folder}/norms.csv", COLUMNS) as file:
    ...     writer = GradNormWriter(file, ["layer1.0.conv2"])
    ...     configuration.build(train, watchers=[writer]).run(steps=2)
    >>> [(row["step"], row["conv_group"]) for row in writer.rows[6:10]]
    [(0, 6), (0, 7), (1, 0), (1, 1)]
    """

    def __init__(self, file: RowSink, layers: Sequence[str], *, every: int = 1, norm: str | None = None) -> None:
        self.rows: list[Row] = []
        self._file, self._layers, self._every, self._norm = file, list(layers), every, norm

    def after_backward(self, trainer: Trainer) -> None:
        """Write the rows of this step, if it is one of every `every` steps."""
        if trainer.step % self._every:
            return
        trainer.meter.read()  # raises if the loss is not finite: then the gradients are worthless
        norms = group_grad_norms(
            trainer.model, step=trainer.step, epoch=trainer.epoch, norm=self._norm, layers=self._layers
        )
        about = provenance_of(trainer).columns()
        rows = [{**row, **about} for row in norms]
        self._file.write(rows)
        self.rows.extend(rows)


def provenance_of(trainer: Trainer) -> Provenance:
    """Return what a trainer does to a gradient: nothing is clipped or scaled, and the loss is a mean.

    With shards, a gradient is the mean of those of all shards, on every rank.
    """
    shards, ranks = 1, 1
    if isinstance(trainer, ShardedTrainer):
        shards, ranks = trainer.shards, trainer.communicator.size
    reduced = "no" if ranks == 1 else "yes"
    return Provenance(clipped="no", scaled="no", accumulated=shards, loss="mean", world_size=ranks, reduced=reduced)


def columns_with(norm: str | None) -> tuple[str, ...]:
    """Return the columns of the rows of a GradNormWriter with this `norm`.

    >>> columns_with("inf")[11:]
    ('l2_weight_l2', 'norm', 'taken', 'clipped', 'scaled', 'accumulated', 'loss', 'world_size', 'reduced')
    """
    return (*COLUMNS, *([] if norm is None else ["norm"]), *PROVENANCE)
