"""Exercises with integers alone: windows, the output size, and the cardinality of a block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._support.integers import ceil_div
from ..._support.typing import NumPyArray as Array
from ...testing.mistakes import Call, Mistake, result_of
from ...testing.mistakes.window_mistakes import WINDOW
from ..conv_cases import catalogue
from ..exercise import Arguments, Exercise, Results, Wrong
from ..sizes import SizeCases, Sizes

WINDOW_NAMES = {mistake.name for mistake in WINDOW}
OTHER_AXIS = ("row", "vertical", "height", "top")  # words of mistakes that a single axis cannot show
# A count that ignores an argument forgets it in the output size: one name for it is enough.
SAID_TWICE = ("forgets the", "though not in the output size")


def count_with(made: tuple[Mistake, ...], result: str, arguments: Arguments) -> Array:
    """Return the number of windows along the columns of a convolution with these mistakes."""
    call = Call(
        np.zeros((1, 1, 1, arguments["size"])),
        np.zeros((1, 1, 1, arguments["kernel"])),
        None,
        np.zeros((1, 1, 1, 1)),
        stride=(1, arguments["stride"]),
        padding=((0, 0), arguments.get("padding", (0, 0))),
        dilation=(1, arguments.get("dilation", 1)),
    )
    return np.array(result_of(made, "y", call).shape[3])


def right_count(arguments: Arguments) -> Results:
    """Count the windows by the definition."""
    return {"windows": int(count_with((), "windows", arguments))}


def miscounts(*without: str) -> tuple[Wrong, ...]:
    """Return the mistakes of the catalogue that change the number of windows, but those that name one of the words."""
    unwanted = (*OTHER_AXIS, *SAID_TWICE, *without)
    return catalogue(
        ("windows",),
        count_with,
        of=lambda result: "y",
        wanted=lambda mistake: mistake.name in WINDOW_NAMES and not any(word in mistake.name for word in unwanted),
        reword=one_axis,
    )


def one_axis(text: str) -> str:
    """Return a text of the catalogue in the words of a single axis."""
    counted = "The output has (W + padding - reach) // stride + 1 columns"
    text = text.replace(counted, "The number is (pixels of the row - pixels of a window) // stride + 1")
    return text.replace("output column", "window").replace("output row", "window")


def miscount(name: str, question: str, explanation: str, count: Callable[[Arguments], int]) -> Wrong:
    """Return another wrong way to count."""
    return Wrong(name, "windows", question, explanation, lambda arguments: np.array(count(arguments)))


def padded_size(arguments: Arguments) -> int:
    """Return the number of pixels of the row, with its padding."""
    return int(arguments["size"] + sum(arguments.get("padding", (0, 0))))


def window_span(arguments: Arguments) -> int:
    """Return the number of pixels from the first to the last one of a window."""
    return int(arguments.get("dilation", 1) * (arguments["kernel"] - 1) + 1)


FITS = "Draw the row and the first windows: which pixels does the last window read?"
OWN_MISCOUNTS = (
    miscount(
        "divides the size by the stride and ignores the kernel",
        FITS,
        "The last window needs all pixels of the kernel, so the first window can move by size - kernel pixels.",
        lambda a: padded_size(a) // a["stride"],
    ),
    miscount(
        "counts windows that do not overlap",
        "Do neighbouring windows share pixels? By how many pixels does a window move?",
        "Windows move by the stride, not by their own length.",
        lambda a: padded_size(a) // window_span(a),
    ),
    miscount(
        "adds 1 before the division",
        FITS,
        "(size - kernel) // stride counts the steps; the first window is added after the division.",
        lambda a: (padded_size(a) - window_span(a) + 1) // a["stride"],
    ),
    miscount(
        "leaves out a window that ends at the last pixel",
        "A row of 2 pixels and a kernel of 2: how many windows fit?",
        "A window may end at the last pixel. In Python, range(0, n) ends before n.",
        lambda a: ceil_div(padded_size(a) - window_span(a), a["stride"]),
    ),
    miscount(
        "rounds to the nearest integer",
        "A row of 5 pixels, a kernel of 2, stride 2: how many windows fit?",
        "A window counts only if all of it fits, so the division is rounded down.",
        lambda a: round((padded_size(a) - window_span(a)) / a["stride"]) + 1,
    ),
)
ROW = "How many pixels does the row have with its padding?"
SPAN = "Draw a window for a kernel of 2 and a dilation of 2: how many pixels does it span?"
SPAN_IS = "The last pixel of a window is dilation·(kernel - 1) behind the first one, so a window spans 1 pixel more."
PADDED_MISCOUNTS = (
    miscount(
        "adds the padding before the row alone",
        ROW,
        "padding = (before, after): the row has before + size + after pixels.",
        lambda a: (a["size"] + a["padding"][0] - window_span(a)) // a["stride"] + 1,
    ),
    miscount(
        "adds the padding after the row alone",
        ROW,
        "padding = (before, after): the row has before + size + after pixels.",
        lambda a: (a["size"] + a["padding"][1] - window_span(a)) // a["stride"] + 1,
    ),
    miscount(
        "takes dilation·kernel for the length of a window",
        SPAN,
        SPAN_IS,
        lambda a: (padded_size(a) - a["dilation"] * a["kernel"]) // a["stride"] + 1,
    ),
    miscount(
        "takes dilation·(kernel - 1) for the length of a window",
        SPAN,
        SPAN_IS,
        lambda a: (padded_size(a) - window_span(a) + 1) // a["stride"] + 1,
    ),
)

WINDOWS = Exercise(
    name="windows",
    title="count windows",
    function="count_windows",
    parameters=("size", "kernel", "stride"),
    results={"windows": "int"},
    cases=(
        windows := SizeCases(
            {"size": (1, 12), "kernel": (1, 5), "stride": (1, 4)}, lambda case: case["kernel"] <= case["size"]
        )
    ).draw,
    smaller=windows.smaller,
    arguments=dict,
    right=right_count,
    mistakes=(*miscounts("dilation", "pad"), *OWN_MISCOUNTS),
    hints=(
        "The first window starts at pixel 0. At which pixel does the last one start, at most?",
        "The last window starts at pixel size - kernel at most. Count the multiples of the stride from 0 to there.",
    ),
    afterwards=(
        "The division rounds down. So up to stride - 1 pixels at the end of a row may be read by no window: they do "
        "not influence y, and their gradient is 0."
    ),
    combine=count_with,
)


def one_padded_row(case: Sizes) -> Arguments:
    """Return the arguments of output_size."""
    padding = case["before"], case["after"]
    return {
        **{name: case[name] for name in ("size", "kernel", "stride")},
        "padding": padding,
        "dilation": case["dilation"],
    }


def has_a_window(case: Sizes) -> bool:
    """Whether a window fits into the padded row, and is no longer than needed for one pixel of it."""
    span = case["dilation"] * (case["kernel"] - 1) + 1
    return span <= case["size"] + case["before"] + case["after"] and max(case["before"], case["after"]) < span


OUTPUT_SIZE = Exercise(
    name="output_size",
    title="the output size, with padding and dilation",
    function="output_size",
    parameters=("size", "kernel", "stride", "padding", "dilation"),
    results={"windows": "int"},
    cases=(
        padded := SizeCases(
            {
                "size": (1, 12),
                "kernel": (1, 4),
                "stride": (1, 4),
                "before": (0, 3),
                "after": (0, 3),
                "dilation": (1, 3),
            },
            has_a_window,
            drawn=90,
        )
    ).draw,
    smaller=padded.smaller,
    arguments=one_padded_row,
    right=right_count,
    mistakes=(*miscounts(), *OWN_MISCOUNTS, *PADDED_MISCOUNTS),
    hints=(
        "How many pixels lie between the first and the last pixel of one window?",
        "A window spans dilation·(kernel - 1) + 1 pixels. Put that and the padded size into exercise 1.",
    ),
    afterwards=(
        "This is the formula of every framework: (size + before + after - dilation·(kernel - 1) - 1) // stride + 1. "
        "npresnext.geometry.output_size computes it."
    ),
    combine=count_with,
)


def width_at_most(count: Callable[[int, int, int], int], strictly: bool = False) -> Callable[[Arguments], int]:
    """Return the function that finds the largest d for which ``count(channels, cardinality, d)`` is small enough."""

    def largest(arguments: Arguments) -> int:
        limit = arguments["weights"] - strictly
        d = 0
        while count(arguments["channels"], arguments["cardinality"], d + 1) <= limit:
            d += 1
        return d

    return largest


def block(channels: int, cardinality: int, d: int) -> int:
    """Return the number of weights of a block."""
    return cardinality * (channels * d + 9 * d * d + d * channels)


RIGHT_WIDTH = width_at_most(block)


def width_of_equation(arguments: Arguments) -> float:
    """Return the number d, not rounded, for which a block has exactly the weights that are allowed."""
    channels, cardinality, weights = (arguments[name] for name in ("channels", "cardinality", "weights"))
    return float(np.sqrt((channels / 9) ** 2 + weights / (9 * cardinality)) - channels / 9)


MOST_TO_SPARE = 12  # twelfths of the way to the next width
BLOCKS = SizeCases({"channels": (1, 64), "cardinality": (1, 16), "width": (0, 20), "spare": (0, MOST_TO_SPARE)})
LIMITS = [  # which every check has
    {"channels": 3, "cardinality": 2, "width": width, "spare": spare}
    for width in (0, 2)
    for spare in (0, MOST_TO_SPARE)
]


def allowed_weights(case: Sizes) -> Arguments:
    """Return the arguments of path_width: a limit that a block just reaches, up to one that the next just misses."""
    channels, cardinality = case["channels"], case["cardinality"]
    fewest, too_many = (block(channels, cardinality, case["width"] + more) for more in (0, 1))
    weights = fewest + case["spare"] * (too_many - 1 - fewest) // MOST_TO_SPARE
    return {"channels": channels, "cardinality": cardinality, "weights": weights}


def misdesign(name: str, question: str, explanation: str, width: Callable[[Arguments], int]) -> Wrong:
    """Return a wrong design of a block."""
    return Wrong(name, "d", question, explanation, lambda arguments: np.array(width(arguments)))


ONE_PATH = "Write down the weights of one path: 1x1, 3x3 and 1x1. How many are these for 256 channels and d = 4?"
CARDINALITY = Exercise(
    name="cardinality",
    title="more paths at equal cost",
    function="path_width",
    parameters=("channels", "cardinality", "weights"),
    results={"d": "int"},
    cases=lambda rng: [*LIMITS, *BLOCKS.draw(rng)],
    smaller=BLOCKS.smaller,
    arguments=allowed_weights,
    right=lambda arguments: {"d": RIGHT_WIDTH(arguments)},
    mistakes=(
        misdesign(
            "counts the 3x3 convolution without its groups",
            "How many input channels has a filter of the 3x3 convolution?",
            "With C groups each filter has d input channels, not C·d: the 3x3 convolution has C·9·d² weights.",
            width_at_most(lambda n, C, d: 2 * n * C * d + 9 * C * C * d * d),
        ),
        misdesign(
            "forgets one of the 1x1 convolutions",
            ONE_PATH,
            "A path has two 1x1 convolutions, one from `channels` to d and one back.",
            width_at_most(lambda n, C, d: C * (n * d + 9 * d * d)),
        ),
        misdesign(
            "forgets the 3x3 convolution",
            ONE_PATH,
            "A path has a 3x3 convolution of 9·d² weights between its two 1x1 convolutions.",
            width_at_most(lambda n, C, d: 2 * C * n * d),
        ),
        misdesign(
            "counts one weight for each pair of channels of the 3x3 convolution",
            ONE_PATH,
            "A 3x3 kernel has 9 weights.",
            width_at_most(lambda n, C, d: C * (2 * n * d + d * d)),
        ),
        misdesign(
            "counts three weights for each pair of channels of the 3x3 convolution",
            ONE_PATH,
            "A 3x3 kernel has 3·3 = 9 weights.",
            width_at_most(lambda n, C, d: C * (2 * n * d + 3 * d * d)),
        ),
        misdesign(
            "counts a bias for each output channel",
            "Has any of the three convolutions a bias?",
            "The convolutions have no bias: batch norm follows each of them, and it would subtract the bias again.",
            width_at_most(lambda n, C, d: block(n, C, d) + 2 * C * d + n),
        ),
        misdesign(
            "demands fewer weights than allowed",
            "The block has exactly `weights` weights: may it?",
            "At most `weights` weights are allowed, so exactly as many are allowed too.",
            width_at_most(block, strictly=True),
        ),
        misdesign(
            "returns the smallest width that has more weights",
            "Count the weights for the d that you return: are they at most `weights`?",
            "The last d that was tried has too many weights; the one before it is the answer.",
            lambda arguments: RIGHT_WIDTH(arguments) + 1,
        ),
        misdesign(
            "rounds to the nearest width",
            "Count the weights for the d that you return: are they at most `weights`?",
            "At most `weights` weights are allowed, so the solution of the equation is rounded down.",
            lambda arguments: round(width_of_equation(arguments)),
        ),
        misdesign(
            "returns at least 1",
            "One path of one channel has more weights than allowed: what is the answer?",
            "If even d = 1 has too many weights, the answer is 0.",
            lambda arguments: max(1, RIGHT_WIDTH(arguments)),
        ),
        misdesign(
            "returns the channels of all paths together",
            "Is d the number of channels of one path, or of all of them?",
            "d is the width of one path; all paths together have C·d channels.",
            lambda arguments: arguments["cardinality"] * RIGHT_WIDTH(arguments),
        ),
        misdesign(
            "divides the width of a single path by the number of paths",
            "Halve d: do the weights of the 3x3 convolution of a path halve, too?",
            "The 3x3 convolution of a path has 9·d² weights, so C paths of d/C channels have fewer than one of d.",
            lambda arguments: RIGHT_WIDTH({**arguments, "cardinality": 1}) // arguments["cardinality"],
        ),
        misdesign(
            "ignores the number of paths",
            "Twice as many paths of the same width: how many weights are these?",
            "A block has C paths, and each of them has weights of its own.",
            lambda arguments: RIGHT_WIDTH({**arguments, "cardinality": 1}),
        ),
    ),
    hints=(
        ONE_PATH,
        "A block has C·(channels·d + 9·d·d + d·channels) weights. Raise d as long as the next d is still allowed.",
    ),
    afterwards=(
        "Table 2 of the ResNeXt paper is made in this way: 1x64d, 2x40d, 4x24d, 8x14d and 32x4d have about 70,000 "
        "weights each, and the error falls with the cardinality. `npresnext cardinality` prints the table."
    ),
)
