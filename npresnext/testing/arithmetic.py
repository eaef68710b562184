"""Floating-point arithmetic as a declaration: what inputs, accumulator and output are rounded to.

An :class:`Arithmetic` is what the author of a kernel claims; the bounds in ``verdicts`` follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError
from ..extras import load_extra

Array = np.ndarray


class Precision(NamedTuple):
    """A binary floating-point format: bits of its significand, unit roundoff 2^-bits, smallest normal number."""

    bits: int
    u: float
    tiny: float


PRECISIONS = {
    "float64": Precision(53, 2.0**-53, 2.0**-1022),
    "float32": Precision(24, 2.0**-24, 2.0**-126),
    "tf32": Precision(11, 2.0**-11, 2.0**-126),  # NVIDIA A100 whitepaper: 10 explicit bits, float32's exponents
    "float16": Precision(11, 2.0**-11, 2.0**-14),
    "bfloat16": Precision(8, 2.0**-8, 2.0**-126),
}


class Arithmetic(NamedTuple):
    """What a kernel's operands, its running sums, and its results are rounded to: names out of `PRECISIONS`."""

    input: str
    accumulator: str
    output: str
    dtype: str  # what the operands are handed over in

    @property
    def units(self) -> tuple[float, float, float]:
        """Unit roundoffs of operands, sums and results, 0 for operands or results that need no rounding."""
        narrow, sums, out, wide = (PRECISIONS[name] for name in self)
        return narrow.u * (narrow.bits < wide.bits), sums.u, out.u * (out.bits < sums.bits)

    def __str__(self) -> str:
        return f"{self.input} inputs, {self.accumulator} accumulator, {self.output} output"


def as_dtype(dtype: Any) -> np.dtype:
    """Return a floating dtype by name, bfloat16 among them; or raise what hinders it."""
    if str(dtype) == "bfloat16":
        return np.dtype(load_extra("ml_dtypes", "bfloat16", "bfloat16").bfloat16)
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.name not in PRECISIONS:
        raise InvalidValueError(f"dtype is {dtype!r}: expected float16, bfloat16, float32 or float64")
    return found


def as_arithmetic(dtype: Any, declared: Mapping[str, str] | None = None) -> Arithmetic:
    """Complete a declaration: by default all is of `dtype`, and 16-bit types are summed in float32.

    >>> print(as_arithmetic("float32", {"input": "tf32"}))
    tf32 inputs, float32 accumulator, float32 output
    """
    name, given = as_dtype(dtype).name, dict(declared or {})
    if unknown := sorted(set(given) - {"input", "accumulator", "output"}):
        raise InvalidValueError(f"arithmetic has unknown keys {unknown}: expected input, accumulator, output")
    for key, value in given.items():
        if value not in PRECISIONS:
            raise InvalidValueError(f'arithmetic["{key}"] is {value!r}: expected one of {", ".join(PRECISIONS)}')
    return Arithmetic(name, "float64" if name == "float64" else "float32", name, name)._replace(**given)


def rounded(values: Array, name: str) -> Array:
    """Round float64 values to the significand of a format, to nearest even; its range is left out of account."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    bits = PRECISIONS[name].bits
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
