"""READ FIRST: what a grouped convolution is, written so plainly that one can see that it is right.

A convolution is a long list of products. Each product multiplies one weight by one pixel, and is added to one output
value::

    y[a] += weight[b] · x[c]        for every (a, b, c) in the list

The same list gives both gradients. y is linear in x and in weight, so by the chain rule each product contributes::

    dx[c]      += grad_output[a] · weight[b]
    dweight[b] += grad_output[a] · x[c]

where ``grad_output``, the *upstream gradient*, is the gradient of the loss with respect to y. (For complex numbers the
other factor is conjugated, as in PyTorch.)

A grouped convolution has a shorter list: the output channel o is connected only with the input channels of its own
group. So the list, and the weight, are 1/G as long.

This file computes the same convolution in four ways that are as independent of each other as possible:

1. ``conv2d_loops``: the list, product by product;
2. ``conv2d_split``: split the channels into G parts, convolve each part densely, concatenate the results;
3. ``block_diagonal_weight``: one dense convolution whose weight is zero outside G blocks on the diagonal;
4. ``conv2d``: arrays instead of single numbers, with a loop over groups and *taps* (a tap is one position (i, j) of the
   kernel). It equals the loops and is fast enough to test other implementations with.

All tests compare with this file (it is the *oracle*), and therefore it imports nothing of this package: it counts its
windows itself, takes plain pairs (``stride=(sh, sw)``, ``padding=((top, bottom), (left, right))``,
``dilation=(dh, dw)``) and checks no argument. Any dtype works, also arrays of Python integers and fractions.

Letters and shapes
------------------
N batch size, C channels, G groups, H x W input size, kh x kw kernel size, oh x ow output size

==================  ==========================
x, dx               (N, C_in, H, W)
weight, dweight     (C_out, C_in/G, kh, kw)
bias                (C_out,)
y, grad_output      (N, C_out, oh, ow)
==================  ==========================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Index = tuple[int, int, int, int]


def count_windows(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Count the windows that fit between the first and the last padded pixel, along one axis.

    >>> count_windows(5, kernel=3, stride=2, padding=(1, 1), dilation=1)
    3
    """
    windows = 0
    for _first in range(-padding[0], size + padding[1] - dilation * (kernel - 1), stride):
        windows += 1
    return windows


def output_shape(
    x_shape: Index,
    weight_shape: Index,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
) -> Index:
    """Return the shape of y, (N, C_out, oh, ow)."""
    oh, ow = (
        count_windows(x_shape[2 + axis], weight_shape[2 + axis], stride[axis], padding[axis], dilation[axis])
        for axis in (0, 1)
    )
    return x_shape[0], weight_shape[0], oh, ow


# ---------------------------------------------------------------------------------------------------------
# 1. The definition: one product at a time


def products(
    x_shape: Index,
    weight_shape: Index,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Iterator[tuple[Index, Index, Index]]:
    """Yield (a, b, c), an index into y, weight and x, for every product ``y[a] += weight[b] · x[c]``.

    Pixels outside the image are zero, and their products are left out.

    The example has a 1x1 kernel and two groups of two input channels each. Every output value is the sum of two
    products, and the second group uses the channels 2 and 3:

    >>> for a, b, c in products((1, 4, 1, 1), (2, 2, 1, 1), groups=2):
    ...     print("y", a, "+= weight", b, "* x", c)
    y (0, 0, 0, 0) += weight (0, 0, 0, 0) * x (0, 0, 0, 0)
    y (0, 0, 0, 0) += weight (0, 1, 0, 0) * x (0, 1, 0, 0)
    y (0, 1, 0, 0) += weight (1, 0, 0, 0) * x (0, 2, 0, 0)
    y (0, 1, 0, 0) += weight (1, 1, 0, 0) * x (0, 3, 0, 0)
    """
    _, _, height, width = x_shape
    out_channels, channels_per_group, kh, kw = weight_shape
    (top, _), (left, _) = padding
    for n, o, p, q in np.ndindex(*output_shape(x_shape, weight_shape, stride, padding, dilation)):
        group = o // (out_channels // groups)
        for c, i, j in np.ndindex(channels_per_group, kh, kw):
            row = p * stride[0] - top + i * dilation[0]
            column = q * stride[1] - left + j * dilation[1]
            if 0 <= row < height and 0 <= column < width:
                yield (n, o, p, q), (o, c, i, j), (n, group * channels_per_group + c, row, column)


def conv2d_loops(x: Array, weight: Array, bias: Array | None = None, **window: Any) -> Array:
    """Convolve by the definition, ``y[a] += weight[b] · x[c]``; the arguments `window` are those of :func:`products`.

    Each group adds the four pixels of its own channel:

    >>> x = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> conv2d_loops(x, np.ones((2, 1, 2, 2)), groups=2)[0, :, 0, 0]
    array([ 6., 22.])
    """
    shape = output_shape(x.shape, weight.shape, **{k: v for k, v in window.items() if k != "groups"})
    y = np.zeros(shape, np.result_type(x, weight))
    for a, b, c in products(x.shape, weight.shape, **window):
        y[a] += weight[b] * x[c]
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)  # (N, C_out, oh, ow)


def conv2d_input_grad_loops(grad_output: Array, x_shape: Index, weight: Array, **window: Any) -> Array:
    """Gradient of the input by the definition, ``dx[c] += grad_output[a] · weight[b]``."""
    dx = np.zeros(x_shape, np.result_type(grad_output, weight))
    for a, b, c in products(x_shape, weight.shape, **window):
        dx[c] += grad_output[a] * np.conj(weight[b])
    return dx


def conv2d_weight_grad_loops(grad_output: Array, x: Array, weight_shape: Index, **window: Any) -> Array:
    """Gradient of the weight by the definition, ``dweight[b] += grad_output[a] · x[c]``."""
    dweight = np.zeros(weight_shape, np.result_type(grad_output, x))
    for a, b, c in products(x.shape, weight_shape, **window):
        dweight[b] += grad_output[a] * np.conj(x[c])
    return dweight


def conv2d_bias_grad(grad_output: Array) -> Array:
    """Gradient of the bias, (C_out,): every value of a channel contains its bias once, so their gradients are added."""
    return grad_output.sum(axis=(0, 2, 3))


# ---------------------------------------------------------------------------------------------------------
# 2. Split, convolve each part, concatenate


def conv2d_split(x: Array, weight: Array, bias: Array | None = None, *, groups: int = 1, **window: Any) -> Array:
    """Convolve as G independent dense convolutions, each by the loops, and concatenate their channels.

    >>> conv2d_split(np.arange(8.0).reshape(1, 2, 2, 2), np.ones((2, 1, 2, 2)), groups=2)[0, :, 0, 0]
    array([ 6., 22.])
    """
    y = np.concatenate(
        [
            conv2d_loops(x_group, weight_group, **window)
            for x_group, weight_group in zip(np.split(x, groups, axis=1), np.split(weight, groups, axis=0))
        ],
        axis=1,
    )
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)  # (N, C_out, oh, ow)


# ---------------------------------------------------------------------------------------------------------
# 3. One dense convolution with a block-diagonal weight


def block_diagonal_weight(weight: Array, groups: int) -> Array:
    """Return the dense weight (C_out, C_in, kh, kw) that computes the same as the grouped `weight`.

    The output channels of group g use only the input channels of group g; all other entries are zero. So 1/G of the
    entries can differ from zero, and only these have to be stored:

    >>> block_diagonal_weight(np.arange(1, 5).reshape(4, 1, 1, 1), groups=2)[:, :, 0, 0]
    array([[1, 0],
           [2, 0],
           [0, 3],
           [0, 4]])
    """
    out_channels, channels_per_group, kh, kw = weight.shape
    outs_per_group = out_channels // groups
    dense = np.zeros((out_channels, channels_per_group * groups, kh, kw), weight.dtype)
    for g in range(groups):
        outs = slice(g * outs_per_group, (g + 1) * outs_per_group)
        ins = slice(g * channels_per_group, (g + 1) * channels_per_group)
        dense[outs, ins] = weight[outs]
    return dense


def block_diagonal_part(dense: Array, groups: int) -> Array:
    """Return the G diagonal blocks of a dense weight, or of its gradient, as (C_out, C_in/G, kh, kw)."""
    rows, ins = np.split(dense, groups, axis=0), dense.shape[1] // groups
    return np.concatenate([row[:, g * ins : (g + 1) * ins] for g, row in enumerate(rows)], axis=0)


# ---------------------------------------------------------------------------------------------------------
# 4. Arrays instead of single numbers: a loop over groups and taps


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Convolve group by group and tap by tap: each tap multiplies the shifted image by one matrix of weights.

    >>> conv2d(np.arange(8.0).reshape(1, 2, 2, 2), np.ones((2, 1, 2, 2)), groups=2)[0, :, 0, 0]
    array([ 6., 22.])
    """
    y = np.zeros(output_shape(x.shape, weight.shape, stride, padding, dilation), np.result_type(x, weight))
    for at_y, at_weight, at_x in _tap_products(x.shape, y.shape, weight.shape, stride, padding, dilation, groups):
        y[at_y] += np.einsum("oc,nchw->nohw", weight[at_weight], x[at_x])
    return y if bias is None else y + bias.reshape(1, -1, 1, 1)  # (N, C_out, oh, ow)


def conv2d_input_grad(
    grad_output: Array,
    x_shape: Index,
    weight: Array,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Gradient of the input, group by group and tap by tap: the products of :func:`conv2d`, for dx."""
    dx = np.zeros(x_shape, np.result_type(grad_output, weight))
    shapes = x_shape, grad_output.shape, weight.shape
    for at_y, at_weight, at_x in _tap_products(*shapes, stride, padding, dilation, groups):
        dx[at_x] += np.einsum("oc,nohw->nchw", np.conj(weight[at_weight]), grad_output[at_y])
    return dx


def conv2d_weight_grad(
    grad_output: Array,
    x: Array,
    weight_shape: Index,
    *,
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Gradient of the weight, group by group and tap by tap: the products of :func:`conv2d`, for dweight."""
    dweight = np.zeros(weight_shape, np.result_type(grad_output, x))
    shapes = x.shape, grad_output.shape, weight_shape
    for at_y, at_weight, at_x in _tap_products(*shapes, stride, padding, dilation, groups):
        dweight[at_weight] += np.einsum("nohw,nchw->oc", grad_output[at_y], np.conj(x[at_x]))
    return dweight


def _tap_products(
    x_shape: Index,
    y_shape: Index,
    weight_shape: Index,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield, for every group and tap, the indices into y, weight and x of all products of this tap."""
    images = np.arange(x_shape[0])
    for g in range(groups):
        outs = _share(weight_shape[0], groups, g)
        ins = _share(x_shape[1], groups, g)
        for i, j in np.ndindex(*weight_shape[2:]):
            windows_down, rows = _meet(y_shape[2], x_shape[2], i * dilation[0] - padding[0][0], stride[0])
            windows_across, columns = _meet(y_shape[3], x_shape[3], j * dilation[1] - padding[1][0], stride[1])
            at_y = np.ix_(images, outs, windows_down, windows_across)
            at_x = np.ix_(images, ins, rows, columns)
            yield at_y, (outs, slice(None), i, j), at_x


def _share(channels: int, groups: int, g: int) -> Array:
    """Return the indices of the channels of group g."""
    return np.arange(channels // groups) + channels // groups * g


def _meet(windows: int, size: int, offset: int, stride: int) -> tuple[Array, Array]:
    """Along one axis, return the windows whose tap is inside the image, and the pixel under the tap in each of them."""
    numbers = np.arange(windows)
    pixels = numbers * stride + offset
    inside = (0 <= pixels) & (pixels < size)
    return numbers[inside], pixels[inside]
