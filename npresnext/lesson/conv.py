"""THE LESSON: convolution as one matrix product, for any array library.

A convolution slides a window over an image and takes an inner product at each stop. Write each window
out as a column, all columns side by side, and every inner product with every filter is one matmul:

        x  (one image, one channel, 3x3)          columns (kh·kw, P) for a 2x2 kernel
        a b c                                     a b d e        <- tap (0, 0) of each window
        d e f            im2col                   b c e f        <- tap (0, 1)
        g h i         ----------->                d e g h        <- tap (1, 0)
                      <-----------                e f h i        <- tap (1, 1)
                         col2im

``im2col`` copies each pixel to the columns that it appears in; ``col2im`` adds up what those columns hold.
They are transposes of each other, as linear maps, and that is all there is to the backward pass:

    forward       y       = weight · im2col(x)
    input_grad    dx      = col2im(weightᵀ · grad_output)
    weight_grad   dweight = grad_output · im2col(x)ᵀ

A group is one more batch axis of the matmul. Nothing else changes: the columns are channel-major, so the
columns of group g are simply the g-th block of rows.

Letters: N batch, G groups, L = (C_in/G)·kh·kw the length of an inner product, P = oh·ow output positions,
O = C_out/G output channels of a group.
The column matrix is kh·kw times the input, so it is made anew in the backward rather than kept.
(Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing",
2006, introduced the unrolling.)
"""

from __future__ import annotations

from .._support.typing import Array
from ..backend import array_module, conjugate, widen
from ..geometry import ConvGeometry, WindowGeometry


def im2col(x: Array, geometry: WindowGeometry) -> Array:
    """Write the windows of x (N, C, H, W) out as columns (N, C·kh·kw, P); outside the image reads zero."""
    xp = array_module(x=x)
    shape = (geometry.batch, geometry.in_channels, *geometry.kernel, geometry.out_height, geometry.out_width)
    columns = xp.zeros(shape, dtype=x.dtype)  # (N, C, kh, kw, oh, ow)
    for i, j, windows, pixels in geometry.taps():
        columns[:, :, i, j, *windows] = x[:, :, *pixels]
    return xp.reshape(columns, geometry.columns_shape)  # (N, C·kh·kw, P)


def col2im(columns: Array, geometry: WindowGeometry) -> Array:
    """Add columns (N, C·kh·kw, P) up into an image (N, C, H, W): the transpose of :func:`im2col`."""
    xp = array_module(columns=columns)
    shape = (geometry.batch, geometry.in_channels, *geometry.kernel, geometry.out_height, geometry.out_width)
    columns = xp.reshape(columns, shape)  # (N, C, kh, kw, oh, ow)
    x = xp.zeros(geometry.x_shape, dtype=columns.dtype)  # (N, C, H, W)
    for i, j, windows, pixels in geometry.taps():
        x[:, :, *pixels] += columns[:, :, i, j, *windows]
    return x


def forward(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve: y = weight · im2col(x) + bias."""
    xp = array_module(x=x)
    N, G, L, P, O = _letters(geometry)
    columns = xp.reshape(im2col(widen(xp, x), geometry), (N, G, L, P))  # (N, G, L, P)
    weight = xp.reshape(widen(xp, weight), (G, O, L))  # (G, C_out/G, L)
    y = xp.reshape(xp.matmul(weight, columns), geometry.output_shape)  # (N, C_out, oh, ow)
    if bias is not None:
        y += xp.reshape(widen(xp, bias), (1, G * O, 1, 1))  # (1, C_out, 1, 1)
    return xp.astype(y, x.dtype, copy=False)


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: dx = col2im(weightᵀ · grad_output)."""
    xp = array_module(grad_output=grad_output)
    N, G, L, P, O = _letters(geometry)
    grad = xp.reshape(widen(xp, grad_output), (N, G, O, P))  # (N, G, C_out/G, P)
    weight = xp.reshape(conjugate(xp, widen(xp, weight)), (G, O, L))  # (G, C_out/G, L)
    columns = xp.matmul(xp.matrix_transpose(weight), grad)  # (N, G, L, P)
    return xp.astype(col2im(columns, geometry), grad_output.dtype, copy=False)


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: dweight = grad_output · im2col(x)ᵀ, summed over the batch."""
    xp = array_module(grad_output=grad_output)
    N, G, L, P, O = _letters(geometry)
    grad = xp.reshape(widen(xp, grad_output), (N, G, O, P))  # (N, G, C_out/G, P)
    columns = conjugate(xp, im2col(widen(xp, x), geometry))  # (N, C_in·kh·kw, P)
    columns = xp.matrix_transpose(xp.reshape(columns, (N, G, L, P)))  # (N, G, P, L)
    dweight = xp.sum(xp.matmul(grad, columns), axis=0)  # (G, C_out/G, L)
    dweight = xp.reshape(dweight, geometry.weight_shape)  # (C_out, C_in/G, kh, kw)
    return xp.astype(dweight, grad_output.dtype, copy=False)


def _letters(geometry: ConvGeometry) -> tuple[int, int, int, int, int]:
    """Return N, G, L, P and O."""
    G = geometry.groups
    return geometry.batch, G, geometry.inner, geometry.positions, geometry.out_channels // G
