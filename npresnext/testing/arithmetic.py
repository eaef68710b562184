"""The arithmetic that a kernel declares: the formats of its operands, of its running sums and of its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._support.arguments import check_mapping
from ..errors import InvalidValueError
from .formats import SIGNIFICAND_BITS, operand_dtype, real_format

BEFORE_ROUNDING, AFTER_ROUNDING = "before rounding", "after rounding"


class Arithmetic(NamedTuple):
    """The formats in which a kernel works, each a name out of ``SIGNIFICAND_BITS``."""

    input: str  # to which operands are rounded before they are multiplied
    accumulator: str  # of the running sums
    output: str  # to which a finished sum is rounded
    dtype: str  # of the arrays that go in and come out; of complex ones the parts have these formats
    bias: str = BEFORE_ROUNDING  # whether the bias is added to the running sum, or to the rounded result

    @property
    def unit_roundoffs(self) -> tuple[float, float, float]:
        """Unit roundoffs of operands, sums and results; 0 for operands or results that are not rounded."""
        of_input, of_accumulator, of_output = (2.0 ** -SIGNIFICAND_BITS[name] for name in self[:3])
        input_is_rounded = SIGNIFICAND_BITS[self.input] < SIGNIFICAND_BITS[real_format(self.dtype)]
        output_is_rounded = SIGNIFICAND_BITS[self.output] < SIGNIFICAND_BITS[self.accumulator]
        return (
            of_input if input_is_rounded else 0.0,
            of_accumulator,
            of_output if output_is_rounded else 0.0,
        )

    @property
    def exact_bits(self) -> int:
        """Integers up to 2 to this power are exact in every one of the formats."""
        return min(SIGNIFICAND_BITS[real_format(name)] for name in self[:4])

    def __str__(self) -> str:
        told = f"{self.input} inputs, {self.accumulator} accumulator, {self.output} output"
        return told if self.bias == BEFORE_ROUNDING else f"{told}, bias added {self.bias}"


def as_arithmetic(dtype: Any, declared: Mapping[str, str] | None = None) -> Arithmetic:
    """Complete a declaration: by default every format is `dtype`, but 16-bit types are summed in float32.

    >>> str(as_arithmetic("float16"))
    'float16 inputs, float32 accumulator, float16 output'
    """
    dtype_name = operand_dtype(dtype).name
    name = real_format(dtype_name)
    check_mapping(declared, "arithmetic")
    given = dict(declared or {})
    if unknown := sorted(set(given) - {"input", "accumulator", "output", "bias"}):
        raise InvalidValueError(f"arithmetic has unknown keys {unknown}: expected input, accumulator, output, bias")
    bias = given.pop("bias", BEFORE_ROUNDING)
    if bias not in (BEFORE_ROUNDING, AFTER_ROUNDING):
        raise InvalidValueError(f'arithmetic["bias"] is {bias!r}: expected {BEFORE_ROUNDING!r} or {AFTER_ROUNDING!r}')
    for key, value in given.items():
        if value not in SIGNIFICAND_BITS:
            expected = ", ".join(SIGNIFICAND_BITS)
            raise InvalidValueError(f'arithmetic["{key}"] is {value!r}: expected one of {expected}')
    accumulator = "float64" if name == "float64" else "float32"
    arithmetic = Arithmetic(name, accumulator, name, dtype_name, bias)._replace(**given)
    # The results are arrays of `dtype`, so a wider output than that cannot be seen.
    narrower = min(arithmetic.output, name, key=SIGNIFICAND_BITS.__getitem__)
    return arithmetic._replace(output=narrower)
