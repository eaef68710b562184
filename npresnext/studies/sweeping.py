"""The sweep: every run of a folder, made by an engine, until each is done or has failed."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .._support.plurals import counted
from ..errors import InvalidValueError, NpresnextError
from .engines import Engine, SchedulerDiedError, WorkersDiedError, sequential
from .folder import ERROR, RESULTS, RunFolder, labels_of
from .locks import records
from .run import Outcome, RunOptions, perform

SECONDS_BETWEEN_LOOKS = 1.0
MOST_LOSSES = 5  # of workers, one after the other, without anything gained


class SweepStoppedError(NpresnextError, RuntimeError):
    """A sweep cannot go on, though nothing is wrong with its runs: a full disk, workers that die at once."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a sweep did.

    Attributes
    ----------
    outcomes : tuple of Outcome
        Of the runs that this sweep made.
    failed : int
        The number of runs that have failed, now or in an earlier sweep.
    different : int
        The number of runs that gave other bytes the second time.
    """

    outcomes: tuple[Outcome, ...]
    failed: int
    different: int


def sweep(
    root: str | os.PathLike[str],
    names: Sequence[str],
    *,
    engine: Engine = sequential,
    options: RunOptions | None = None,
    report: Callable[[str], None] = print,
) -> Summary:
    """Make the runs that are not done; several sweeps may work in one folder at once.

    Parameters
    ----------
    root : path
        The folder of the sweep; see :func:`npresnext.studies.create_folders`.
    names : sequence of str
        The runs to make; those that are done or have failed are left out.
    engine : function
        One of this package's engines.
    options : RunOptions, optional
    report : function of str
        Takes a line for each run that ends.

    Returns
    -------
    Summary

    Raises
    ------
    SweepStoppedError
        A file cannot be written, or workers die before they get anywhere.

    Examples
    --------
    >>> import tempfile
    >>> from npresnext.studies import RunConfiguration, create_folders
    >>> run = RunConfiguration.from_settings({"limit": 64, "epochs": 1})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     create_folders(folder, [run])
    ...     summary = sweep(folder, [run.name], report=lambda line: None)
    >>> [outcome.state for outcome in summary.outcomes]
    ['done']
    """
    root = Path(root).resolve()
    options = options or RunOptions()
    task = functools.partial(perform, str(root), options=options)
    labels = labels_of([RunFolder(root, name) for name in names])
    outcomes: list[Outcome] = []
    left, losses, before, has_waited = _left(root, names, options), 0, None, False
    while left:
        waiting = True
        try:
            for outcome in engine(task, left):
                if outcome.state == "stopped":
                    raise SweepStoppedError(outcome.message)
                if outcome.state != "elsewhere":
                    waiting = False
                    outcomes.append(outcome)
                    left = [name for name in left if name != outcome.name]
                    report(_line(outcome, labels[outcome.name], len(names) - len(left), len(names)))
        except WorkersDiedError as error:
            waiting, now = False, _progress(root, left)
            losses = losses + 1 if now == before else 1
            before = now
            if losses >= MOST_LOSSES:
                raise SweepStoppedError(
                    f"{error}, {losses} times without any progress: memory is full, or npresnext cannot be imported"
                ) from error
            what = (
                "waiting for another"
                if isinstance(error, SchedulerDiedError)
                else "its runs go on from their checkpoints"
            )
            report(f"{error}: {what}")
        others = set(left) - set(_left(root, left, options))
        left = [name for name in left if name not in others]
        if left and waiting:
            if not has_waited:
                report(f"waiting for {counted(len(left), 'run')} that other processes make")
            has_waited = True
            time.sleep(SECONDS_BETWEEN_LOOKS)
    failed = sum(RunFolder(root, name).file(ERROR).exists() for name in names)
    return Summary(tuple(outcomes), failed, sum(outcome.state == "different" for outcome in outcomes))


def shard_of(names: Sequence[str], shard: str) -> list[str]:
    """Return the names of one part of n: ``shard`` is "i/n", with i from 1 to n.

    Every n-th name is in a part, so the parts of a grid take about equally long.

    Raises
    ------
    ValueError
        `shard` is no such text.

    Examples
    --------
    >>> shard_of(["a", "b", "c", "d", "e"], "2/3")
    ['b', 'e']
    """
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise InvalidValueError(f"shard must be i/n with i from 1 to n, such as 2/8, but is {shard!r}")
    return list(names[int(first) - 1 :: int(second)])


def _left(root: Path, names: Sequence[str], options: RunOptions) -> list[str]:
    """Return the names of the runs that are neither done nor failed; those that are done for a second time."""
    folders = [RunFolder(root, name) for name in names]
    if options.again:
        return [folder.name for folder in folders if folder.file(RESULTS).exists()]
    return [folder.name for folder in folders if not (folder.file(RESULTS).exists() or folder.file(ERROR).exists())]


def _progress(root: Path, names: Sequence[str]) -> list[tuple[str, int]]:
    """Return what changes when any worker gets as far as to lock a run."""
    found = []
    for name in names:
        locks = records(root / name)
        found.append((name, locks[-1].number if locks else 0))
    return found


def _line(outcome: Outcome, label: str, over: int, total: int) -> str:
    """Return the line of a run that has ended."""
    state = "" if outcome.state == "done" else f"{outcome.state}: "
    return f"[{over:{len(str(total))}}/{total}] {outcome.name}  {label}  {state}{outcome.message}"
