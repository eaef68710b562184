"""NumPy's ``.npz``: a zip archive of ``.npy`` files, read without pickle and without trusting its headers.

NumPy has no bfloat16 of its own and writes it as two raw bytes (``V2``); here ``V2`` is read as bfloat16.
Metadata is an entry ``__metadata__``: the bytes of a JSON text.
"""

from __future__ import annotations

import json
import math
import re
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
# An item of the dictionary in a header: a dtype, a bool or a tuple of integers; Python 2 wrote 2L for 2
_ITEM = re.compile(
    r"""\s*u?(?P<quote>['"])(?P<key>\w+)(?P=quote)\s*:\s*
    (?:
        u?(?P<mark>['"])(?P<text>[<>|=]?[?A-Za-z][A-Za-z0-9]*)(?P=mark)
        | (?P<bool>True|False)
        | \((?P<axes>\s*|(?:\s*\d{1,19}L?\s*,)+(?:\s*\d{1,19}L?)?\s*)\)
    )\s*(?:,|(?=\}))""",
    re.VERBOSE,
)


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
    """Return dtype, whether the order is Fortran's, and the shape."""
    values = _header_values(header.decode("latin-1"))
    if values is None:
        raise FileFormatError(f"{name} has a header that describes no plain array: {header[:200]!r}")
    text, fortran, shape = values
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old names of dtypes
            dtype = np.dtype(text)
    except TypeError as error:
        raise FileFormatError(f"{name} has the dtype {text}: expected one of {', '.join(ITEMSIZE)}") from error
    if dtype.hasobject:
        raise FileFormatError(f"{name} holds Python objects, which would have to be unpickled: refused")
    if dtype.str == "|V2":
        return stored_dtype("bfloat16"), fortran, shape
    if dtype.name not in ITEMSIZE:
        raise FileFormatError(f"{name} has the dtype {text}: expected one of {', '.join(ITEMSIZE)}")
    return dtype, fortran, shape


def _header_values(text: str) -> tuple[str, bool, tuple[int, ...]] | None:
    """Return descr, fortran_order and shape of a header, the text of a Python dictionary, or None.

    numpy.lib.format gives the text to Python's compiler, which a deeply nested text can exhaust; this does not.

    >>> _header_values("{'shape': (2L, 3L), 'fortran_order': False, 'descr': '<f4'}")
    ('<f4', False, (2, 3))
    """
    match, found = re.match(r"\s*\{", text), {}
    while match and (item := _ITEM.match(text, match.end())):
        found[item["key"]] = item
        match = item
    if (
        not match
        or set(found) != {"descr", "fortran_order", "shape"}
        or not re.match(r"\s*\}\s*$", text[match.end() :])
    ):
        return None
    descr, fortran, axes = found["descr"]["text"], found["fortran_order"]["bool"], found["shape"]["axes"]
    if descr is None or fortran is None or axes is None:
        return None
    return descr, fortran == "True", tuple(int(axis) for axis in re.findall(r"\d+", axes))
