"""Mistakes that no comparison of values shows: sums and values in a narrower format, and what is kept between calls.

How a narrow sum rounds depends on its order, and what a kernel keeps depends on the calls before. So these entries are
recognised by a diagnosis, or by calls that follow each other, instead of value for value. Each still has a function
that computes a result with the mistake: sums add product by product, and what is kept is what the kit's own earlier
call left, in which the property "overwritten operands" gives a kernel other numbers in the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..formats import SIGNIFICAND_BITS, round_to_format
from .call import Call
from .mistake import UNWRITTEN, Catalogue

INEXACT = Catalogue()  # recognised by a diagnosis
KEPT = Catalogue()  # recognised by calls that follow each other

ALL = "y dx dw db"

# --- narrower formats ----------------------------------------------------------------------------------------------


def round_operands(call: Call, format_name: str) -> Call:
    """Return the call with its factors rounded to a format; a bias is no factor."""
    x, weight, grad_output = (round_to_format(one, format_name) for one in (call.x, call.weight, call.grad_output))
    return replace(call, x=x, weight=weight, grad_output=grad_output)


def add_one_by_one(call: Call, name: str, format_name: str) -> Array:
    """Return a result whose products are added one after the other, each sum rounded to a format."""

    def add(terms: Array) -> Array:
        """Add along the last axis."""
        total = np.zeros(terms.shape[:-1])
        for term in np.moveaxis(terms, -1, 0):
            total = round_to_format(total + term, format_name)
        return total

    N, C_out, oh, ow = call.grad_output.shape
    gradients = call.grad_output.astype(np.float64)
    if name == "db":
        return add(gradients.transpose(1, 0, 2, 3).reshape(C_out, N * oh * ow))  # (C_out,)
    if name == "dx":  # each tap of each window is added to its pixel
        total = np.zeros(call.x.shape)
        spread = call.gradient_of_patches()  # (N, C_in, kh, kw, oh, ow)
        for place in np.ndindex(spread.shape[2:]):
            alone = np.zeros_like(spread)
            alone[(..., *place)] = spread[(..., *place)]
            total = round_to_format(total + call.fold(alone), format_name)
        return total
    weight, G = call.filters()  # (G, C_out/G, L)
    windows = (oh, ow) if name == "dw" else call.output_size()
    patches = call.patches(windows)  # (N, C_in, kh, kw, oh, ow)
    patches = patches.reshape(len(patches), G, weight.shape[2], windows[0] * windows[1])  # (N, G, L, P)
    if name == "dw":
        products = gradients.reshape(N, G, -1, 1, oh * ow) * patches[:, :, None]  # (N, G, C_out/G, L, P)
        return add(np.moveaxis(products, 0, -2).reshape(*products.shape[1:4], -1)).reshape(call.weight.shape)
    products = weight[:, :, :, None] * patches[:, :, None]  # (N, G, C_out/G, L, P)
    y = add(np.moveaxis(products, 3, -1)).reshape(len(patches), C_out, *windows)
    return y if call.bias is None else y + call.bias.astype(np.float64).reshape(1, -1, 1, 1)


def with_format(
    name: str, results: str, question: str, explanation: str, diagnosis: str, format_name: str, step: str
) -> None:
    """Enter a mistake in which one step of a kernel works in a narrower format."""
    parts: dict[str, Callable[..., Array | Call]] = {
        "change": lambda call, result: round_operands(call, format_name),
        "compute": lambda call, result: add_one_by_one(call, result, format_name),
        "finish": lambda array, call, result: round_to_format(array, format_name),
    }
    INEXACT.enter(name, results, question, explanation, diagnosis=diagnosis, **{step: parts[step]})


for written, format_name in (("float32", "float32"), ("TF32", "tf32"), ("bfloat16", "bfloat16")):
    with_format(
        f"rounds its inputs to {written}",
        "y dx dw",
        f"1 + 2^-{SIGNIFICAND_BITS[format_name]} times 1: what is y?",
        f"The operands are multiplied as they are, with all bits of their dtype; {written} keeps fewer.",
        f"inputs rounded to {written}",
        format_name,
        "change",
    )
for format_name in ("float32", "float16", "bfloat16"):
    with_format(
        f"adds in {format_name}",
        ALL,
        f"The sum of 2^{SIGNIFICAND_BITS[format_name]} and 1: is it larger than 2^{SIGNIFICAND_BITS[format_name]}?",
        f"The running sums need more bits than {format_name} has: each addition rounds, and the errors add up.",
        f"{format_name} accumulator",
        format_name,
        "compute",
    )
    with_format(
        f"rounds its results to {format_name}",
        ALL,
        "How many bits do the results have, and how many does their dtype have?",
        f"A result is rounded once, to its own dtype, and not to {format_name} before.",
        f"results rounded to {format_name}",
        format_name,
        "finish",
    )


def towards_zero(result: Array, call: Call, name: str) -> Array:
    """Round to the dtype of the operands, to the neighbour that is nearer to zero."""
    near = round_to_format(result, call.x.dtype.name)
    unit = np.ldexp(1.0, np.frexp(near)[1] - SIGNIFICAND_BITS[call.x.dtype.name])
    return np.where(np.abs(near) > np.abs(result), near - np.sign(near) * unit, near)


def bias_after_rounding(result: Array, call: Call, name: str) -> Array:
    """Round the sum of products to the dtype of the operands, add the bias, and round again."""
    dtype = call.x.dtype.name
    bias = 0 if call.bias is None else call.bias.astype(np.float64).reshape(1, -1, 1, 1)
    return round_to_format(round_to_format(result - bias, dtype) + bias, dtype)


INEXACT.enter(
    "rounds its results towards zero",
    ALL,
    "0.3 + 0.6: is the result the nearest number of the format, or the next one below?",
    "Results are rounded to the nearest number; cutting off bits makes every result too small.",
    diagnosis="results rounded towards zero",
    finish=towards_zero,
)
INEXACT.enter(
    "adds the bias after rounding the sum",
    "y",
    "How often is a value of y rounded: once, or before and after the bias is added?",
    "The bias belongs to the sum, which is rounded once.",
    diagnosis="bias added after the sum was rounded, and rounded again",
    finish=bias_after_rounding,
)

# --- what was not written, and what is kept --------------------------------------------------------------------------


def anything(result: Array, call: Call, name: str) -> Array:
    """Return NaN, which stands for any value."""
    return np.full_like(result, UNWRITTEN)


INEXACT.enter(
    "does not write every value of its result",
    ALL,
    "Fill the memory of the result with NaN first: where does NaN stay?",
    "Every value of a result is written, a sum without products with 0 or the bias.",
    source="pytorch#72157",
    diagnosis="memory that was never written",
    finish=anything,
)
INEXACT.enter(
    "gives another result when it is called again",
    ALL,
    "Call it twice with the same operands: are the results the same?",
    "A result depends on the operands alone; a buffer that is used twice, memory behind an operand or a race of "
    "threads makes it change.",
    diagnosis="right when called again: the result depends on earlier calls, or on chance",
    finish=anything,
)


def earlier_operand(name: str, array: Array) -> Array:
    """Return the numbers that the kit writes into an operand for the call before: negated, or in reverse order.

    They differ from operand to operand, so that results show which of them a kernel keeps.
    """
    return -array if name in ("weight", "bias") else np.flip(array)


def with_earlier(*names: str) -> Callable[[Call, str], Call]:
    """Return a step that reads these operands as they were in the call before."""

    def change(call: Call, result: str) -> Call:
        given = {name: getattr(call, name) for name in names}
        earlier: dict[str, Any] = {n: earlier_operand(n, array) for n, array in given.items() if array is not None}
        return replace(call, **earlier)

    return change


for operand, results in (("weight", "y dx"), ("x", "y dw"), ("bias", "y"), ("grad_output", "dx dw db")):
    KEPT.enter(
        f"keeps the {operand} of an earlier call",
        results,
        f"Write other numbers into the same array {operand}, and call it again: does the result change?",
        "An array may hold other values in the next call: a copy, packed or transformed, must be made again.",
        source="oneDNN#1113" if operand == "weight" else "",
        change=with_earlier(operand),
    )
KEPT.enter(
    "returns the result of an earlier call",
    ALL,
    "Write other numbers into the same arrays, and call it again: is it the same result?",
    "The same arrays may hold other values: a result is computed anew in each call.",
    change=with_earlier("x", "weight", "bias", "grad_output"),
)
