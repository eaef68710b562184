"""Cases made of integers that somebody picks: a random generator, or Hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .cases import ConvCase, Pair
from .layouts import LAYOUTS
from .supports import SUPPORTS, keep_supported

Pick = Callable[[int, int], int]  # pick(low, high) returns an integer from low to high

# What comes first is what a case shrinks to; what occurs twice is drawn twice as often.
BATCHES = (1, 2, 3, 2, 2, 1, 2, 3, 0)
KINDS = ("dense", "grouped", "depthwise", "grouped", "dense", "grouped", "depthwise", "grouped", "no input")
GROUPS = (2, 3, 4, 6, 8)
DENSE_INPUT_CHANNELS = (1, 2, 3, 4)
GROUPED_INPUT_CHANNELS = (2, 3)  # per group
OUTPUT_CHANNELS = (1, 2, 3)  # per group
KERNEL_SIZES = (1, 2, 3)
STRIDES = ((1, 1), (2, 2), (1, 2), (2, 1), (1, 1), (3, 1), (2, 3), (3, 3))
DILATIONS = ((1, 1), (2, 2), (1, 2), (2, 1), (1, 1), (3, 1), (3, 2))
PADDINGS = ("none", "symmetric", "asymmetric", "negative", "symmetric", "asymmetric", "wide", "negative")
SPANS = (1, 2, 4, 8)


def draw_case(pick: Pick, supports: Mapping[str, Any] = SUPPORTS) -> ConvCase:
    """Make a case out of integers: ``pick(low, high)`` returns one from low to high, the simplest choice being low.

    Every choice is valid, so no case is ever thrown away. A third to a half of all cases have 1 < G < C. Each image
    is as large as its windows need, and up to a few pixels larger, so that the floor of the output size matters.
    The order of the picks is fixed: a seed names the same cases for ever.
    """

    def one_of(choices: tuple[Any, ...]) -> Any:
        return choices[pick(0, len(choices) - 1)]

    layouts = one_of((("contiguous",), tuple(LAYOUTS)))
    kind = one_of(KINDS)
    groups = 1 if kind == "dense" else one_of(GROUPS)
    dense_channels = one_of(DENSE_INPUT_CHANNELS)  # both are drawn whatever the kind is
    grouped_channels = one_of(GROUPED_INPUT_CHANNELS)
    channels_per_group = {"dense": dense_channels, "grouped": grouped_channels, "depthwise": 1, "no input": 0}[kind]
    case = ConvCase(
        batch=one_of(BATCHES),
        in_channels=groups * channels_per_group,
        out_channels=groups * one_of(OUTPUT_CHANNELS),
        groups=groups,
        kernel=(one_of(KERNEL_SIZES), one_of(KERNEL_SIZES)),
        has_bias=one_of((False, True)),
        stride=one_of(STRIDES),
        dilation=one_of(DILATIONS),
        layouts=(one_of(layouts), one_of(layouts), one_of(layouts)),
        span=one_of(SPANS),
        seed=pick(0, 2**16 - 1),
    )
    padding = draw_padding(pick, one_of(PADDINGS), case.reach)
    size = draw_size(pick, case, padding)
    return keep_supported(replace(case, padding=padding, size=size), supports)


def draw_padding(pick: Pick, kind: str, reach: tuple[int, ...]) -> tuple[Pair, Pair]:
    """Draw ((top, bottom), (left, right)) of a kind, for a window that spans `reach` rows and columns."""

    def one_side(reach: int) -> int:
        if kind == "wide":
            return reach + pick(0, 1)
        if kind == "negative":
            return -pick(0, 2)
        return pick(0, 0 if kind == "none" else reach - 1)

    rows, columns = reach
    top, bottom = one_side(rows), one_side(rows)
    left, right = one_side(columns), one_side(columns)
    if kind == "symmetric":
        return (top, top), (left, left)
    return (top, bottom), (left, right)


def draw_size(pick: Pick, case: ConvCase, padding: tuple[Pair, Pair]) -> Pair:
    """Draw the height and width of an image: 0 to 3 strides, and a remainder, larger than one window."""
    height, width = (
        pick(0, 3) * stride + pick(0, stride - 1) + reach - before - after
        for stride, reach, (before, after) in zip(case.stride, case.reach, padding)
    )
    return height, width
