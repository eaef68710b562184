"""Exercises on im2col and col2im.

im2col is the convolution whose filters are the unit vectors: filter r is 1 at tap r of its columns and 0 elsewhere. So
the mistakes of the catalogue that change a window give wrong columns too, and wrong images for the transpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...testing.cases import ConvCase
from ...testing.mistakes import Call, Mistake, result_of
from ...testing.mistakes.window_mistakes import WINDOW
from ..conv_cases import ConvCases, arguments_of, catalogue, padding_left
from ..exercise import Arguments, Exercise, Results, Wrong, own_mistake

WINDOW_PARAMETERS = ("kernel", "stride", "padding", "dilation")
WINDOW_NAMES = {mistake.name for mistake in WINDOW}
MORE_OF_COLUMNS = {
    "reads the first image for every image",
    "reads the first image for the second as well",
    "leaves the last image zero",
    "computes the first image only",
}
MORE_OF_IMAGES = {
    "overwrites dx where windows overlap, so that the last tap wins",
    "overwrites dx where windows overlap, so that the last window wins",
    "averages dx over the windows that read a pixel",
    "leaves pixels of dx that no window reads unwritten",
    "leaves the last row zero",
    "leaves the last column zero",
    "leaves the first row zero",
    "leaves the first column zero",
    "leaves the last image zero",
    "leaves the last channel zero",
    "computes the first image only",
    "repeats the last row and column of dx behind the last window",
}


WITHOUT_GRADIENTS = (
    ("dx", "x"),
    ("upstream gradients of ones", "columns of ones"),
    ("between the upstream gradients", "between the numbers of neighbouring windows"),
    ("between neighbouring upstream gradients", "between the numbers of neighbouring windows"),
    ("upstream gradient", "number"),
    ("The input gradient", "x"),
    ("gets a gradient from", "gets a number from"),
    ("The gradients of overlapping windows", "The numbers of overlapping windows"),
    ("have gradient 0", "are 0"),
    ("the gradient of the last row", "the last row of x"),
)


def without_gradients(text: str) -> str:
    """Return a text of the catalogue in the words of col2im, whose numbers need not be gradients."""
    for words, instead in WITHOUT_GRADIENTS:
        text = text.replace(words, instead)
    return text


def unit_filters(channels: int, kernel: tuple[int, int]) -> Array:
    """Return the weight of which each filter reads one tap: (C·kh·kw, C, kh, kw)."""
    rows = channels * kernel[0] * kernel[1]
    return np.eye(rows).reshape(rows, channels, *kernel)  # (C·kh·kw, C, kh, kw)


def window_of(arguments: Arguments) -> dict[str, Any]:
    """Return the window arguments."""
    return {name: arguments[name] for name in ("stride", "padding", "dilation")}


def columns_with(made: tuple[Mistake, ...], result: str, arguments: Arguments) -> Array:
    """Return the columns of an im2col with these mistakes, (N, C·kh·kw, P)."""
    x, kernel = arguments["x"], arguments["kernel"]
    weight = unit_filters(x.shape[1], kernel)
    call = Call(x, weight, None, np.zeros((len(x), len(weight), 1, 1)), **window_of(arguments))
    y = result_of(made, "y", call)
    return y.reshape(len(y), len(weight), y.shape[2] * y.shape[3])  # (N, C·kh·kw, P)


def image_with(made: tuple[Mistake, ...], result: str, arguments: Arguments) -> Array:
    """Return the image of a col2im with these mistakes, (N, C, H, W)."""
    x: Array = np.zeros(arguments["x_shape"])
    weight = unit_filters(x.shape[1], arguments["kernel"])
    call = Call(x, weight, None, np.zeros((len(x), len(weight), 1, 1)), **window_of(arguments))
    grad_output = arguments["columns"].reshape(len(x), len(weight), *call.output_size())  # (N, C·kh·kw, oh, ow)
    return result_of(made, "dx", replace(call, grad_output=grad_output))


def right_call(arguments: Arguments) -> Call:
    """Return the convolution of exercise 4, of which only the sizes are needed."""
    x = arguments["x"]
    weight = unit_filters(x.shape[1], arguments["kernel"])
    return Call(x, weight, None, np.zeros((len(x), len(weight), 1, 1)), **window_of(arguments))


def order_of_columns(name: str, question: str, explanation: str, change: Callable[[Array], Array]) -> Wrong:
    """Return a wrong order of columns, given and returned as any view of (N, C, kh, kw, oh, ow) in memory order."""

    def after(arguments: Arguments, columns: Array) -> Array:
        N, C = arguments["x"].shape[:2]
        patches = columns.reshape(N, C, *arguments["kernel"], *right_call(arguments).output_size())
        return np.ascontiguousarray(change(patches)).reshape(columns.shape)  # (N, C·kh·kw, P)

    return own_mistake(columns_with, "columns", name, question, explanation, after=after)


def order_of_images(name: str, question: str, explanation: str, axes: tuple[int, ...]) -> Wrong:
    """Return a col2im that takes the columns for (N, C, kh, kw, oh, ow) with its axes in another order."""

    def before(arguments: Arguments) -> Arguments:
        columns, (N, C, H, W) = arguments["columns"], arguments["x_shape"]
        sizes = right_call({**arguments, "x": np.zeros((N, C, H, W))}).output_size()
        shape = (N, C, *arguments["kernel"], *sizes)
        as_read = columns.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
        return {**arguments, "columns": as_read.reshape(columns.shape)}

    return own_mistake(image_with, "x", name, question, explanation, before=before)


ROWS = "An image of one pixel per channel, with a kernel of 1x1: which row holds channel 1? And with a kernel of 1x2?"
ROWS_ARE = "Row (c·kh + i)·kw + j holds tap (i, j) of channel c: the channel comes first, then the row of the kernel."
RESHAPE = "Print the columns of np.arange(9).reshape(1, 1, 3, 3): does one column hold the pixels of one window?"
RESHAPE_IS = "A reshape keeps the order in memory: transpose to (N, C, kh, kw, oh, ow) before you reshape."
WINDOWS = "Windows go from left to right, then down: which window is the second one?"

IM2COL = Exercise(
    name="im2col",
    title="im2col: each window becomes a column",
    function="im2col",
    parameters=("x", *WINDOW_PARAMETERS),
    results={"columns": "(N, C·kh·kw, oh·ow)"},
    cases=(convolutions := ConvCases("groups", "bias", "wide_padding")).draw,
    smaller=convolutions.smaller,
    arguments=lambda case: arguments_of(case, ("x", *WINDOW_PARAMETERS)),
    right=lambda arguments: {"columns": columns_with((), "columns", arguments)},
    mistakes=(
        order_of_columns(
            "orders the rows by tap and then by channel", ROWS, ROWS_ARE, lambda p: p.transpose(0, 2, 3, 1, 4, 5)
        ),
        order_of_columns("orders the taps column by column", ROWS, ROWS_ARE, lambda p: p.transpose(0, 1, 3, 2, 4, 5)),
        order_of_columns("reverses the taps", ROWS, ROWS_ARE, lambda p: p[:, :, ::-1, ::-1]),
        order_of_columns("reverses the channels", ROWS, ROWS_ARE, lambda p: p[:, ::-1]),
        order_of_columns(
            "numbers the windows down and then to the right",
            WINDOWS,
            "The column of window (p, q) is p·ow + q.",
            lambda p: p.swapaxes(4, 5),
        ),
        order_of_columns(
            "reshapes (N, oh, ow, C, kh, kw) without a transpose",
            RESHAPE,
            RESHAPE_IS,
            lambda p: p.transpose(0, 4, 5, 1, 2, 3),
        ),
        order_of_columns(
            "reshapes (N, oh, ow, kh, kw, C) without a transpose",
            RESHAPE,
            RESHAPE_IS,
            lambda p: p.transpose(0, 4, 5, 2, 3, 1),
        ),
        order_of_columns(
            "reshapes (kh, kw, N, C, oh, ow) without a transpose",
            RESHAPE,
            RESHAPE_IS,
            lambda p: p.transpose(2, 3, 0, 1, 4, 5),
        ),
        order_of_columns(
            "reshapes (C, kh, kw, N, oh, ow) without a transpose",
            RESHAPE,
            RESHAPE_IS,
            lambda p: p.transpose(1, 2, 3, 0, 4, 5),
        ),
        order_of_columns(
            "leaves the columns of every other image zero",
            "Two images in a batch: what are the columns of the second?",
            "Every image has columns of its own.",
            lambda p: p * (np.arange(len(p)) % 2 == 0).reshape(-1, 1, 1, 1, 1, 1),
        ),
        *catalogue(
            ("columns",),
            columns_with,
            of=lambda result: "y",
            wanted=lambda mistake: mistake.name in WINDOW_NAMES | MORE_OF_COLUMNS,
        ),
    ),
    hints=(
        "Compute the columns of the image 0, 1, ..., 8 of size 3x3 on paper, for a kernel of 2x2. What does row 0 "
        "hold?",
        "Tap (i, j) of all windows is one slice of the padded image: rows i·dh, i·dh + sh, ..., and columns in the "
        "same way. Put that slice into columns[:, :, i, j] of an array (N, C, kh, kw, oh, ow).",
    ),
    afterwards=(
        "The columns are kh·kw times as large as the image. So nobody keeps them between the forward and the backward "
        "pass: they are computed again. npresnext.im2col does the same for all window arguments."
    ),
    combine=columns_with,
)


def columns_and_shape(case: ConvCase) -> Arguments:
    """Return the arguments of col2im: random columns, which no image needs to have."""
    N, C, _, _ = case.x_shape
    oh, ow = case.output_shape[2:]
    rng = np.random.default_rng(case.seed)
    columns = rng.integers(-case.span, case.span, (N, C * case.kernel[0] * case.kernel[1], oh * ow), endpoint=True)
    return {"columns": columns.astype(float), **arguments_of(case, ("x_shape", *WINDOW_PARAMETERS))}


def right_image(arguments: Arguments) -> Results:
    """Return the image, by the definition."""
    return {"x": image_with((), "x", arguments)}


COL2IM = Exercise(
    name="col2im",
    title="col2im: the transpose of im2col, not its inverse",
    function="col2im",
    parameters=("columns", "x_shape", *WINDOW_PARAMETERS),
    results={"x": "(N, C, H, W)"},
    cases=convolutions.draw,
    smaller=convolutions.smaller,
    arguments=columns_and_shape,
    right=right_image,
    mistakes=(
        order_of_images("takes the rows for ordered by tap and then by channel", ROWS, ROWS_ARE, (0, 2, 3, 1, 4, 5)),
        order_of_images("takes the taps for ordered column by column", ROWS, ROWS_ARE, (0, 1, 3, 2, 4, 5)),
        order_of_images(
            "takes the windows for numbered down and then to the right",
            WINDOWS,
            "The column of window (p, q) is p·ow + q.",
            (0, 1, 2, 3, 5, 4),
        ),
        order_of_images(
            "reshapes to (N, oh, ow, C, kh, kw) without a transpose", RESHAPE, RESHAPE_IS, (0, 4, 5, 1, 2, 3)
        ),
        order_of_images(
            "reshapes to (N, oh, ow, kh, kw, C) without a transpose", RESHAPE, RESHAPE_IS, (0, 4, 5, 2, 3, 1)
        ),
        *catalogue(
            ("x",),
            image_with,
            of=lambda result: "dx",
            wanted=lambda mistake: mistake.name in WINDOW_NAMES | MORE_OF_IMAGES,
            reword=without_gradients,
        ),
        *padding_left(image_with, "x"),
    ),
    hints=(
        "Columns of ones, a kernel of 1x2 and a row of 3 pixels: what is x? Which pixels are read by two windows?",
        "Turn the line of im2col around: add columns[:, :, i, j] to the slice of the padded image that im2col copied "
        "it from. Cut the padding off at the end.",
    ),
    afterwards=(
        "col2im(im2col(x)) is not x: a pixel that n windows read comes back n-fold. For ones in one row and a kernel "
        "of 3 that is 1 2 3 2 1. Since it is the transpose, it is all that the gradient of the input needs."
    ),
    combine=image_with,
)
