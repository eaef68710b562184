"""1x1 convolutions of images whose channels are outermost: one matmul for the whole batch.

    y = weight · x        dx = weightᵀ · grad_output        dweight = grad_output · xᵀ

with x as the matrix (C_in, N·H·W) and y as (C_out, N·H·W). Threads take different positions; nothing is copied.
"""

from __future__ import annotations

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry
from . import thresholds
from .elementwise import rectify
from .layout import channel_rows, empty_images, has_channels_outermost
from .matmul import matmul
from .threads import parallel_for


def applies(geometry: ConvGeometry, *images: Array) -> bool:
    """Return whether each output pixel is the weight times one input pixel, and the images have the right layout."""
    if geometry.kernel != (1, 1) or geometry.stride != (1, 1) or geometry.groups != 1:
        return False
    return geometry.padding == ((0, 0), (0, 0)) and all(map(has_channels_outermost, images))


def forward(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None, rectified: bool
) -> Array:
    """Return y; add the shortcut and rectify if asked to, while the results lie in the cache."""
    y = empty_images(geometry.output_shape, x.dtype)
    factors, source, result = weight.reshape(weight.shape[:2]), channel_rows(x), channel_rows(y)
    added = None if shortcut is None else channel_rows(shortcut)  # (C_out, N·P)

    def compute(positions: slice) -> None:
        part = result[:, positions]
        np.matmul(factors, source[:, positions], out=part)
        if bias is not None:
            part += bias[:, None]
        if added is not None:
            part += added[:, positions]
        if rectified:
            rectify(part, part)

    count = 1 if geometry.macs < thresholds.SINGLE_THREAD else thresholds.MAX_CHUNKS
    parallel_for(compute, chunks(result.shape[1], ceil_div(result.shape[1], count)))
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Return dx."""
    dx = empty_images(geometry.x_shape, grad_output.dtype)
    matmul(weight.reshape(weight.shape[:2]).T, channel_rows(grad_output), out=channel_rows(dx))
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Return dweight."""
    dweight = matmul(channel_rows(grad_output), channel_rows(x).T)  # (C_out, C_in)
    return dweight.reshape(geometry.weight_shape)
