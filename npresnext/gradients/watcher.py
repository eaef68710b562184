"""Gradient norms of a training run: which layers, how often, into which file."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from ..errors import InvalidValueError
from ..training.loop import Trainer, Watcher
from .files import RowFile
from .norms import COLUMNS, Row, group_grad_norms


class NormDump(Watcher):
    """Writes the norms of every conv group into a file, every so many steps; ``rows`` keeps them as well.

    Parameters
    ----------
    file
        Open, as from :func:`npresnext.gradients.files.open_rows`.
    layers
        Names of the convolutions.
    every
        Steps from one dump to the next; the first is at step 0.
    norm
        As for :func:`npresnext.group_grad_norms`.
    """

    def __init__(self, file: RowFile, layers: Sequence[str], *, every: int = 1, norm: str | None = None) -> None:
        self.rows: list[Row] = []
        self._file, self._layers, self._every, self._norm = file, frozenset(layers), every, norm

    def after_backward(self, trainer: Trainer) -> None:
        """Write the rows of this step, if it is time to."""
        if trainer.step % self._every:
            return
        trainer.meter.read()  # a loss that is not finite has no gradient worth writing
        rows = group_grad_norms(trainer.model, step=trainer.step, epoch=trainer.epoch, norm=self._norm)
        chosen = [row for row in rows if row["layer"] in self._layers]
        self._file.write(chosen)
        self.rows.extend(chosen)


def columns_of(norm: str | None) -> tuple[str, ...]:
    """Return the columns of rows with or without a norm of the user's choice."""
    return COLUMNS if norm is None else (*COLUMNS, "norm")


def choose_layers(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """Return the names that match any of `patterns`, as file names do; all without patterns.

    Raises
    ------
    ValueError
        A pattern matches nothing; the message says what there is.

    Examples
    --------
    >>> choose_layers(["conv1", "layer1.0.conv1", "layer1.0.conv2"], ["*.conv?"])
    ['layer1.0.conv1', 'layer1.0.conv2']
    """
    if patterns is None:
        return list(names)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise InvalidValueError(f"no convolution matches {pattern!r}: there are {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
