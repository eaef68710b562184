"""Mistakes with the window: stride, padding, dilation, the output size, and what lies beyond the border."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.integers import ceil_div
from .call import Call, Pair
from .mistake import Catalogue, Change

WINDOW = Catalogue()
Arguments = dict[str, Any]  # window arguments that replace others


def reads(change: Callable[[Call], Arguments]) -> Change:
    """Read some arguments wrongly, also where the output size is computed."""
    return lambda call, name: replace(call, **change(call))


def reads_in_the_loop(change: Callable[[Call], Arguments]) -> Change:
    """Read some arguments wrongly where pixels are read, while the output size is right."""
    return lambda call, name: replace(call, windows=call.output_size(), **change(call))


def enter(
    name: str,
    question: str,
    explanation: str,
    change: Callable[[Call], Arguments],
    source: str = "",
    results: str = "y dx dw",
    in_the_loop: bool = True,
) -> None:
    """Enter a misread argument, and the same with a right output size if it is `in_the_loop` too."""
    WINDOW.enter(name, results, question, explanation, source=source, change=reads(change))
    if in_the_loop:
        WINDOW.enter(
            f"{name}, though not in the output size",
            "y",
            f"{question} The output size is right, so look at the line that reads a pixel.",
            f"{explanation} The output size is computed rightly.",
            source=source,
            change=reads_in_the_loop(change),
        )


# --- stride and dilation ------------------------------------------------------------------------------------------

MNN = "MNN 3.6.1 takes stride, padding and dilation as (width, height)"


def entries_of(argument: str, entries: tuple[int, int]) -> Callable[[Call], Arguments]:
    """Use these two entries of an argument, for the rows and for the columns."""
    return lambda call: {argument: tuple(getattr(call, argument)[entry] for entry in entries)}


for argument in ("stride", "dilation"):
    enter(
        f"exchanges vertical and horizontal {argument}",
        f"Which entry of {argument} belongs to the rows?",
        f"The first entry of {argument} belongs to the rows and the second to the columns.",
        entries_of(argument, (1, 0)),
        source=MNN,
    )
    for entry, axis, other in ((0, "vertical", "columns"), (1, "horizontal", "rows")):
        enter(
            f"uses the {axis} {argument} for both axes",
            f"Try a {argument} that is 1 for the {'rows' if entry == 0 else 'columns'} and 2 for the {other}: "
            "what changes?",
            f"The {other} have a {argument} of their own.",
            entries_of(argument, (entry, entry)),
        )

enter(
    "ignores the dilation",
    "How far apart are the pixels that two neighbouring taps read?",
    "Neighbouring taps read pixels that are `dilation` apart.",
    lambda call: {"dilation": (1, 1)},
)
enter(
    "uses a dilation that is one too small",
    "With a dilation of 1, which pixels do the taps 0 and 1 of a window read?",
    "A dilation of d means d - 1 pixels between neighbouring taps, so the taps are d apart.",
    lambda call: {"dilation": (call.dilation[0] - 1, call.dilation[1] - 1)},
)
enter(
    "uses a dilation that is one too large",
    "With a dilation of 1, how many pixels lie between two neighbouring taps?",
    "The dilation is the distance of neighbouring taps, not the number of pixels between them.",
    lambda call: {"dilation": (call.dilation[0] + 1, call.dilation[1] + 1)},
)
enter(
    "uses the stride for the dilation",
    "Which of the two steps moves the window, and which spreads its taps?",
    "The stride is the distance of windows; the taps of one window are `dilation` apart.",
    lambda call: {"dilation": call.stride},
)
enter(
    "uses the dilation for the stride",
    "Which of the two steps moves the window, and which spreads its taps?",
    "The dilation is the distance of taps; windows are `stride` apart.",
    lambda call: {"stride": call.dilation},
)
enter(
    "exchanges stride and dilation",
    "In which order does your function take its arguments?",
    "The stride moves the window, the dilation spreads its taps.",
    lambda call: {"stride": call.dilation, "dilation": call.stride},
)
enter(
    "ignores the stride",
    "How many pixels lie between the first pixels of two neighbouring windows?",
    "Neighbouring windows are `stride` pixels apart.",
    lambda call: {"stride": (1, 1)},
    results="y dw",
)
WINDOW.enter(
    "puts no zeros between the upstream gradients",
    "dx",
    "With stride 2, which pixels of dx does the second upstream gradient of a row reach?",
    "The input gradient needs stride - 1 zeros between neighbouring upstream gradients.",
    source="ai.stackexchange.com question 5774",
    change=reads(lambda call: {"stride": (1, 1)}),
)

# --- padding ------------------------------------------------------------------------------------------------------

BORDER = 'Cross Validated, "Padding and stride in backpropagation"'


def sides(change: Callable[[Pair], Pair]) -> Callable[[Call], Arguments]:
    """Change the padding of both axes alike."""
    return lambda call: {"padding": (change(call.padding[0]), change(call.padding[1]))}


enter(
    "exchanges vertical and horizontal padding",
    "Which entry of padding belongs to the rows?",
    "The first pair of padding is (top, bottom) and the second (left, right).",
    lambda call: {"padding": call.padding[::-1]},
    source=MNN,
)
enter(
    "uses the vertical padding for both axes",
    "Try padding at the top alone: how wide is the output?",
    "The columns have a padding of their own.",
    lambda call: {"padding": (call.padding[0],) * 2},
)
enter(
    "uses the horizontal padding for both axes",
    "Try padding at the left alone: how high is the output?",
    "The rows have a padding of their own.",
    lambda call: {"padding": (call.padding[1],) * 2},
)
enter(
    "ignores the padding",
    "Which pixel does the first tap of the first window read?",
    "The first window begins `padding` pixels before the image: pixel 0 is pixel `padding` of the padded image.",
    lambda call: {"padding": ((0, 0), (0, 0))},
    source=BORDER,
    in_the_loop=False,
)
enter(
    "exchanges the padding before and after the image",
    "Try a padding of (1, 0): at which border is the row of zeros?",
    "The first number of a pair of padding is the one before the image.",
    sides(lambda pair: pair[::-1]),
    source="onnxruntime PR#15050; StackOverflow question 42924324",
    in_the_loop=False,
)
enter(
    "exchanges top and bottom padding",
    "Try padding at the top alone: at which border is the row of zeros?",
    "A pair of vertical padding is (top, bottom).",
    lambda call: {"padding": (call.padding[0][::-1], call.padding[1])},
    in_the_loop=False,
)
enter(
    "exchanges left and right padding",
    "Try padding at the left alone: at which border is the column of zeros?",
    "A pair of horizontal padding is (left, right).",
    lambda call: {"padding": (call.padding[0], call.padding[1][::-1])},
    in_the_loop=False,
)
enter(
    "uses the padding before the image on both sides",
    "Try a padding of (1, 0): how large is the output?",
    "The padding after the image has a number of its own.",
    sides(lambda pair: (pair[0], pair[0])),
    results="y",
    in_the_loop=False,
)
enter(
    "uses the padding after the image on both sides",
    "Try a padding of (0, 1): how large is the output?",
    "The padding before the image has a number of its own.",
    sides(lambda pair: (pair[1], pair[1])),
    results="y",
    in_the_loop=False,
)
enter(
    "puts all of the padding after the image",
    "Which pixel does the first tap of the first window read?",
    "Only the second number of each pair belongs after the image.",
    sides(lambda pair: (0, sum(pair))),
    results="y",
    in_the_loop=False,
)
enter(
    "puts all of the padding before the image",
    "Which pixel does the last tap of the last window read?",
    "Only the first number of each pair belongs before the image.",
    sides(lambda pair: (sum(pair), 0)),
    source=BORDER,
    in_the_loop=False,
)
enter(
    "splits the padding evenly, the odd pixel after the image",
    'What does "same" padding do with an odd number of pixels, and what was asked for here?',
    'The two numbers of a pair are used as given; TensorFlow\'s "same" splits their sum and puts the odd pixel last.',
    sides(lambda pair: (sum(pair) // 2, sum(pair) - sum(pair) // 2)),
    source="StackOverflow question 42924324",
    in_the_loop=False,
)
enter(
    "splits the padding evenly, the odd pixel before the image",
    'What does "same" padding do with an odd number of pixels, and what was asked for here?',
    "The two numbers of a pair are used as given; ONNX's SAME_LOWER splits their sum and puts the odd pixel first.",
    sides(lambda pair: (sum(pair) - sum(pair) // 2, sum(pair) // 2)),
    in_the_loop=False,
)
enter(
    "pads twice as much as asked for",
    "How large is the padded image?",
    "A pair of padding gives each side; it is added once.",
    sides(lambda pair: (2 * pair[0], 2 * pair[1])),
)
enter(
    "multiplies the padding by the dilation",
    "Does the padding depend on the dilation?",
    "The padding is counted in pixels, whatever the dilation.",
    lambda call: {"padding": tuple((before * d, after * d) for (before, after), d in zip(call.padding, call.dilation))},
)
enter(
    "reads ((top, bottom), (left, right)) as ((top, left), (bottom, right))",
    "Try four different paddings: at which border is each of them?",
    "The four numbers are top, bottom, left, right; ONNX orders them top, left, bottom, right.",
    lambda call: {
        "padding": ((call.padding[0][0], call.padding[1][0]), (call.padding[0][1], call.padding[1][1])),
    },
)
enter(
    "takes a negative padding for none",
    "What does a padding of -1 do?",
    "A negative padding crops the image.",
    sides(lambda pair: (max(pair[0], 0), max(pair[1], 0))),
)
enter(
    "takes a negative padding for a positive one",
    "What does a padding of -1 do?",
    "A negative padding crops the image.",
    sides(lambda pair: (abs(pair[0]), abs(pair[1]))),
)


def same_padding(call: Call) -> Arguments:
    """TensorFlow's "SAME", whatever was asked for."""
    pairs = []
    for size, stride, reach in zip(call.x.shape[2:], call.stride, call.reach):
        total = max((ceil_div(size, stride) - 1) * stride + reach - size, 0)
        pairs.append((total // 2, total - total // 2))
    return {"padding": tuple(pairs)}


enter(
    'pads as "same" does, whatever is asked for',
    "Does the output size change with the padding?",
    "The padding is an argument, and does not follow from the sizes.",
    same_padding,
)


def padding_and_crop(call: Call) -> tuple[list[Pair], tuple[Pair, ...]]:
    """Return the padding without what crops, and what crops alone, for the rows and for the columns."""
    padding = [(max(before, 0), max(after, 0)) for before, after in call.padding]
    return padding, tuple((min(before, 0), min(after, 0)) for before, after in call.padding)


def padded_with(mode: Any) -> Callable[[Call], Arguments]:
    """Pad the image with values of its own, so that no padding is left but what crops."""

    def change(call: Call) -> Arguments:
        if not call.x.size:
            return {}
        padding, crop = padding_and_crop(call)
        return {"x": np.pad(call.x, ((0, 0), (0, 0), *padding), mode=mode), "padding": crop}

    return change


enter(
    "pads with the pixels of the edge",
    "What does a window read beyond the border of an image of ones?",
    "Beyond the border are zeros.",
    padded_with("edge"),
    results="y dw",
    in_the_loop=False,
)
enter(
    "pads with the pixels of the opposite border",
    "What does a window read beyond the border of an image of ones?",
    "Beyond the border are zeros; an FFT without enough zeros wraps around.",
    padded_with("wrap"),
    results="y dw",
    in_the_loop=False,
)
enter(
    "pads by reflection",
    "What does a window read beyond the border of an image of ones?",
    "Beyond the border are zeros.",
    padded_with("symmetric"),
    results="y dw",
    in_the_loop=False,
)


def beyond_the_row(call: Call) -> Arguments:
    """Pad the columns with what lies there in memory: the rows before and after."""
    if not call.x.size:
        return {}
    (rows_padded, (left, right)), crop = padding_and_crop(call)
    width = call.x.shape[3]
    rows = np.arange(call.x.size // width).reshape(*call.x.shape[:3], 1)  # (N, C, H, 1)
    addresses = rows * width + np.arange(-left, width + right)  # (N, C, H, left + W + right)
    inside = (addresses >= 0) & (addresses < call.x.size)
    wide = np.where(inside, call.x.reshape(-1)[np.where(inside, addresses, 0)], 0)
    return {"x": np.pad(wide, ((0, 0), (0, 0), rows_padded, (0, 0))), "padding": crop}


enter(
    "reads the neighbouring row where a window leaves the image at the side",
    "What does a window read to the left of the first column?",
    "Beyond the border are zeros; without a check of the column, the address runs on into the row before or after.",
    beyond_the_row,
    results="y dw",
    in_the_loop=False,
)

# --- the output size ----------------------------------------------------------------------------------------------


def resized(rows: int, columns: int) -> Callable[[Call], Arguments]:
    """Compute so many more output rows and columns."""

    def change(call: Call) -> Arguments:
        oh, ow = call.output_size()
        return {"windows": (max(oh + rows, 0), max(ow + columns, 0))}

    return change


def size_of(**arguments: Any) -> Callable[[Call], Arguments]:
    """Compute the output size of other window arguments."""
    return lambda call: {"windows": replace(call, **arguments).output_size()}


def rounded_up(call: Call) -> Arguments:
    """Count a last window that does not fit."""
    sizes = (
        max(ceil_div(size + sum(pair) - reach, stride) + 1, 0)
        for size, pair, reach, stride in zip(call.x.shape[2:], call.padding, call.reach, call.stride)
    )
    return {"windows": tuple(sizes)}


for name, question, explanation, change, source in (
    (
        "rounds the output size up",
        "A 5-pixel image, a 2-pixel kernel, stride 2: how many windows fit?",
        "A window counts only if all of it fits: the output size is rounded down.",
        rounded_up,
        "onnx#7721",
    ),
    (
        "computes one output row too few",
        "A 3-pixel image and a 2-pixel kernel: how many windows fit?",
        "The output has (H + padding - reach) // stride + 1 rows; the last summand is missing.",
        resized(-1, 0),
        "",
    ),
    (
        "computes one output column too few",
        "A 3-pixel image and a 2-pixel kernel: how many windows fit?",
        "The output has (W + padding - reach) // stride + 1 columns; the last summand is missing.",
        resized(0, -1),
        "",
    ),
    (
        "computes one output row and one output column too few",
        "A 3-pixel image and a 2-pixel kernel: how many windows fit?",
        "The output size is (size + padding - reach) // stride + 1; the last summand is missing.",
        resized(-1, -1),
        "",
    ),
    (
        "computes one output row too many",
        "Which rows does the last window read?",
        "The last window has to fit into the padded image.",
        resized(1, 0),
        "",
    ),
    (
        "computes one output column too many",
        "Which columns does the last window read?",
        "The last window has to fit into the padded image.",
        resized(0, 1),
        "",
    ),
    (
        "computes one output row and one output column too many",
        "Which pixels does the last window read?",
        "The last window has to fit into the padded image.",
        resized(1, 1),
        "",
    ),
    (
        "forgets the dilation in the output size",
        "How many rows does a window span?",
        "A window spans dilation·(kernel - 1) + 1 rows, not as many as the kernel has.",
        size_of(dilation=(1, 1)),
        "",
    ),
    (
        "forgets the padding in the output size",
        "How large is the padded image?",
        "Windows are counted on the padded image.",
        size_of(padding=((0, 0), (0, 0))),
        "",
    ),
    (
        "forgets the stride in the output size",
        "How many windows of stride 2 fit into 5 pixels?",
        "The number of windows is divided by the stride.",
        size_of(stride=(1, 1)),
        "",
    ),
):
    WINDOW.enter(name, "y", question, explanation, source=source, change=reads(change))
