"""The dtypes of state files, and what NumPy, PyTorch and safetensors call them."""

from __future__ import annotations

import numpy as np

from .._support.dtypes import numpy_dtype

# name (torch's and NumPy's or ml_dtypes' alike) -> (bytes an element, safetensors' code, torch's storage class)
_TABLE = {
    "float64": (8, "F64", "Double"),
    "float32": (4, "F32", "Float"),
    "float16": (2, "F16", "Half"),
    "bfloat16": (2, "BF16", "BFloat16"),
    "complex128": (16, "", "ComplexDouble"),
    "complex64": (8, "C64", "ComplexFloat"),
    "int64": (8, "I64", "Long"),
    "int32": (4, "I32", "Int"),
    "int16": (2, "I16", "Short"),
    "int8": (1, "I8", "Char"),
    "uint64": (8, "U64", ""),
    "uint32": (4, "U32", ""),
    "uint16": (2, "U16", ""),
    "uint8": (1, "U8", "Byte"),
    "bool": (1, "BOOL", "Bool"),
    "float8_e4m3fn": (1, "F8_E4M3", ""),
    "float8_e5m2": (1, "F8_E5M2", ""),
    "float8_e4m3fnuz": (1, "F8_E4M3FNUZ", ""),
    "float8_e5m2fnuz": (1, "F8_E5M2FNUZ", ""),
    "float8_e8m0fnu": (1, "F8_E8M0", ""),
}
ITEMSIZE = {name: row[0] for name, row in _TABLE.items()}
SAFETENSORS_CODE = {name: row[1] for name, row in _TABLE.items() if row[1]}
OF_SAFETENSORS_CODE = {code: name for name, code in SAFETENSORS_CODE.items()}
TORCH_STORAGE = {name: f"{row[2]}Storage" for name, row in _TABLE.items() if row[2]}
OF_TORCH_STORAGE = {storage: name for name, storage in TORCH_STORAGE.items()}


def stored_dtype(name: str) -> np.dtype:
    """Return the dtype called `name` in the byte order of state files, which is little-endian."""
    return numpy_dtype(name, f"reading {name}").newbyteorder("<")


def is_storable(dtype: np.dtype) -> bool:
    """Return whether a state file can hold arrays of `dtype`."""
    return dtype.name in ITEMSIZE
