"""Rows of gradient norms in files: CSV, JSON Lines and NPZ, written so that an interrupted run leaves whole rows."""

from __future__ import annotations

import abc
import contextlib
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._support.files import atomic_path, check_writable
from ..errors import InvalidValueError

Row = dict[str, Any]
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".npz": "npz"}


def format_of(path: str, format: str | None = None) -> str:
    """Return "csv", "jsonl" or "npz": `format` if given, else what the file's ending says ("-" is CSV).

    >>> format_of("norms.jsonl"), format_of("-"), format_of("norms.txt", "csv")
    ('jsonl', 'csv', 'csv')
    """
    if format is None:
        format = "csv" if path == "-" else FORMATS.get(Path(path).suffix.lower(), "unknown")
    if format not in FORMATS.values():
        raise InvalidValueError(
            f"the ending of {path} is none of {', '.join(FORMATS)}: rename the file, or choose with --format"
        )
    if format == "npz" and path == "-":
        raise InvalidValueError("NPZ cannot be streamed to standard output: choose csv or jsonl")
    return format


def open_rows(path: str, columns: Sequence[str], *, format: str | None = None, overwrite: bool = False) -> RowFile:
    """Open a file for rows, to be used in a ``with`` block; "-" is standard output.

    Parameters
    ----------
    path : str
        The file; its ending chooses the format unless `format` does.
    columns : sequence of str
        The keys of the rows to keep, in order, such as ``npresnext.gradients.norms.COLUMNS``.
    format : "csv", "jsonl" or "npz", optional
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    RowFile
        Its ``write(rows)`` appends rows, each a dictionary.

    Raises
    ------
    ValueError
        The format is unknown, or the file exists or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_rows(f"{folder}/norms.csv", ["layer", "l2"]) as file:
    ...         file.write([{"layer": "conv1", "l2": 0.5}])
    ...     Path(f"{folder}/norms.csv").read_text()
    'layer,l2\\nconv1,0.5\\n'
    """
    kinds: dict[str, Callable[..., RowFile]] = {"csv": CsvRows, "jsonl": JsonRows, "npz": NpzRows}
    kind = kinds[format_of(path, format)]
    if path != "-":
        check_writable(path, overwrite=overwrite)
    return kind(path, columns, overwrite)


class RowFile(abc.ABC):
    """Rows on their way into a file."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        self._path, self._columns, self._overwrite = path, list(columns), overwrite

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abc.abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows, all of them whole."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the file."""


class TextRows(RowFile):
    """Rows as lines of text: each call of ``write`` hands all of its lines to the system at once."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        super().__init__(path, columns, overwrite)
        self._file = _standard_output() if path == "-" else open(path, "wb" if overwrite else "xb", buffering=0)
        self._append(self._head())

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows, all of them whole."""
        self._append("".join(self._line([row.get(name) for name in self._columns]) for row in rows))

    def close(self) -> None:
        """End the file."""
        if self._path != "-":
            self._file.close()

    def _append(self, text: str) -> None:
        left, streamed = memoryview(text.encode()), self._path == "-"
        whole = 0 if streamed else os.fstat(self._file.fileno()).st_size
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
            self._file.flush()
        except BaseException:  # Ctrl-C too: nobody has counted these rows yet
            if not streamed:
                with contextlib.suppress(OSError):  # a pipe cannot be cut
                    self._file.truncate(whole)
            raise

    def _head(self) -> str:
        return ""

    @abc.abstractmethod
    def _line(self, values: list[Any]) -> str:
        """Return one row as a line."""


class CsvRows(TextRows):
    """Comma-separated values under a line of names; what is unknown is empty; floats keep every digit."""

    def _head(self) -> str:
        return self._line(self._columns)

    def _line(self, values: list[Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


class JsonRows(TextRows):
    """A JSON object a line; what is unknown, NaN or infinite is null, since JSON knows no such numbers."""

    def _line(self, values: list[Any]) -> str:
        known = [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
        return json.dumps(dict(zip(self._columns, known)), allow_nan=False) + "\n"


class NpzRows(RowFile):
    """An array for each column, written when the file is closed; what is unknown is NaN, or -1 among integers."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        super().__init__(path, columns, overwrite)
        self._rows: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Keep rows for later."""
        self._rows.extend(rows)

    def close(self) -> None:
        """Write the file."""
        columns: dict[str, Any] = {name: _column(name, [row.get(name) for row in self._rows]) for name in self._columns}
        with atomic_path(self._path, overwrite=self._overwrite) as beside, open(beside, "wb") as file:
            np.savez_compressed(file, **columns)


def _column(name: str, values: list[Any]) -> np.ndarray:
    """Return one column as an array that needs no pickle."""
    if name == "layer":
        return np.array(values, dtype=str)
    if name in ("step", "epoch", "conv_group", "groups", "numel"):
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer
