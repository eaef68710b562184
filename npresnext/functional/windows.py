"""The windows of a pooling: PyTorch's arguments turned into a WindowGeometry, batch axes put on and taken off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.arguments import as_pair
from .._support.typing import Array
from ..errors import InvalidValueError, ShapeError
from ..geometry import WindowGeometry, as_shape


def pool_window(
    x_shape: Sequence[int], kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> WindowGeometry:
    """Check the arguments of a pooling and return its windows; `ceil_mode` becomes more padding below and right."""
    sizes = as_shape(batched_shape(x_shape), "(N, C, H, W)", "x")
    kernel = as_pair(kernel_size, "kernel_size", 1)
    strides = kernel if stride is None else as_pair(stride, "stride", 1)
    sides, dilations = as_pair(padding, "padding", 0), as_pair(dilation, "dilation", 1)
    if any(side > size // 2 for side, size in zip(sides, kernel)):
        raise InvalidValueError(f"padding must be at most half of the kernel: padding {sides}, kernel_size {kernel}")
    paddings = [
        (p, p + _extra(size, k, s, p, d) if ceil_mode else p)
        for size, k, s, p, d in zip(sizes[2:], kernel, strides, sides, dilations)
    ]
    return WindowGeometry.of(sizes, kernel, stride=strides, padding=paddings, dilation=dilations)


def _extra(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How many more rows the last window of ``ceil_mode`` needs below the padding."""
    spare = size + 2 * padding - dilation * (kernel - 1) - 1
    steps = -(-spare // stride)  # rounded up
    if steps * stride >= size + padding:  # it would begin in the right padding
        steps -= 1
    return max(steps * stride - spare, 0) if steps >= 0 else 0


def output_shape(window: WindowGeometry) -> tuple[int, int, int, int]:
    """Return (N, C, oh, ow)."""
    return window.batch, window.in_channels, window.out_height, window.out_width


def checked(array: Array, x_shape: Sequence[int], window: WindowGeometry, name: str) -> Array:
    """Return `array` with a batch axis after checking that it has the shape of the output."""
    expected = output_shape(window)[4 - len(x_shape) :]
    if tuple(array.shape) != expected:
        raise ShapeError(f"{name} has shape {tuple(array.shape)} but the output of this pooling has shape {expected}")
    return batched(array)


def batched(x: Array) -> Array:
    """Put a batch axis before an unbatched x (C, H, W)."""
    return x[None, ...] if len(x.shape) == 3 else x


def batched_shape(x_shape: Sequence[int]) -> Sequence[int]:
    """Put N = 1 before the shape of an unbatched x (C, H, W)."""
    return (1, *x_shape) if isinstance(x_shape, Sequence) and len(x_shape) == 3 else x_shape


def like(x_shape: Sequence[int], result: Array) -> Array:
    """Drop the batch axis again where x had none."""
    return result[0, ...] if len(x_shape) == 3 else result
