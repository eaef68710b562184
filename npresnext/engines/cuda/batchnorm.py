"""Batch normalisation of CUDA arrays, three kernels forward and three backward: batchnorm.cu says how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..._support.integers import ceil_div
from ..._support.typing import Array
from ...backend import array_module, sum_dtype, widen
from .launch import C_TYPES, DIVISOR, divisor, expression, launch

FILE = "batchnorm.cu"
THREADS = 256
SLICE = 8192  # values of one block: little enough to stay in the cache for a second sweep
LARGEST = 2**30  # pixels of a map that the kernels can count
SLICES = np.dtype(
    [("images", np.int64), ("pixels", np.int64)]
    + [(name, np.int32) for name in ("channels", "per_slice", "slices")]
    + [("by_pixels", DIVISOR)],
    align=True,
)


def is_countable(x: Array) -> bool:
    """Return whether the kernels know the dtype of x, x is not empty, and its maps are small enough to be counted."""
    return str(x.dtype) in C_TYPES and 0 not in x.shape and math.prod(x.shape[2:]) <= LARGEST


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and var as ``functional.batch_norm``, whose checks have passed."""
    xp = array_module(x=x)
    plan, blocks = _slices(x.shape)
    x, weight, bias = (None if array is None else xp.ascontiguousarray(array) for array in (x, weight, bias))
    residue, y = None, xp.empty(x.shape, dtype=x.dtype)
    if mean is None:
        sums = sum_dtype(xp, x.dtype)
        partial = xp.empty((blocks, 3), dtype=sums)
        mean, residue, var = (xp.empty((x.shape[1],), dtype=sums) for _ in range(3))
        _start("channel_moments", x.dtype, blocks, x, partial, plan)
        _start("merge_moments", sums, _blocks(x.shape[1]), partial, mean, residue, var, plan)
    else:
        mean, var = (xp.ascontiguousarray(widen(xp, array)) for array in (mean, var))
    _start("normalise", x.dtype, blocks, x, mean, residue, var, weight, bias, y, np.float64(eps), plan)
    return y, mean, var


def batch_norm_backward(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float, batch_statistics: bool
) -> tuple[Array, Array, Array]:
    """Return dx, dweight and dbias as ``functional.batch_norm_backward``, whose checks have passed."""
    xp = array_module(x=x)
    plan, blocks = _slices(x.shape)
    grad, x = xp.ascontiguousarray(grad_output), xp.ascontiguousarray(x)
    weight = None if weight is None else xp.ascontiguousarray(weight)
    mean, var = (xp.ascontiguousarray(widen(xp, array)) for array in (mean, var))
    sums, C = sum_dtype(xp, x.dtype), x.shape[1]
    partial, terms = xp.empty((blocks, 3), dtype=sums), xp.empty((C, 3), dtype=sums)
    dx, dweight, dbias = (xp.empty(shape, dtype=x.dtype) for shape in (x.shape, (C,), (C,)))
    _start("channel_products", x.dtype, blocks, grad, x, mean, partial, plan)
    _start(
        "merge_products",
        x.dtype,
        _blocks(C),
        partial,
        var,
        weight,
        dweight,
        dbias,
        terms,
        np.float64(eps),
        np.int32(batch_statistics),
        plan,
    )
    _start("channel_gradient", x.dtype, blocks, grad, x, mean, terms, dx, plan)
    return dx, dweight, dbias


def _slices(shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Cut (N, C, ...) into slices; return the struct and the number of blocks."""
    images, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
    per_slice = max(1, min(images, SLICE // pixels))
    slices = ceil_div(images, per_slice)
    plan = np.zeros((), SLICES)
    by_pixels = divisor(pixels) if per_slice > 1 else (2, 0)  # 0: all of a slice is of one image
    for name, value in zip(SLICES.names or (), (images, pixels, channels, per_slice, slices, by_pixels)):
        plan[name] = value
    return plan, channels * slices


def _blocks(channels: int) -> int:
    return ceil_div(channels, THREADS)


def _start(kernel: str, dtype: Any, blocks: int, *args: Any) -> None:
    launch(FILE, expression(kernel, np.dtype(dtype)), blocks, (THREADS, 1), args, THREADS * 8)
