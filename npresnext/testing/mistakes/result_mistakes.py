"""Mistakes with the bias and with the result: factors, what is not written, and remainders of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..formats import wide
from .call import Call
from .mistake import Catalogue, inverse

RESULT = Catalogue()

# --- the bias ------------------------------------------------------------------------------------------------------


def with_bias(
    name: str, question: str, explanation: str, change: Callable[[Array, Call], Array | None], source: str = ""
) -> None:
    """Enter another bias than the given one."""

    def changed(call: Call, result: str) -> Call:
        return call if call.bias is None else replace(call, bias=change(call.bias, call))

    RESULT.enter(name, "y", question, explanation, source=source, change=changed)


ZEROS = "An image of zeros: what is y?"

with_bias(
    "forgets the bias", ZEROS, "Each output channel has one bias, added to each of its values.", lambda b, c: None
)
with_bias("adds the bias twice", ZEROS, "The bias is added once.", lambda b, c: 2 * b)
with_bias("subtracts the bias", ZEROS, "The bias is added.", lambda b, c: -b)
with_bias(
    "adds the bias once for each group",
    f"{ZEROS} Does it change with the number of groups?",
    "Each output channel belongs to one group and has one bias.",
    lambda b, c: c.groups * b,
)
with_bias(
    "adds the bias once for each input channel",
    f"{ZEROS} Does it change with the number of input channels?",
    "The bias is added after the sum over the input channels.",
    lambda b, c: c.channels_per_group * b,
)
with_bias(
    "adds the bias once for each tap",
    f"{ZEROS} Does it change with the size of the kernel?",
    "The bias is added after the sum over the taps.",
    lambda b, c: math.prod(c.weight.shape[2:]) * b,
)
with_bias(
    "adds the bias once for each product",
    f"{ZEROS} Does it change with the size of the weight?",
    "The bias is added after the sum of the products.",
    lambda b, c: math.prod(c.weight.shape[1:]) * b,
)
with_bias(
    "adds the bias of the first channel to every channel",
    ZEROS,
    "Each output channel has a bias of its own.",
    lambda b, c: np.repeat(b[:1], len(b)),
)
with_bias(
    "adds the biases of the first group in every group",
    f"{ZEROS} Which bias does the first channel of the second group get?",
    "The bias is numbered like the output channels, through all groups.",
    lambda b, c: np.tile(b[: c.outputs_per_group], c.groups),
)
with_bias(
    "adds the bias in the first group only",
    f"{ZEROS} Which channels show their bias?",
    "Every group adds the biases of its output channels.",
    lambda b, c: np.where(np.arange(len(b)) < c.outputs_per_group, b, 0),
)
with_bias(
    "deals the bias to the groups in turn",
    f"{ZEROS} Which bias does output channel 1 get?",
    "The bias is (G, C_out/G) in memory, not (C_out/G, G).",
    lambda b, c: b.reshape(c.outputs_per_group, c.groups).T.ravel(),
)
with_bias("reverses the bias", ZEROS, "The bias is numbered like the output channels.", lambda b, c: b[::-1])
with_bias(
    "forgets the bias where there are no input channels",
    "What is y without any input channel?",
    "A sum without products is 0, and the bias is still added.",
    lambda b, c: b if c.channels_per_group else None,
    source="pytorch#101356",
)


def only_inside(result: Array, call: Call, name: str) -> Array:
    """Take the bias away again from windows that reach beyond the image."""
    if call.bias is None:
        return result
    whole = [
        call.meetings(axis, windows).sum(axis=(1, 2)) == call.weight.shape[2 + axis]
        for axis, windows in enumerate(result.shape[2:])
    ]
    inside = whole[0][:, None] & whole[1]  # (oh, ow)
    return result - np.where(inside, 0, wide(call.bias).reshape(-1, 1, 1))


RESULT.enter(
    "adds the bias only where the whole window is inside the image",
    "y",
    f"{ZEROS} Are all its values equal, with padding?",
    "The bias is added to every value, also where the window sees padding.",
    finish=only_inside,
)

# --- factors and orders of y ----------------------------------------------------------------------------------------


def averages(name: str, question: str, explanation: str, count: Callable[[Call], int], source: str = "") -> None:
    """Enter a mean in place of a sum; the bias is added after it."""

    def finish(result: Array, call: Call, _: str) -> Array:
        bias = 0 if call.bias is None else wide(call.bias).reshape(1, -1, 1, 1)
        return (result - bias) * inverse(count(call)) + bias

    RESULT.enter(name, "y", question, explanation, source=source, finish=finish)


ONES = "A weight of ones on an image of ones: what is y?"
averages(
    "averages over the input channels", ONES, "The products of all channels are added.", lambda c: c.channels_per_group
)
averages(
    "averages over the taps of the kernel",
    ONES,
    "The products of all taps are added.",
    lambda c: math.prod(c.weight.shape[2:]),
)
averages("averages over all products", ONES, "The products are added.", lambda c: math.prod(c.weight.shape[1:]))


def order_of_y(
    name: str, question: str, explanation: str, reorder: Callable[[Array, Call], Array], source: str = ""
) -> None:
    """Enter another order of the output channels, given (N, G, C_out/G, oh, ow)."""

    def finish(result: Array, call: Call, _: str) -> Array:
        N, C_out, oh, ow = result.shape
        return reorder(result.reshape(N, call.groups, C_out // call.groups, oh, ow), call).reshape(result.shape)

    RESULT.enter(name, "y", question, explanation, source=source, finish=finish)


order_of_y(
    "writes the groups of the output in reverse order",
    "Make the weight of group 0 zero: which output channels are zero?",
    "The output channels of group g are run g of the output.",
    lambda y, call: y[:, ::-1],
)
order_of_y(
    "interleaves the output channels of the groups",
    "Make the weight of group 0 zero: which output channels are zero?",
    "The output is (G, C_out/G), not (C_out/G, G): groups are concatenated, not shuffled.",
    lambda y, call: y.swapaxes(1, 2),
    source="megvii ShuffleNet-Series#17",
)
order_of_y(
    "writes the output of the first group for every group",
    "Make the weight of the last group zero: which output channels are zero?",
    "Each group writes its own output.",
    lambda y, call: np.repeat(y[:, :1], call.groups, 1),
)

# --- what is not written ---------------------------------------------------------------------------------------------


def zeroed(name: str, results: str, question: str, explanation: str, places: Any, source: str = "") -> None:
    """Enter places of a result that stay 0."""

    def finish(result: Array, call: Call, _: str) -> Array:
        changed = result.copy()
        changed[places] = 0
        return changed

    RESULT.enter(name, results, question, explanation, source=source, finish=finish)


EDGE = "Print the result and the right one side by side: where do they differ?"
zeroed("leaves the last row zero", "y dx", EDGE, "The loop over the rows ends one too early.", np.s_[:, :, -1:])
zeroed("leaves the last column zero", "y dx", EDGE, "The loop over the columns ends one too early.", np.s_[..., -1:])
zeroed("leaves the first row zero", "y dx", EDGE, "The loop over the rows begins at 1.", np.s_[:, :, :1])
zeroed("leaves the first column zero", "y dx", EDGE, "The loop over the columns begins at 1.", np.s_[..., :1])
zeroed(
    "computes the first image only",
    "y dx",
    "Two images in a batch: what is the result of the second?",
    "Every image of the batch has a result.",
    np.s_[1:],
)
zeroed(
    "leaves the last image zero",
    "y dx",
    "Two images in a batch: what is the result of the second?",
    "The loop over the images ends one too early.",
    np.s_[-1:],
)
zeroed("leaves the last channel zero", "y dx", EDGE, "The loop over the channels ends one too early.", np.s_[:, -1:])


def remainder_column(result: Array, call: Call, name: str) -> Array:
    """The last column is 0 where the stride leaves pixels over."""
    over = (call.x.shape[3] + sum(call.padding[1]) - call.reach[1]) % call.stride[1]
    changed = result.copy()
    if over:
        changed[..., -1:] = 0
    return changed


RESULT.enter(
    "leaves the last column zero where the stride leaves pixels over",
    "y",
    "A 6-pixel image, a 2-pixel kernel, stride 3: which pixels does the last window read?",
    "Pixels that are left over belong to no window; the last window is complete.",
    finish=remainder_column,
)

# --- remainders of blocks ----------------------------------------------------------------------------------------


def whole_blocks(size: int, block: int, small_ones: bool) -> Array:
    """1 for what whole blocks cover; `small_ones`: all of it where there is less than one block."""
    covered = size // block * block
    if small_ones and size < block:
        covered = size
    return (np.arange(size) < covered).astype(np.float64)


def blocks_of(what: str, axis: int, results: str, in_sum: bool = False) -> None:
    """Enter sizes that are not multiples of 4, 8, 16 and 32; `in_sum`: input channels of the weight."""
    for block in (4, 8, 16, 32):
        for small_ones in (False, True):

            def mask(array: Array, block: int = block, small_ones: bool = small_ones) -> Array:
                kept = whole_blocks(array.shape[axis], block, small_ones)
                return kept.reshape([-1 if a == axis else 1 for a in range(array.ndim)])

            def change(call: Call, name: str, mask: Callable[[Array], Array] = mask) -> Call:
                return call if name == "dw" else replace(call, weight=call.weight * mask(call.weight))

            def finish(result: Array, call: Call, name: str, mask: Callable[[Array], Array] = mask) -> Array:
                return result * mask(result) if not in_sum or name == "dw" else result

            condition = ", if there are more" if small_ones else ""
            RESULT.enter(
                f"drops the {what} left over after blocks of {block}{condition}",
                results,
                f"Try {block - 1}, {block} and {block + 1} {what}: which results are right?",
                f"{what.capitalize()} beyond the last block of {block} need a loop of their own.",
                change=change if in_sum else None,
                finish=finish,
            )


blocks_of("columns", 3, "y dx")
blocks_of("channels", 1, "y dx")
blocks_of("images", 0, "y dx")
blocks_of("input channels of a group", 1, "y dx dw", in_sum=True)
