"""Max pooling of NumPy arrays, split by remainders, so that nothing is compared or added with a stride.

Where the stride is s, a tap reads every s-th pixel only. The pixels whose rows and columns leave the same remainders
modulo s are laid out as an array of their own, a *residue map*. In it, what each tap reads is a plain rectangle:

    a b a b a b          a a a   b b b
    c d c d c d    ->    a a a   b b b        (s = 2: four residue maps; a 3x3 window reads up to four pixels of each)
    a b a b a b          c c c   d d d
    c d c d c d          c c c   d d d
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...geometry import WindowGeometry
from .blocks import for_each_block
from .elementwise import mask_bits
from .layout import empty_images

Residue = tuple[int, int]  # of rows and columns, modulo the stride


def max_pool2d(x: Array, window: WindowGeometry) -> Array:
    """Return y as ``functional.max_pool2d``, whose checks have passed."""
    y = empty_images(window.pooled_shape, x.dtype)
    y[...] = -np.inf

    def pool(block: slice) -> None:
        pixels, maxima = _residue_copies(x[:, block], window), y[:, block]  # (N, c, oh, ow)
        for _, _, windows, read in window.taps():
            residue, place = _in_residue_map(read, window.stride)
            part = maxima[:, :, *windows]
            np.maximum(part, pixels[residue][place], out=part)

    for_each_block(pool, x, x.shape[1])
    return y


def max_pool2d_backward(grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
    """Return dx as ``functional.max_pool2d_backward``, whose checks have passed."""
    residues = min(window.stride[0], window.height) * min(window.stride[1], window.width)
    every_pixel_is_read = len(_residue_maps(x, window)) == residues
    dx = empty_images(x.shape, x.dtype)
    if not every_pixel_is_read:
        dx[...] = 0

    def send_back(block: slice) -> None:
        maxima, grad = output[:, block], grad_output[:, block]  # (N, c, oh, ow)
        pixels = _residue_copies(x[:, block], window)
        gradients = {residue: np.zeros_like(part) for residue, part in pixels.items()}
        searching = np.ones(maxima.shape, bool)  # windows whose first maximum is not found yet
        for _, _, windows, read in window.taps():
            at_windows = (slice(None), slice(None), *windows)
            residue, place = _in_residue_map(read, window.stride)
            found = pixels[residue][place] < maxima[at_windows]
            np.greater(searching[at_windows], found, out=found)  # still searching, and not below the maximum
            searching[at_windows] ^= found
            gradients[residue][place] += mask_bits(grad[at_windows], found)
        for residue, part in _residue_maps(dx[:, block], window).items():
            part[...] = gradients[residue]

    for_each_block(send_back, x, x.shape[1])
    return dx


def _residue_maps(images: Array, window: WindowGeometry) -> dict[Residue, Array]:
    """View (N, c, H, W) as its residue maps: those that some tap reads."""
    stride = window.stride
    read = {_in_residue_map(pixels, stride)[0] for _, _, _, pixels in window.taps()}
    return {(row, column): images[:, :, row :: stride[0], column :: stride[1]] for row, column in read}


def _residue_copies(images: Array, window: WindowGeometry) -> dict[Residue, Array]:
    """Copy each residue map of (N, c, H, W) to an array of its own."""
    return {residue: np.ascontiguousarray(part) for residue, part in _residue_maps(images, window).items()}


def _in_residue_map(pixels: tuple[slice, slice], stride: tuple[int, int]) -> tuple[Residue, tuple[slice, ...]]:
    """Return the residue of a tap's pixels, and their place in that residue map."""
    rows, columns = pixels
    residue = rows.start % stride[0], columns.start % stride[1]
    return residue, (slice(None), slice(None), _every(rows, stride[0]), _every(columns, stride[1]))


def _every(pixels: slice, stride: int) -> slice:
    """Return the numbers of every `stride`-th pixel among those of the same remainder."""
    return slice(pixels.start // stride, (pixels.stop - 1) // stride + 1)
