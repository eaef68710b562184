"""The lesson's columns in bounded memory: some images at a time, multiplied by cuBLAS.

Best for many channels in a group, where one large product outweighs writing the columns; and the way for everything
that the gathering kernels do not take: complex numbers, strides above 4, very large kernels and dilations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..._support.typing import Array
from ...backend import array_module
from ...geometry import ConvGeometry
from ...lesson.conv import col2im, im2col
from . import matmul

WORKSPACE = 256 * 2**20  # bytes of columns at a time; one image may need more


def forward(x: Array, weight: Array, geometry: ConvGeometry, dtype: Any, allow_tf32: bool) -> Array:
    """Return weight · im2col(x), in `dtype`."""
    xp = array_module(x=x)
    y = xp.empty(geometry.output_shape, dtype=dtype)
    weights = _weights(xp, weight, geometry)  # (G, C_out/G, L)
    for images, part in _parts(geometry, x.dtype):
        columns = _groups_first(xp, im2col(x[images, ...], part), part)  # (G, L, n·P)
        result = xp.empty((*weights.shape[:2], columns.shape[2]), dtype=dtype)
        matmul.product(weights, columns, result, allow_tf32=allow_tf32)  # (G, C_out/G, n·P)
        y[images, ...] = _images_first(xp, result, part.output_shape)
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry, sums: Any, allow_tf32: bool) -> Array:
    """Return col2im(weightᵀ · grad_output), added up in the dtype `sums`."""
    xp = array_module(grad_output=grad_output)
    dx = xp.empty(geometry.x_shape, dtype=grad_output.dtype)
    weights = _weights(xp, weight, geometry).conj()  # (G, C_out/G, L)
    for images, part in _parts(geometry, sums):
        grad = _groups_first(xp, grad_output[images, ...], part)  # (G, C_out/G, n·P)
        columns = xp.empty((part.groups, part.inner, grad.shape[2]), dtype=sums)
        matmul.product(weights, grad, columns, transpose_a=True, allow_tf32=allow_tf32)  # (G, L, n·P)
        dx[images, ...] = col2im(_images_first(xp, columns, part.columns_shape), part)
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry, sums: Any, allow_tf32: bool) -> Array:
    """Return grad_output · im2col(x)ᵀ, added up in the dtype `sums`."""
    xp = array_module(grad_output=grad_output)
    G, O, L = geometry.groups, geometry.out_channels // geometry.groups, geometry.inner
    dweight = xp.zeros((G, O, L), dtype=sums)
    for images, part in _parts(geometry, x.dtype):
        grad = _groups_first(xp, grad_output[images, ...], part)  # (G, C_out/G, n·P)
        columns = _groups_first(xp, im2col(x[images, ...], part).conj(), part)  # (G, L, n·P)
        partial = xp.empty((G, O, L), dtype=sums)
        matmul.product(grad, columns, partial, transpose_b=True, allow_tf32=allow_tf32)  # (G, C_out/G, L)
        dweight += partial
    return xp.reshape(dweight, geometry.weight_shape)  # (C_out, C_in/G, kh, kw)


def _parts(geometry: ConvGeometry, dtype: Any) -> Iterator[tuple[slice, ConvGeometry]]:
    """Cut the batch into runs of images whose columns fit the workspace."""
    one = geometry.columns_shape[1] * geometry.positions * np.dtype(dtype).itemsize
    count = max(1, WORKSPACE // one)
    for start in range(0, geometry.batch, count):
        stop = min(start + count, geometry.batch)
        yield slice(start, stop), replace(geometry, batch=stop - start)


def _weights(xp: Any, weight: Array, geometry: ConvGeometry) -> Array:
    G = geometry.groups
    return xp.reshape(xp.ascontiguousarray(weight), (G, geometry.out_channels // G, geometry.inner))


def _groups_first(xp: Any, array: Array, part: ConvGeometry) -> Array:
    """Turn (n, G·k, …) into (G, k, n·P), so that each group is one large product."""
    array = xp.reshape(array, (part.batch, part.groups, -1, part.positions))  # (n, G, k, P)
    array = xp.ascontiguousarray(xp.permute_dims(array, (1, 2, 0, 3)))  # (G, k, n, P)
    return xp.reshape(array, (part.groups, -1, part.batch * part.positions))  # (G, k, n·P)


def _images_first(xp: Any, array: Array, shape: tuple[int, ...]) -> Array:
    """Turn (G, k, n·P) back into (n, G·k, …) of the given shape."""
    array = xp.reshape(array, (array.shape[0], array.shape[1], shape[0], -1))  # (G, k, n, P)
    return xp.reshape(xp.permute_dims(array, (2, 0, 1, 3)), shape)  # (n, G·k, …)
