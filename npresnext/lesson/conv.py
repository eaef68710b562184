"""Grouped convolution as one matrix product, for any array library.

A convolution slides a window over an image and takes an inner product at each position. Write each window as a
column, put all columns next to each other, and one matrix product computes every inner product with every filter:

        x  (one image, one channel, 3x3)          columns (kh·kw, P) for a 2x2 kernel
        a b c                                     a b d e        <- tap (0, 0) of each window
        d e f            im2col                   b c e f        <- tap (0, 1)
        g h i         ----------->                d e g h        <- tap (1, 0)
                      <-----------                e f h i        <- tap (1, 1)
                         col2im

``im2col`` copies each pixel into the columns of all windows that read it. ``col2im`` adds these copies up again. As
linear maps, the two are transposes of each other. That is all the backward pass needs:

    conv2d                y       = weight · im2col(x)
    conv2d_input_grad     dx      = col2im(weightᵀ · grad_output)
    conv2d_weight_grad    dweight = grad_output · im2col(x)ᵀ

Groups add one batch axis to the matrix product and change nothing else. The columns are ordered by channel, so the
columns of group g are the g-th block of rows.

Letters: N batch, G groups, L = (C_in/G)·kh·kw the length of an inner product, P = oh·ow output positions,
O = C_out/G output channels of one group.
The column matrix is kh·kw times as large as the input, so the backward pass computes it again instead of keeping it.
(Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006,
introduced the unrolling.)
"""

from __future__ import annotations

from .._support.typing import Array
from ..backend import array_module, conjugate, widen
from ..geometry import ConvGeometry, WindowGeometry


def im2col(x: Array, geometry: WindowGeometry) -> Array:
    """Copy each window of x (N, C, H, W) into a column of (N, C·kh·kw, P). Pixels outside the image are zero."""
    xp = array_module(x=x)
    shape = (geometry.batch, geometry.in_channels, *geometry.kernel, geometry.out_height, geometry.out_width)
    columns = xp.zeros(shape, dtype=x.dtype)  # (N, C, kh, kw, oh, ow)
    for i, j, windows, pixels in geometry.taps():
        columns[:, :, i, j, *windows] = x[:, :, *pixels]
    return xp.reshape(columns, geometry.columns_shape)  # (N, C·kh·kw, P)


def col2im(columns: Array, geometry: WindowGeometry) -> Array:
    """Add each column of (N, C·kh·kw, P) to the pixels of its window: the transpose of :func:`im2col`."""
    xp = array_module(columns=columns)
    shape = (geometry.batch, geometry.in_channels, *geometry.kernel, geometry.out_height, geometry.out_width)
    columns = xp.reshape(columns, shape)  # (N, C, kh, kw, oh, ow)
    x = xp.zeros(geometry.x_shape, dtype=columns.dtype)  # (N, C, H, W)
    for i, j, windows, pixels in geometry.taps():
        x[:, :, *pixels] += columns[:, :, i, j, *windows]
    return x


def conv2d(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve x (N, C_in, H, W): ``y = weight · im2col(x) + bias``, of shape (N, C_out, oh, ow)."""
    xp = array_module(x=x)
    N, G, L, P, O = _letters(geometry)
    columns = xp.reshape(im2col(widen(xp, x), geometry), (N, G, L, P))  # (N, G, L, P)
    weight = xp.reshape(widen(xp, weight), (G, O, L))  # (G, C_out/G, L)
    y = xp.reshape(xp.matmul(weight, columns), geometry.output_shape)  # (N, C_out, oh, ow)
    if bias is not None:
        y += xp.reshape(widen(xp, bias), (1, G * O, 1, 1))  # (1, C_out, 1, 1)
    return xp.astype(y, x.dtype, copy=False)


def conv2d_input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: ``dx = col2im(weightᵀ · grad_output)``, of shape (N, C_in, H, W)."""
    xp = array_module(grad_output=grad_output)
    N, G, L, P, O = _letters(geometry)
    grad = xp.reshape(widen(xp, grad_output), (N, G, O, P))  # (N, G, C_out/G, P)
    weight = xp.reshape(conjugate(xp, widen(xp, weight)), (G, O, L))  # (G, C_out/G, L)
    columns = xp.matmul(xp.matrix_transpose(weight), grad)  # (N, G, L, P)
    columns = xp.reshape(columns, geometry.columns_shape)  # (N, C_in·kh·kw, P)
    return xp.astype(col2im(columns, geometry), grad_output.dtype, copy=False)


def conv2d_weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: ``dweight = grad_output · im2col(x)ᵀ``, summed over the batch."""
    xp = array_module(grad_output=grad_output)
    N, G, L, P, O = _letters(geometry)
    grad = xp.reshape(widen(xp, grad_output), (N, G, O, P))  # (N, G, C_out/G, P)
    columns = conjugate(xp, im2col(widen(xp, x), geometry))  # (N, C_in·kh·kw, P)
    columns = xp.matrix_transpose(xp.reshape(columns, (N, G, L, P)))  # (N, G, P, L)
    dweight = xp.sum(xp.matmul(grad, columns), axis=0)  # (G, C_out/G, L)
    dweight = xp.reshape(dweight, geometry.weight_shape)  # (C_out, C_in/G, kh, kw)
    return xp.astype(dweight, grad_output.dtype, copy=False)


def conv2d_bias_grad(grad_output: Array) -> Array:
    """Gradient of the bias: ``dbias = Σ grad_output`` over images and positions, of shape (C_out,)."""
    xp = array_module(grad_output=grad_output)
    dbias = xp.sum(widen(xp, grad_output), axis=(0, 2, 3))  # (C_out,)
    return xp.astype(dbias, grad_output.dtype, copy=False)


def _letters(geometry: ConvGeometry) -> tuple[int, int, int, int, int]:
    """Return N, G, L, P and O."""
    G = geometry.groups
    return geometry.batch, G, geometry.inner, geometry.positions, geometry.out_channels // G
