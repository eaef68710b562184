"""Cases of convolutions for the exercises, drawn by the conformance kit within what an exercise asks for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..testing.cases import ConvCase
from ..testing.drawn_cases import draw_case
from ..testing.mistakes import MISTAKES, Call, Mistake, result_of
from ..testing.shrinking import smaller_cases
from ..testing.supports import as_supports, keep_supported
from .exercise import Arguments, Combine, Results, Wrong, own_mistake

DRAWN = 60
MOST_CHANNELS = 4  # of drawn cases without groups
# No exercise asks for these; the kit has them for kernels that are used in earnest.
LEFT_OUT = {"empty_batch": False, "zero_channels": False, "negative_padding": False, "layouts": False}
# Sizes on both sides of common blocks, and some where one argument alone is more than the simplest.
SPECIAL = (
    *(ConvCase(n, 2, 2, 1, (3, 4), (2, 2), has_bias=True) for n in (6, 12, 24, 40)),
    *(ConvCase(1, 2 * n, 4, 2, (3, 3), (2, 2), has_bias=True) for n in (6, 12, 24, 36)),
    *(ConvCase(1, 4, 2 * n, 2, (3, 3), (2, 2), has_bias=True) for n in (3, 6, 12, 24)),
    *(ConvCase(1, 2, 2, 1, (3, n), (2, 2), has_bias=True) for n in (7, 13, 25, 41)),
    ConvCase(2, 3, 2, 1, (4, 5), (3, 2), has_bias=True),
    ConvCase(2, 2, 3, 1, (4, 8), (2, 5), padding=((1, 0), (2, 1))),
    ConvCase(2, 2, 2, 1, (5, 6), (2, 3), stride=(2, 1), padding=((0, 1), (1, 0))),
    ConvCase(2, 2, 2, 1, (5, 6), (3, 2), stride=(1, 2), dilation=(1, 2)),
    ConvCase(2, 2, 2, 1, (6, 6), (1, 1), stride=(3, 2)),
    ConvCase(2, 6, 9, 3, (4, 5), (2, 3), padding=((1, 1), (0, 1)), has_bias=True),
    ConvCase(2, 4, 8, 4, (3, 4), (2, 2), has_bias=True),
)


class ConvCases:
    """The cases of one exercise: those of the conformance kit without what the exercise does not ask for.

    >>> cases = ConvCases("groups", "bias").draw(random.Random(0))
    >>> len(cases), {case.groups for case in cases}
    (83, {1})
    """

    def __init__(self, *without: str) -> None:
        self.supports = as_supports(dict.fromkeys(without, False) | LEFT_OUT)

    def draw(self, rng: random.Random) -> list[ConvCase]:
        """Return drawn and special cases, those with the fewest products first."""
        drawn = [self._limited(draw_case(rng.randint, self.supports)) for _ in range(DRAWN)]
        special = [replace(keep_supported(case, self.supports), seed=rng.randrange(2**16)) for case in SPECIAL]
        return sorted([*drawn, *special], key=size_of)

    def _limited(self, case: ConvCase) -> ConvCase:
        """Return a case with few channels; where there are groups, their number limits them."""
        if self.supports["groups"]:
            return case
        ins, outs = min(case.in_channels, MOST_CHANNELS), min(case.out_channels, MOST_CHANNELS - 1)
        return replace(case, in_channels=ins, out_channels=outs)

    def smaller(self, case: ConvCase) -> Iterator[ConvCase]:
        """Yield cases with one number nearer to its simplest."""
        return smaller_cases(case, self.supports)


def size_of(case: ConvCase) -> int:
    """Return the number of products and of pixels: what makes a case long to read."""
    return case.inner["y"] * math.prod(case.output_shape) + math.prod(case.x_shape)


def arguments_of(case: ConvCase, parameters: tuple[str, ...]) -> Arguments:
    """Return the arguments of a function with these parameters."""
    every: Arguments = {
        **case.operands(),
        **case.kwargs,
        "x_shape": case.x_shape,
        "weight_shape": case.weight_shape,
        "kernel": case.kernel,
    }
    return {name: every[name] for name in parameters}


def call_of(arguments: Arguments) -> Call:
    """Return the convolution that a student's function is called for; operands that it does not get are zeros."""
    grad_output, bias = arguments.get("grad_output"), arguments.get("bias")
    images = len(grad_output) if grad_output is not None else 1
    outs = grad_output.shape[1] if grad_output is not None else 1
    x, weight = arguments.get("x"), arguments.get("weight")
    if x is None:
        x = np.zeros(arguments.get("x_shape", (images, 1, 1, 1)))
    if weight is None:
        weight = np.zeros(arguments.get("weight_shape", (outs, 1, 1, 1)))
    if grad_output is None:
        grad_output = np.zeros((len(x), len(weight), 1, 1))
    window = {name: arguments[name] for name in ("stride", "padding", "dilation", "groups") if name in arguments}
    return Call(x, weight, bias, grad_output, **window)


def catalogue(
    results: tuple[str, ...],
    combine: Combine,
    of: Callable[[str], str] = lambda result: result,
    wanted: Callable[[Mistake], bool] = lambda mistake: True,
    reword: Callable[[str], str] = lambda text: text,
) -> tuple[Wrong, ...]:
    """Return the mistakes of the kit's catalogue that change these results of an exercise.

    Parameters
    ----------
    results : tuple of str
        Names of the exercise's results.
    combine : callable
        As for ``Exercise``.
    of : callable
        The catalogue's name (y, dx, dw, db) of a result of the exercise.
    wanted : callable
        Whether the exercise can be solved with this mistake.
    reword : callable
        Changes the texts, where the exercise has other names for its arrays.
    """
    return tuple(
        Wrong(
            reword(mistake.name),
            result,
            reword(mistake.question),
            reword(mistake.explanation),
            lambda arguments, made=(mistake,), result=result: combine(made, result, arguments),  # type: ignore[misc]
            mistake,
        )
        for result in results
        for mistake in MISTAKES
        if of(result) in mistake.results and wanted(mistake)
    )


def padding_left(combine: Combine, result: str) -> tuple[Wrong, Wrong]:
    """Return two mistakes with the padding that is to be cut off an image."""

    def uncut(arguments: Arguments) -> Arguments:
        (top, bottom), (left, right) = arguments["padding"]
        N, C, H, W = arguments["x_shape"]
        return {**arguments, "x_shape": (N, C, top + H + bottom, left + W + right), "padding": ((0, 0), (0, 0))}

    def cut_at_minus_0(arguments: Arguments, image: Array) -> Array:
        (_, bottom), (_, right) = arguments["padding"]
        return image[:, :, : None if bottom else 0, : None if right else 0]  # nothing is left without padding

    return (
        own_mistake(
            combine,
            result,
            "cuts the padding off by [top:-bottom], which leaves nothing where the padding is 0",
            "What is np.arange(3)[0:-0]?",
            "-0 is 0, so the slice ends where it begins. Use [top : top + H] and [left : left + W].",
            after=cut_at_minus_0,
        ),
        own_mistake(
            combine,
            result,
            "does not cut the padding off",
            f"Which shape does {result} have where there is padding?",
            f"{result} has the shape of the image: take the rows top to top + H and the columns left to left + W.",
            before=uncut,
        ),
    )


def combine_convolution(made: tuple[Mistake, ...], result: str, arguments: Arguments) -> Array:
    """Return y, dx, dw or db of a convolution with these mistakes."""
    return result_of(made, result, call_of(arguments))


def right_convolution(results: tuple[str, ...]) -> Callable[[Arguments], Results]:
    """Return the function that computes these results of a convolution by the definition."""

    def right(arguments: Arguments) -> Mapping[str, Any]:
        call = call_of(arguments)
        return {result: call.result(result) for result in results}

    return right
