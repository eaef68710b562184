"""What the other operations of a network are, one number at a time (the convolution is in ``reference.py``).

Every function loops over single numbers and follows the formula in its docstring. Like ``reference.py`` it is an
*oracle*: the tests compare the lesson and the engines with it. Therefore it imports nothing of this package, checks no
argument, and makes no attempt to be fast.

The gradients follow from one rule, the chain rule: ``dx[j] = Σ_i grad_output[i] · ∂y[i]/∂x[j]``. ``grad_output``, the
*upstream gradient*, is the gradient of the loss with respect to y.

Images are (N, C, H, W). Real numbers are Python's, that is 64 bits wide, and long sums are exact (``math.fsum``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Pair = tuple[int, int]


# ---------------------------------------------------------------------------------------------------------
# Rectifier and fully connected layer


def relu(x: Array) -> Array:
    """Rectify: ``y[i] = x[i]`` where x[i] is above 0, else 0.

    >>> relu(np.array([-2, 0, 3]))
    array([0, 0, 3])
    """
    y = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        if x[i] > 0:
            y[i] = x[i]
    return y


def relu_backward(grad_output: Array, x: Array) -> Array:
    """Gradient of the rectifier: its slope is 1 above 0, and 0 elsewhere (at 0 it has none; we take 0).

    >>> relu_backward(np.array([5, 6, 7]), np.array([-2, 0, 3]))
    array([0, 0, 7])
    """
    dx = np.zeros_like(grad_output)
    for i in np.ndindex(x.shape):
        if x[i] > 0:
            dx[i] = grad_output[i]
    return dx


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Map each row of x (M, in): ``y[m, o] = bias[o] + Σ_i weight[o, i] · x[m, i]``, of shape (M, out).

    >>> linear(np.array([[1, 2]]), np.array([[3, 4], [5, 6]]), np.array([0, 100]))
    array([[ 11, 117]])
    """
    y = np.zeros((len(x), len(weight)), np.result_type(x, weight))
    for m, o in np.ndindex(y.shape):
        y[m, o] = bias[o]
        for i in range(x.shape[1]):
            y[m, o] += weight[o, i] * x[m, i]
    return y


def linear_backward(grad_output: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Gradients of x, weight and bias: every product ``weight[o, i] · x[m, i]`` gives one term of dx and of dweight.

    >>> linear_backward(np.array([[1, 2]]), np.array([[10]]), np.array([[3], [4]]))
    (array([[11]]), array([[10],
           [20]]), array([1, 2]))
    """
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    dbias = np.zeros(len(weight), grad_output.dtype)
    for m, o in np.ndindex(grad_output.shape):
        dbias[o] += grad_output[m, o]
        for i in range(x.shape[1]):
            dx[m, i] += grad_output[m, o] * weight[o, i]
            dweight[o, i] += grad_output[m, o] * x[m, i]
    return dx, dweight, dbias


# ---------------------------------------------------------------------------------------------------------
# Pooling


def pooling_windows(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair = (0, 0), dilation: Pair = (1, 1), ceil_mode: bool = False
) -> Iterator[tuple[Pair, list[Pair]]]:
    """Yield ``((p, q), pixels)``: each window of an image, and its pixels inside the image in reading order.

    >>> list(pooling_windows((2, 3), kernel=(2, 2), stride=(1, 2)))
    [((0, 0), [(0, 0), (0, 1), (1, 0), (1, 1)])]
    """
    down, across = (
        _window_starts(size[axis], kernel[axis], stride[axis], padding[axis], dilation[axis], ceil_mode)
        for axis in (0, 1)
    )
    for p, top in enumerate(down):
        for q, left in enumerate(across):
            taps = [(top + i * dilation[0], left + j * dilation[1]) for i, j in np.ndindex(*kernel)]
            yield (p, q), [(r, c) for r, c in taps if 0 <= r < size[0] and 0 <= c < size[1]]


def max_pool2d(x: Array, **window: Any) -> Array:
    """Take the maximum of each window's pixels in the image; a window without any has the maximum −∞.

    The arguments are those of :func:`pooling_windows`.

    >>> max_pool2d(np.arange(16).reshape(1, 1, 4, 4), kernel=(2, 2), stride=(2, 2))[0, 0]
    array([[ 5,  7],
           [13, 15]])
    """
    windows = list(pooling_windows(x.shape[2:], **window))
    y = np.zeros(_pooled_shape(x, windows), x.dtype)
    for n, c in np.ndindex(x.shape[:2]):
        for place, pixels in windows:
            y[n, c][place] = max((x[n, c][pixel] for pixel in pixels), default=-math.inf)
    return y


def max_pool2d_backward(grad_output: Array, x: Array, **window: Any) -> Array:
    """Gradient of the input: each window gives its gradient to its first pixel that is as large as its maximum.

    >>> max_pool2d_backward(np.array([[[[5]]]]), np.array([[[[1, 4], [4, 2]]]]), kernel=(2, 2), stride=(2, 2))[0, 0]
    array([[0, 5],
           [0, 0]])
    """
    dx = np.zeros(x.shape, grad_output.dtype)
    for n, c in np.ndindex(x.shape[:2]):
        for place, pixels in pooling_windows(x.shape[2:], **window):
            if pixels:
                largest = max(x[n, c][pixel] for pixel in pixels)
                first = next(pixel for pixel in pixels if x[n, c][pixel] == largest)
                dx[n, c][first] += grad_output[n, c][place]
    return dx


def avg_pool2d(x: Array, **window: Any) -> Array:
    """Take the average of each window's pixels in the image (PyTorch's ``count_include_pad=False``).

    >>> avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), kernel=(2, 2), stride=(1, 1))[0, 0]
    array([[1.5]])
    """
    windows = list(pooling_windows(x.shape[2:], **window))
    y = np.zeros(_pooled_shape(x, windows), x.dtype)
    for n, c in np.ndindex(x.shape[:2]):
        for place, pixels in windows:
            y[n, c][place] = math.fsum(x[n, c][pixel] for pixel in pixels) / len(pixels)
    return y


def avg_pool2d_backward(grad_output: Array, x_shape: Sequence[int], **window: Any) -> Array:
    """Gradient of the input: each window gives every one of its pixels the same share of its gradient.

    >>> avg_pool2d_backward(np.array([[[[8.0]]]]), (1, 1, 2, 2), kernel=(2, 2), stride=(2, 2))[0, 0]
    array([[2., 2.],
           [2., 2.]])
    """
    dx = np.zeros(x_shape, grad_output.dtype)
    for n, c in np.ndindex(*x_shape[:2]):
        for place, pixels in pooling_windows((x_shape[2], x_shape[3]), **window):
            for pixel in pixels:
                dx[n, c][pixel] += grad_output[n, c][place] / len(pixels)
    return dx


def _window_starts(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> list[int]:
    """Return where the windows along one axis begin, found one by one.

    A window must end inside the padding. With `ceil_mode` one more window may end outside, if the one before leaves
    pixels unread and this one begins in the image or in the padding before it.
    """
    starts, start = [], -padding
    while start + dilation * (kernel - 1) < size + padding:
        starts.append(start)
        start += stride
    last_read = start - stride + dilation * (kernel - 1)
    if ceil_mode and start < size and last_read < size + padding - 1:
        starts.append(start)
    return starts


def _pooled_shape(x: Array, windows: list[tuple[Pair, list[Pair]]]) -> tuple[int, ...]:
    """Return (N, C, oh, ow) for the windows, whose last has the largest place."""
    rows, columns = windows[-1][0]
    return (*x.shape[:2], rows + 1, columns + 1)


# ---------------------------------------------------------------------------------------------------------
# Batch normalisation


def batch_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """Normalise each channel of x (N, C, H, W): ``y = weight · (x − mean)/√(var + eps) + bias``.

    Returns y, mean (C,) and the biased variance (C,). (Ioffe and Szegedy, arXiv:1502.03167, algorithm 1.)

    >>> batch_norm(np.array([1.0, 3.0]).reshape(2, 1, 1, 1), np.ones(1), np.zeros(1), eps=0.0)[0].ravel()
    array([-1.,  1.])
    """
    y, mean, var = np.zeros(x.shape), np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for c in range(x.shape[1]):
        values = [float(value) for value in x[:, c].ravel()]
        mean[c] = math.fsum(values) / len(values)
        var[c] = math.fsum((value - mean[c]) ** 2 for value in values) / len(values)
        normalised = [(value - mean[c]) / math.sqrt(var[c] + eps) for value in values]
        y[:, c] = np.reshape([weight[c] * value + bias[c] for value in normalised], y[:, c].shape)
    return y, mean, var


def batch_norm_backward(grad_output: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]:
    """Gradients of x, weight and bias, by the derivative of every output with respect to every input of its channel.

    With n values in a channel, ``s = √(var + eps)`` and ``x̂ = (x − mean)/s``::

        ∂y[i]/∂x[j] = weight/s · ([i = j] − 1/n − x̂[i]·x̂[j]/n)

    The first term is the direct one; the second comes from the mean, the third from the variance.

    >>> x, grad = np.array([1.0, 3.0]).reshape(2, 1, 1, 1), np.array([5.0, 7.0]).reshape(2, 1, 1, 1)
    >>> dx, dweight, dbias = batch_norm_backward(grad, x, np.ones(1), eps=0.0)
    >>> dx.ravel(), dweight, dbias              # two values become −1 and 1, whatever they were: no slope
    (array([0., 0.]), array([2.]), array([12.]))
    """
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(x.shape[1]), np.zeros(x.shape[1])
    _, mean, var = batch_norm(x, weight, np.zeros(x.shape[1]), eps)
    for c in range(x.shape[1]):
        deviation = math.sqrt(var[c] + eps)
        normalised = [(float(value) - mean[c]) / deviation for value in x[:, c].ravel()]
        grad = [float(value) for value in grad_output[:, c].ravel()]
        n = len(grad)
        dbias[c] = math.fsum(grad)
        dweight[c] = math.fsum(g * v for g, v in zip(grad, normalised))
        slopes = [
            math.fsum(grad[i] * ((i == j) - 1 / n - normalised[i] * normalised[j] / n) for i in range(n))
            for j in range(n)
        ]
        dx[:, c] = np.reshape([weight[c] / deviation * slope for slope in slopes], dx[:, c].shape)
    return dx, dweight, dbias


# ---------------------------------------------------------------------------------------------------------
# Softmax and cross-entropy


def cross_entropy(logits: Array, target: Array) -> Array:
    """Loss of each row of logits (M, C): ``−log(exp(logits[target]) / Σ_c exp(logits[c]))``, of shape (M,).

    >>> cross_entropy(np.log([[0.7, 0.2, 0.1]]), np.array([1])).round(4)        # −log 0.2
    array([1.6094])
    """
    return np.array([-math.log(_softmax(row)[index]) for row, index in zip(logits, target)])


def cross_entropy_backward(grad_output: Array, logits: Array, target: Array) -> Array:
    """Gradient of the logits, (M, C): ``grad_output[m] · (softmax[m, c] − [c = target[m]])``.

    >>> cross_entropy_backward(np.array([1.0]), np.log([[0.7, 0.2, 0.1]]), np.array([0])).round(4)
    array([[-0.3,  0.2,  0.1]])
    """
    dlogits = np.zeros(logits.shape)
    for m, c in np.ndindex(logits.shape):
        dlogits[m, c] = grad_output[m] * (_softmax(logits[m])[c] - (c == target[m]))
    return dlogits


def _softmax(row: Array) -> list[float]:
    """Return ``exp(row) / Σ exp(row)``; the largest is subtracted first, so that exp cannot overflow."""
    powers = [math.exp(float(value) - float(max(row))) for value in row]
    return [power / math.fsum(powers) for power in powers]
