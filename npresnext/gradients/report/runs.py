"""A run as a report shows it: its rows, and the record of how they were produced."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import FileFormatError, InvalidValueError
from ..layer_patterns import rows_of_layers
from ..norms import Row
from ..provenance import PROVENANCE
from ..reading import read_rows
from ..recording import record_path


@dataclasses.dataclass(frozen=True)
class Run:
    """The rows of one run.

    Parameters
    ----------
    name : str
        What the report calls it.
    rows : sequence of dict
        As from :func:`npresnext.gradients.read_rows`.
    record : mapping, optional
        What the file beside the rows records.
    """

    name: str
    rows: Sequence[Row]
    record: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise InvalidValueError(f"the run {self.name} has no rows")

    @property
    def layers(self) -> dict[str, int]:
        """The number of groups of each layer."""
        return {row["layer"]: row["groups"] for row in self.rows}

    @property
    def steps(self) -> list[int]:
        """The steps with rows, in order; empty where rows have none."""
        return sorted({row["step"] for row in self.rows if row.get("step") is not None})

    @functools.cached_property
    def provenance(self) -> dict[str, list[Any]]:
        """The different values of each column that says where gradients come from, the most frequent first."""
        counts = {name: Counter(row[name] for row in self.rows if name in row) for name in PROVENANCE}
        return {name: [value for value, _ in times.most_common()] for name, times in counts.items() if times}


def read_run(path: str | os.PathLike[str], *, format: str | None = None, layers: Collection[str] | None = None) -> Run:
    """Read a file of rows, and the record beside it if there is one; its name is the path.

    Parameters
    ----------
    path : str or path
    format : str, optional
        By the extension of `path` if None.
    layers : collection of str, optional
        Patterns of layer names, as a shell matches file names; all if None.

    Raises
    ------
    ValueError
        The file is no file of rows, the record is no JSON, or a pattern matches no layer.
    """
    rows = rows_of_layers(read_rows(path, format=format), None if layers is None else list(layers))
    return Run(os.fspath(path), rows, _read_record(Path(record_path(path))))


def short_names(names: Sequence[str]) -> list[str]:
    """Return the names without the folders and the ending that all of them share.

    >>> short_names(["runs/a/norms.csv", "runs/b/norms.csv"]), short_names(["runs/norms.csv"])
    (['a', 'b'], ['norms'])
    """
    if len(names) == 1:
        return [Path(names[0]).stem or names[0]]
    parts = [[*Path(name).parts[:-1], Path(name).stem] for name in names]
    while min(map(len, parts)) > 1 and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while min(map(len, parts)) > 1 and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    short = ["/".join(part) for part in parts]
    return short if len(set(short)) == len(short) else list(names)


def _read_record(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{path} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise FileFormatError(f"{path} is not a JSON object")
    return record
