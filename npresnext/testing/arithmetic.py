"""Floating-point arithmetic as a declaration: what inputs, accumulator and output are rounded to.

An :class:`Arithmetic` is what the author of a kernel claims; the bounds in ``verdicts`` follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError
from .cases import as_dtype, significand_bits

Array = np.ndarray


class Precision(NamedTuple):
    """A binary floating-point format: significand bits p (unit roundoff u = 2^-p) and its smallest normal number."""

    bits: int
    tiny: float

    @property
    def u(self) -> float:
        """The unit roundoff of rounding to nearest."""
        return 2.0**-self.bits


PRECISIONS = {
    "float64": Precision(53, 2.0**-1022),
    "float32": Precision(24, 2.0**-126),
    "tf32": Precision(11, 2.0**-126),  # NVIDIA A100 whitepaper: 10 explicit bits, float32's exponents
    "float16": Precision(11, 2.0**-14),
    "bfloat16": Precision(8, 2.0**-126),
}


class Arithmetic(NamedTuple):
    """What a kernel's operands, its running sums, and its results are rounded to: names out of `PRECISIONS`."""

    input: str
    accumulator: str
    output: str
    dtype: str  # what the operands are handed over in

    @property
    def exact_bits(self) -> int:
        """Integers of up to this many bits survive operands, sums and results."""
        return min(PRECISIONS[name].bits for name in self)

    @property
    def u_input(self) -> float:
        """The relative error that reading an operand brings."""
        narrower = PRECISIONS[self.input].bits < PRECISIONS[self.dtype].bits
        return PRECISIONS[self.input].u if narrower else 0.0

    @property
    def u_output(self) -> float:
        """The relative error that writing a result brings."""
        narrower = PRECISIONS[self.output].bits < PRECISIONS[self.accumulator].bits
        return PRECISIONS[self.output].u if narrower else 0.0

    def __str__(self) -> str:
        return f"{self.input} inputs, {self.accumulator} accumulator, {self.output} output"


def as_arithmetic(dtype: Any, declared: Mapping[str, str] | None = None) -> Arithmetic:
    """Complete a declaration: by default all is of `dtype`, and 16-bit types are summed in float32.

    >>> print(as_arithmetic("float16"))
    float16 inputs, float32 accumulator, float16 output
    >>> print(as_arithmetic("float32", {"input": "tf32"}))
    tf32 inputs, float32 accumulator, float32 output
    """
    name = as_dtype(dtype).name
    default = Arithmetic(name, "float32" if significand_bits(name) < 24 else name, name, name)
    given = dict(declared or {})
    unknown = sorted(set(given) - set(Arithmetic._fields[:3]))
    if unknown:
        raise InvalidValueError(f"arithmetic has unknown keys {unknown}: expected input, accumulator, output")
    for key, value in given.items():
        if value not in PRECISIONS:
            raise InvalidValueError(f'arithmetic["{key}"] is {value!r}: expected one of {", ".join(PRECISIONS)}')
    return default._replace(**given)


def rounded(values: Array, name: str) -> Array:
    """Round float64 values to the significand of a format, to nearest even; its range is left out of account.

    >>> float(rounded(np.array(1 + 2.0**-9), "bfloat16"))
    1.0
    """
    mantissa, exponent = np.frexp(values.astype(np.float64))
    bits = PRECISIONS[name].bits
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
