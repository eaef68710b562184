"""The exercise on the backward pass of batch normalisation, with mistakes of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..exercise import Arguments, Exercise, Results, Wrong
from ..sizes import SizeCases, Sizes

AXES = (0, 2, 3)
EPSILONS = (0.25, 0.5, 1.0)  # large, so that leaving it out shows


class Parts(NamedTuple):
    """What every gradient is made of; one number for each channel is (1, C, 1, 1)."""

    grad: Array  # grad_output, (N, C, H, W)
    x: Array  # (N, C, H, W)
    weight: Array  # (1, C, 1, 1)
    n: int  # number of values of one channel
    centred: Array  # (N, C, H, W)
    variance: Array  # plus eps, (1, C, 1, 1)
    normalised: Array  # (N, C, H, W)
    dbias: Array  # (1, C, 1, 1)
    dweight: Array  # (1, C, 1, 1)

    @property
    def scale(self) -> Array:
        """weight / sqrt(var + eps)."""
        return self.weight / np.sqrt(self.variance)

    def dx(self) -> Array:
        """The gradient of x, (N, C, H, W)."""
        return self.scale * (self.grad - self.dbias / self.n - self.normalised * self.dweight / self.n)


def parts(
    arguments: Arguments,
    axes: tuple[int, ...] = AXES,
    eps: float | None = None,
    ddof: int = 0,
    behind_the_root: bool = False,
) -> Parts:
    """Return the parts for statistics over other axes, with another eps or place of it, or n - ddof in the variance."""
    grad, x = arguments["grad_output"], arguments["x"]
    n = int(np.prod([x.shape[axis] for axis in axes]))
    centred = x - x.mean(axis=axes, keepdims=True)
    eps = arguments["eps"] if eps is None else eps
    variance = (centred**2).sum(axis=axes, keepdims=True) / max(1, n - ddof)
    variance = (np.sqrt(variance) + eps) ** 2 if behind_the_root else variance + eps
    normalised = centred / np.sqrt(variance)
    sums = {"axis": axes, "keepdims": True}
    dbias, dweight = grad.sum(**sums), (grad * normalised).sum(**sums)
    return Parts(grad, x, arguments["weight"].reshape(1, -1, 1, 1), n, centred, variance, normalised, dbias, dweight)


def right(arguments: Arguments) -> Results:
    """Return the gradients (Ioffe and Szegedy, arXiv:1502.03167, section 3)."""
    p = parts(arguments)
    return {"dx": p.dx(), "dweight": p.dweight.ravel(), "dbias": p.dbias.ravel()}


def wrong(
    result: str, name: str, question: str, explanation: str, compute: Callable[[Parts], Array], **other: Any
) -> Wrong:
    """Return a mistake that computes `result` from the parts, or from those of ``other`` statistics."""
    return Wrong(name, result, question, explanation, lambda arguments: compute(parts(arguments, **other)))


TERMS = "Add 1 to every x of a channel: by how much does y change, and what does that say about the sum of dx?"
SPREAD = "Multiply the centred x of a channel by 2: by how much does y change, for a small eps?"
SHAPE = "Which numbers of grad_output belong to one channel, and how many gradients has a channel?"
STATISTICS = "Which axes of x share one mean?"

MISTAKES = (
    wrong(
        "dx",
        "treats mean and variance as constants",
        TERMS,
        "In training, mean and variance depend on x, so dx has two terms more; without them it is evaluation mode.",
        lambda p: p.scale * p.grad,
    ),
    wrong(
        "dx",
        "treats the variance as a constant",
        SPREAD,
        "The variance depends on x too: subtract normalised · dweight / n.",
        lambda p: p.scale * (p.grad - p.dbias / p.n),
    ),
    wrong(
        "dx",
        "treats the mean as a constant",
        TERMS,
        "The mean depends on x too: subtract dbias / n.",
        lambda p: p.scale * (p.grad - p.normalised * p.dweight / p.n),
    ),
    wrong(
        "dx",
        "adds the terms of mean and variance",
        TERMS,
        "Both terms are subtracted: dx sums to 0 over a channel.",
        lambda p: p.scale * (p.grad + p.dbias / p.n + p.normalised * p.dweight / p.n),
    ),
    wrong(
        "dx",
        "does not divide the sums by n",
        TERMS,
        "The terms are means over the channel: dbias / n and normalised · dweight / n.",
        lambda p: p.scale * (p.grad - p.dbias - p.normalised * p.dweight),
    ),
    wrong(
        "dx",
        "divides the sums by the number of images",
        "How many values of x does one mean average?",
        "n is N·H·W, the number of values of one channel, not N.",
        lambda p: p.scale * (p.grad - (p.dbias + p.normalised * p.dweight) / len(p.x)),
    ),
    wrong(
        "dx",
        "forgets the weight",
        "Double the weight: what happens to y, and to dx?",
        "y = weight · normalised + bias, so dx has the factor weight.",
        lambda p: p.dx() / np.where(p.weight == 0, np.nan, p.weight),
    ),
    wrong(
        "dx",
        "divides by the variance and not by its square root",
        SPREAD,
        "The scale is weight / sqrt(var + eps).",
        lambda p: p.dx() / np.sqrt(p.variance),
    ),
    wrong(
        "dx",
        "forgets to divide by the standard deviation",
        SPREAD,
        "The scale is weight / sqrt(var + eps).",
        lambda p: p.dx() * np.sqrt(p.variance),
    ),
    wrong(
        "dx",
        "uses the centred x for the normalised one",
        SPREAD,
        "The last term has the factor normalised = (x - mean) / sqrt(var + eps).",
        lambda p: p.scale * (p.grad - p.dbias / p.n - p.centred * p.dweight / p.n),
    ),
    wrong(
        "dx",
        "uses x for the normalised x",
        TERMS,
        "The last term has the factor normalised = (x - mean) / sqrt(var + eps).",
        lambda p: p.scale * (p.grad - p.dbias / p.n - p.x * p.dweight / p.n),
    ),
    wrong(
        "dx",
        "multiplies the terms of mean and variance by the weight once more",
        "Double the weight: which terms of dx double, and does any become four times as large?",
        "The weight is one factor of the whole dx.",
        lambda p: p.scale * (p.grad - p.weight * (p.dbias + p.normalised * p.dweight) / p.n),
    ),
    wrong(
        "dx",
        "returns the negative gradient",
        "Change one x a little: does the sum of grad_output · y move as dx says?",
        "The step against the gradient belongs to the optimizer.",
        lambda p: -p.dx(),
    ),
    *(
        wrong(result, name, question, explanation, compute, **other)
        for name, question, explanation, other in (
            (
                "forgets eps",
                "A channel whose x are all equal: what is its scale?",
                "eps is added to the variance before the square root.",
                {"eps": 0.0},
            ),
            (
                "adds eps to the standard deviation",
                "Where is eps in the formula of the task: under the root, or behind it?",
                "eps is added to the variance before the square root.",
                {"behind_the_root": True},
            ),
            (
                "divides the variance by n - 1",
                "Two values, 1 and -1, in one channel: what is their variance here?",
                "Batch norm normalises with the mean of the squares, divided by n; only the running variance uses "
                "n - 1.",
                {"ddof": 1},
            ),
            (
                "normalises over the batch alone",
                STATISTICS,
                "A channel has one mean, over images, rows and columns: axes (0, 2, 3).",
                {"axes": (0,)},
            ),
            (
                "normalises each image for itself",
                STATISTICS,
                "A channel has one mean, over images, rows and columns: axes (0, 2, 3). Instance norm is per image.",
                {"axes": (2, 3)},
            ),
            (
                "normalises over the channels too",
                STATISTICS,
                "A channel has one mean of its own: axes (0, 2, 3). Layer norm takes the channels together.",
                {"axes": (1, 2, 3)},
            ),
        )
        for result, compute in (
            ("dx", lambda p: p.dx()),
            ("dweight", lambda p: (p.grad * p.normalised).sum(axis=AXES)),
        )
    ),
    wrong(
        "dweight",
        "uses x and not the normalised one",
        "weight multiplies a number in y: which one?",
        "y = weight · normalised + bias, so dweight sums grad_output · normalised.",
        lambda p: (p.grad * p.x).sum(axis=AXES),
    ),
    wrong(
        "dweight",
        "uses the centred x and not the normalised one",
        "weight multiplies a number in y: which one?",
        "y = weight · normalised + bias, so dweight sums grad_output · normalised.",
        lambda p: (p.grad * p.centred).sum(axis=AXES),
    ),
    wrong(
        "dweight",
        "multiplies dweight by the weight",
        "Double the weight: does dweight change?",
        "y is linear in the weight, so its gradient does not contain it.",
        lambda p: (p.dweight * p.weight).ravel(),
    ),
    wrong(
        "dweight",
        "averages dweight over the values of the channel",
        "Change the weight by 1: by how much does the sum of grad_output · y change?",
        "The gradient is a sum; only the loss may average.",
        lambda p: (p.dweight / p.n).ravel(),
    ),
    wrong(
        "dweight",
        "does not sum over rows and columns",
        SHAPE,
        "All values of a channel share one weight: sum over images, rows and columns.",
        lambda p: (p.grad * p.normalised).sum(axis=0),
    ),
    wrong(
        "dweight",
        "does not sum over the images",
        SHAPE,
        "All values of a channel share one weight: sum over images, rows and columns.",
        lambda p: (p.grad * p.normalised).sum(axis=(2, 3)),
    ),
    wrong(
        "dweight",
        "leaves the normalised x out",
        "weight multiplies a number in y: which one?",
        "y = weight · normalised + bias: dbias sums grad_output, dweight sums grad_output · normalised.",
        lambda p: p.dbias.ravel(),
    ),
    wrong(
        "dbias",
        "averages dbias over the values of the channel",
        "Add 1 to the bias: by how much does the sum of grad_output · y change?",
        "The gradient is a sum; only the loss may average.",
        lambda p: (p.dbias / p.n).ravel(),
    ),
    wrong(
        "dbias",
        "does not sum over rows and columns",
        SHAPE,
        "All values of a channel share one bias: sum over images, rows and columns.",
        lambda p: p.grad.sum(axis=0),
    ),
    wrong(
        "dbias",
        "does not sum over the images",
        SHAPE,
        "All values of a channel share one bias: sum over images, rows and columns.",
        lambda p: p.grad.sum(axis=(2, 3)),
    ),
    wrong(
        "dbias",
        "adds dbias over all channels",
        SHAPE,
        "Each channel has a bias of its own.",
        lambda p: np.full(p.x.shape[1], p.grad.sum()),
    ),
    wrong(
        "dbias",
        "multiplies dbias by the weight",
        "Double the weight: does dbias change?",
        "The bias is added after the product with the weight.",
        lambda p: (p.dbias * p.weight).ravel(),
    ),
)


def arguments_from(case: Sizes) -> Arguments:
    """Return random integers of the sizes of a case."""
    rng = np.random.default_rng(case["seed"])
    shape = case["N"], case["C"], case["H"], case["W"]
    return {
        "grad_output": rng.integers(-4, 5, shape).astype(float),
        "x": rng.integers(-4, 5, shape).astype(float),
        "weight": rng.choice([-3.0, -2.0, 2.0, 3.0], case["C"]),
        "eps": EPSILONS[case["seed"] % len(EPSILONS)],
    }


BATCH_NORM = Exercise(
    name="batch_norm",
    title="the backward pass of batch normalisation",
    function="batch_norm_backward",
    parameters=("grad_output", "x", "weight", "eps"),
    results={"dx": "(N, C, H, W)", "dweight": "(C,)", "dbias": "(C,)"},
    cases=(
        cases := SizeCases(
            {"N": (1, 4), "C": (1, 3), "H": (1, 3), "W": (1, 3)},
            lambda case: case["N"] * case["H"] * case["W"] > 1,
            fixed={"seed": (0, 2**16 - 1)},
        )
    ).draw,
    smaller=cases.smaller,
    arguments=arguments_from,
    right=right,
    mistakes=MISTAKES,
    hints=(
        "Write the normalised x as (x - mean) · inverse, and apply the product rule: which of the two factors depend "
        "on x?",
        "dx = weight · inverse · (grad_output - mean of grad_output - normalised · mean of (grad_output · "
        "normalised)), each mean over the channel.",
    ),
    afterwards=(
        "dx sums to 0 over each channel, and so does dx · normalised, up to eps. So the scale of the weights in front "
        "of a batch norm does not change y, and a raw gradient norm there depends on that scale: "
        "docs/gradient-norms.md."
    ),
)
