"""The batch axis: put before an image without one, and taken off the result again."""

from __future__ import annotations

from collections.abc import Sequence

from .._support.typing import Array


def with_batch_axis(x: Array) -> Array:
    """Return x (C, H, W) as (1, C, H, W), and any other x as it is."""
    return x[None, ...] if len(x.shape) == 3 else x


def shape_with_batch_axis(x_shape: Sequence[int]) -> Sequence[int]:
    """Return the shape (C, H, W) as (1, C, H, W), and any other shape as it is."""
    return (1, *x_shape) if isinstance(x_shape, Sequence) and len(x_shape) == 3 else x_shape


def without_batch_axis(result: Array, x_shape: Sequence[int]) -> Array:
    """Return the result (1, ...) without its batch axis where x had none."""
    return result[0, ...] if len(x_shape) == 3 else result
