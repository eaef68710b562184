"""Batch normalisation of CUDA arrays, three kernels forward and three backward: cuda_batchnorm.cu says how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import array_module, widen
from .cuda_launch import C_TYPES, expression, launch

Array = Any

FILE = "cuda_batchnorm.cu"
THREADS = 256
SLICE = 8192                          # values of one block: little enough to stay in the cache for a second sweep
SLICES = np.dtype(
    [("images", np.int64), ("pixels", np.int64), ("channels", np.int32), ("per_slice", np.int32), ("slices", np.int32)],
    align=True,
)


def takes(x: Array) -> bool:
    """Do the kernels know this dtype, and is there anything to do?"""
    return str(x.dtype) in C_TYPES and 0 not in x.shape


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return y, mean and var as ``functional.batch_norm``, whose checks have passed."""
    xp = array_module(x=x)
    plan, blocks, threads = _slices(x.shape)
    x, weight, bias = (None if array is None else xp.ascontiguousarray(array) for array in (x, weight, bias))
    rest, y = None, xp.empty(x.shape, dtype=x.dtype)
    if mean is None:
        sums = _sums(xp, x.dtype)
        partial = xp.empty((blocks, 3), dtype=sums)
        mean, rest, var = (xp.empty((x.shape[1],), dtype=sums) for _ in range(3))
        _start("channel_moments", x.dtype, blocks, threads, x, partial, plan)
        _start("merge_moments", sums, _blocks(x.shape[1]), (THREADS, 1), partial, mean, rest, var, plan)
    else:
        mean, var = (xp.ascontiguousarray(widen(xp, array)) for array in (mean, var))
    _start("normalise", x.dtype, blocks, threads, x, mean, rest, var, weight, bias, y, np.float64(eps), plan)
    return y, mean, var


def batch_norm_backward(
    grad_output: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float, batch_statistics: bool
) -> tuple[Array, Array, Array]:
    """Return dx, dweight and dbias as ``functional.batch_norm_backward``, whose checks have passed."""
    xp = array_module(x=x)
    plan, blocks, threads = _slices(x.shape)
    grad, x = xp.ascontiguousarray(grad_output), xp.ascontiguousarray(x)
    weight = None if weight is None else xp.ascontiguousarray(weight)
    mean, var = (xp.ascontiguousarray(widen(xp, array)) for array in (mean, var))
    sums, C = _sums(xp, x.dtype), x.shape[1]
    partial, terms = xp.empty((blocks, 3), dtype=sums), xp.empty((C, 3), dtype=sums)
    dx, dweight, dbias = (xp.empty(shape, dtype=x.dtype) for shape in (x.shape, (C,), (C,)))
    _start("channel_products", x.dtype, blocks, threads, grad, x, mean, partial, plan)
    _start("merge_products", x.dtype, _blocks(C), (THREADS, 1), partial, var, weight, dweight, dbias, terms,
           np.float64(eps), np.int32(batch_statistics), plan)
    _start("channel_gradient", x.dtype, blocks, threads, grad, x, mean, terms, dx, plan)
    return dx, dweight, dbias


def _slices(shape: tuple[int, ...]) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Cut (N, C, ...) into slices; return the struct, the number of blocks and the shape of one."""
    images, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
    per_slice = max(1, min(images, SLICE // pixels))
    slices = -(-images // per_slice)
    rows = next(rows for rows in (8, 4, 2, 1) if rows <= per_slice)       # of threads: each takes images of its own
    plan = np.zeros((), SLICES)
    for name, value in zip(SLICES.names or (), (images, pixels, channels, per_slice, slices)):
        plan[name] = value
    return plan, channels * slices, (THREADS // rows, rows)


def _blocks(channels: int) -> int:
    return -(-channels // THREADS)


def _sums(xp: Any, dtype: Any) -> Any:
    """Return the dtype that sums are made in."""
    return xp.float64 if str(dtype) == "float64" else xp.float32


def _start(kernel: str, dtype: Any, blocks: int, threads: tuple[int, int], *args: Any) -> None:
    launch(FILE, expression(kernel, np.dtype(dtype)), blocks, threads, args, THREADS * 8)
