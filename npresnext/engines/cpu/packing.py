"""Packing: weights (G, out, in, kh, kw) to the matrices that the matmuls of a gather plan read, and gradients back."""

from __future__ import annotations

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .plan import BatchedMatmul, GatherPlan
from .threads import parallel_for
from .tiles import Workload


def pack_weights(weight: Array, plan: GatherPlan) -> list[Array]:
    """Return the packed weights: for each matmul of the plan, matrices (products, 1, G, out, K)."""
    G, out, inner = weight.shape[:3]
    if weight.shape[3:] == (1, 1):
        return [weight.reshape(1, 1, G, out, inner)]
    inner_size = plan.copy_count * inner  # K
    # In memory, the packed weights have the order of the channel axes of `weight`, so that they are written as it is
    # read: the input gradient exchanges these axes.
    exchanged = weight.strides[1] < weight.strides[2]
    packed, copies = [], []
    for matmul in plan.matmuls:
        products = len(matmul.kernel_rows)
        if exchanged:
            matrices = np.empty((products, 1, G, inner_size, out), weight.dtype).swapaxes(-1, -2)
        else:
            matrices = np.empty((products, 1, G, out, inner_size), weight.dtype)
        for product, (rows, columns) in zip(matrices, _taps_of_products(matmul, plan)):
            source = weight[:, :, :, rows, columns]  # (G, out, in, row stacks, columns)
            copies.append((_by_taps(product[0], source.shape), source))
        packed.append(matrices)

    # The chunks are ranges of the outermost axis in memory that is longer than 1: groups, or one of the channel axes.
    if G > 1:
        outermost_axis = 0
    else:
        outermost_axis = 2 if exchanged else 1

    def copy(chunk: slice) -> None:
        index = (*[slice(None)] * outermost_axis, chunk)
        for target, source in copies:
            target[index] = source[index]

    length, parts = weight.shape[outermost_axis], max(2, weight.nbytes // thresholds.PACK_BYTES)
    on_one_thread = weight.size < thresholds.SMALL_PACKING
    parallel_for(copy, chunks(length, ceil_div(length, parts)), on_one_thread=on_one_thread)
    return packed


def unpack_weight_grad(packed: Array, workload: Workload, dweight: Array) -> None:
    """Write packed gradients (products, G, out, K), or (products, G, K, out), into dweight (G, out, in, kh, kw)."""
    if workload.weight_grad_transposed:
        packed = packed.swapaxes(-1, -2)  # (products, G, out, K)
    plan = workload.plan
    taps = [pair for matmul in plan.matmuls for pair in _taps_of_products(matmul, plan)]
    length, parts = packed.shape[2], max(1, packed.nbytes // thresholds.PACK_BYTES)
    for outputs in chunks(length, ceil_div(length, parts)):
        for product, (rows, columns) in zip(packed, taps):
            target = dweight[:, outputs, :, rows, columns]  # (G, out, in, row stacks, columns)
            source = _by_taps(product[:, outputs], target.shape)
            for stack, column in np.ndindex(target.shape[3:]):
                target[..., stack, column] = source[..., stack, column]


def _by_taps(matrices: Array, shape: tuple[int, ...]) -> Array:
    """View packed weights or gradients (G, out, K) in this shape, (G, out, in, row stacks, columns)."""
    G, out, inner, *taps = shape
    return matrices.reshape(G, out, *taps, inner).transpose(0, 1, 4, 2, 3)  # (G, out, in, row stacks, columns)


def _taps_of_products(matmul: BatchedMatmul, plan: GatherPlan) -> list[tuple[slice, slice]]:
    """Return the kernel rows and columns of each product of a matmul."""
    return [(_as_slice(rows), _as_slice(plan.kernel_columns)) for rows in matmul.kernel_rows]


def _as_slice(taps: tuple[int, ...]) -> slice:
    """Return taps as a slice: those of a phase are always evenly spaced."""
    step = taps[1] - taps[0] if len(taps) > 1 else 1
    return slice(taps[0], taps[-1] + 1, step)
