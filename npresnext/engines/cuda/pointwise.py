"""1x1 convolutions of one group: one matrix product an image, no columns.

    y[n] = weight · x[n]          dx[n] = weightᵀ · grad_output[n]          dweight = Σ_n grad_output[n] · x[n]ᵀ

with x[n] as the matrix (C_in, P) of the pixels that the stride keeps.
"""

from __future__ import annotations

from typing import Any

from ..._support.typing import Array
from ...backend import array_module
from ...geometry import ConvGeometry
from . import matmul


def applies(geometry: ConvGeometry) -> bool:
    """Is each output pixel the weight times one input pixel, none of them padding?"""
    if geometry.kernel != (1, 1) or geometry.groups != 1:
        return False
    whole = slice(0, geometry.out_height), slice(0, geometry.out_width)
    return [windows for _, _, windows, _ in geometry.taps()] == [whole]  # no tap at all where all is padding


def forward(x: Array, weight: Array, geometry: ConvGeometry, dtype: Any, allow_tf32: bool) -> Array:
    """Return weight · x[n] for every image, in `dtype`."""
    xp = array_module(x=x)
    y = xp.empty((geometry.batch, geometry.out_channels, geometry.positions), dtype=dtype)
    matmul.product(_matrix(xp, weight, geometry), _pixels(xp, x, geometry), y, allow_tf32=allow_tf32)
    return xp.reshape(y, geometry.output_shape)  # (N, C_out, oh, ow)


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry, sums: Any, allow_tf32: bool) -> Array:
    """Return weightᵀ · grad_output[n] for every image; pixels that the stride skips get zero."""
    xp = array_module(grad_output=grad_output)
    grad = xp.reshape(xp.ascontiguousarray(grad_output), (geometry.batch, geometry.out_channels, geometry.positions))
    read = xp.empty((geometry.batch, geometry.in_channels, geometry.positions), dtype=grad.dtype)
    conjugated = _matrix(xp, weight, geometry).conj()
    matmul.product(conjugated, grad, read, transpose_a=True, allow_tf32=allow_tf32)  # (N, C_in, P)
    if geometry.output_shape[2:] == geometry.x_shape[2:]:
        return xp.reshape(read, geometry.x_shape)  # (N, C_in, H, W)
    dx = xp.zeros(geometry.x_shape, dtype=grad.dtype)
    ((_, _, _, pixels),) = geometry.taps()
    dx[:, :, *pixels] = xp.reshape(read, (*geometry.x_shape[:2], *geometry.output_shape[2:]))
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry, sums: Any, allow_tf32: bool) -> Array:
    """Return Σ_n grad_output[n] · x[n]ᵀ, added up in the dtype `sums`.

    Either one product per image and their sum, or one product of all images side by side: whichever writes less.
    """
    xp = array_module(grad_output=grad_output)
    N, C, O, P = geometry.batch, geometry.in_channels, geometry.out_channels, geometry.positions
    grad = xp.reshape(xp.ascontiguousarray(grad_output), (N, O, P))
    pixels = _pixels(xp, x, geometry).conj()  # (N, C_in, P)
    if N > 1 and O * C > P * (O + C):
        grad = xp.reshape(xp.ascontiguousarray(xp.moveaxis(grad, 0, 1)), (1, O, N * P))
        pixels = xp.reshape(xp.ascontiguousarray(xp.moveaxis(pixels, 0, 1)), (1, C, N * P))
    partial = xp.empty((grad.shape[0], O, C), dtype=sums)
    matmul.product(grad, pixels, partial, transpose_b=True, allow_tf32=allow_tf32)
    dweight = partial[0, ...] if len(partial) == 1 else xp.sum(partial, axis=0)
    return xp.reshape(dweight, geometry.weight_shape)  # (C_out, C_in, 1, 1)


def _matrix(xp: Any, weight: Array, geometry: ConvGeometry) -> Array:
    return xp.reshape(xp.ascontiguousarray(weight), (1, geometry.out_channels, geometry.in_channels))


def _pixels(xp: Any, x: Array, geometry: ConvGeometry) -> Array:
    """Return the pixels that the stride keeps, (N, C_in, P)."""
    ((_, _, _, kept),) = geometry.taps()
    return xp.reshape(xp.ascontiguousarray(x[:, :, *kept]), (geometry.batch, geometry.in_channels, geometry.positions))
