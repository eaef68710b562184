"""Weight gradients of single examples, added up batch by batch within bounded memory."""

from __future__ import annotations

import math

import numpy as np

from ..._support.integers import chunks
from ..._support.memory import allocating
from ..._support.typing import Array, NumPyArray
from ...nn import Conv2d
from .classes import mean_cosine
from .noise import example_gradients, signal_to_noise_of_sums

BYTES_AT_ONCE = 2**26  # of the gradients of single examples


class GradientSums:
    """Sums over examples of the weight gradients of one convolution, and of their squares.

    Parameters
    ----------
    conv : Conv2d
    classes : int
        K, the number of classes whose gradients are kept apart. Their sums take K times the memory of the weight in
        float64.
    """

    def __init__(self, conv: Conv2d, classes: int) -> None:
        self.conv = conv
        shape = (classes, conv.groups, math.prod(conv.weight.shape) // conv.groups)
        with allocating("the sum of gradients of each class", shape, np.dtype("float64")):
            self.of_classes = np.zeros(shape)  # (K, G, m)
        self.of_squares = np.zeros(conv.groups)  # (G,)

    def add(self, grad_output: Array, x: Array, classes: NumPyArray) -> None:
        """Add the examples of one batch.

        Parameters
        ----------
        grad_output : array (N, C_out, oh, ow)
            Gradient of the sum of the losses.
        x : array (N, C_in, H, W)
        classes : array of integers (N,)
            From 0 to K − 1.
        """
        geometry = self.conv.geometry(tuple(x.shape))
        bytes_of_one = 8 * math.prod(self.conv.weight.shape)
        for part in chunks(len(classes), max(1, BYTES_AT_ONCE // max(bytes_of_one, 1))):
            one_hot = classes[part] == np.arange(len(self.of_classes))[:, None]  # (K, n)
            grads = example_gradients(grad_output[part, ...], x[part, ...], geometry).reshape(
                one_hot.shape[1], *self.of_classes.shape[1:]
            )  # (n, G, m)
            self.of_squares += np.einsum("ngm,ngm->g", grads, grads)
            self.of_classes += np.tensordot(one_hot.astype(np.float64), grads, axes=1)

    def statistics(self, examples: int) -> dict[str, NumPyArray]:
        """Return `l2`, `snr` and `class_cosine` of each group (G,), for this number of examples."""
        square_of_sum = np.sum(self.of_classes.sum(axis=0) ** 2, axis=-1)  # (G,)
        return {
            "l2": np.sqrt(square_of_sum) / examples,
            "snr": signal_to_noise_of_sums(square_of_sum, self.of_squares, examples),
            "class_cosine": mean_cosine(self.of_classes),
        }
