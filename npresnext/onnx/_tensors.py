"""Tensors of an ONNX file as NumPy arrays; a shape is compared with the bytes that are there before they are read."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from .._support.dtypes import numpy_dtype
from ..errors import FileFormatError

# ONNX's number of a dtype -> (its name, the field for values that are not stored as bytes)
_DTYPES = {
    1: ("float32", "float_data"),
    10: ("float16", "int32_data"),
    11: ("float64", "double_data"),
    16: ("bfloat16", "int32_data"),
    6: ("int32", "int32_data"),
    7: ("int64", "int64_data"),
    9: ("bool", "int32_data"),
}
_FLOATING = ("float16", "bfloat16", "float32", "float64")
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_EXTERNAL = 1  # TensorProto.DataLocation


def dtype_named(number: int, what: str) -> np.dtype[Any]:
    """Return the dtype with ONNX's `number`, or raise saying that `what` has none that is known here."""
    if number not in _DTYPES:
        known = ", ".join(f"{name} ({key})" for key, (name, _) in _DTYPES.items())
        raise FileFormatError(f"{what} has the data type {number}: expected one of {known}")
    return numpy_dtype(_DTYPES[number][0], f"reading {what}")


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Return whether a network can compute in this dtype."""
    return dtype.name in _FLOATING


class TensorReader:
    """Reads the tensors of one ONNX file.

    Parameters
    ----------
    folder : path
        Of the ONNX file: external data is read from files inside it only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._external: dict[Path, dict[str, int]] = {}  # file -> tensor -> bytes

    def read(self, tensor: Any, what: str) -> np.ndarray[Any, Any]:
        """Return a TensorProto as an array of its own memory. Messages call it `what`.

        Raises
        ------
        ValueError
            The dtype is not known here, or the tensor's data does not have the size of its shape (FileFormatError).
        """
        shape = tuple(tensor.dims)
        if min(shape, default=0) < 0:
            raise FileFormatError(f"{what} has the shape {shape}: no size may be below 0")
        dtype = dtype_named(tensor.data_type, what)
        size, field = math.prod(shape) * dtype.itemsize, _DTYPES[tensor.data_type][1]
        filled = [name for name in _FIELDS if len(getattr(tensor, name))]
        if tensor.HasField("segment"):
            raise FileFormatError(f"{what} is one segment of a tensor: such files are not read")
        if tensor.data_location == _EXTERNAL:
            raw = self._external_bytes(tensor, size, what)
        elif tensor.HasField("raw_data") and not filled:
            raw = tensor.raw_data
        elif filled in ([field], []) and not tensor.HasField("raw_data"):
            return _from_values(getattr(tensor, field), shape, dtype, what)
        else:
            raise FileFormatError(
                f"{what} has data in several fields, or in one that is not for {dtype.name}: {filled}"
            )
        if len(raw) != size:
            raise FileFormatError(
                f"{what} has the shape {shape} and dtype {dtype.name}, {size} bytes, but {len(raw)} bytes of data"
            )
        stored = np.frombuffer(raw, f"<u{dtype.itemsize}")  # little-endian, as ONNX has it on every machine
        return stored.astype(f"=u{dtype.itemsize}").view(dtype).reshape(shape)

    def _external_bytes(self, tensor: Any, size: int, what: str) -> bytes:
        """Return `size` bytes from the file beside the ONNX file that a tensor names."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if not all(isinstance(text, str) for pair in entries.items() for text in pair):
            raise FileFormatError(f"{what} has external data whose description is no UTF-8 text")
        location = entries.get("location", "")
        path = _inside(self._folder, location, what)
        numbers = {key: entries.get(key, default) for key, default in (("offset", "0"), ("length", str(size)))}
        if not all(text.isascii() and text.isdigit() and len(text) < 20 for text in numbers.values()):
            raise FileFormatError(f"{what} has an offset or a length that is no number: {numbers}")
        offset, length = int(numbers["offset"]), int(numbers["length"])
        if length != size:
            raise FileFormatError(f"{what} takes {size} bytes, but {length} bytes are given in {location}")
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size
            if offset + size > there:
                raise FileFormatError(f"{what} ends at byte {offset + size} of {location}, which has {there} bytes")
            taken = self._external.setdefault(path, {})
            taken[what] = size
            if sum(taken.values()) > there:
                raise FileFormatError(f"the tensors in {location} overlap: together they take more than {there} bytes")
            file.seek(offset)
            return file.read(size)


def _from_values(values: Any, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> np.ndarray[Any, Any]:
    """Return the numbers of a field such as ``float_data`` as an array; 16-bit floats are stored as their bits."""
    if len(values) != math.prod(shape):
        raise FileFormatError(f"{what} has the shape {shape}, but {len(values)} values")
    if dtype.itemsize == 2:
        bits = np.array(values, "int64")
        if bits.size and not 0 <= bits.min() <= bits.max() < 2**16:
            raise FileFormatError(f"{what} has values of more than 16 bits")
        return bits.astype("uint16").view(dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def _inside(folder: Path, location: str, what: str) -> Path:
    """Return the path of an external file after checking that it is a file inside the folder of the ONNX file."""
    plain = PurePosixPath(location), PureWindowsPath(location)
    leaves = any(path.anchor or ".." in path.parts for path in plain) or not location or "\0" in location
    path = folder / location if not leaves else folder
    if leaves or not path.resolve().is_relative_to(folder.resolve()):
        raise FileFormatError(
            f"{what} has its data in {location!r}: expected a file inside the folder of the ONNX file, "
            'without an absolute path, "..", or links that lead out of it'
        )
    if not path.is_file():
        raise FileFormatError(f"{what} has its data in {location!r}, which is not beside the ONNX file")
    return path
