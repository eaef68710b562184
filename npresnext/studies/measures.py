"""What is measured during a run: rows that a resumed run completes to the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._support.files import atomic_path
from .._support.typing import Array
from ..backend import array_module, to_numpy
from ..data import ImageSet, normalise
from ..gradients import COLUMNS, STATISTIC_COLUMNS, conv_layers, group_grad_norms, group_statistics, open_rows
from ..gradients.layer_patterns import choose_layers
from ..gradients.norms import Row
from ..gradients.statistics import STATISTICS, mean_cosine
from ..gradients.statistics.features import Moments, group_effective_rank
from ..gradients.statistics.recording import borrowed, record
from ..nn import CrossEntropyLoss, Module
from ..training import Trainer, Watcher
from .configuration import RunConfiguration

STEP_COLUMNS = ("step", "epoch", "gradient_l2")
GROUP_COLUMNS = tuple(name for name in STATISTIC_COLUMNS if name != "knockout")  # which takes a pass per group
HISTORY_COLUMNS = ("epoch", "epoch_lr", "loss", "accuracy", "test_loss", "test_accuracy")


class Recorder(Watcher):
    """Rows of a measure, written in pieces before each checkpoint and joined at the end of the run.

    A piece holds the rows between two checkpoints. A run that is resumed at some step drops the pieces of later steps,
    so its rows are those of a run that was never stopped.

    Parameters
    ----------
    path : Path
        The CSV file of the end. The pieces are beside it, and are removed at the end.
    columns : sequence of str
        The keys of the rows.
    checkpoint_every : int, optional
        The number of steps from one checkpoint to the next, as for :class:`npresnext.training.Checkpoints`, which must
        come later in the list of watchers.
    """

    def __init__(self, path: Path, columns: Sequence[str], checkpoint_every: int | None) -> None:
        self._path, self._columns, self._checkpoint_every = path, columns, checkpoint_every
        self._rows: list[Row] = []

    def rows(self, trainer: Trainer) -> list[Row]:
        """Return the rows of this step, whose gradients are there."""
        return []

    def rows_of_epoch(self, trainer: Trainer) -> list[Row]:
        """Return the rows of the epoch that has ended."""
        return []

    def after_backward(self, trainer: Trainer) -> None:
        """Keep the rows of this step until the next checkpoint."""
        self._rows += self.rows(trainer)

    def after_step(self, trainer: Trainer) -> None:
        """Write a piece before a checkpoint."""
        if self._checkpoint_every is not None and trainer.step % self._checkpoint_every == 0:
            self._write_piece(trainer.step)

    def after_epoch(self, trainer: Trainer) -> None:
        """Write a piece before the checkpoint of the epoch."""
        self._rows += self.rows_of_epoch(trainer)
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

    def __init__(self, path: Path, layers: Sequence[str], every: int, checkpoint_every: int | None) -> None:
        super().__init__(path, COLUMNS, checkpoint_every)
        self._layers, self._every = layers, every

    def rows(self, trainer: Trainer) -> list[Row]:
        """Return the norms of this step."""
        if trainer.step % self._every:
            return []
        trainer.meter.read()  # raises if the loss is not finite: then the gradients are worthless
        return group_grad_norms(trainer.model, step=trainer.step, epoch=trainer.epoch, layers=self._layers)


class StepRecorder(Recorder):
    """The norm of the whole gradient, of all parameters together, at each step."""

    def __init__(self, path: Path, checkpoint_every: int | None) -> None:
        super().__init__(path, STEP_COLUMNS, checkpoint_every)

    def rows(self, trainer: Trainer) -> list[Row]:
        """Return the row of this step."""
        total = 0.0
        for parameter in trainer.model.parameters():
            xp = array_module(grad=parameter.grad)
            total += float(to_numpy(xp.sum(xp.astype(parameter.grad, xp.float64) ** 2)))
        return [{"step": trainer.step, "epoch": trainer.epoch, "gradient_l2": total**0.5}]


class StatisticsRecorder(Recorder):
    """Statistics of each conv group of each 3x3 convolution of a block, and of each of these layers as a whole.

    The rows of a layer as a whole have no `conv_group`, and only the statistics that do not compare groups: the norm
    of the gradient, the cosine of classes and the effective rank, each of all channels together. They can be compared
    between networks of different cardinality, in which groups have different sizes.
    """

    def __init__(
        self, path: Path, epochs: Sequence[int], images: ImageSet, dtype: str, checkpoint_every: int | None
    ) -> None:
        super().__init__(path, GROUP_COLUMNS, checkpoint_every)
        self._epochs, self._images, self._dtype = epochs, images, dtype

    def rows_of_epoch(self, trainer: Trainer) -> list[Row]:
        """Return the rows of an epoch that was chosen."""
        epoch = trainer.history[-1]["epoch"]
        if epoch + 1 not in self._epochs:
            return []
        layers = [name for name in conv_layers(trainer.model) if name.endswith(".conv2")]
        x, target = normalise(self._images, self._images.images, self._dtype), self._images.labels
        statistics = [name for name in STATISTICS if name in GROUP_COLUMNS]
        place: Row = {"step": trainer.step, "epoch": epoch}
        groups = group_statistics(trainer.model, x, target, statistics=statistics, layers=layers, **place)
        return [{**place, **row} for row in layer_statistics(trainer.model, x, target, layers)] + groups


def layer_statistics(model: Module, x: Array, target: np.ndarray, layers: Sequence[str]) -> list[Row]:
    """Return a row for each of the convolutions `layers`: statistics of all channels together.

    Parameters
    ----------
    model : Module
        Put into evaluation mode for the time of the call; its gradients are those of before.
    x : array (N, C, H, W)
        Images.
    target : array (N,)
        Their classes.
    layers : sequence of str

    Returns
    -------
    list of dict
        `layer`, `groups`, `numel`, `l2`, `class_cosine` and `effective_rank`, as in
        :func:`npresnext.gradients.group_statistics`.
    """
    convs = {name: conv for name, conv in conv_layers(model).items() if name in layers}
    moments = {name: Moments(conv.out_channels) for name, conv in convs.items()}
    sums: dict[str, list[np.ndarray]] = {name: [] for name in convs}
    criterion = CrossEntropyLoss(reduction="sum")
    with borrowed(model):
        for label in np.unique(target):
            chosen = np.flatnonzero(target == label)
            model.zero_grad()
            logits, found = record(model, convs, x[chosen, ...])
            criterion(logits, target[chosen])
            model.backward(criterion.backward())
            for name, conv in convs.items():
                moments[name].add(to_numpy(found[name].features))
                sums[name].append(to_numpy(conv.weight.grad).astype(np.float64).ravel())  # (m,)
    rows: list[Row] = []
    for name, conv in convs.items():
        gradients = np.array(sums[name])  # (K, m)
        rows.append(
            {
                "layer": name,
                "groups": conv.groups,
                "numel": gradients.shape[1],
                "l2": float(np.linalg.norm(gradients.sum(axis=0))) / len(target),
                "class_cosine": float(mean_cosine(gradients)),
                "effective_rank": float(group_effective_rank(moments[name].covariance(), 1)[0]),
            }
        )
    return rows


def recorders(
    configuration: RunConfiguration, trainer: Trainer, folder: Path, checkpoint_every: int | None
) -> list[Recorder]:
    """Return the recorders of a run."""
    found: list[Recorder] = []
    if "steps" in configuration.measure:
        found.append(StepRecorder(folder / "steps.csv", checkpoint_every))
    if "gradnorms" in configuration.measure:
        layers = choose_layers(list(conv_layers(trainer.model)), configuration.gradnorms_layers)
        every = configuration.gradnorms_every
        found.append(GradNormRecorder(folder / "gradnorms.csv", layers, every, checkpoint_every))
    if "statistics" in configuration.measure:
        epochs = configuration.statistics_epochs or (configuration.training.epochs,)
        images = trainer.train_set.first(min(configuration.statistics_images, len(trainer.train_set)))
        dtype = configuration.training.dtype
        found.append(StatisticsRecorder(folder / "statistics.csv", epochs, images, dtype, checkpoint_every))
    return found


def write_history(trainer: Trainer, path: Path) -> None:
    """Write a row for each epoch."""
    rows = [{**record, "epoch_lr": record["lr"]} for record in trainer.history]
    with atomic_path(path, overwrite=True) as temporary:
        with open_rows(str(temporary), HISTORY_COLUMNS, format="csv", overwrite=True) as file:
            file.write(rows)
