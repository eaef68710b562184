"""Dtypes by name: those that the package computes in, and all that NumPy and ml_dtypes know."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidTypeError
from .extras import load_extra

DTYPES = ("float16", "bfloat16", "float32", "float64")  # what a network, its weights and its images may have


def as_dtype(dtype: Any, xp: Any = np) -> Any:
    """Return one of :data:`DTYPES` as a dtype of the array library `xp`.

    Parameters
    ----------
    dtype : str or dtype of any library
    xp : module
        NumPy, CuPy, array_api_strict.

    Raises
    ------
    TypeError
        It is none of :data:`DTYPES`.
    MissingExtraError
        It is bfloat16, and ml_dtypes is not installed.

    Examples
    --------
    >>> as_dtype("float32"), as_dtype(np.float64)
    (dtype('float32'), dtype('float64'))
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype)).rpartition(".")[2]
    if name not in DTYPES:
        raise InvalidTypeError(f"dtype must be one of {', '.join(DTYPES)}, but is {dtype!r}")
    if name == "bfloat16":
        return numpy_dtype(name)  # CuPy uses NumPy's dtypes
    found = getattr(xp, name)
    return np.dtype(found) if isinstance(found, type) else found


def numpy_dtype(name: str, purpose: str = "") -> np.dtype:
    """Return NumPy's dtype called `name`; bfloat16 and the 8-bit floats are those of ml_dtypes.

    `purpose` is what a message says to need ml_dtypes, where that is not installed.

    >>> numpy_dtype("int64")
    dtype('int64')
    """
    if name == "bfloat16" or name.startswith("float8"):
        return np.dtype(getattr(load_extra("ml_dtypes", "bfloat16", purpose or f"dtype {name}"), name))
    return np.dtype(name)
