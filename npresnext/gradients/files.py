"""Files of rows: CSV, JSON Lines, NPZ and Parquet. After an interrupted run, a file holds complete rows only."""

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

from .._support.extras import load_extra
from .._support.files import atomic_path, check_writable
from ..errors import InvalidValueError
from .norms import Row

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".npz": "npz", ".parquet": "parquet"}
INTEGER_COLUMNS = {"step", "epoch", "conv_group", "groups", "numel", "accumulated", "world_size"}
TEXT_COLUMNS = {"layer", "taken", "clipped", "scaled", "loss", "reduced"}


def format_of(path: str, format: str | None = None) -> str:
    """Return "csv", "jsonl", "npz" or "parquet": `format` if given, or else by the extension ("-" is CSV).

    >>> format_of("norms.jsonl"), format_of("-"), format_of("norms.txt", "csv")
    ('jsonl', 'csv', 'csv')
    """
    if format is None:
        format = "csv" if path == "-" else FORMATS.get(Path(path).suffix.lower(), "unknown")
    if format not in FORMATS.values():
        raise InvalidValueError(
            f"the extension of {path} is none of {', '.join(FORMATS)}: rename the file, or choose the format"
        )
    if format in ("npz", "parquet") and path == "-":
        raise InvalidValueError(
            f"{'NPZ' if format == 'npz' else 'Parquet'} cannot be streamed to standard output: choose csv or jsonl"
        )
    if format == "parquet":
        load_parquet()
    return format


def load_parquet() -> tuple[Any, Any]:
    """Return the modules pyarrow and pyarrow.parquet, or raise naming the extra."""
    arrow, parquet = (load_extra(name, "parquet", "a Parquet file") for name in ("pyarrow", "pyarrow.parquet"))
    return arrow, parquet


def open_rows(
    path: str | os.PathLike[str], columns: Sequence[str], *, format: str | None = None, overwrite: bool = False
) -> RowFile:
    """Open a file for rows, for use in a ``with`` block.

    Parameters
    ----------
    path : str or path
        The file; "-" is standard output.
    columns : sequence of str
        The keys of the rows to write, in this order, such as ``npresnext.gradients.COLUMNS``.
    format : "csv", "jsonl", "npz" or "parquet", optional
        By the extension of `path` if None.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    RowFile
        Its method ``write(rows)`` appends rows, each a dictionary.

    Raises
    ------
    ValueError
        The format is unknown, or the file exists or cannot be written.
    MissingExtraError
        The format is Parquet, and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_rows(f"{folder}/norms.csv", ["layer", "l2"]) as file:
    ...         file.write([{"layer": "conv1", "l2": 0.5}])
    ...     Path(f"{folder}/norms.csv").read_text()
    'layer,l2\\nconv1,0.5\\n'
    """
    path = os.fspath(path)
    make = ROW_FILES[format_of(path, format)]
    if path != "-":
        check_writable(path, overwrite=overwrite)
    return make(path, columns, overwrite)


class RowFile(abc.ABC):
    """A file to which rows are written."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        self._path, self._columns, self._overwrite = path, list(columns), overwrite

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abc.abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Append rows: all of them, or none if this fails."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish and close the file."""


class TextFile(RowFile):
    """A text file with a line for each row. ``write`` passes all of its lines to the operating system in one call."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        super().__init__(path, columns, overwrite)
        self._file = _standard_output() if path == "-" else open(path, "wb" if overwrite else "xb", buffering=0)
        self._append(self._head())

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows: all of them, or none if this fails."""
        self._append("".join(self._line([row.get(name) for name in self._columns]) for row in rows))

    def close(self) -> None:
        """Finish and close the file."""
        if self._path != "-":
            self._file.close()

    def _append(self, text: str) -> None:
        unwritten, streamed = memoryview(text.encode()), self._path == "-"
        size_before = 0 if streamed else os.fstat(self._file.fileno()).st_size
        try:
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) or 0 :]
            self._file.flush()
        except BaseException:  # KeyboardInterrupt too
            if not streamed:
                with contextlib.suppress(OSError):  # a pipe cannot be truncated
                    self._file.truncate(size_before)
            raise

    def _head(self) -> str:
        return ""

    @abc.abstractmethod
    def _line(self, values: list[Any]) -> str:
        """Return one row as a line."""


class CsvFile(TextFile):
    """Comma-separated values below a line with the column names. A missing value is empty; floats keep every digit."""

    def _head(self) -> str:
        return self._line(self._columns)

    def _line(self, values: list[Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


class JsonLinesFile(TextFile):
    """One JSON object per line. A missing value is null; so are NaN and infinity, which JSON does not have."""

    def _line(self, values: list[Any]) -> str:
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        finite = [None if isinstance(value, float) and not math.isfinite(value) else value for value in plain]
        return json.dumps(dict(zip(self._columns, finite)), allow_nan=False) + "\n"


class ColumnFile(RowFile):
    """A file that is written, whole or not at all, when it is closed: its columns are stored one after the other."""

    def __init__(self, path: str, columns: Sequence[str], overwrite: bool) -> None:
        super().__init__(path, columns, overwrite)
        self._values: dict[str, list[Any]] = {name: [] for name in self._columns}

    def write(self, rows: Sequence[Row]) -> None:
        """Keep the rows until the file is closed."""
        for name, values in self._values.items():
            values.extend([row.get(name) for row in rows])

    def close(self) -> None:
        """Write the file."""
        with atomic_path(self._path, overwrite=self._overwrite) as temporary:
            self._save(temporary, self._values)

    @abc.abstractmethod
    def _save(self, path: Path, columns: dict[str, list[Any]]) -> None:
        """Write all columns."""


class NpzFile(ColumnFile):
    """One array per column. A missing value is NaN, or -1 in a column of integers, or an empty text."""

    def _save(self, path: Path, columns: dict[str, list[Any]]) -> None:
        arrays: dict[str, Any] = {name: _column(name, values) for name, values in columns.items()}
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)


class ParquetFile(ColumnFile):
    """Columns of int64, float64 and text, for pandas, Polars, DuckDB and Arrow. A missing value is null."""

    def _save(self, path: Path, columns: dict[str, list[Any]]) -> None:
        arrow, parquet = load_parquet()
        arrays = {name: _arrow_column(arrow, name, values) for name, values in columns.items()}
        parquet.write_table(arrow.table(arrays), path)


ROW_FILES: dict[str, Callable[..., RowFile]] = {
    "csv": CsvFile,
    "jsonl": JsonLinesFile,
    "npz": NpzFile,
    "parquet": ParquetFile,
}


def _arrow_column(arrow: Any, name: str, values: list[Any]) -> Any:
    """Return one column as an array of Arrow."""
    if _is_text(name, values):
        return arrow.array([None if value is None else str(value) for value in values], arrow.string())
    kind = arrow.int64() if name in INTEGER_COLUMNS else arrow.float64()
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return arrow.array(plain, kind, from_pandas=False)


def _column(name: str, values: list[Any]) -> np.ndarray:
    """Return one column as an array that needs no pickle."""
    if _is_text(name, values):
        return np.array(["" if value is None else str(value) for value in values], dtype=str)
    if name in INTEGER_COLUMNS:
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _is_text(name: str, values: list[Any]) -> bool:
    """Return whether a column is stored as text: one of ours that is, or one of another program with no numbers.

    >>> _is_text("layer", []), _is_text("run", ["a", None]), _is_text("l2", [0.5, None])
    (True, True, False)
    """
    kinds = set(map(type, values)) - {type(None)}
    has_numbers = all(issubclass(kind, (int, float, np.number)) and kind is not bool for kind in kinds)
    return name in TEXT_COLUMNS or (name not in INTEGER_COLUMNS and not has_numbers)


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    return sys.stdout.buffer
