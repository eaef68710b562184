"""The exercise on two forms of a block: weights of paths, put together into the weights of a grouped convolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._support.typing import NumPyArray as Array
from ..exercise import Arguments, Exercise, Results, Wrong
from ..sizes import SizeCases, Sizes

SPAN = 9


def right(arguments: Arguments) -> Results:
    """Return the weights of form (c) (arXiv:1611.05431, figure 3)."""
    first, second, third = arguments["first"], arguments["second"], arguments["third"]
    C, d, C_in = first.shape
    joined = np.concatenate(list(third), axis=1)  # (C_out, C·d)
    return {
        "first_layer": np.concatenate(list(first))[:, :, None, None],  # (C·d, C_in, 1, 1)
        "second_layer": np.concatenate(list(second)),  # (C·d, d, k, k)
        "third_layer": joined[:, :, None, None],  # (C_out, C·d, 1, 1)
    }


def wrong(result: str, name: str, question: str, explanation: str, compute: Callable[[Array], Array]) -> Wrong:
    """Return a mistake in one of the layers, computed from the weights of its paths."""
    paths = result.removesuffix("_layer")
    return Wrong(name, result, question, explanation, lambda arguments: compute(arguments[paths]))


def block_diagonal(second: Array) -> Array:
    """Return the dense weight that computes the same as the grouped one: (C·d, C·d, k, k)."""
    C, d, _, k, _ = second.shape
    dense = np.zeros((C, d, C, d, k, k))
    for p in range(C):
        dense[p, :, p] = second[p]
    return dense.reshape(C * d, C * d, k, k)


ORDER = "Two paths of two channels: which channels of the second layer belong to path 1?"
ORDER_IS = "Path p has the channels p·d to (p+1)·d - 1: they are consecutive, not dealt in turn."
SUM = "The outputs of all paths are added. Which channels of the second layer does output channel 0 sum over?"
SUM_IS = "Adding the outputs of 1x1 convolutions is one 1x1 convolution over all channels side by side."
INSIDE = "Which axis of second[p] is the output channel?"
INSIDE_IS = "A weight has its output channel first, then the input channel."

MISTAKES = (
    wrong(
        "first_layer",
        "deals the channels of the first layer to the paths in turn",
        ORDER,
        ORDER_IS,
        lambda a: a.swapaxes(0, 1).reshape(-1, a.shape[2], 1, 1),
    ),
    wrong(
        "first_layer",
        "exchanges input and output channels of the first layer",
        "Which axis of first[p] is the output channel?",
        INSIDE_IS,
        lambda a: a.swapaxes(1, 2).reshape(-1, a.shape[2], 1, 1),
    ),
    wrong(
        "first_layer",
        "puts the first path in place of every path",
        "Change first[1] alone: what moves?",
        "Each path has weights of its own.",
        lambda a: np.concatenate([a[0]] * len(a))[:, :, None, None],
    ),
    wrong(
        "first_layer",
        "reverses the paths of the first layer",
        ORDER,
        "Path 0 comes first.",
        lambda a: a[::-1].reshape(-1, a.shape[2], 1, 1),
    ),
    wrong(
        "first_layer",
        "adds the paths of the first layer",
        "How many channels does the first layer make?",
        "The paths are put side by side; only the outputs of the third layer are added.",
        lambda a: a.sum(0)[:, :, None, None],
    ),
    wrong(
        "first_layer",
        "leaves out the kernel axes of the first layer",
        "Which shape has the weight of a 1x1 convolution?",
        "The weight of a 1x1 convolution has the shape (C_out, C_in, 1, 1).",
        lambda a: a.reshape(-1, a.shape[2]),
    ),
    wrong(
        "second_layer",
        "deals the channels of the second layer to the paths in turn",
        ORDER,
        ORDER_IS,
        lambda a: a.swapaxes(0, 1).reshape(-1, *a.shape[2:]),
    ),
    wrong(
        "second_layer",
        "exchanges input and output channels of the second layer",
        INSIDE,
        INSIDE_IS,
        lambda a: a.swapaxes(1, 2).reshape(-1, *a.shape[2:]),
    ),
    wrong(
        "second_layer",
        "makes a dense second layer with zeros outside its blocks",
        "How many input channels has a filter of a convolution with C groups?",
        "A grouped weight stores the blocks alone: (C·d, d, k, k).",
        block_diagonal,
    ),
    wrong(
        "second_layer",
        "puts the paths of the second layer side by side along the input channels",
        "How many input channels has a filter of a convolution with C groups?",
        "The paths follow each other along the output channels.",
        lambda a: np.concatenate(list(a), axis=1),
    ),
    wrong(
        "second_layer",
        "reverses the paths of the second layer",
        ORDER,
        "Path 0 comes first.",
        lambda a: a[::-1].reshape(-1, *a.shape[2:]),
    ),
    wrong(
        "second_layer",
        "rotates the kernels",
        "Does a change of form change any kernel?",
        "The kernels stay as they are; only the order of channels is at stake.",
        lambda a: a[..., ::-1, ::-1].reshape(-1, *a.shape[2:]),
    ),
    wrong(
        "third_layer",
        "reshapes (C, C_out, d) without exchanging its first two axes",
        SUM,
        f"{SUM_IS} So the output channel has to come first: (C_out, C, d), then a reshape.",
        lambda a: a.reshape(a.shape[1], -1, 1, 1),
    ),
    wrong(
        "third_layer",
        "puts the paths of the third layer below each other along the output channels",
        SUM,
        f"{SUM_IS} Below each other, they would make C·C_out channels.",
        lambda a: a.reshape(-1, a.shape[2], 1, 1),
    ),
    wrong(
        "third_layer",
        "deals the channels of the third layer to the paths in turn",
        ORDER,
        ORDER_IS,
        lambda a: a.transpose(1, 2, 0).reshape(a.shape[1], -1, 1, 1),
    ),
    wrong(
        "third_layer",
        "adds the weights of the paths of the third layer",
        "Two paths with different inputs: is the sum of their outputs the output of the summed weights?",
        "The outputs are added, not the weights: each path multiplies channels of its own.",
        lambda a: a.sum(0)[:, :, None, None],
    ),
    wrong(
        "third_layer",
        "averages the paths of the third layer",
        "Is the output of the block the sum of its paths or their mean?",
        "The paths are added: no weight is divided by C.",
        lambda a: a.swapaxes(0, 1).reshape(a.shape[1], -1, 1, 1) / len(a),
    ),
    wrong(
        "third_layer",
        "reverses the paths of the third layer",
        ORDER,
        "Path 0 comes first.",
        lambda a: a[::-1].swapaxes(0, 1).reshape(a.shape[1], -1, 1, 1),
    ),
)


def arguments_from(case: Sizes) -> Arguments:
    """Return random integers of the sizes of a case."""
    rng = np.random.default_rng(case["seed"])
    C, d, k = case["paths"], case["width"], case["kernel"]
    shapes = {"first": (C, d, case["in_channels"]), "second": (C, d, d, k, k), "third": (C, case["out_channels"], d)}
    return {name: rng.integers(-SPAN, SPAN + 1, shape).astype(float) for name, shape in shapes.items()}


BLOCK_FORMS = Exercise(
    name="block_forms",
    title="paths as one grouped convolution",
    function="merge_paths",
    parameters=("first", "second", "third"),
    results={
        "first_layer": "(C·d, C_in, 1, 1)",
        "second_layer": "(C·d, d, k, k)",
        "third_layer": "(C_out, C·d, 1, 1)",
    },
    cases=(
        cases := SizeCases(
            {"paths": (1, 4), "width": (1, 4), "in_channels": (1, 5), "out_channels": (1, 5), "kernel": (1, 3)},
            fixed={"seed": (0, 2**16 - 1)},
        )
    ).draw,
    smaller=cases.smaller,
    arguments=arguments_from,
    right=right,
    mistakes=MISTAKES,
    hints=(
        "Which channels of the second layer belong to path p? Write the weights of two paths of two channels down.",
        "Side by side along the output channels is np.concatenate(list(first), axis=0), which is a reshape here. The "
        "third layer joins its input channels: np.concatenate(list(third), axis=1).",
    ),
    afterwards=(
        "These are the forms (a) and (c) of figure 3 of the ResNeXt paper. npresnext.paper.convert_state converts "
        "whole networks in this way, with their batch norms and gradients."
    ),
)
