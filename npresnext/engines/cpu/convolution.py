"""The fast engine for NumPy arrays: grouped convolution without the column matrix.

The lesson (im2col.py) copies every pixel kh·kw times before one big matmul; then the copying takes far longer
than the arithmetic. Here each pixel is copied kw times only. Lay out, for each of the kw tap columns, the image
shifted by that tap, rows one after the other:

    x (3 rows)         copies for a 3x3 kernel, padding 1: one for each tap column
                         left            middle          right
                         . . . .         . . . .         . . . .      <- a row of zeros above
    a b c d              . a b c         a b c d         b c d .      <- tap row 0 starts at the row above,
    e f g h    ----->    . e f g         e f g h         f g h .      <- tap row 1 here,
    i j k l              . i j k         i j k l         j k l .      <- tap row 2 there
                         . . . .         . . . .         . . . .      <- a row of zeros below

    y  =  W[:, :, 0] · copies[rows 0, 1, 2]  +  W[:, :, 1] · copies[rows 1, 2, 3]  +  W[:, :, 2] · copies[rows 2, 3, 4]

Rows that follow each other are one run of memory, so what a tap row reads is a *view* of the copies, and each of
the kh matmuls takes a whole map at once. Everything else follows from it:

    stride          the copies keep every stride-th column, and their rows sorted by their rest modulo the stride,
                    so that what a tap row reads is a run again
    input_grad      the same, from grad_output to dx, phase by phase (plan.py): gathered, never scattered
    weight_grad     the same copies times the other array: dW[:, :, i] = grad_output · copies[rows i …]ᵀ
    gradients       both from the same copies of grad_output
    groups          a batch axis of the matmul
    1x1             needs no copies: the image itself is read

Tiles (tiles.py) keep copies in the cache and memory bounded, threads (threads.py) take disjoint tiles, and
the workspace (workspace.py) is kept from call to call, with the views into it. plan.py says which pixels a
tap reads, copies.py lays copies out, products.py multiplies, epilogue.py adds what follows, sweep.py
goes over all tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry
from .epilogue import Ending
from .plan import forward_plan, input_plan
from .sweep import channels_at_once, convolve, weigh, weighing
from .tiles import PIECES

JOINT = PIECES  # groups from which on both gradients come out of one sweep: enough to share out over threads


def forward(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve: y from shifted copies of x."""
    return _forward(x, weight, bias, geometry, None, False)


def forward_relu(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None) -> Array:
    """Convolve, add the shortcut (an array like y) if there is one, and rectify, tile by tile in the cache."""
    return _forward(x, weight, bias, geometry, shortcut, True)


def _forward(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None, rectify: bool
) -> Array:
    """Write y tile by tile."""
    y = np.empty(geometry.output_shape, x.dtype)
    G = geometry.groups
    if bias is not None:
        bias = bias.reshape(G, -1, 1, 1)  # (G, C_out/G, 1, 1)
    if shortcut is not None:
        shortcut = _split(shortcut, G)
    ending = Ending(bias, shortcut, rectify)
    convolve(_split(x, G), _split_weight(weight, G), _split(y, G), forward_plan(geometry), geometry.macs, ending)
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: dx from shifted copies of grad_output."""
    dx = _blank(geometry, grad_output.dtype)
    G = geometry.groups
    weight = _split_weight(weight, G).swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    convolve(_split(grad_output, G), weight, _split(dx, G), input_plan(geometry), geometry.macs)
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: grad_output times shifted copies of x."""
    dweight = np.empty(geometry.weight_shape, x.dtype)
    G = geometry.groups
    weigh(_split(x, G), _split(grad_output, G), _split_weight(dweight, G), forward_plan(geometry), geometry.macs)
    return dweight


def gradients(grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry) -> tuple[Array, Array]:
    """Both gradients: with many groups from the same shifted copies of grad_output, else side by side."""
    dx, dweight = _blank(geometry, x.dtype), np.empty(geometry.weight_shape, x.dtype)
    G, macs, plan = geometry.groups, geometry.macs, input_plan(geometry)
    images, upstream, target = _split(x, G), _split(grad_output, G), _split(dx, G)
    kernels, dkernels = _split_weight(weight, G), _split_weight(dweight, G)
    turned = kernels.swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    if G < JOINT or channels_at_once(kernels) < weight.shape[1]:
        with weighing(images, upstream, dkernels, forward_plan(geometry)) as pieces:
            convolve(upstream, turned, target, plan, macs, beside=pieces)
    else:
        weigh(upstream, images, dkernels.swapaxes(1, 2), plan, macs, weight=turned, target=target)
    return dx, dweight


def _blank(geometry: ConvGeometry, dtype: Any) -> Array:
    """Return the array for dx: zeros where strides leave pixels that no window reads."""
    plan = input_plan(geometry)
    phases = sum(len(part.rows) for part in plan)
    every = min(geometry.stride[0], geometry.height) * min(geometry.stride[1], geometry.width)
    return (np.empty if phases == every else np.zeros)(geometry.x_shape, dtype)


def _split(images: Array, groups: int) -> Array:
    """View (N, C, H, W) as (N, G, C/G, H, W)."""
    N, C, H, W = images.shape
    return images.reshape(N, groups, C // groups, H, W)


def _split_weight(weight: Array, groups: int) -> Array:
    """View (C_out, C_in/G, kh, kw) as (G, C_out/G, C_in/G, kh, kw)."""
    return weight.reshape(groups, -1, *weight.shape[1:])
