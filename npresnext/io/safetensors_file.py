"""The safetensors format, through the package of that name; the arrays themselves are read straight from the file.

The package checks the header: its size, its JSON, that shapes fit the bytes, and that the bytes of the tensors
follow each other without gap or overlap. Reading the arrays ourselves keeps one copy of them in memory, not two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._support.extras import load_extra
from ..errors import FileFormatError, InvalidTypeError
from .archive import as_array, read_exactly
from .dtypes import ITEMSIZE, OF_SAFETENSORS_CODE, SAFETENSORS_CODE, stored_dtype
from .metadata import check_metadata


def read(file: IO[bytes]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a safetensors file, in the order of the file, and its metadata."""
    package = load_extra("safetensors", "safetensors", "reading .safetensors files")
    try:
        with package.safe_open(file.name, framework="np") as opened:
            # the package's order of offsets is that of the bytes, and its own check says they leave no gap
            slices = {name: opened.get_slice(name) for name in opened.offset_keys()}
            shapes = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = check_metadata(opened.metadata())
    except package.SafetensorError as error:
        raise FileFormatError(f"the safetensors header is damaged, or the file truncated: {error}") from error
    file.seek(0)
    file.seek(8 + int.from_bytes(file.read(8), "little"))
    return {name: _read_array(file, name, code, shape) for name, (code, shape) in shapes.items()}, metadata


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `arrays`; the package orders them by dtype and name."""
    package = load_extra("safetensors", "safetensors", "writing .safetensors files")
    specs: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.name not in SAFETENSORS_CODE:
            raise InvalidTypeError(f"{name} has dtype {array.dtype}, which a .safetensors file cannot hold")
        specs[name] = package.TensorSpec(
            dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
    package.serialize_file(specs, path, metadata=dict(metadata) or None)


def _read_array(file: IO[bytes], name: str, code: str, shape: tuple[int, ...]) -> np.ndarray:
    if code not in OF_SAFETENSORS_CODE:
        raise FileFormatError(f"{name} has the dtype {code}: expected one of {', '.join(OF_SAFETENSORS_CODE)}")
    dtype_name = OF_SAFETENSORS_CODE[code]
    raw = read_exactly(file, math.prod(shape) * ITEMSIZE[dtype_name], name)
    return as_array(raw, shape, stored_dtype(dtype_name), name)
