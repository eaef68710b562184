"""What is measured during a run: rows that a resumed run completes to the same bytes."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._support.files import atomic_path
from ..gradients import COLUMNS, conv_layers, group_grad_norms, open_rows
from ..gradients.watcher import choose_layers
from ..training import Trainer, Watcher
from .configuration import RunConfiguration

Row = dict[str, Any]
HISTORY_COLUMNS = ("epoch", "epoch_lr", "loss", "accuracy", "test_loss", "test_accuracy")


class Recorder(Watcher, abc.ABC):
    """Rows of a measure, written in pieces before each checkpoint and joined at the end of the run.

    A piece holds the rows between two checkpoints. A run that is resumed at some step drops the pieces of later steps,
    so its rows are those of a run that was never stopped.

    Parameters
    ----------
    path : Path
        The CSV file of the end. The pieces are beside it, and are removed at the end.
    columns : sequence of str
        The keys of the rows.
    every : int, optional
        The number of steps from one checkpoint to the next, as for :class:`npresnext.training.Checkpoints`, which must
        come later in the list of watchers.
    """

    def __init__(self, path: Path, columns: Sequence[str], every: int | None) -> None:
        self._path, self._columns, self._every = path, columns, every
        self._rows: list[Row] = []

    @abc.abstractmethod
    def rows(self, trainer: Trainer) -> list[Row]:
        """Return the rows of this step, whose gradients are there; empty if there are none."""

    def after_backward(self, trainer: Trainer) -> None:
        """Keep the rows of this step until the next checkpoint."""
        self._rows += self.rows(trainer)

    def after_step(self, trainer: Trainer) -> None:
        """Write a piece before a checkpoint."""
        if self._every is not None and trainer.step % self._every == 0:
            self._write_piece(trainer.step)

    def after_epoch(self, trainer: Trainer) -> None:
        """Write a piece before the checkpoint of the epoch."""
        self._write_piece(trainer.step)

    def resume(self, step: int) -> None:
        """Drop the pieces of steps after `step`."""
        for piece in self._pieces():
            if int(piece.suffixes[-2][1:]) > step:
                piece.unlink()

    def finish(self) -> None:
        """Join the pieces, and remove them."""
        with atomic_path(self._path, overwrite=True) as temporary:
            with open_rows(str(temporary), self._columns, format="csv", overwrite=True):
                pass  # the line with the column names
            with open(temporary, "ab") as file:
                for piece in self._pieces():
                    file.write(piece.read_bytes().partition(b"\n")[2])

    def clean(self) -> None:
        """Remove the pieces."""
        for piece in self._pieces():
            piece.unlink()

    def _write_piece(self, step: int) -> None:
        if not self._rows:
            return
        piece = self._path.with_name(f"{self._path.stem}.{step:09}.piece")
        with atomic_path(piece, overwrite=True) as temporary:
            with open_rows(str(temporary), self._columns, format="csv", overwrite=True) as file:
                file.write(self._rows)
        self._rows = []

    def _pieces(self) -> list[Path]:
        return sorted(self._path.parent.glob(f"{self._path.stem}.*.piece"))


class GradNormRecorder(Recorder):
    """The gradient norms of every conv group, every so many steps."""

    def __init__(self, path: Path, layers: Sequence[str], each: int, every: int | None) -> None:
        super().__init__(path, COLUMNS, every)
        self._layers, self._each = layers, each

    def rows(self, trainer: Trainer) -> list[Row]:
        """Return the norms of this step."""
        if trainer.step % self._each:
            return []
        trainer.meter.read()  # raises if the loss is not finite: then the gradients are worthless
        return group_grad_norms(trainer.model, step=trainer.step, epoch=trainer.epoch, layers=self._layers)


def recorders(configuration: RunConfiguration, trainer: Trainer, folder: Path, every: int | None) -> list[Recorder]:
    """Return the recorders of a run."""
    if "gradnorms" not in configuration.measure:
        return []
    layers = choose_layers(list(conv_layers(trainer.model)), configuration.gradnorms_layers)
    return [GradNormRecorder(folder / "gradnorms.csv", layers, configuration.gradnorms_every, every)]


def write_history(trainer: Trainer, path: Path) -> None:
    """Write a row for each epoch."""
    rows = [{**record, "epoch_lr": record["lr"]} for record in trainer.history]
    with atomic_path(path, overwrite=True) as temporary:
        with open_rows(str(temporary), HISTORY_COLUMNS, format="csv", overwrite=True) as file:
            file.write(rows)


def columns_of(measure: str) -> Sequence[str]:
    """Return the columns of the rows of a measure."""
    return {"history": HISTORY_COLUMNS, "gradnorms": COLUMNS}[measure]
