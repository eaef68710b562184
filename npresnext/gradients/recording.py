"""A file of rows with a second file beside it, which records how the rows were produced."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .._support.files import atomic_path, check_writable
from .._support.versions import versions
from .files import format_of, open_rows
from .norms import Row
from .reading import read_rows


def record_path(path: str | os.PathLike[str]) -> str:
    """Return the path of the second file, which records how the rows in `path` were produced.

    >>> record_path("norms.csv")
    'norms.csv.meta.json'
    """
    return f"{os.fspath(path)}.meta.json"


def check_recording(path: str | os.PathLike[str], *, format: str | None = None, overwrite: bool = False) -> None:
    """Raise now what opening a :class:`Recording` would raise later."""
    format_of(os.fspath(path), format)
    if os.fspath(path) != "-":
        check_writable(path, overwrite=overwrite)
        check_writable(record_path(path), overwrite=overwrite)


class Recording:
    """A file of rows, and beside it ``FILE.meta.json`` with a record of how they were produced.

    The record is written at once. Until :meth:`close`, it says that the run has not ended; it still says so if the
    process is killed.

    Parameters
    ----------
    path : str or path
        The file; "-" is standard output, which has no second file.
    columns : sequence of str
        The columns of the rows.
    record : mapping
        What is known before the first row. The versions of npresnext, NumPy and Python are added.
    format, overwrite
        As for :func:`npresnext.gradients.open_rows`.

    Attributes
    ----------
    path : str
    rows_written : int
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: Sequence[str],
        record: Mapping[str, Any],
        *,
        format: str | None = None,
        overwrite: bool = False,
    ) -> None:
        check_recording(path, format=format, overwrite=overwrite)
        self.rows_written, self._format = 0, format
        self.path = os.fspath(path)
        self._record = {**record, "versions": {**versions(), **record.get("versions", {})}}
        self._file = open_rows(self.path, columns, format=format, overwrite=overwrite)
        self._write_record({"ended": "not yet, or killed"}, overwrite=overwrite)

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows: all of them, or none if this fails."""
        self._file.write(rows)
        self.rows_written += len(rows)

    def read(self) -> list[Row]:
        """Read the rows of the closed file."""
        return read_rows(self.path, format=self._format) if self.rows_written else []

    def close(self, ended: str, **results: Any) -> None:
        """Finish the file, and record how the run ended, with `results`."""
        try:
            self._file.close()
        except Exception as error:
            ended = f"failed: {error}"
            raise
        finally:
            self._write_record({"ended": ended, **results, "rows": self.rows_written}, overwrite=True)

    def _write_record(self, results: Mapping[str, Any], *, overwrite: bool) -> None:
        if self.path == "-":
            return
        with atomic_path(record_path(self.path), overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps({**self._record, **results}, indent=2) + "\n", "utf-8")
