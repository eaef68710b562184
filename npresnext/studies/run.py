"""One run: locked, trained or resumed, measured, and written so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import shutil
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from .._support.plurals import counted
from .._support.versions import versions
from ..backend import to_numpy
from ..engines.cpu.threads import get_num_threads, set_num_threads
from ..errors import FileFormatError, MissingExtraError, NpresnextError
from ..nn import Module
from ..training import Checkpoints, Trainer, Watcher, evaluate, load_checkpoint
from ..training.checkpoint import previous_path
from .configuration import RunConfiguration
from .folder import CHECKPOINT, ERROR, LOG, RESULTS, RunFolder, write_json
from .locks import RunLock
from .measures import Recorder, recorders, write_history

FINGERPRINT = "data_fingerprint"
MOST_DEATHS = 5  # processes in a row that die after beginning at the same step
AGAIN = "again"


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How runs are made; nothing here changes a number.

    Attributes
    ----------
    data_dir : str, optional
        The folder with the IDX files of Fashion-MNIST or MNIST.
    threads : int
        Threads of each run, those of BLAS included.
    checkpoint_every : int, optional
        Steps from one checkpoint to the next; None for one at the end of each epoch only.
    again : bool
        Make runs that are done a second time, and compare the bytes.
    """

    data_dir: str | None = None
    threads: int = 1
    checkpoint_every: int | None = None
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run in the hands of one worker.

    Attributes
    ----------
    name : str
        The run.
    state : str
        "done"; "failed" (the error is recorded in its folder); "elsewhere" (another process works on it, or has ended
        it); "same" or "different" (it was made a second time); "stopped" (the worker cannot go on, though nothing is
        wrong with the run).
    message : str
        The figures of the end, or what went wrong.
    """

    name: str
    state: str
    message: str


class LostLockError(NpresnextError, RuntimeError):
    """Another process has taken over the run."""


class DiedRepeatedlyError(NpresnextError, RuntimeError):
    """Process after process died at the same place of a run."""


def perform(root: str | os.PathLike[str], name: str, options: RunOptions) -> Outcome:
    """Make one run, and say what became of it.

    If the training raises an error, the run has failed, and the error is recorded. A file that cannot be written, as
    on a full disk, and a missing package are no failure of the run: its state stays, and the outcome is "stopped".

    Parameters
    ----------
    root : path
        The folder of the sweep.
    name : str
        The name of the run in it.
    options : RunOptions

    Returns
    -------
    Outcome
    """
    folder = RunFolder(root, name)
    if not folder.path.is_dir():
        return Outcome(name, "stopped", f"{socket.gethostname()} sees no folder {folder.path}: workers share its disk")
    try:
        if _is_over(folder, options):
            return Outcome(name, "elsewhere", "")
        lock = RunLock.acquire(folder.path)
        if lock is None:
            return Outcome(name, "elsewhere", "")
        with lock:
            if _is_over(folder, options):  # since the look above
                return Outcome(name, "elsewhere", "")
            return _compare_again(folder, options, lock) if options.again else _recorded(folder, options, lock)
    except LostLockError:
        return Outcome(name, "elsewhere", "")
    except (OSError, MissingExtraError, FileFormatError) as error:
        return Outcome(name, "stopped", f"{folder.path}: {error}")


def _is_over(folder: RunFolder, options: RunOptions) -> bool:
    """Return whether there is nothing to do."""
    return not options.again and (folder.file(RESULTS).exists() or folder.file(ERROR).exists())


def _recorded(folder: RunFolder, options: RunOptions, lock: RunLock) -> Outcome:
    """Make the run, and record its error if it fails."""
    configuration = folder.configuration()
    try:
        results = make_run(configuration, folder.path, options, lock)
    except (LostLockError, MissingExtraError):
        raise
    except Exception as error:
        if lock.is_lost:  # the other process has written files that this one did not expect
            raise LostLockError from error
        if isinstance(error, OSError) and not isinstance(error, NpresnextError):
            raise
        message = str(error) or type(error).__name__
        write_json(
            folder.file(ERROR),
            {"error": type(error).__name__, "message": message, "traceback": traceback.format_exc(), **_where(options)},
        )
        return Outcome(folder.name, "failed", message)
    return Outcome(folder.name, "done", _summary(results))


def _compare_again(folder: RunFolder, options: RunOptions, lock: RunLock) -> Outcome:
    """Make a run that is done a second time, in a folder of its own, and compare every file."""
    again = folder.path / AGAIN
    shutil.rmtree(again, ignore_errors=True)
    again.mkdir()
    make_run(folder.configuration(), again, options, lock)
    different = [
        path.name
        for path in sorted(again.iterdir())
        if path.name != LOG and path.read_bytes() != folder.file(path.name).read_bytes()
    ]
    if different:
        return Outcome(
            folder.name, "different", f"other bytes in {', '.join(different)}; the second ones are in {again}"
        )
    count = len(list(again.iterdir())) - 1
    shutil.rmtree(again)
    return Outcome(folder.name, "same", f"{counted(count, 'file')} with the same bytes")


def make_run(configuration: RunConfiguration, path: Path, options: RunOptions, lock: RunLock) -> dict[str, Any]:
    """Train or resume in the folder `path`, write all files there, and return the results."""
    started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
    training = configuration.training
    data_dir = None if training.data == "digits" else options.data_dir
    train_set, test_set = training.load_data(data_dir)
    if configuration.test_limit is not None:
        test_set = test_set.first(min(configuration.test_limit, len(test_set)))
    arguments = {**configuration.to_settings(), FINGERPRINT: train_set.fingerprint()}
    checkpoint = path / CHECKPOINT
    with _threads(options.threads):
        model = configuration.build_model(train_set)
        trainer = training.build(train_set, test_set, model=model)
        measured = recorders(configuration, trainer, path, options.checkpoint_every)
        began_at = _resume(checkpoint, trainer, arguments)
        steps = training.epochs * trainer.steps_per_epoch
        deaths = lock.begin(began_at, steps)
        if deaths >= MOST_DEATHS:
            raise DiedRepeatedlyError(
                f"{deaths} processes in a row died after step {began_at} of this run: killed from outside, such as for "
                "their memory"
            )
        for recorder in measured:
            recorder.resume(began_at)
        writer = Checkpoints(checkpoint, arguments, options.checkpoint_every)
        trainer.watchers = [_KeepsLock(lock), *measured, writer]
        trainer.run(steps)
        train_loss, train_accuracy = evaluate(trainer.model, train_set)
    for recorder in measured:
        recorder.finish()
    if "history" in configuration.measure:
        write_history(trainer, path / "history.csv")
    results = {
        "steps": trainer.step,
        "parameters": sum(parameter.data.size for parameter in trainer.model.parameters()),
        **{name: value for name, value in trainer.history[-1].items() if name not in ("epoch", "lr")},
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "weights_sha256": _weights_sha256(trainer.model),
        "train_images_sha256": arguments[FINGERPRINT],
    }
    log = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - began, 3)}
    write_json(path / LOG, {**log, "began_at_step": began_at, **_where(options)})
    write_json(path / RESULTS, results)  # with this file the run is done
    _clean(path, measured)
    return results


class _KeepsLock(Watcher):
    """Notes in the lock how far the run is, and ends the run if another process has taken it over."""

    SECONDS_BETWEEN_LOOKS = 1.0

    def __init__(self, lock: RunLock) -> None:
        self._lock, self._looked = lock, time.time()

    def after_step(self, trainer: Trainer) -> None:
        """Look whether the lock holds, at most once a second."""
        self._lock.reach(trainer.step)
        if time.time() - self._looked >= self.SECONDS_BETWEEN_LOOKS:
            self._looked = time.time()
            if self._lock.is_lost:
                raise LostLockError("another process took this one for dead, and works on its run")


def _resume(checkpoint: Path, trainer: Trainer, arguments: dict[str, Any]) -> int:
    """Bring the trainer to the newest checkpoint that can be read, and return its step."""
    for path in (checkpoint, previous_path(checkpoint)):
        if path.is_file():
            with contextlib.suppress(FileFormatError):
                load_checkpoint(path, trainer, arguments)
                break
    return trainer.step


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Limit the threads of BLAS and of the CPU engine inside the block."""
    before = get_num_threads()
    with threadpoolctl.threadpool_limits(count):
        set_num_threads(count)
        try:
            yield
        finally:
            set_num_threads(before)


def _weights_sha256(model: Module) -> str:
    """Return the SHA-256 of all arrays of the state in their order."""
    digest = hashlib.sha256()
    for array in model.state_dict().values():
        digest.update(np.ascontiguousarray(to_numpy(array)).tobytes())
    return digest.hexdigest()


def _summary(results: dict[str, Any]) -> str:
    return f"test accuracy {results['test_accuracy']:.2%}, loss {results['loss']:.4f}"


def _clean(path: Path, measured: list[Recorder]) -> None:
    """Remove what only a run that is not done needs."""
    previous_path(path / CHECKPOINT).unlink(missing_ok=True)
    for recorder in measured:
        recorder.clean()
    for partial in path.glob(".*.partial"):  # of processes that were killed while they wrote
        partial.unlink(missing_ok=True)


def _where(options: RunOptions) -> dict[str, Any]:
    """Return where and with what a run was made."""
    return {
        "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "threads": options.threads,
        **versions(),
    }
