"""A study: many runs, described by one TOML file."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._support.arguments import as_int
from ..errors import FileFormatError, InvalidTypeError, InvalidValueError, NpresnextError
from .configuration import KEYS, RunConfiguration, check_keys

LISTS = ("blocks", "measure", "gradnorms_layers", "statistics_epochs")  # keys of which one value is a list


@dataclasses.dataclass(frozen=True)
class Study:
    """The runs of a study file.

    Attributes
    ----------
    path : Path
        The file.
    title : str
        What the study is about; "" if the file does not say.
    data_dir : Path, optional
        The folder with the IDX files of Fashion-MNIST or MNIST.
    runs : tuple of RunConfiguration
        In the order of the file; a configuration that occurs twice is one run.
    """

    path: Path
    title: str
    data_dir: Path | None
    runs: tuple[RunConfiguration, ...]


def read_study(path: str | os.PathLike[str]) -> Study:
    """Read a study file.

    The file has the tables ``[common]``, whose keys hold for every run, ``[[grid]]``, each of which stands for all
    combinations of its values, and ``[[run]]``, each of which is one run. The keys are those of
    :class:`RunConfiguration` and of :class:`npresnext.training.TrainingConfiguration`; ``seeds = 3`` is short for
    ``seed = [0, 1, 2]``.

    Parameters
    ----------
    path : path
        The TOML file.

    Returns
    -------
    Study

    Raises
    ------
    ValueError, TypeError
        The file is no TOML, a key is unknown (the message suggests another), two keys contradict each other, a value is
        impossible, or there is no run.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "study.toml"
    ...     _ = path.write_text('[[grid]]\\ndesign = ["1x16d", "4x6d"]\\nseeds = 3\\n')
    ...     study = read_study(path)
    >>> [(run.design, run.training.seed) for run in study.runs][:4]
    [('1x16d', 0), ('1x16d', 1), ('1x16d', 2), ('4x6d', 0)]
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidValueError(f"{path} is a folder: give the name of a study file, such as study.toml")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is not a TOML file: {error}") from error
    check_keys(content, ("title", "data_dir", "common", "grid", "run"), str(path))
    for key in ("title", "data_dir"):
        if not isinstance(content.get(key, ""), str):
            raise InvalidTypeError(f"{path}: {key} must be text, but is {content[key]!r}")
    runs: dict[str, RunConfiguration] = {}
    for where, settings in _runs_of(content, path):
        try:
            run = RunConfiguration.from_settings(settings)
        except NpresnextError as error:
            raise InvalidValueError(f"{path}, {where}: {error}") from error
        runs.setdefault(run.name, run)
    if not runs:
        raise InvalidValueError(f"{path} has no run: it needs [[grid]] or [[run]] tables")
    data_dir = path.parent / content["data_dir"] if "data_dir" in content else None
    return Study(path, content.get("title", ""), data_dir, tuple(runs.values()))


def _runs_of(content: Mapping[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the settings of each run."""
    common = _table(content.get("common", {}), "[common]", path)
    for kind in ("grid", "run"):
        tables = content.get(kind, [])
        if not isinstance(tables, list):
            raise InvalidTypeError(f"{path}: {kind} must be a list of tables: write [[{kind}]], with two brackets")
        for number, value in enumerate(tables, 1):
            where = f"[[{kind}]] {number}"
            table = _table(value, where, path)
            _check_once(common, table, f"{path}, {where}")
            if kind == "run":
                _check_single(table, f"{path}, {where}")
            for settings in _combinations({**common, **table}, f"{path}, {where}"):
                yield where, settings


def _table(value: Any, where: str, path: Path) -> dict[str, Any]:
    """Return a table of the file after checking its keys."""
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{path}: {where} must be a table of keys and values, but is {value!r}")
    check_keys(value, (*KEYS, "seeds"), f"{path}: {where}")
    return value


def _check_once(common: Mapping[str, Any], table: Mapping[str, Any], where: str) -> None:
    """Raise if a key stands in both tables, or `seed` and `seeds` in one or both."""
    for key in table:
        if key in common:
            raise InvalidValueError(
                f"{where}: {key} = {table[key]!r} contradicts [common], where it is {common[key]!r}; leave it out of "
                "one of them"
            )
    if {"seed", "seeds"} <= {*common, *table}:
        raise InvalidValueError(f"{where}: seed and seeds contradict each other: seeds = 3 means seed = [0, 1, 2]")


def _check_single(table: Mapping[str, Any], where: str) -> None:
    """Raise if a key of one run has several values."""
    for key, value in table.items():
        if key == "seeds" or len(_alternatives(key, value, where)) != 1 or _is_list_of_values(key, value):
            raise InvalidValueError(f"{where}: {key} = {value!r} has several values: write [[grid]] instead of [[run]]")


def _combinations(settings: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values; the last key changes fastest."""
    values = [_alternatives(key, value, where) for key, value in settings.items()]
    names = ["seed" if key == "seeds" else key for key in settings]
    for combination in itertools.product(*values):
        yield dict(zip(names, combination))


def _alternatives(key: str, value: Any, where: str) -> Sequence[Any]:
    """Return the values that a key of a grid has."""
    if key == "seeds":
        if as_int(value, f"{where}: seeds") < 1:
            raise InvalidValueError(f"{where}: seeds must be at least 1, but is {value}")
        return range(value)
    if not _is_list_of_values(key, value):
        return [value]
    if not value:
        raise InvalidValueError(f"{where}: {key} is an empty list: give at least one value, or leave the key out")
    return list(value)


def _is_list_of_values(key: str, value: Any) -> bool:
    """Return whether a list holds alternatives, rather than being itself one value."""
    if not isinstance(value, list):
        return False
    return key not in LISTS or any(isinstance(item, list) for item in value)
