"""Signal and noise: how far the gradients of single examples agree."""

from __future__ import annotations

import numpy as np

from ..._support.typing import Array, NumPyArray
from ...backend import array_module, to_numpy
from ...errors import ShapeError
from ...functional import conv2d_weight_grad
from ...geometry import ConvGeometry
from .features import as_samples


def signal_to_noise(gradients: NumPyArray) -> float:
    """Return how large the mean gradient is, compared with the differences between examples.

    With the gradients g_n of N examples and their mean ḡ::

        noise  = Σ_n ‖g_n − ḡ‖² / (N − 1)                 the trace of the covariance of one example's gradient
        signal = ‖ḡ‖² − noise/N                           the mean of N examples has noise too: this takes it off
        signal_to_noise = signal / noise

    It has no unit. If it is below 0, these N examples show no signal. Its reciprocal is the *simple noise scale*, in
    examples: the batch size at which signal and noise are equal. (McCandlish et al. 2018, "An empirical model of
    large-batch training", arXiv:1812.06162, equation 2.9 and appendix A.1.)

    Parameters
    ----------
    gradients : array (N, m)
        The gradient of each of at least two examples.

    Returns
    -------
    float
        Infinity if all gradients are equal, NaN if all are 0.

    Raises
    ------
    ValueError, TypeError
        `gradients` is not an array of real numbers (N, m), or N is below 2.

    Examples
    --------
    >>> signal_to_noise(np.array([[3.0, 1.0], [3.0, -1.0]]))       # noise 2, signal 9 − 2/2
    4.0
    """
    gradients = as_samples(gradients, "gradients")
    if gradients.ndim != 2 or len(gradients) < 2:
        raise ShapeError(f"gradients has shape {gradients.shape}: expected (N, m) with N of at least 2")
    squares = np.sum(gradients**2)
    return float(signal_to_noise_of_sums(np.sum(gradients.sum(axis=0) ** 2), squares, len(gradients)))


def signal_to_noise_of_sums(square_of_sum: NumPyArray, sum_of_squares: NumPyArray, examples: int) -> NumPyArray:
    """Return the same from ``‖Σ g_n‖²`` and ``Σ ‖g_n‖²``, which can be added up piece by piece.

    Parameters
    ----------
    square_of_sum, sum_of_squares : array (...)
    examples : int
        N, at least 2.

    Returns
    -------
    array (...)

    Examples
    --------
    >>> float(signal_to_noise_of_sums(np.array(36.0), np.array(20.0), 2))
    4.0
    """
    square_of_mean = square_of_sum / examples**2
    noise = (sum_of_squares - examples * square_of_mean) / (examples - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (square_of_mean - noise / examples) / noise


def example_gradients(grad_output: Array, x: Array, geometry: ConvGeometry) -> NumPyArray:
    """Return the weight gradient of each example, from one convolution with N·G groups.

    The channels of all N examples become the channels of one image. What a convolution with G groups adds up over the
    examples, a convolution with N·G groups keeps apart.

    Parameters
    ----------
    grad_output : array (N, C_out, oh, ow)
    x : array (N, C_in, H, W)
    geometry : ConvGeometry
        Of the convolution of these images.

    Returns
    -------
    NumPy array (N, C_out, C_in/G, kh, kw) of float64

    Examples
    --------
    >>> x, grad_output = np.ones((2, 1, 2, 2)), np.array([1.0, 5.0]).reshape(2, 1, 1, 1)
    >>> example_gradients(grad_output, x, ConvGeometry.of_conv(x.shape, (1, 1, 2, 2)))[:, 0, 0]
    array([[[1., 1.],
            [1., 1.]],
    <BLANKLINE>
           [[5., 5.],
            [5., 5.]]])
    """
    xp = array_module(grad_output=grad_output, x=x)
    examples = x.shape[0]
    outputs, *kernel = geometry.weight_shape
    wide = xp.reshape(x, (1, examples * x.shape[1], *x.shape[2:]))  # (1, N·C_in, H, W)
    wide_grad = xp.reshape(grad_output, (1, examples * outputs, *grad_output.shape[2:]))  # (1, N·C_out, oh, ow)
    grads = conv2d_weight_grad(
        wide_grad,
        wide,
        (examples * outputs, *kernel),
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=examples * geometry.groups,
    )
    return to_numpy(grads).astype(np.float64).reshape(examples, *geometry.weight_shape)
