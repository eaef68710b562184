"""Rows of gradient norms, read from files: CSV, JSON Lines, NPZ and Parquet, written here or by another program."""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._support.plurals import counted
from ..errors import FileFormatError
from .files import INTEGER_COLUMNS, format_of, load_parquet
from .norms import NEEDED, Row

_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError)  # what a ZIP archive may raise


def read_rows(path: str | os.PathLike[str], *, format: str | None = None) -> list[Row]:
    """Read the rows of a file, as :func:`npresnext.gradients.open_rows` writes it.

    Parameters
    ----------
    path
        The file. It needs the columns layer, conv_group and groups; other columns may be missing, and there may be
        more.
    format : "csv", "jsonl", "npz" or "parquet", optional
        By the extension of `path` if None.

    Returns
    -------
    list of dict
        The rows in the order of the file, for :func:`draw_grad_norms`. Names of layers are text, even "0"; a missing
        value is None.

    Raises
    ------
    ValueError
        The file is no such file, is empty, or lacks a column; the message names the line.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> from npresnext.gradients import open_rows
    >>> rows = [{"step": 0, "layer": "0", "conv_group": group, "groups": 2, "l2": 0.5} for group in (0, 1)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open_rows(f"{folder}/norms.csv", list(rows[0])) as file:
    ...         file.write(rows)
    ...     read_rows(f"{folder}/norms.csv") == rows
    True
    """
    readers = {"csv": _csv_rows, "jsonl": _json_rows, "npz": _npz_rows, "parquet": _parquet_rows}
    read = readers[format_of(str(path), format)]
    rows = [_checked(row, f"{path}, {place}") for place, row in read(Path(path))]
    if not rows:
        raise FileFormatError(f"{path} has no rows")
    return rows


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the row of each line; an empty field is None."""
    with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
        lines = csv.reader(_text_of(file, path), strict=True)
        header: list[str] | None = None
        try:
            for fields in lines:
                place = f"line {lines.line_num}"
                if header is None:
                    header = fields
                    _check_columns(header, path)
                elif len(fields) != len(header):
                    raise FileFormatError(
                        f"{path}, {place}, has {counted(len(fields), 'field')}, but the first line has {len(header)}"
                    )
                else:
                    yield place, {name: field if field else None for name, field in zip(header, fields)}
        except csv.Error as error:
            raise FileFormatError(f"{path}, line {lines.line_num}, is not CSV: {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the row of each line that is not empty."""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(_text_of(file, path), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileFormatError(f"{path}, line {number}, is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise FileFormatError(f"{path}, line {number}, is not a JSON object")
            _check_columns(row, f"{path}, line {number},")
            yield f"line {number}", row


def _npz_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the row of each entry of the columns; -1 in a column of integers is None."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise FileFormatError(f"{path} is not an NPZ file")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                columns = {name: archive[name] for name in archive.files}
        except (*_DAMAGED, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
            raise FileFormatError(f"{path} is not an NPZ file of columns: {error}") from error
    _check_columns(columns, path)
    shapes = {array.shape for array in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise FileFormatError(
            f"{path} has columns of the shapes {', '.join(map(str, sorted(shapes)))}: expected one axis and one length"
        )
    texts = [name for name, array in columns.items() if array.dtype.kind == "U"]
    for index, values in enumerate(zip(*(array.tolist() for array in columns.values()))):
        row = dict(zip(columns, values))
        for name in INTEGER_COLUMNS & set(row):
            row[name] = None if row[name] == -1 else row[name]
        for name in texts:
            row[name] = row[name] or None
        yield f"row {index}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the row of each entry of the columns."""
    arrow, parquet = load_parquet()
    try:
        with open(path, "rb") as file:
            columns = parquet.read_table(file).to_pydict()
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FileFormatError(f"{path} is not a Parquet file: {error}") from error
    _check_columns(columns, path)
    for index, values in enumerate(zip(*columns.values())):
        yield f"row {index}", dict(zip(columns, values))


def _text_of(file: Iterable[str], path: Path) -> Iterator[str]:
    """Yield the lines of a text file."""
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not UTF-8 text: {error}") from error


def _check_columns(columns: Iterable[str], where: Path | str) -> None:
    """Raise unless the needed columns are there."""
    names = list(columns)
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise FileFormatError(
            f"{where} has no column {', '.join(missing)}: rows of gradient norms have {', '.join(NEEDED)}, and numbers "
            f"such as step and l2; here are {', '.join(names) or 'none'}"
        )


def _checked(row: dict[str, Any], place: str) -> Row:
    """Return the row with its numbers as numbers and its layer as text, or raise naming the place."""
    checked: Row = {}
    for name, value in row.items():
        kind = type(value)
        if name in INTEGER_COLUMNS:
            checked[name] = value if kind is int else _integer(value, name, place)
        elif name == "layer":
            checked[name] = value if kind is str or value is None else str(value)
        else:
            checked[name] = _number(value) if kind is str else value
    for name in NEEDED:
        if checked[name] is None:
            raise FileFormatError(f"{place}, has no {name}")
    if not 0 <= checked["conv_group"] < checked["groups"]:
        raise FileFormatError(f"{place}, has conv_group={checked['conv_group']} and groups={checked['groups']}")
    return checked


def _integer(value: Any, name: str, place: str) -> int | None:
    """Return an integer of a column of integers, whatever type the file gave it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    except (TypeError, ValueError):
        pass
    try:
        number = float(value) if isinstance(value, str) else math.nan  # integers as other programs write them: 3.0
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise FileFormatError(f"{place}, has {name}={value!r}: expected an integer")
    return int(number)


def _number(text: str) -> Any:
    """Return the number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return text
