"""How much a network needs a group: its loss without it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from ..._support.typing import Array, NumPyArray
from ...backend import array_module
from ...nn import Conv2d, CrossEntropyLoss, Module, no_grad
from ...nn.module import calls_through


def knockouts(
    model: Module, convs: Mapping[str, Conv2d], x: Array, target: NumPyArray, batches: Collection[slice]
) -> dict[str, NumPyArray]:
    """Return, for each convolution, by how much the mean loss changes if one of its groups is knocked out.

    The output channels of the group are set to 0, as if all its weights and biases were 0. (Morcos et al. 2018, "On the
    importance of single directions for generalization", arXiv:1803.06959, set single channels to 0,
    after the rectifier.) Each group takes a forward pass of its own.

    Parameters
    ----------
    model : Module
        In evaluation mode.
    convs : mapping of str to Conv2d
        Layers of the model by name.
    x : array (N, C, H, W)
    target : array of integers (N,)
    batches : collection of slice
        How to cut the examples.

    Returns
    -------
    dict of str to array (G,)
        Changes of the mean cross-entropy, in nats; above 0 if the network needs the group.

    Examples
    --------
    >>> from npresnext import nn
    >>> model = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2, bias=False, dtype="float64"), nn.Flatten())
    >>> model[0].weight.data[...] = 3.0                            # the logits are 3·x
    >>> x = np.array([1.0, 0.0]).reshape(1, 2, 1, 1)
    >>> changes = knockouts(model, {"0": model[0]}, x, np.array([0]), [slice(0, 1)])
    >>> changes["0"].round(2)                                      # log(1 + e^0) - log(1 + e^-3), and nothing
    array([0.64, 0.  ])
    """
    whole = _mean_loss(model, x, target, batches)
    return {
        name: np.array([_loss_without(conv, group, model, x, target, batches) - whole for group in range(conv.groups)])
        for name, conv in convs.items()
    }


def _loss_without(
    conv: Conv2d, group: int, model: Module, x: Array, target: NumPyArray, batches: Collection[slice]
) -> float:
    """Return the mean loss while the output channels of one group are 0."""
    others = np.repeat(np.arange(conv.groups) != group, conv.out_channels // conv.groups)  # (C_out,)

    def visit(module: Module, *inputs: Array) -> Array:
        output = module.forward(*inputs)
        if module is not conv:
            return output
        xp = array_module(output=output)
        return xp.where(xp.asarray(others[:, None, None]), output, xp.zeros_like(output))

    with calls_through(visit):
        return _mean_loss(model, x, target, batches)


def _mean_loss(model: Module, x: Array, target: NumPyArray, batches: Collection[slice]) -> float:
    with no_grad():
        losses = [float(CrossEntropyLoss(reduction="sum")(model(x[part, ...]), target[part])) for part in batches]
    return math.fsum(losses) / len(target)
