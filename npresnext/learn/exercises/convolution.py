"""Exercises on the convolution itself: one sum, the forward pass, each gradient, and groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...testing.mistakes import Mistake, result_of
from ..conv_cases import (
    ConvCases,
    arguments_of,
    call_of,
    catalogue,
    combine_convolution,
    padding_left,
    right_convolution,
)
from ..exercise import Arguments, Combine, Exercise, Wrong, WrongReturn, call_once, own_mistake

SHAPES = {"y": "(N, C_out, oh, ow)", "dx": "(N, C_in, H, W)", "dw": "(C_out, C_in/G, kh, kw)", "db": "(C_out,)"}

# A parameter of a function -> the word by which mistakes with it are known: without the one, there is not the other.
NAMED_AFTER = {
    "stride": "stride",
    "dilation": "dilation",
    "padding": "padding",
    "bias": "bias",
    "groups": "inside each group",
}


def without_groups(text: str) -> str:
    """Return a text of the catalogue in the words of an exercise that has no groups yet."""
    for words in (" of each group", " of a group", " of its group", "/G"):
        text = text.replace(words, "")
    return text


def exercise(
    name: str,
    title: str,
    function: str,
    parameters: tuple[str, ...],
    results: tuple[str, ...],
    without: tuple[str, ...],
    hints: tuple[str, ...],
    afterwards: str,
    *,
    wanted: Callable[[Mistake], bool] = lambda mistake: True,
    combine: Combine = combine_convolution,
    own: tuple[Wrong, ...] = (),
    given: tuple[str, ...] | None = None,
    call: Callable[[Callable[..., Any], Arguments], Any] = call_once,
) -> Exercise:
    """Return an exercise whose results are among y, dx, dw and db, on cases `without` some features.

    `wanted`, `combine` and `call` are as for :func:`catalogue` and :class:`Exercise`. `own` are mistakes that the
    catalogue lacks. `given` are the arguments that a case has: all `parameters` if None.
    """
    cases = ConvCases(*without)
    grouped = "groups" in parameters
    absent = [word for name, word in NAMED_AFTER.items() if name not in parameters]
    mistakes = catalogue(
        results,
        combine,
        wanted=lambda mistake: wanted(mistake) and not any(word in mistake.name for word in absent),
        reword=(lambda text: text) if grouped else without_groups,
    )
    return Exercise(
        name=name,
        title=title,
        function=function,
        parameters=parameters,
        results={result: SHAPES[result] if grouped else SHAPES[result].replace("/G", "") for result in results},
        cases=cases.draw,
        smaller=cases.smaller,
        arguments=lambda case: arguments_of(case, parameters if given is None else given),
        right=right_convolution(results),
        mistakes=(*mistakes, *own),
        hints=hints,
        afterwards=afterwards,
        combine=combine,
        call=call,
    )


def every_value(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Call a function once for each value of y, and return all values as an array."""
    x, weight, stride, padding = (arguments[name] for name in ("x", "weight", "stride", "padding"))
    oh, ow = call_of(arguments).output_size()
    y = np.empty((len(x), len(weight), oh, ow))
    for index in np.ndindex(*y.shape):
        arguments.update(zip("nopq", index))
        value = function(x, weight, *index, stride, padding)
        try:
            y[index] = value
        except (TypeError, ValueError):
            what = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(type(value).__name__)
            raise WrongReturn(f"returns {what}: expected a number") from None
    return y


def combine_at_right_size(made: tuple[Mistake, ...], result: str, arguments: Arguments) -> Array:
    """Return y with these mistakes, of the right size: the function is called for each value of it."""
    call = call_of(arguments)
    return result_of(made, result, replace(call, windows=call.output_size()))


def wraps_around(arguments: Arguments) -> Arguments:
    """Return the arguments of a function that takes x[-1] for the pixel in front of x[0]."""
    (top, bottom), (left, right) = arguments["padding"]
    x = np.pad(arguments["x"], ((0, 0), (0, 0), (top, 0), (left, 0)), mode="wrap")
    return {**arguments, "x": x, "padding": ((0, bottom), (0, right))}


def deals_the_filters(arguments: Arguments) -> Arguments:
    """Return the arguments of a function that takes the filters g, g + G, g + 2G, ... for those of group g."""
    weight, G = arguments["weight"], arguments["groups"]
    dealt = weight.reshape(len(weight) // G, G, *weight.shape[1:]).swapaxes(0, 1)  # (G, C_out/G, C_in/G, kh, kw)
    return {**arguments, "weight": dealt.reshape(weight.shape)}


def last_window_alone(arguments: Arguments) -> Arguments:
    """Return the arguments of a function that keeps the products of the last window of the last image."""
    grad = arguments["grad_output"]
    last = np.zeros_like(grad)
    last[-1, :, -1, -1] = grad[-1, :, -1, -1]
    return {**arguments, "grad_output": last}


def mixes_images_and_channels(arguments: Arguments) -> Array:
    """Return dw of one matrix product over all images, of which both matrices are reshaped without a transpose."""
    call, (C_out, *filter_shape) = call_of(arguments), arguments["weight_shape"]
    grad = arguments["grad_output"].reshape(C_out, -1)  # as if it were (C_out, N·oh·ow)
    columns = call.patches(call.output_size()).reshape(math.prod(filter_shape), -1)  # as if (C_in·kh·kw, N·oh·ow)
    dw: Array = (grad @ columns.T).reshape(arguments["weight_shape"])  # (C_out, C_in, kh, kw)
    return dw


def returned_for(other: str, result: str) -> Wrong:
    """Return the mistake that one gradient is returned in the place of another one."""
    return Wrong(
        f"returns {other} in the place of {result}",
        result,
        "In which order does the task list the gradients?",
        "The results are dx, dw and db, in this order.",
        lambda arguments: combine_convolution((), other, arguments),
    )


def keeps_the_size(mistake: Mistake) -> bool:
    """Whether a mistake can be made in one value of y, which needs neither its size nor the padding after the image."""
    unused = ("output size", "output row", "output column", "all of the padding after", "after the image on both")
    return not any(words in mistake.name for words in unused)


SUM_OF_PRODUCTS = exercise(
    name="sum_of_products",
    title="one value of y is a sum of products",
    function="output_value",
    parameters=("x", "weight", "n", "o", "p", "q", "stride", "padding"),
    results=("y",),
    without=("groups", "dilation", "bias", "wide_padding"),
    wanted=keeps_the_size,
    combine=combine_at_right_size,
    own=(
        own_mistake(
            combine_at_right_size,
            "y",
            "reads pixels with negative indices, which NumPy counts from the end",
            "x has 3 rows: what is x[n, c, -1, 0], and what should the row above row 0 be?",
            "In NumPy x[-1] is the last row. A pixel above or to the left of the image has to be left out.",
            before=wraps_around,
        ),
    ),
    given=("x", "weight", "stride", "padding"),
    call=every_value,
    hints=(
        "Without padding and with stride 1: which pixel does tap (0, 0) of the output value (p, q) meet? And tap (i, "
        "j)?",
        "Tap (i, j) of the output value (p, q) meets row p·stride[0] - top + i and column q·stride[1] - left + j of x. "
        "Outside 0 to H - 1 and 0 to W - 1 there is no pixel.",
    ),
    afterwards=(
        "The list of these products is all there is. npresnext/reference.py writes it down in 20 lines, and both "
        "gradients follow from the same list: exercises 7 to 9."
    ),
)

FORWARD = exercise(
    name="forward",
    title="a convolution is one matrix product",
    function="conv2d",
    parameters=("x", "weight", "bias", "stride", "padding", "dilation"),
    results=("y",),
    without=("groups",),
    hints=(
        "What is the shape of im2col's result? Which shape must the weight have, so that the product sums over "
        "C_in·kh·kw?",
        "weight.reshape(C_out, C_in·kh·kw) @ columns has the shape (N, C_out, oh·ow). The bias has to be "
        "(1, C_out, 1, 1) to meet the channels.",
    ),
    afterwards=(
        "That is how most libraries computed convolutions for a decade (Chellapilla, Puri and Simard, 2006). For "
        "grouped layers, npresnext's fast engine takes about a sixth of the time: docs/performance.md."
    ),
)

INPUT_GRAD = exercise(
    name="input_grad",
    title="the gradient of the input",
    function="input_grad",
    parameters=("grad_output", "x_shape", "weight", "padding"),
    results=("dx",),
    own=padding_left(combine_convolution, "dx"),
    without=("groups", "stride", "dilation", "bias", "wide_padding"),
    hints=(
        "One upstream gradient of 1 and the kernel 1, 2, 3 in a row: which pixel of dx gets the 1?",
        "Tap (i, j) of window (p, q) met pixel (p + i, q + j) of the padded image. So weight[:, :, i, j] times all of "
        "grad_output is added to the rows i to i + oh and the columns j to j + ow of the padded dx.",
    ),
    afterwards=(
        "You added each product where it came from. Seen from a pixel, the taps come in reverse order: that is why "
        "textbooks say that the backward pass of a correlation rotates the kernel by 180 degrees."
    ),
)

STRIDED_INPUT_GRAD = exercise(
    name="strided_input_grad",
    title="the gradient of the input, with stride and dilation",
    function="strided_input_grad",
    parameters=("grad_output", "x_shape", "weight", "stride", "padding", "dilation"),
    results=("dx",),
    own=padding_left(combine_convolution, "dx"),
    without=("groups", "bias"),
    hints=(
        "With stride 2, which pixels does tap 0 meet, one for each window? Write their numbers down.",
        "Tap (i, j) meets the rows i·dilation + p·stride of the padded image, for p = 0, ..., oh - 1. A slice with a "
        "step takes all of them at once.",
    ),
    afterwards=(
        "Textbooks put stride - 1 zeros between the upstream gradients. Your slice with a step does the same without "
        "the zeros. Here frameworks have shipped wrong gradients: mlx#3800, burn#1891."
    ),
)

WEIGHT_GRAD = exercise(
    name="weight_grad",
    title="the gradient of the weight",
    function="weight_grad",
    parameters=("grad_output", "x", "weight_shape", "stride", "padding", "dilation"),
    results=("dw",),
    without=("groups", "bias"),
    own=(
        Wrong(
            "reshapes (N, C_out, oh·ow) to (C_out, N·oh·ow) without a transpose",
            "dw",
            "Two images and two channels: which numbers does row 0 of grad_output.reshape(C_out, -1) hold?",
            "A reshape keeps the order in memory: bring the channels in front of the images first.",
            mixes_images_and_channels,
        ),
        own_mistake(
            combine_convolution,
            "dw",
            "overwrites dw, so that the last window wins",
            "Two windows of one image: which products are in dw?",
            "dw adds the products of all windows and images: use += and not =.",
            before=last_window_alone,
        ),
    ),
    hints=(
        "In how many products does one weight occur? Which pixel stands in each of them?",
        "dw[:, :, i, j] is the matrix product of grad_output (C_out times images and positions) and the pixels under "
        "tap (i, j) (images and positions times C_in): it sums over images and positions.",
    ),
    afterwards=(
        "It is a sum, not an average: only the loss may divide by the batch size. Doubling the image doubles the "
        "number of products of each weight, and its gradient grows with it."
    ),
)

BIAS_GRAD = exercise(
    name="bias_grad",
    title="the gradient of the bias",
    function="bias_grad",
    parameters=("grad_output",),
    results=("db",),
    without=("groups",),
    hints=(
        "Add 1 to bias[o]: which values of y change, and by how much?",
        "Every value of channel o contains bias[o] once: db[o] is the sum of grad_output[:, o].",
    ),
    afterwards=(
        "In front of batch norm this gradient is 0 up to rounding, because batch norm subtracts the mean. Therefore "
        "the convolutions of ResNet and ResNeXt have no bias."
    ),
)

GROUPED_FORWARD = exercise(
    name="grouped_forward",
    title="a grouped convolution",
    function="grouped_conv2d",
    parameters=("x", "weight", "bias", "stride", "padding", "dilation", "groups"),
    results=("y",),
    without=(),
    own=(
        own_mistake(
            combine_convolution,
            "y",
            "deals the filters to the groups in turn",
            "With 4 filters and 2 groups: which filters belong to group 0?",
            "A group has consecutive filters: run g is weight[g·C_out/G : (g+1)·C_out/G], not weight[g::G].",
            before=deals_the_filters,
        ),
    ),
    hints=(
        "With 4 input channels and 2 groups: which input channels does output channel 0 see? Which does the last one "
        "see?",
        "The columns are ordered by channel, so those of group g are one block of rows: columns.reshape(N, G, "
        "C_in/G·kh·kw, P). The weight is (G, C_out/G, C_in/G·kh·kw) in the same way, and matmul multiplies group by "
        "group.",
    ),
    afterwards=(
        "G groups have 1/G of the weights and of the products: another function, not the same one on G machines. A 1x1 "
        "convolution behind it lets the groups exchange what they found."
    ),
)


GROUPED_BACKWARD = exercise(
    name="grouped_backward",
    title="the backward pass of a grouped convolution",
    function="grouped_conv2d_backward",
    parameters=("grad_output", "x", "weight", "stride", "padding", "dilation", "groups"),
    results=("dx", "dw", "db"),
    without=(),
    own=(returned_for("dw", "dx"), returned_for("dx", "dw")),
    hints=(
        "Which upstream gradients, pixels and weights belong to group 0? Does any product join two groups?",
        "grad_output as (N, G, C_out/G, P), the weight as (G, C_out/G, C_in/G·kh·kw) and the columns as "
        "(N, G, C_in/G·kh·kw, P): then dx = col2im(weightᵀ @ grad) and dw = sum over N of grad @ columnsᵀ.",
    ),
    afterwards=(
        "Compare with npresnext/lesson/conv.py: it is the same code, for any array library. `npresnext check "
        "module:function` runs the whole conformance kit on a convolution of yours."
    ),
)
