"""The folder of a sweep: one folder for each run, whose files say how far the run is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._support.files import atomic_path
from .._support.plurals import counted
from ..errors import FileFormatError, InvalidValueError
from .configuration import FORMAT, KEYS, NAME_LENGTH, RunConfiguration
from .locks import LockRecord, records

# In the order in which a table shows them
STATES = ("done", "failed", "running", "stopped", "waiting")
CONFIGURATION, RESULTS, ERROR, LOG, CHECKPOINT = (
    "configuration.json",
    "results.json",
    "error.json",
    "log.json",
    "checkpoint.npz",
)


class RunFolder:
    """The folder of one run, with the name of its configuration.

    ====================  ===================================================================
    configuration.json    what decides the numbers
    lock.1, lock.2        which process works on the run
    checkpoint.npz        where it can be resumed; in the end, the trained network
    NAME.csv              the rows of a measure
    results.json          the figures of the end; written last, so a run with it is done
    error.json            why a run failed
    log.json              when, where and with which versions it ran; never compared
    ====================  ===================================================================

    Parameters
    ----------
    root : path
        The folder of the sweep.
    name : str
        ``RunConfiguration.name``.
    """

    def __init__(self, root: str | os.PathLike[str], name: str) -> None:
        self.name, self.path = name, Path(root) / name

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.path / name

    @property
    def state(self) -> str:
        """One of ``STATES``: "stopped" if a process has begun the run and no longer works on it."""
        if self.file(RESULTS).exists():
            return "done"
        if self.file(ERROR).exists():
            return "failed"
        locks = records(self.path)
        if locks and locks[-1].is_alive:
            return "running"
        return "stopped" if locks or self.file(CHECKPOINT).exists() else "waiting"

    @property
    def lock(self) -> LockRecord | None:
        """The last lock on the run."""
        locks = records(self.path)
        return locks[-1] if locks else None

    def configuration(self) -> RunConfiguration:
        """Return the configuration of the run.

        Raises
        ------
        FileFormatError
            The file is missing, damaged, of another version, or does not belong to the name of the folder.
        """
        path = self.file(CONFIGURATION)
        content = read_json(path)
        if content.get("format") != FORMAT:
            raise FileFormatError(f"{path} has the format {content.get('format')!r}: expected {FORMAT!r}")
        try:
            configuration = RunConfiguration.from_settings(content["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{path} is not the configuration of a run: {error}") from error
        if configuration.name != self.name:
            raise FileFormatError(
                f"{path} was changed: its configuration has the name {configuration.name}, and the folder {self.name}"
            )
        return configuration

    def create(self, configuration: RunConfiguration) -> None:
        """Make the folder and write the configuration, unless it is there."""
        self.path.mkdir(exist_ok=True)
        if not self.file(CONFIGURATION).exists():
            settings = dict(sorted(configuration.to_settings().items()))
            write_json(self.file(CONFIGURATION), {"format": FORMAT, "settings": settings})


def create_folders(root: str | os.PathLike[str], runs: Sequence[RunConfiguration]) -> None:
    """Make the folder of a sweep, with a folder for each of its runs.

    Raises
    ------
    ValueError
        `root` is a file, its parent does not exist, or it is a folder of something else.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise InvalidValueError(f"{root} is a file: give the name of a folder for the runs")
    if not root.parent.is_dir():
        raise InvalidValueError(f"{root} cannot be made: the folder {root.parent} does not exist")
    inside = [path.name for path in root.iterdir()] if root.is_dir() else []
    if inside and not any(re.fullmatch(rf"[0-9a-f]{{{NAME_LENGTH}}}", name) for name in inside):
        raise InvalidValueError(f"{root} holds other files and no runs: give the name of another folder")
    root.mkdir(exist_ok=True)
    for run in runs:
        RunFolder(root, run.name).create(run)


def run_folders(root: str | os.PathLike[str]) -> list[RunFolder]:
    """Return the folders of all runs, sorted by name.

    Raises
    ------
    ValueError
        There is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InvalidValueError(f"there is no folder {root}: give the folder of a sweep")
    return [RunFolder(root, path.parent.name) for path in sorted(root.glob(f"*/{CONFIGURATION}"))]


def check_has_runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    """Return the folders of all runs, or raise if there are none."""
    folders = run_folders(root)
    if not folders:
        raise InvalidValueError(f"{root} holds no runs: npresnext sweep STUDY.toml -o {root} makes them")
    return folders


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises
    ------
    FileFormatError
        It holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileFormatError(f"there is no file {path}") from error
    except ValueError as error:
        raise FileFormatError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path} holds {type(content).__name__}: expected a JSON object")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as a JSON file, whole, in the place of an earlier one."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def states_as_text(states: Sequence[str]) -> str:
    """Return how many runs are in which state.

    >>> states_as_text(["done", "waiting", "done"])
    '3 runs: 2 done, 1 waiting'
    """
    parts = [f"{states.count(state)} {state}" for state in STATES if state in states]
    return f"{counted(len(states), 'run')}: {', '.join(parts)}"


def labels_of(folders: Sequence[RunFolder]) -> dict[str, str]:
    """Return for each run, by name, the settings that tell it from the others, such as "design=4x6d seed=3".

    A setting that follows from those before it, as the epochs from the data set, is left out.
    """
    settings = {folder.name: folder.configuration().to_settings() for folder in folders}
    keys: list[str] = []
    told_apart = 1
    for key in KEYS:
        kinds = {repr([each.get(name) for name in (*keys, key)]) for each in settings.values()}
        if len(kinds) > told_apart:
            keys.append(key)
            told_apart = len(kinds)
    return {
        name: " ".join(f"{key}={each[key]}" for key in keys if key in each) or each["data"]
        for name, each in settings.items()
    }
