"""Mistakes with the kernel, the layout of the weight, channels and groups, the images, and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..formats import wide
from .call import Call
from .mistake import Catalogue, Change, Finish

CHANNEL = Catalogue()
Reorder = Callable[[Array, Call], Array]  # another order of the numbers of an array, its shape as before

# --- orders of the weight -----------------------------------------------------------------------------------------


def reorders_the_weight(read: Reorder, write: Reorder) -> tuple[Change, Finish]:
    """Read the weight in another order; its gradient is written in that order, the inverse of reading."""

    def change(call: Call, name: str) -> Call:
        return call if name == "dw" else replace(call, weight=read(call.weight, call))

    def finish(result: Array, call: Call, name: str) -> Array:
        return write(result, call) if name == "dw" else result

    return change, finish


def weight_order(
    name: str,
    question: str,
    explanation: str,
    read: Reorder,
    write: Reorder | None = None,
    results: str = "y dx dw",
    source: str = "",
) -> None:
    """Enter an order of the weight that is wrong; without `write`, reading twice restores the order."""
    change, finish = reorders_the_weight(read, write or read)
    CHANNEL.enter(name, results, question, explanation, source=source, change=change, finish=finish)


ROTATED_QUESTION = "Feed an image with a single 1 and the kernel 1 to 9: in which order do the numbers come out?"


def rotated(weight: Array, call: Call) -> Array:
    """The kernel rotated by 180 degrees."""
    return weight[..., ::-1, ::-1]


weight_order(
    "rotates the kernel",
    ROTATED_QUESTION,
    "Frameworks compute a correlation: y sums w[i, j] · x[p + i, q + j]; a true convolution rotates the kernel.",
    rotated,
    results="y",
    source='GPU-Puzzles#35; deeplearning.ai forum, "rot180"',
)
weight_order(
    "forgets to rotate the kernel",
    "One upstream gradient of 1, kernel 1 to 9: which pixel of dx gets the 1?",
    "Tap i of window p reads pixel p + i, so pixel r gets its gradient from window r - i: the kernel is rotated.",
    rotated,
    results="dx",
    source='deeplearning.ai forum, "rot180"',
)
weight_order(
    "rotates the weight gradient",
    "Change one weight a little: which entry of dw predicts what happens to y?",
    "dw[i, j] sums grad_output[p, q] · x[p + i, q + j], without a rotation.",
    rotated,
    results="dw",
)
weight_order(
    "reverses the rows of the kernel",
    ROTATED_QUESTION,
    "One of the two axes of the kernel runs backwards.",
    lambda weight, call: weight[..., ::-1, :],
)
weight_order(
    "reverses the columns of the kernel",
    ROTATED_QUESTION,
    "One of the two axes of the kernel runs backwards.",
    lambda weight, call: weight[..., ::-1],
)
CHANNEL.enter(
    "exchanges height and width of the kernel",
    "y dx dw",
    "Try a kernel of 1x3: which axis does it sum over?",
    "The axes of the weight are (C_out, C_in/G, kh, kw); the last two are exchanged.",
    change=lambda call, name: call if name == "dw" else replace(call, weight=call.weight.swapaxes(2, 3)),
    finish=lambda result, call, name: result.swapaxes(2, 3) if name == "dw" else result,
)
weight_order(
    "reads the kernel column by column",
    "Is the second number of the kernel in memory to the right of the first or below it?",
    "The kernel lies in memory row by row.",
    lambda weight, call: weight.reshape(*weight.shape[:2], *weight.shape[:1:-1]).swapaxes(2, 3),
    lambda result, call: result.swapaxes(2, 3).reshape(result.shape),
)


def in_memory(weight: Array, call: Call) -> Array:
    """The numbers of a weight in the order in which they lie in memory."""
    return (weight.transpose(0, 2, 3, 1) if call.channels_last else weight).ravel()


def from_memory(numbers: Array, shape: tuple[int, ...], call: Call) -> Array:
    """The weight (C_out, C_in/G, kh, kw) whose numbers lie in memory like this."""
    outs, ins, kh, kw = shape
    return numbers.reshape(outs, kh, kw, ins).transpose(0, 3, 1, 2) if call.channels_last else numbers.reshape(shape)


def weight_layout(name: str, explanation: str, axes: tuple[int, ...]) -> None:
    """Enter a weight whose memory is read as if its axes lay there in another order: `axes` of (O, I, H, W)."""
    back = tuple(int(axis) for axis in np.argsort(axes))

    def read(weight: Array, call: Call) -> Array:
        shape = tuple(weight.shape[axis] for axis in axes)
        return in_memory(weight, call).reshape(shape).transpose(back)  # (C_out, C_in/G, kh, kw)

    def write(result: Array, call: Call) -> Array:
        return from_memory(result.transpose(axes).ravel(), result.shape, call)

    weight_order(
        name, "Fill the weight with 0, 1, 2, ...: which of them does output channel 1 use?", explanation, read, write
    )


weight_layout(
    "reads the weight as (C_in/G, C_out, kh, kw)",
    "The output channel is the first axis of the weight.",
    (1, 0, 2, 3),
)
weight_layout(
    "reads the weight as (kh, kw, C_in/G, C_out)",
    "The weight is (C_out, C_in/G, kh, kw); TensorFlow's is (kh, kw, C_in/G, C_out).",
    (2, 3, 1, 0),
)
weight_layout(
    "reads the weight as (C_out, kh, kw, C_in/G)",
    "The input channels are the second axis of the weight, not the last.",
    (0, 2, 3, 1),
)
weight_layout(
    "reads the weight as (kh, kw, C_out, C_in/G)",
    "The weight is (C_out, C_in/G, kh, kw).",
    (2, 3, 0, 1),
)


def transposed_in_groups(weight: Array, call: Call) -> Array:
    """Each group's part read as (C_in/G, C_out/G)."""
    G, outs, ins = call.groups, call.outputs_per_group, call.channels_per_group
    parts = weight.reshape(G, ins, outs, *weight.shape[2:]).swapaxes(1, 2)  # (G, C_out/G, C_in/G, kh, kw)
    return parts.reshape(weight.shape)


def transposed_back_in_groups(result: Array, call: Call) -> Array:
    """Each group's part written as (C_in/G, C_out/G)."""
    G, outs, ins = call.groups, call.outputs_per_group, call.channels_per_group
    return result.reshape(G, outs, ins, *result.shape[2:]).swapaxes(1, 2).reshape(result.shape)


weight_order(
    "exchanges input and output channels of the weight inside each group",
    "Fill the weight of one group with 0, 1, 2, ...: which of them does its output channel 1 use?",
    "Inside a group too, the output channel comes before the input channel.",
    transposed_in_groups,
    transposed_back_in_groups,
)


def in_groups(change: Callable[[Array], Array]) -> Reorder:
    """Change the order of the groups along axis 0, given (G, C_out/G, ...)."""

    def reorder(array: Array, call: Call) -> Array:
        grouped = array.reshape(call.groups, len(array) // call.groups, *array.shape[1:])
        return change(grouped).reshape(array.shape)

    return reorder


weight_order(
    "reverses the groups of the weight",
    "Change the weight of group 0 alone: which output channels move?",
    "Run g of the output channels belongs to group g.",
    in_groups(lambda grouped: grouped[::-1]),
)
CHANNEL.enter(
    "uses the weight of the first group for every group",
    "y dx",
    "Change the weight of the last group alone: what moves?",
    "Each group has filters of its own.",
    source="pytorch#16222",
    change=lambda call, name: replace(
        call, weight=np.concatenate([call.weight[: call.outputs_per_group]] * call.groups)
    ),
)

# --- which input channels a filter reads -----------------------------------------------------------------------------


def connects(reads: Callable[[Call], Array]) -> Change:
    """Connect each filter with other input channels: those, (C_out, C_in/G) or what broadcasts to it."""

    def change(call: Call, name: str) -> Call:
        shape = call.weight.shape[:2]
        return replace(call, reads=np.broadcast_to(reads(call), shape)) if call.x.shape[1] else call

    return change


def outputs(call: Call) -> Array:
    """The numbers of the output channels, (C_out, 1)."""
    return np.arange(len(call.weight))[:, None]


def inputs(call: Call) -> Array:
    """The numbers of the input channels of a group, (C_in/G,)."""
    return np.arange(call.channels_per_group)


def group_of(call: Call) -> Array:
    """The group of each output channel, (C_out, 1)."""
    return outputs(call) // max(1, call.outputs_per_group)


CONNECTIONS_QUESTION = "Add 1 to input channel 0 alone: which output channels move?"


def connection(
    name: str, explanation: str, reads: Callable[[Call], Array], source: str = "", question: str = CONNECTIONS_QUESTION
) -> None:
    """Enter a wrong choice of the input channels."""
    CHANNEL.enter(name, "y dx dw", question, explanation, source=source, change=connects(reads))


connection(
    "reads the input of the first group in every group",
    "Group g reads the run g of the input channels.",
    lambda call: inputs(call),
)
connection(
    "reverses the groups of the input",
    "Group g reads the run g of the input channels, counted from the front.",
    lambda call: (call.groups - 1 - group_of(call)) * call.channels_per_group + inputs(call),
)
connection(
    "reads the input of the next group",
    "Groups are counted from 0.",
    lambda call: (group_of(call) + 1) % call.groups * call.channels_per_group + inputs(call),
)
connection(
    "deals the input channels to the groups in turn",
    "A group reads consecutive input channels: (G, C_in/G), not (C_in/G, G).",
    lambda call: inputs(call) * call.groups + group_of(call),
    source="discuss.pytorch.org thread 166861",
    question="Add 1 to input channel 1 alone, with G = 2 and 4 channels: which output channels move?",
)
connection(
    "deals the output channels to the groups in turn",
    "A group has consecutive output channels: output channel o belongs to group o // (C_out/G), not o % G.",
    lambda call: outputs(call) % call.groups * call.channels_per_group + inputs(call),
    source="discuss.pytorch.org thread 166861",
)
connection(
    "takes the size of a group for the number of groups",
    "`groups` is how many groups there are, not how many channels each has.",
    lambda call: (
        (outputs(call) // max(1, len(call.weight) // call.channels_per_group) * call.channels_per_group + inputs(call))
        % call.x.shape[1]
    ),
    source="d2l-en#2730",
)
connection(
    "uses the wrong order of a depthwise multiplier",
    "With C_in/G = 1, output channel o reads input channel o // multiplier, not o % C_in.",
    lambda call: (
        outputs(call) % call.groups
        if call.channels_per_group == 1
        else group_of(call) * call.channels_per_group + inputs(call)
    ),
    question="Depthwise with twice as many output channels: which ones does input channel 0 reach?",
    source="discuss.pytorch.org thread 127331",
)
connection(
    "reverses the input channels of each group",
    "Input channel c of a filter belongs to channel c of its group.",
    lambda call: group_of(call) * call.channels_per_group + inputs(call)[::-1],
)

# --- channels left out -----------------------------------------------------------------------------------------------


def leaves_out(kept: Callable[[Call], Array]) -> tuple[Change, Finish]:
    """Leave out a part of the weight: `kept` is 1 for the entries that are used, and broadcasts to its shape."""

    def change(call: Call, name: str) -> Call:
        return call if name == "dw" else replace(call, weight=wide(call.weight) * kept(call))

    def finish(result: Array, call: Call, name: str) -> Array:
        return result * kept(call) if name == "dw" else result

    return change, finish


def left_out(name: str, question: str, explanation: str, kept: Callable[[Call], Array], source: str = "") -> None:
    """Enter a loop over a part of the weight that leaves something out."""
    change, finish = leaves_out(kept)
    CHANNEL.enter(name, "y dx dw", question, explanation, source=source, change=change, finish=finish)


def along(axis: int, kept: Callable[[Array], Array]) -> Callable[[Call], Array]:
    """Choose along one axis of the weight, given the numbers 0, 1, ... of its entries and how many there are."""

    def mask(call: Call) -> Array:
        numbers = np.arange(call.weight.shape[axis])
        return kept(numbers).astype(np.float64).reshape([-1 if a == axis else 1 for a in range(4)])

    return mask


left_out(
    "uses the first input channel of each group only",
    "An RGB image and one filter: how many products does one output value sum?",
    "Every filter adds one two-dimensional correlation for each input channel of its group.",
    along(1, lambda channels: channels == 0),
    source="ai.stackexchange.com question 36991",
)
left_out(
    "leaves out the last input channel of each group",
    "Change the last input channel of a group alone: what moves?",
    "The loop over the input channels of a group ends one too early.",
    along(1, lambda channels: channels < len(channels) - 1),
    source="ncnn#1581",
)
left_out(
    "leaves out the last row of the kernel",
    "A kernel of ones on an image of ones: what is y?",
    "The loop over the rows of the kernel ends one too early.",
    along(2, lambda rows: rows < len(rows) - 1),
)
left_out(
    "leaves out the last column of the kernel",
    "A kernel of ones on an image of ones: what is y?",
    "The loop over the columns of the kernel ends one too early.",
    along(3, lambda columns: columns < len(columns) - 1),
)
left_out(
    "leaves out the first row of the kernel",
    "A kernel of ones on an image of ones: what is y?",
    "The loop over the rows of the kernel begins at 1.",
    along(2, lambda rows: rows > 0),
)
left_out(
    "leaves out the first column of the kernel",
    "A kernel of ones on an image of ones: what is y?",
    "The loop over the columns of the kernel begins at 1.",
    along(3, lambda columns: columns > 0),
)
left_out(
    "leaves out the columns of the kernel beyond the third",
    "A kernel of 1x5 with ones on an image of ones: what is y?",
    "The columns are those of a kernel of 3x3.",
    along(3, lambda columns: columns < 3),
)

# --- images and memory ---------------------------------------------------------------------------------------------

CHANNEL.enter(
    "reads the first image for every image",
    "y dw",
    "Two different images in a batch: are their outputs different?",
    "Image n of the output belongs to image n of the input.",
    change=lambda call, name: replace(call, x=np.repeat(call.x[:1], len(call.x), 0)),
)
CHANNEL.enter(
    "reads the first image for the second as well",
    "y dw",
    "Two different images in a batch: are their outputs different?",
    "Image n of the output belongs to image n of the input.",
    change=lambda call, name: replace(
        call, x=np.concatenate([call.x[:1], call.x[:1], call.x[2:]]) if len(call.x) > 1 else call.x
    ),
)


def in_memory_order(array: Array) -> Array:
    """The numbers of an array from its lowest address on, as if it were contiguous."""
    return np.ravel(array, order="K").reshape(array.shape)


def as_if_contiguous(operand: str) -> Change:
    """Read an operand in the order of its memory."""

    def change(call: Call, name: str) -> Call:
        changed: Any = {operand: in_memory_order(getattr(call, operand))}
        return replace(call, **changed)

    return change


for operand, affected, source in (
    ("x", "y dw", "pytorch#192212; pytorch#180984"),
    ("weight", "y dx", ""),
    ("grad_output", "dx dw db", "pytorch#15297"),
):
    CHANNEL.enter(
        f"takes the memory of {operand} for contiguous",
        affected,
        f"Transpose {operand} without copying it, and transpose it back: does the result change?",
        "An array has strides; its numbers need not lie in memory in the order of its axes.",
        source=source,
        change=as_if_contiguous(operand),
    )
