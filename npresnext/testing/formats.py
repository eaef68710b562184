"""Floating-point formats: how many bits each one keeps, and how a value is rounded to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.dtypes import numpy_dtype
from .._support.typing import NumPyArray as Array
from ..errors import InvalidValueError

# Bits p of the significand, so that the unit roundoff is 2^-p (TF32: NVIDIA A100 whitepaper).
SIGNIFICAND_BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8}
REAL_FORMATS = {"complex64": "float32", "complex128": "float64"}  # of the parts of a complex number
DTYPES = ("float16", "bfloat16", "float32", "float64", *REAL_FORMATS)
SMALLEST_NORMAL = {
    "float64": 2.0**-1022,
    "float32": 2.0**-126,
    "tf32": 2.0**-126,
    "float16": 2.0**-14,
    "bfloat16": 2.0**-126,
}


def operand_dtype(dtype: Any) -> np.dtype:
    """Return the dtype of operands and results, given itself or its name.

    Raises
    ------
    ValueError
        `dtype` is not one of ``DTYPES``.
    ImportError
        bfloat16 was asked for, and ml_dtypes is not installed.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise InvalidValueError(f"dtype is {dtype!r}: expected one of {', '.join(DTYPES)}")
    return numpy_dtype(name, name)


def real_format(dtype_name: str) -> str:
    """Return the format of the numbers of a dtype, of the parts if they are complex.

    >>> real_format("complex64"), real_format("float16")
    ('float32', 'float16')
    """
    return REAL_FORMATS.get(dtype_name, dtype_name)


def wide(array: Array) -> Array:
    """Return an array in float64 or complex128, in which sums of products of small integers are exact."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def round_to_format(values: Array, name: str) -> Array:
    """Round float64 values to the significand of a format, ties to even; the range of the format is ignored.

    >>> round_to_format(np.array([1 + 2.0**-11, 1 + 2.0**-9]), "tf32").tolist()
    [1.0, 1.001953125]
    """
    bits = SIGNIFICAND_BITS[name]
    fraction, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits)
