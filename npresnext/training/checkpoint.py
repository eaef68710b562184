"""Checkpoints: a run that was killed can be resumed, and ends in the same bytes as one that was never stopped.

A checkpoint holds the network (weights and running statistics), the momentum, the number of steps done, and the
history. It holds no random numbers: those of a step follow from the seed, the epoch and the batch.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .._support.arguments import as_int
from .._support.files import check_writable
from ..errors import FileFormatError, InvalidTypeError, InvalidValueError, StateDictError
from ..io import atomic_path, load, save
from .loop import Meter, Trainer, Watcher

FORMAT = "npresnext checkpoint 1"
MODEL, MOMENTUM = "model/", "momentum/"


class ChangedArgumentsError(InvalidValueError):
    """A checkpoint belongs to a run with other arguments.

    Attributes
    ----------
    path : Path
        The checkpoint.
    changed : dict
        Name of the argument -> (its value in the checkpoint, its value now).
    """

    def __init__(self, path: Path, changed: Mapping[str, tuple[Any, Any]]) -> None:
        differences = "; ".join(f"{name} was {before!r} and is {now!r}" for name, (before, now) in changed.items())
        super().__init__(f"{path} belongs to a run with other arguments: {differences}")
        self.path, self.changed = path, dict(changed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the arguments to make a copy or pickle with; Python alone would pass the message."""
        return type(self), (self.path, self.changed)


class Checkpoints(Watcher):
    """Writes a checkpoint at the end of each epoch, and every `every` steps in between.

    Parameters
    ----------
    path
        A file that ends in ``.npz``. The second newest checkpoint is kept beside it: see :func:`previous_path`.
    arguments
        The arguments of the run, such as :meth:`TrainingConfiguration.to_dict`, with values that JSON can hold. They
        are stored in the checkpoint; :func:`load_checkpoint` compares them.
    every
        The number of steps from one checkpoint to the next; None writes at the end of each epoch only.

    Raises
    ------
    TypeError
        An argument has a value that JSON cannot hold.
    OutputExistsError
        While training: another run has written to `path` since this object was made.

    Examples
    --------
    >>> import tempfile
    >>> from npresnext.training import TrainingConfiguration
    >>> configuration = TrainingConfiguration.for_data("digits", limit=320)
    >>> train, test = configuration.load_data()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.npz"
    ...     checkpoints = Checkpoints(path, configuration.to_dict(), every=2)
    ...     configuration.build(train, watchers=[checkpoints]).run(steps=3)  # and here the computer crashes
    ...     trainer = configuration.build(train, watchers=[checkpoints])
    ...     load_checkpoint(path, trainer, configuration.to_dict())
    >>> trainer.step
    2
    """

    def __init__(self, path: str | os.PathLike[str], arguments: Mapping[str, Any], every: int | None = None) -> None:
        _as_json(arguments)  # raises now what writing would raise after the first epoch
        self._path, self._arguments, self._every = Path(path), arguments, every
        self._is_there = os.path.lexists(self._path)

    def after_step(self, trainer: Trainer) -> None:
        """Write a checkpoint every so many steps; at the end of an epoch, ``after_epoch`` writes it."""
        ended_epoch = trainer.step % trainer.steps_per_epoch == 0
        if self._every is not None and trainer.step % self._every == 0 and not ended_epoch:
            self._write(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """Write a checkpoint, which holds the results of the epoch too."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        check_writable(self._path, overwrite=self._is_there)  # another run may have written there meanwhile
        save_checkpoint(self._path, trainer, self._arguments)
        self._is_there = True


def previous_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of the second newest checkpoint of a run.

    >>> previous_path("run.npz").name
    'run.previous.npz'
    """
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def check_checkpoint_path(path: str | os.PathLike[str]) -> None:
    """Raise unless `path` ends in .npz."""
    if Path(path).suffix != ".npz":
        raise InvalidValueError(f"the checkpoint {path} must have a name that ends in .npz")


def save_checkpoint(path: str | os.PathLike[str], trainer: Trainer, arguments: Mapping[str, Any]) -> None:
    """Write everything that is needed to resume a run.

    At every moment `path` is complete: it is either the old checkpoint or the new one.

    Parameters
    ----------
    path
        A file that ends in ``.npz``. If it exists, it becomes the previous checkpoint: see :func:`previous_path`.
    trainer
        The trainer of the run.
    arguments
        The arguments of the run, to be compared by :func:`load_checkpoint`.

    Raises
    ------
    NonFiniteLossError
        The loss has become NaN or infinite; no file is written.
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
        "arguments": _as_json(arguments),
        "step": json.dumps(trainer.step),
        "meter": json.dumps({"loss": meter.loss, "hits": meter.hits, "count": meter.count}),
        "history": json.dumps(trainer.history),
    }
    if path.exists():
        with atomic_path(previous_path(path), overwrite=True) as beside:
            shutil.copyfile(path, beside)
    save(path, arrays, metadata=metadata, overwrite=True)


def load_checkpoint(
    path: str | os.PathLike[str],
    trainer: Trainer,
    arguments: Mapping[str, Any],
    *,
    may_change: Collection[str] = (),
) -> None:
    """Bring a trainer into the state in which `path` was written; if this fails, the trainer is unchanged.

    Parameters
    ----------
    path
        The checkpoint.
    trainer
        A trainer built from the same arguments.
    arguments
        The arguments of the run now.
    may_change
        Names of arguments that may differ from those of the checkpoint.

    Raises
    ------
    ChangedArgumentsError
        The checkpoint belongs to a run with other arguments; the message lists them.
    FileFormatError
        The file is truncated, damaged, or not a checkpoint.
    ValueError
        There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidValueError(f"there is no checkpoint {path} to resume from{_advice(path)}")
    try:
        state = load(path)
        if state.metadata.get("format") != FORMAT:
            raise FileFormatError(f"{path} is a state file, but not a checkpoint of a run")
        stored = {name: json.loads(text) for name, text in state.metadata.items() if name != "format"}
        step, history, meter = as_int(stored["step"], "step", 0), list(stored["history"]), Meter(**stored["meter"])
        began_with = dict(stored["arguments"])
    except FileFormatError as error:
        raise FileFormatError(f"{error}{_advice(path)}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path} is not a complete checkpoint ({error!r}){_advice(path)}") from error
    _check_arguments(path, began_with, arguments, may_change)
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


def _check_arguments(
    path: Path, stored: Mapping[str, Any], given: Mapping[str, Any], may_change: Collection[str]
) -> None:
    """Raise if the arguments of the checkpoint and those of the run differ where they must not."""
    given = json.loads(_as_json(given))
    changed = {
        name: (stored.get(name), given.get(name))
        for name in sorted({*stored, *given} - set(may_change))
        if stored.get(name) != given.get(name)
    }
    if changed:
        raise ChangedArgumentsError(path, changed)


def _as_json(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of a run as JSON, or raise naming the first that JSON cannot hold."""
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise InvalidTypeError(
                f"arguments[{name!r}] must be a value that JSON can hold, but {value!r} is of type "
                f"{type(value).__name__}"
            ) from error
    return json.dumps(dict(arguments))


def _advice(path: Path) -> str:
    """Return the advice to use the previous checkpoint, if there is one."""
    previous = previous_path(path)
    return f"; the checkpoint before it is {previous}: resume from that" if previous.is_file() else ""
