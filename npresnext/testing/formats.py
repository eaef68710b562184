"""Floating-point formats: how many bits each one keeps, and how a value is rounded to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._support.dtypes import numpy_dtype
from .._support.typing import NumPyArray as Array
from ..errors import InvalidValueError

# Bits p of the significand, so that the unit roundoff is 2^-p (TF32: NVIDIA A100 whitepaper).
SIGNIFICAND_BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8}
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
        `dtype` is not float16, bfloat16, float32 or float64.
    ImportError
        bfloat16 was asked for, and ml_dtypes is not installed.
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in SIGNIFICAND_BITS or name == "tf32":  # which no array has
        raise InvalidValueError(f"dtype is {dtype!r}: expected float16, bfloat16, float32 or float64")
    return numpy_dtype(name, name)


def round_to_format(values: Array, name: str) -> Array:
    """Round float64 values to the significand of a format, ties to even; the range of the format is ignored.

    >>> round_to_format(np.array([1 + 2.0**-11, 1 + 2.0**-9]), "tf32").tolist()
    [1.0, 1.001953125]
    """
    bits = SIGNIFICAND_BITS[name]
    fraction, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits)), exponent - bits)
