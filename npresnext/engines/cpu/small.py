"""Small convolutions: the whole batch at once, by few NumPy calls.

For a small network the time of a step is the number of NumPy calls, not the arithmetic. So nothing is cut into tiles
or shared out over threads. As in the lesson, the windows are copied into columns, but with the channels outermost: the
columns of one group are one matrix for all images.

    columns   (G, (C_in/G)·kh·kw, N·P)         y = weight · columns        dweight = grad_output · columnsᵀ

The input gradient of a convolution with stride 1 is a convolution itself: of grad_output, with the kernel rotated by
half a turn. Its columns serve the weight gradient as well. With a larger stride, the products weightᵀ · grad_output are
added to the pixels of their windows (the lesson's col2im).
"""

from __future__ import annotations

import numpy as np

from ..._support.arguments import Pair
from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry, Padding
from . import thresholds
from .blas import single_threaded_blas
from .elementwise import rectify
from .layout import channel_rows, empty_images


def applies(geometry: ConvGeometry, itemsize: int) -> bool:
    """Return whether the convolution is small: few multiply-adds, and columns that fit in the cache."""
    if geometry.macs > thresholds.SMALL_MACS:
        return False
    (kh, kw), (dh, dw) = geometry.kernel, geometry.dilation
    columns = geometry.in_channels * kh * kw * geometry.positions
    if geometry.stride == (1, 1):
        columns = max(columns, geometry.out_channels * kh * kw * geometry.height * geometry.width)
    height = geometry.height + max(sum(map(abs, geometry.padding[0])), dh * (kh - 1))  # of a padded image
    width = geometry.width + max(sum(map(abs, geometry.padding[1])), dw * (kw - 1))
    padded = max(geometry.in_channels, geometry.out_channels) * height * width
    return geometry.batch * max(columns, padded) * itemsize <= thresholds.SMALL_BYTES


def forward(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None, rectified: bool
) -> Array:
    """Return y; add the shortcut and rectify if asked to."""
    G = geometry.groups
    y = empty_images(geometry.output_shape, x.dtype)
    result = channel_rows(y)  # (C_out, N·P)
    columns = _forward_columns(x, geometry)  # (G, L, N·P)
    _matmul(weight.reshape(G, -1, geometry.inner), columns, out=result.reshape(G, -1, result.shape[1]))
    if bias is not None:
        result += bias[:, None]
    if shortcut is not None:
        y += shortcut
    if rectified:
        rectify(y, y)
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Return dx."""
    if geometry.stride == (1, 1):
        return _convolved_back(_backward_columns(grad_output, geometry), weight, geometry)
    return _scattered_back(grad_output, weight, geometry)


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Return dweight."""
    G = geometry.groups
    grad = _group_rows(grad_output, G)  # (G, C_out/G, N·P)
    columns = _forward_columns(x, geometry)  # (G, L, N·P)
    return _matmul(grad, columns.swapaxes(1, 2)).reshape(geometry.weight_shape)  # (C_out, C_in/G, kh, kw)


def gradients(grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry) -> tuple[Array, Array]:
    """Return dx and dweight, with stride 1 from the same columns."""
    if geometry.stride != (1, 1):
        return _scattered_back(grad_output, weight, geometry), weight_grad(grad_output, x, geometry)
    G, (kh, kw) = geometry.groups, geometry.kernel
    columns = _backward_columns(grad_output, geometry)  # (G, (C_out/G)·kh·kw, N·H·W)
    dx = _convolved_back(columns, weight, geometry)
    products = _matmul(_group_rows(x, G), columns.swapaxes(1, 2))  # (G, C_in/G, (C_out/G)·kh·kw)
    rotated = products.reshape(G, -1, geometry.out_channels // G, kh, kw)  # (G, C_in/G, C_out/G, kh, kw)
    dweight = rotated.swapaxes(1, 2)[..., ::-1, ::-1]  # (G, C_out/G, C_in/G, kh, kw)
    return dx, dweight.reshape(geometry.weight_shape)


def _forward_columns(x: Array, geometry: ConvGeometry) -> Array:
    """Return the windows of x as columns (G, (C_in/G)·kh·kw, N·P)."""
    size = geometry.out_height, geometry.out_width
    return _columns(x, geometry, geometry.padding, geometry.stride, size)


def _backward_columns(grad_output: Array, geometry: ConvGeometry) -> Array:
    """Return what each pixel of dx gathers from grad_output, at stride 1: (G, (C_out/G)·kh·kw, N·H·W)."""
    padding = []
    for axis in (0, 1):
        reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1)
        before = reach - geometry.padding[axis][0]
        windows, size = geometry.output_shape[2 + axis], geometry.x_shape[2 + axis]
        padding.append((before, size + reach - windows - before))
    return _columns(grad_output, geometry, (padding[0], padding[1]), (1, 1), (geometry.height, geometry.width))


def _columns(images: Array, geometry: ConvGeometry, padding: Padding, stride: Pair, size: Pair) -> Array:
    """Copy the windows of images (N, C, H, W), `size` of them, into columns (G, (C/G)·kh·kw, N·P)."""
    N, C, _, _ = images.shape
    G, (kh, kw), (oh, ow) = geometry.groups, geometry.kernel, size
    padded = _padded(images.swapaxes(0, 1), padding)  # (C, N, H, W)
    channels, batch, down, across = padded.strides
    steps = geometry.dilation[0] * down, geometry.dilation[1] * across
    windows = np.lib.stride_tricks.as_strided(
        padded,
        (C, kh, kw, N, oh, ow),
        (channels, *steps, batch, stride[0] * down, stride[1] * across),
    )
    return np.ascontiguousarray(windows).reshape(G, C // G * kh * kw, N * oh * ow)  # (G, (C/G)·kh·kw, N·P)


def _padded(images: Array, padding: Padding) -> Array:
    """Return images (C, N, H, W) with zeros around them; negative padding crops."""
    if padding == ((0, 0), (0, 0)):
        return images
    (top, bottom), (left, right) = padding
    C, N, H, W = images.shape
    padded = np.zeros((C, N, H + top + bottom, W + left + right), images.dtype)
    rows, columns = slice(max(top, 0), H + top + min(bottom, 0)), slice(max(left, 0), W + left + min(right, 0))
    inside = images[:, :, max(-top, 0) : H - max(-bottom, 0), max(-left, 0) : W - max(-right, 0)]
    padded[:, :, rows, columns] = inside
    return padded


def _convolved_back(columns: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Return dx from the columns of grad_output and the rotated weight, at stride 1."""
    G = geometry.groups
    dx = empty_images(geometry.x_shape, columns.dtype)
    result = channel_rows(dx)  # (C_in, N·H·W)
    kernels = weight.reshape(G, -1, *weight.shape[1:])[..., ::-1, ::-1].swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    rotated = kernels.reshape(G, result.shape[0] // G, -1)  # (G, C_in/G, (C_out/G)·kh·kw)
    _matmul(rotated, columns, out=result.reshape(G, -1, result.shape[1]))
    return dx


def _scattered_back(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Return dx: the products weightᵀ · grad_output, added to the pixels of their windows."""
    G, N, (kh, kw) = geometry.groups, geometry.batch, geometry.kernel
    grad = _group_rows(grad_output, G)  # (G, C_out/G, N·P)
    products = _matmul(weight.reshape(G, -1, geometry.inner).swapaxes(1, 2), grad)  # (G, L, N·P)
    taps = products.reshape(geometry.in_channels, kh, kw, N, geometry.out_height, geometry.out_width)
    dx = np.zeros((geometry.in_channels, N, geometry.height, geometry.width), grad.dtype).swapaxes(0, 1)
    target = dx.swapaxes(0, 1)  # (C_in, N, H, W)
    for i, j, windows, pixels in geometry.taps():
        target[:, :, *pixels] += taps[:, i, j, :, *windows]
    return dx


def _matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Multiply stacks of matrices on one thread; for small matrices BLAS uses one by itself."""
    if a.shape[1] * a.shape[2] * b.shape[2] <= thresholds.BLAS_SINGLE_THREAD:
        return np.matmul(a, b, out=out)
    with single_threaded_blas():
        return np.matmul(a, b, out=out)


def _group_rows(images: Array, groups: int) -> Array:
    """Return images (N, C, H, W) as (G, C/G, N·H·W): a view if their channels are outermost."""
    N, C, H, W = images.shape
    return images.swapaxes(0, 1).reshape(groups, C // groups, N * H * W)
