"""One tidy table from the folders of all runs, with the same bytes whatever the order in which they were made."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .._support.files import atomic_path
from .._support.tables import text_table
from ..errors import FileFormatError, InvalidValueError
from ..gradients import open_rows
from ..gradients.files import load_parquet
from .configuration import KEYS, MEASURES, cardinality_and_width
from .folder import ERROR, RESULTS, RunFolder, check_has_runs, labels_of, read_json, states_as_text

Row = dict[str, Any]
TABLES = ("results", *MEASURES)
ENDINGS = (".csv", ".jsonl", ".parquet")


def collect(roots: Iterable[str | os.PathLike[str]], what: str = "results") -> list[Row]:
    """Return the rows of all runs that are done, each with the settings of its run.

    Parameters
    ----------
    roots : paths
        Folders of sweeps; a run that is in several of them must have the same results in each.
    what : str
        "results", one row per run, or the name of a measure.

    Returns
    -------
    list of dict
        Sorted by the settings. The columns are `run`, those settings that any run has, `cardinality` and `width` of
        designs, and those of the measure.

    Raises
    ------
    ValueError
        A folder has no runs, no run has such rows, a file is damaged, or two folders disagree about a run.

    Examples
    --------
    >>> import tempfile
    >>> from npresnext.studies import RunConfiguration, create_folders, sweep
    >>> runs = [RunConfiguration.from_settings({"limit": 64, "epochs": 1, "seed": seed}) for seed in (1, 0)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     create_folders(folder, runs)
    ...     _ = sweep(folder, [run.name for run in runs], report=lambda line: None)
    ...     rows = collect([folder])
    >>> [(row["data"], row["seed"], row["steps"]) for row in rows]
    [('digits', 0, 2), ('digits', 1, 2)]
    """
    if what not in TABLES:
        raise InvalidValueError(f"what must be one of {', '.join(TABLES)}, but is {what!r}")
    done: dict[str, RunFolder] = {}
    for root in roots:
        for folder in check_has_runs(root):
            if folder.file(RESULTS).exists():
                _check_agreement(done.setdefault(folder.name, folder), folder)
    runs = []
    for folder in done.values():
        configuration = folder.configuration()
        settings = configuration.to_settings()
        if what == "results" or what in configuration.measure:
            runs.append((folder, {key: _plain(settings[key]) for key in KEYS if key in settings}))
    if not runs:
        raise InvalidValueError(f"no run that is done has {what}")
    runs.sort(key=lambda run: (_order(run[1]), run[0].name))
    used = [key for key in KEYS if any(key in settings for _, settings in runs)]
    rows = []
    for folder, settings in runs:
        head: Row = {"run": folder.name}
        for key in used:
            head[key] = settings.get(key)
            if key == "design":
                head["cardinality"], head["width"] = cardinality_and_width(head[key]) if head[key] else (None, None)
        rows += [{**head, **row} for row in _rows_of(folder, what)]
    return rows


def write_table(rows: Sequence[Row], path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write rows as a CSV, JSON Lines or Parquet file, by the extension of `path`.

    Raises
    ------
    ValueError
        The extension is unknown, or the file exists or cannot be written.
    MissingExtraError
        pyarrow is needed and not installed.
    """
    check_table_path(path)
    path, columns = Path(path), _columns(rows)
    with atomic_path(path, overwrite=overwrite) as temporary:
        if path.suffix == ".parquet":
            arrow, parquet = load_parquet()
            table = arrow.table({name: [row.get(name) for row in rows] for name in columns})
            parquet.write_table(table, temporary)
        else:
            with open_rows(str(temporary), columns, format=path.suffix[1:], overwrite=True) as file:
                file.write(rows)


def check_table_path(path: str | os.PathLike[str]) -> None:
    """Raise unless a table can be written to `path`."""
    if Path(path).suffix not in ENDINGS:
        raise InvalidValueError(f"the extension of {path} is none of {', '.join(ENDINGS)}")
    if Path(path).suffix == ".parquet":
        load_parquet()


def status_table(folders: Sequence[RunFolder]) -> str:
    """Return how far each run is: those that run or have failed, and the number of the others."""
    states = [folder.state for folder in folders]
    labels = labels_of(folders)
    parts = [states_as_text(states)]
    running = []
    for folder, state in zip(folders, states):
        lock = folder.lock if state == "running" else None
        if lock is not None:
            step = "starting" if lock.step is None else f"step {lock.step:,} of {lock.steps:,}"
            by = f"process {lock.pid} on {lock.host}, {lock.age:.0f} s ago"
            running.append([folder.name, labels[folder.name], step, by])
    if running:
        parts.append(text_table(["running", "settings", "at", "by"], running))
    failed = [
        [folder.name, labels[folder.name], read_json(folder.file(ERROR)).get("message", "")]
        for folder, state in zip(folders, states)
        if state == "failed"
    ]
    if failed:
        parts.append(text_table(["failed", "settings", "error"], failed))
    return "\n\n".join(parts)


def _check_agreement(first: RunFolder, second: RunFolder) -> None:
    """Raise if two folders have different results of one run."""
    if first.file(RESULTS).read_bytes() != second.file(RESULTS).read_bytes():
        raise InvalidValueError(
            f"{first.file(RESULTS)} and {second.file(RESULTS)} are results of one run and differ: other versions or "
            "another processor made them; collect one of the folders"
        )


def _rows_of(folder: RunFolder, what: str) -> list[Row]:
    """Return the rows of one run, their numbers as numbers."""
    if what == "results":
        return [read_json(folder.file(RESULTS))]
    path = folder.file(f"{what}.csv")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file, strict=True)]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path} cannot be read: {error}; remove the folder {folder.path} to make it anew"
        ) from error


def _number(text: str | None) -> Any:
    """Return an integer or a float if the text is one; None if it is empty."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text or None


def _plain(value: Any) -> Any:
    """Return a value for a cell: a list as its items with spaces between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _order(settings: Row) -> list[tuple[bool, str, float, str]]:
    """Return what orders runs: by each setting in turn, numbers by size, cardinalities too."""
    order = []
    for key in KEYS:
        value = settings.get(key)
        if key == "design" and value is not None:
            number = float(cardinality_and_width(value)[0])
        else:
            number = float(value) if isinstance(value, (int, float)) else 0.0
        order.append((value is not None, type(value).__name__, number, str(value)))
    return order


def _columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of rows, in the order in which they occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def missing_as_text(folders: Sequence[RunFolder]) -> str:
    """Return how many runs a table lacks; "" if none."""
    states = [folder.state for folder in folders]
    lacking = [state for state in states if state != "done"]
    return f"without {states_as_text(lacking)}" if lacking else ""
