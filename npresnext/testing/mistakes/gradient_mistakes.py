"""Mistakes that only a backward pass can make: in dx, dw and db."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..formats import wide
from .call import Call
from .mistake import UNWRITTEN, Catalogue, inverse

GRADIENT = Catalogue()

# --- every gradient ------------------------------------------------------------------------------------------------


def upstream(
    name: str, results: str, question: str, explanation: str, change: Callable[[Array], Array], source: str = ""
) -> None:
    """Enter another upstream gradient than the given one."""
    GRADIENT.enter(
        name,
        results,
        question,
        explanation,
        source=source,
        change=lambda call, result: replace(call, grad_output=change(call.grad_output)),
    )


def without(places: tuple[Any, ...]) -> Callable[[Array], Array]:
    """Set places of an upstream gradient to 0."""

    def change(grad_output: Array) -> Array:
        changed = grad_output.copy()
        changed[places] = 0
        return changed

    return change


UPSTREAM = "Which upstream gradients does your loop visit?"
upstream(
    "ignores the upstream gradient",
    "dx dw db",
    "Multiply the upstream gradient by 2: what happens to the result?",
    "By the chain rule, each product contains the upstream gradient.",
    np.ones_like,
    source="discuss.pytorch.org thread 27026; TinyTorch#2053",
)
upstream(
    "ignores the last row of the upstream gradient",
    "dx dw db",
    UPSTREAM,
    "The loop over the output rows ends one too early.",
    without(np.s_[:, :, -1:]),
)
upstream(
    "ignores the last column of the upstream gradient",
    "dx dw db",
    UPSTREAM,
    "The loop over the output columns ends one too early.",
    without(np.s_[..., -1:]),
)
upstream(
    "ignores the first row of the upstream gradient",
    "dx dw db",
    UPSTREAM,
    "The loop over the output rows begins at 1.",
    without(np.s_[:, :, :1]),
)
upstream(
    "ignores the first column of the upstream gradient",
    "dx dw db",
    UPSTREAM,
    "The loop over the output columns begins at 1.",
    without(np.s_[..., :1]),
)
upstream(
    "reads the upstream gradient of the first image for every image",
    "dx dw db",
    "Two images in a batch: do they get different gradients?",
    "Image n of the upstream gradient belongs to image n of the input.",
    lambda grad_output: np.repeat(grad_output[:1], len(grad_output), 0),
)


def factor(
    name: str, results: str, question: str, explanation: str, value: Callable[[Call], float], source: str = ""
) -> None:
    """Enter a factor of a gradient."""
    GRADIENT.enter(
        name,
        results,
        question,
        explanation,
        source=source,
        finish=lambda result, call, _: result * value(call),
    )


STEP = "Change one number of the operand by 1: by how much does the sum of grad_output · y change?"
MEANS = "datascience.stackexchange.com questions 94819 and 11851"


def positions(call: Call) -> int:
    """oh·ow."""
    return math.prod(call.grad_output.shape[2:])


factor("adds the gradient twice", "dx dw db", STEP, "Each product is added to the gradient once.", lambda call: 2)
factor(
    "returns the negative gradient",
    "dx dw db",
    STEP,
    "The step against the gradient belongs to the optimizer.",
    lambda call: -1,
)
factor(
    "averages over the batch",
    "dx dw db",
    STEP,
    "Gradients are summed over the images; only the loss may average.",
    lambda call: inverse(len(call.x)),
    source=MEANS,
)
factor(
    "averages over the output positions",
    "dx dw db",
    STEP,
    "Gradients are summed over the positions; only the loss may average.",
    lambda call: inverse(positions(call)),
    source=MEANS,
)
factor(
    "averages over images and output positions",
    "dx dw db",
    STEP,
    "Gradients are summed over images and positions; only the loss may average.",
    lambda call: inverse(len(call.x) * positions(call)),
    source=MEANS,
)
factor(
    "averages over the groups",
    "dx dw db",
    STEP,
    "Each group has its own gradient, and none is divided by G.",
    lambda call: 1 / call.groups,
)

# --- dx ------------------------------------------------------------------------------------------------------------


def overwrites(last_tap_wins: bool) -> Callable[[Call, str], Array]:
    """Write each value of the patches' gradient to its pixel, in place of adding it."""

    def compute(call: Call, name: str) -> Array:
        patches = call.gradient_of_patches()  # (N, C_in, kh, kw, oh, ow)
        dx = np.zeros(call.x.shape, patches.dtype)
        oh, ow = patches.shape[4:]
        rows, columns = call.meetings(0, oh), call.meetings(1, ow)
        taps = list(np.ndindex(*patches.shape[2:4]))
        for i, j in taps if last_tap_wins else reversed(taps):
            p, row = np.nonzero(rows[:, i])
            q, column = np.nonzero(columns[:, j])
            dx[:, :, row[:, None], column] = patches[:, :, i, j][:, :, p[:, None], q]
        return dx

    return compute


COVER = "A kernel and upstream gradients of ones: how large is dx where windows overlap?"
GRADIENT.enter(
    "overwrites dx where windows overlap, so that the last tap wins",
    "dx",
    COVER,
    "A pixel gets a gradient from every window that reads it, and they add up; `a[i] += b` with a repeated i adds one.",
    source="StackOverflow question 45473896",
    compute=overwrites(last_tap_wins=True),
)
GRADIENT.enter(
    "overwrites dx where windows overlap, so that the last window wins",
    "dx",
    COVER,
    "A pixel gets a gradient from every window that reads it, and they are added.",
    compute=overwrites(last_tap_wins=False),
)


def cover(call: Call) -> Array:
    """How often each pixel is read: (H, W)."""
    oh, ow = call.grad_output.shape[2:]
    return call.meetings(0, oh).sum(axis=(0, 1))[:, None] * call.meetings(1, ow).sum(axis=(0, 1))


GRADIENT.enter(
    "averages dx over the windows that read a pixel",
    "dx",
    COVER,
    "The gradients of overlapping windows are added, not averaged.",
    finish=lambda result, call, _: result / np.maximum(1, cover(call)),
)
GRADIENT.enter(
    "leaves pixels of dx that no window reads unwritten",
    "dx",
    "Which pixels does no window read, and what is dx there?",
    "Pixels that no window reads have gradient 0, and this 0 has to be written.",
    finish=lambda result, call, _: np.where(cover(call) == 0, UNWRITTEN, result),
)


def repeated_behind_the_last_window(result: Array, call: Call, name: str) -> Array:
    """Rows and columns behind the last window repeat the last row and column before them."""
    lasts = [
        (windows - 1) * call.stride[axis] - call.padding[axis][0] + call.reach[axis]
        for axis, windows in enumerate(call.grad_output.shape[2:])
    ]
    if min(lasts) < 1:
        return result
    rows, columns = (np.minimum(np.arange(size), last - 1) for size, last in zip(result.shape[2:], lasts))
    return result[:, :, rows[:, None], columns]


GRADIENT.enter(
    "repeats the last row and column of dx behind the last window",
    "dx",
    "Stride 2, 2x2 kernel, 5x5 image: what is the gradient of the last row?",
    "Rows behind the last window have gradient 0.",
    finish=repeated_behind_the_last_window,
)


def repeated_first_row(result: Array, call: Call, name: str) -> Array:
    """Row 1 repeats row 0 where the stride is larger than the kernel."""
    changed = result.copy()
    if result.shape[2] > 1 and call.stride[0] > call.weight.shape[2]:
        changed[:, :, 1] = result[:, :, 0]
    return changed


GRADIENT.enter(
    "repeats the first row of dx where the stride is larger than the kernel",
    "dx",
    "Stride 2 and a 1x1 kernel: what is the gradient of row 1?",
    "Pixels between the windows have gradient 0.",
    finish=repeated_first_row,
)

# --- dw ------------------------------------------------------------------------------------------------------------


def weight_gradient(
    name: str, question: str, explanation: str, change: Callable[[Array, Call], Array], source: str = ""
) -> None:
    """Enter a change of dw, given (G, C_out/G, C_in/G, kh, kw)."""

    def finish(result: Array, call: Call, _: str) -> Array:
        grouped = result.reshape(call.groups, len(result) // call.groups, *result.shape[1:])
        return change(grouped, call).reshape(result.shape)

    GRADIENT.enter(name, "dw", question, explanation, source=source, finish=finish)


OWN = "Make the upstream gradient of group 1 zero: what is dw of group 1, and of group 0?"
weight_gradient(
    "averages dw over the groups",
    OWN,
    "Each group has filters of its own, with gradients of their own.",
    lambda dw, call: np.repeat(dw.mean(0, keepdims=True), call.groups, 0),
    source="discuss.pytorch.org, August 2021: a kernel used by several groups",
)
weight_gradient(
    "adds dw over the groups",
    OWN,
    "Each group has filters of its own, with gradients of their own.",
    lambda dw, call: np.repeat(dw.sum(0, keepdims=True), call.groups, 0),
)
weight_gradient(
    "writes dw of the first group for every group",
    OWN,
    "Each group has filters of its own, with gradients of their own.",
    lambda dw, call: np.repeat(dw[:1], call.groups, 0),
    source="pytorch#51430",
)
GRADIENT.enter(
    "reverses the output channels of dw",
    "dw",
    "Make all but one output channel of the upstream gradient zero: which filter gets a gradient?",
    "Filter o gets its gradient from output channel o.",
    finish=lambda result, call, _: result[::-1],
)


def seen(call: Call) -> Any:
    """Whether a tap meets the image in any window: (kh, kw)."""
    rows, columns = (
        call.meetings(axis, windows).sum((0, 2)) for axis, windows in enumerate(call.grad_output.shape[2:])
    )
    return np.outer(rows, columns) > 0


GRADIENT.enter(
    "leaves the taps of dw that see padding alone unwritten",
    "dw",
    "What is the gradient of a weight that is never multiplied with a pixel?",
    "A sum without products is 0, and this 0 has to be written.",
    source="PyTorch 2.13 with oneDNN in bfloat16, docs/verify.md",
    finish=lambda result, call, _: np.where(seen(call), result, UNWRITTEN),
)
GRADIENT.enter(
    "does not add dw over the batch",
    "dw",
    "Which shape does dw have with two images?",
    "All images share the weight, so their gradients are added.",
    compute=lambda call, name: np.stack(
        [replace(call, x=call.x[n : n + 1], grad_output=call.grad_output[n : n + 1]).dw() for n in range(len(call.x))]
        or [np.zeros((0, *call.weight.shape))]
    ),
)

# --- dw and db: some of the images ---------------------------------------------------------------------------------


def images(name: str, explanation: str, kept: Callable[[int], slice], source: str = "") -> None:
    """Enter a sum over some of the images."""

    def change(call: Call, _: str) -> Call:
        return replace(call, x=call.x[kept(len(call.x))], grad_output=call.grad_output[kept(len(call.x))])

    question = "Two images in a batch: make the upstream gradient of one zero; does the result change?"
    GRADIENT.enter(name, "dw db", question, explanation, source=source, change=change)


images("uses the first image only", "The gradients of all images are added.", lambda N: slice(0, 1))
images(
    "uses the last image only",
    "The gradients of all images are added, not overwritten.",
    lambda N: slice(max(0, N - 1), N),
)
images("leaves out the last image", "The loop over the images ends one too early.", lambda N: slice(0, max(0, N - 1)))
images("leaves out the first image", "The loop over the images begins at 1.", lambda N: slice(1, N))


def whole_blocks_of(block: int) -> Callable[[int], slice]:
    """Whole blocks of the images, or all of them if there is less than one block."""
    return lambda N: slice(0, N // block * block or N)


for block in (4, 8, 16, 32):
    images(
        f"leaves out images after blocks of {block}",
        f"Images beyond the last block of {block} need a loop of their own.",
        whole_blocks_of(block),
    )

# --- db ------------------------------------------------------------------------------------------------------------


def bias_gradient(name: str, question: str, explanation: str, compute: Callable[[Array, Call], Array]) -> None:
    """Enter another function of the upstream gradient (N, C_out, oh, ow)."""
    GRADIENT.enter(name, "db", question, explanation, compute=lambda call, _: compute(wide(call.grad_output), call))


SHAPE = "Which shape does db have, and over which axes is it a sum?"
bias_gradient(
    "does not add db over the batch",
    SHAPE,
    "db is a sum over images and positions.",
    lambda g, call: g.sum(axis=(2, 3)),
)
bias_gradient(
    "does not add db over the positions", SHAPE, "db is a sum over images and positions.", lambda g, call: g.sum(axis=0)
)
bias_gradient(
    "adds db over all channels",
    SHAPE,
    "Each output channel has its own bias.",
    lambda g, call: np.full(g.shape[1], g.sum()),
)
bias_gradient(
    "leaves db zero",
    "Change the bias by 1: what happens to y?",
    "db is the sum of the upstream gradient.",
    lambda g, call: np.zeros(g.shape[1]),
)
bias_gradient(
    "takes the upstream gradient at one position",
    SHAPE,
    "db is a sum over images and positions.",
    lambda g, call: g[:, :, :1, :1].sum(axis=(0, 2, 3)),
)
bias_gradient(
    "reverses db", SHAPE, "Each output channel has its own bias.", lambda g, call: g.sum(axis=(0, 2, 3))[::-1]
)


def bias_groups(name: str, explanation: str, change: Callable[[Array], Array]) -> None:
    """Enter a change of db, given (G, C_out/G)."""

    def compute(g: Array, call: Call) -> Array:
        grouped = g.sum(axis=(0, 2, 3)).reshape(call.groups, g.shape[1] // call.groups)
        return change(grouped).ravel()

    bias_gradient(
        name, "Make the upstream gradient of group 0 zero: which entries of db are zero?", explanation, compute
    )


bias_groups(
    "writes db of the first group only",
    "Every group has its biases.",
    lambda db: np.where(np.arange(len(db))[:, None] == 0, db, 0),
)
bias_groups(
    "writes db of the first group for every group",
    "Every group has its own biases.",
    lambda db: np.repeat(db[:1], len(db), 0),
)
bias_groups(
    "averages db over the groups",
    "Every group has its own biases.",
    lambda db: np.repeat(db.mean(0, keepdims=True), len(db), 0),
)
bias_groups("interleaves db over the groups", "db is (G, C_out/G) in memory, not (C_out/G, G).", lambda db: db.T)
