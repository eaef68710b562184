"""NumPy's ``.npz``: a zip archive of ``.npy`` files, read without pickle and without trusting its headers.

NumPy has no bfloat16 of its own and writes it as two raw bytes (``V2``); here ``V2`` is read as bfloat16.
Metadata is an entry ``__metadata__``: the bytes of a JSON text.
"""

from __future__ import annotations

import io
import json
import math
import tokenize
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import FileFormatError, InvalidValueError
from .archive import Archive, as_array, leads_out, read_exactly
from .dtypes import ITEMSIZE, stored_dtype
from .metadata import parse_metadata

METADATA = "__metadata__"
_MOST_HEADER = 10_000
# What NumPy raises for a header that is no description of an array
_NO_HEADER = (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)


def read(archive: Archive) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of an ``.npz`` file and its metadata."""
    foreign = [name for name in archive.entries if not name.endswith(".npy")]
    if foreign:
        raise FileFormatError(f"a zip archive, but no .npz file: it holds {', '.join(map(repr, foreign[:5]))}")
    arrays = {name.removesuffix(".npy"): _read_array(archive, name) for name in archive.entries}
    text = arrays.pop(METADATA, None)
    return arrays, {} if text is None else parse_metadata(text.tobytes().decode("utf-8", "replace"))


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `arrays` so that :func:`numpy.load` reads them; the same arrays give the same bytes."""
    for name in arrays:
        if name == METADATA:
            raise InvalidValueError(f"the name {METADATA} is taken by the metadata")
        if leads_out(name):
            raise InvalidValueError(f"{name!r} cannot be a name in an .npz file: it reads as a path out of it")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        for name, array in arrays.items():
            if array.dtype.name.startswith("float8"):
                raise InvalidValueError(f"{name} has dtype {array.dtype}, which an .npz file cannot hold")
            _write_array(zipped, name, array.view("V2") if array.dtype.name == "bfloat16" else array)
        if metadata:
            _write_array(zipped, METADATA, np.frombuffer(json.dumps(dict(metadata)).encode(), np.uint8))


def _write_array(zipped: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    entry = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980, so that equal states are equal files
    with zipped.open(entry, "w", force_zip64=array.nbytes > 2**30) as stream:
        np.lib.format.write_array(stream, array, version=(2, 0), allow_pickle=False)


def _read_array(archive: Archive, name: str) -> np.ndarray:
    with archive.open(name) as stream:
        magic = stream.read(8)
        width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}.get(magic)
        if width is None:
            raise FileFormatError(f"{name} is no .npy file: it begins with {magic!r}")
        length = int.from_bytes(stream.read(width), "little")
        if length > _MOST_HEADER:
            raise FileFormatError(f"{name} claims a header of {length:,} bytes: at most {_MOST_HEADER:,} make sense")
        dtype, fortran, shape = _parse_header(stream.read(length), name)
        nbytes = math.prod(shape) * dtype.itemsize
        expected = archive.entries[name].file_size - len(magic) - width - length
        if nbytes != expected:
            raise FileFormatError(
                f"{name} has {expected:,} bytes of data, but its header says {nbytes:,}: shape {shape}, dtype {dtype}"
            )
        raw = read_exactly(stream, nbytes, name)
        stream.read(1)  # at the end zipfile compares the checksum
    return as_array(raw, shape, dtype, name, order="F" if fortran else "C")


def _parse_header(header: bytes, name: str) -> tuple[np.dtype, bool, tuple[int, ...]]:
    """Return dtype, whether the order is Fortran's, and the shape. NumPy reads the header, as a literal."""
    stream = io.BytesIO(len(header).to_bytes(4, "little") + header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote the file, or an old name of a dtype
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=_MOST_HEADER)
    except _NO_HEADER as error:
        raise FileFormatError(f"{name} has a header that describes no plain array: {header[:200]!r}") from error
    if dtype.hasobject:
        raise FileFormatError(f"{name} holds Python objects, which would have to be unpickled: refused")
    if dtype.names or dtype.subdtype or any(axis < 0 for axis in shape):
        raise FileFormatError(f"{name} has a header that describes no plain array: {header[:200]!r}")
    if dtype.str == "|V2":
        return stored_dtype("bfloat16"), fortran, shape
    if dtype.name not in ITEMSIZE:
        raise FileFormatError(f"{name} has the dtype {dtype.str}: expected one of {', '.join(ITEMSIZE)}")
    return dtype, fortran, shape
