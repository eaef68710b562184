"""1x1 convolutions of images whose channels are outermost: one matmul for the whole batch.

    y = weight · x        dx = weightᵀ · grad_output        dweight = grad_output · xᵀ

with x as the matrix (C_in, N·H·W) and y as (C_out, N·H·W). Threads take different positions; nothing is copied.
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry
from . import thresholds
from .elementwise import finish_results
from .layout import channel_rows, empty_images, has_channels_outermost
from .matmul import matmul, side_chunks
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

    def compute(channels: slice, positions: slice) -> None:
        part = result[channels, positions]
        np.matmul(factors[channels], source[:, positions], out=part)
        if bias is not None or added is not None or rectified:
            of_part = None if added is None else added[channels, positions]
            finish_results(part, None if bias is None else bias[channels, None], of_part, rectified)

    every = slice(None)
    rows, columns = result.shape
    if columns >= rows:
        parallel_for(lambda positions: compute(every, positions), side_chunks(columns, geometry.macs))
    else:
        parallel_for(lambda channels: compute(channels, every), side_chunks(rows, geometry.macs))
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Return dx."""
    dx = empty_images(geometry.x_shape, grad_output.dtype)
    matmul(weight.reshape(weight.shape[:2]).T, channel_rows(grad_output), out=channel_rows(dx))
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Return dweight: with many positions, as the sum of the products of their chunks, each read from memory once."""
    grad, source = channel_rows(grad_output), channel_rows(x)  # (C_out, N·P), (C_in, N·P)
    parts = side_chunks(grad.shape[1], geometry.macs)
    size = len(parts) * geometry.out_channels * geometry.in_channels * x.itemsize
    if len(parts) == 1 or size > thresholds.PARTIAL_SUM_BYTES or grad.shape[1] < max(*geometry.weight_shape[:2]):
        return matmul(grad, source.T).reshape(geometry.weight_shape)
    partial = np.empty((len(parts), geometry.out_channels, geometry.in_channels), x.dtype)

    def compute(number: int) -> None:
        positions = parts[number]
        np.matmul(grad[:, positions], source[:, positions].T, out=partial[number])

    parallel_for(compute, range(len(parts)))
    return partial.sum(axis=0).reshape(geometry.weight_shape)
