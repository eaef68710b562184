"""Max pooling of NumPy arrays, in phases, so that nothing is compared or added with a stride.

A tap reads every s-th pixel only, where s is the stride. The pixels that leave the same rests modulo s are a phase;
laid out as an array of its own, what each tap reads of its phase is a plain rectangle:

    a b a b a b          a a a   b b b
    c d c d c d    ->    a a a   b b b        (s = 2: four phases; a 3x3 window reads up to four pixels of each)
    a b a b a b          c c c   d d d
    c d c d c d          c c c   d d d
"""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...geometry import WindowGeometry
from .blocks import in_blocks


def max_pool2d(x: Array, window: WindowGeometry) -> Array:
    """Return y as ``functional.max_pool2d``, whose checks have passed."""
    y = np.full(window.pooled_shape, -np.inf, x.dtype)

    def piece(block: slice) -> None:
        pixels, maxima = _copies(x[:, block], window), y[:, block]  # (N, c, oh, ow)
        for _, _, windows, read in window.taps():
            phase, there = _in_phase(read, window.stride)
            part = maxima[:, :, *windows]
            np.maximum(part, pixels[phase][there], out=part)

    in_blocks(piece, x, x.shape[1])
    return y


def max_pool2d_backward(grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
    """Return dx as ``functional.max_pool2d_backward``, whose checks have passed."""
    every = min(window.stride[0], window.height) * min(window.stride[1], window.width)
    dx = (np.empty if len(_phases(x, window)) == every else np.zeros)(x.shape, x.dtype)
    bits = f"u{x.itemsize}"  # a gate of 0 or 1 times the bits is exact, even for infinity and NaN

    def piece(block: slice) -> None:
        maxima, grad = output[:, block], grad_output[:, block].view(bits)  # (N, c, oh, ow)
        pixels = _copies(x[:, block], window)
        gradients = {phase: np.zeros_like(part) for phase, part in pixels.items()}
        searching = np.ones(maxima.shape, bool)  # windows whose maximum is yet to come
        for _, _, windows, read in window.taps():
            here = (slice(None), slice(None), *windows)
            phase, there = _in_phase(read, window.stride)
            found = pixels[phase][there] < maxima[here]
            np.greater(searching[here], found, out=found)  # still searching, and not below
            searching[here] ^= found
            gradients[phase][there] += (grad[here] * found).view(x.dtype)
        for phase, part in _phases(dx[:, block], window).items():
            part[...] = gradients[phase]

    in_blocks(piece, x, x.shape[1])
    return dx


def _phases(images: Array, window: WindowGeometry) -> dict[tuple[int, int], Array]:
    """View (N, c, H, W) as its phases, by the rests of their rows and columns: those that the taps read."""
    read = {_in_phase(pixels, window.stride)[0] for _, _, _, pixels in window.taps()}
    return {(a, b): images[:, :, a :: window.stride[0], b :: window.stride[1]] for a, b in read}


def _copies(images: Array, window: WindowGeometry) -> dict[tuple[int, int], Array]:
    """Lay each phase of (N, c, H, W) out as an array of its own."""
    return {phase: np.ascontiguousarray(part) for phase, part in _phases(images, window).items()}


def _in_phase(read: tuple[slice, slice], stride: tuple[int, int]) -> tuple[tuple[int, int], tuple[slice, ...]]:
    """Return the phase that a tap's pixels belong to, and where they stand in it."""
    (a, b), (rows, columns) = zip(
        *(
            (part.start % step, slice(part.start // step, (part.stop - 1) // step + 1))
            for part, step in zip(read, stride)
        )
    )
    return (a, b), (slice(None), slice(None), rows, columns)
