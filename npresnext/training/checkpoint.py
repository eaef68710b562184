"""Checkpoints: a run that was killed goes on as if nothing had happened, byte for byte.

A checkpoint holds the network (weights, running statistics), the momentum, and how many steps are done. The
random numbers need no place of their own: those of a step follow from the seed, the epoch and the batch.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._support.arguments import as_int
from .._support.files import check_writable
from ..errors import FileFormatError, InvalidValueError, StateDictError
from ..io import atomic_path, load, save
from .loop import Meter, Trainer, Watcher

FORMAT = "npresnext checkpoint 1"
MODEL, MOMENTUM = "model/", "momentum/"


class Checkpoints(Watcher):
    """Writes a checkpoint every so many steps, and at the end of each epoch.

    Parameters
    ----------
    path
        A file that ends in ``.npz``. The checkpoint before the last is kept beside it: see :func:`previous_path`.
    arguments
        What the run was asked to do; a resume with other arguments is refused.
    every
        Steps from one checkpoint to the next; None writes at the end of each epoch only.
    """

    def __init__(self, path: str | os.PathLike[str], arguments: Mapping[str, Any], every: int | None = None) -> None:
        self._path, self._arguments, self._every = Path(path), arguments, every
        self._is_there = os.path.lexists(self._path)

    def after_step(self, trainer: Trainer) -> None:
        """Write a checkpoint if it is time to."""
        ended_epoch = trainer.step % trainer.steps_per_epoch == 0
        if ended_epoch or (self._every is not None and trainer.step % self._every == 0):
            check_writable(self._path, overwrite=self._is_there)  # another run may keep its own there by now
            save_checkpoint(self._path, trainer, self._arguments)
            self._is_there = True


def previous_path(path: str | os.PathLike[str]) -> Path:
    """Return where the checkpoint before the last one is kept.

    >>> previous_path("run.npz").name
    'run.previous.npz'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def check_checkpoint_path(path: str | os.PathLike[str]) -> None:
    """Raise if `path` is no name for a checkpoint."""
    if Path(path).suffix != ".npz":
        raise InvalidValueError(f"the checkpoint {path} must have a name that ends in .npz")


def save_checkpoint(path: str | os.PathLike[str], trainer: Trainer, arguments: Mapping[str, Any]) -> None:
    """Write what a run needs to go on; at every moment `path` is a whole checkpoint, the old or the new one.

    Raises
    ------
    NonFiniteLossError
        The loss has become NaN or infinite: such a network is not worth keeping.
    """
    path = Path(path)
    check_checkpoint_path(path)
    trainer.meter.read()
    arrays = {MODEL + name: array for name, array in trainer.model.state_dict().items()}
    for name, buffer in zip(_parameter_names(trainer), trainer.optimizer.state_dict()["momentum_buffers"]):
        if buffer is not None:
            arrays[MOMENTUM + name] = buffer
    meter = trainer.meter
    metadata = {
        "format": FORMAT,
        "arguments": json.dumps(arguments),
        "step": json.dumps(trainer.step),
        "meter": json.dumps({"loss": meter.loss, "hits": meter.hits, "count": meter.count}),
        "history": json.dumps(trainer.history),
    }
    if path.exists():
        with atomic_path(previous_path(path), overwrite=True) as beside:
            shutil.copyfile(path, beside)
    save(path, arrays, metadata=metadata, overwrite=True)


def load_checkpoint(path: str | os.PathLike[str], trainer: Trainer, arguments: Mapping[str, Any]) -> None:
    """Put a trainer where the run that wrote `path` stood; if anything is wrong, the trainer is left as it was.

    Raises
    ------
    ValueError
        The file is truncated or no checkpoint, or belongs to a run with other arguments (the message says
        which).
    """
    path = Path(path)
    if not path.is_file():
        advice = _advice(path) or ": leave out --resume to begin one"
        raise InvalidValueError(f"there is no checkpoint {path} to resume from{advice}")
    try:
        state = load(path)
        if state.metadata.get("format") != FORMAT:
            raise FileFormatError(f"{path} is a state file, but no checkpoint of a run")
        stored = {name: json.loads(text) for name, text in state.metadata.items() if name != "format"}
        step, history, meter = as_int(stored["step"], "step", 0), list(stored["history"]), Meter(**stored["meter"])
        began_with = dict(stored["arguments"])
    except FileFormatError as error:
        raise FileFormatError(f"{error}{_advice(path)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path} is no whole checkpoint ({error!r}){_advice(path)}") from error
    _check_arguments(path, began_with, arguments)
    model = {name.removeprefix(MODEL): array for name, array in state.items() if name.startswith(MODEL)}
    before = trainer.optimizer.state_dict()
    momentum = [state.get(MOMENTUM + name) for name in _parameter_names(trainer)]
    try:
        trainer.optimizer.load_state_dict({**before, "momentum_buffers": momentum})
        trainer.model.load_state_dict(model)
    except StateDictError as error:
        trainer.optimizer.load_state_dict(before)
        raise FileFormatError(f"{path}: {error}") from error
    trainer.step, trainer.history, trainer.meter = step, history, meter


def _parameter_names(trainer: Trainer) -> list[str]:
    return [name for name, _ in trainer.model.named_parameters()]


def _check_arguments(path: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise if the run is asked to go on in another way than it began."""
    given = json.loads(json.dumps(given))
    differing = [
        f"{name} was {stored.get(name)!r} and is {given.get(name)!r}"
        for name in sorted({*stored, *given})
        if stored.get(name) != given.get(name)
    ]
    if differing:
        raise InvalidValueError(f"{path} belongs to a run with other arguments: {'; '.join(differing)}")


def _advice(path: Path) -> str:
    """Return what to do about a file that is no good."""
    previous = previous_path(path)
    return f"; the checkpoint before it is {previous}: resume from that" if previous.is_file() else ""
