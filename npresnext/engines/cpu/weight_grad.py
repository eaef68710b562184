"""The weight gradient, tile by tile, shared out over the threads.

A weight gradient is a sum over all images: ``dweight = multiplier · copiesᵀ``. Its tasks are chunks of the groups.
Where there are few groups, the tasks are chunks of the images, each with a partial sum of its own, or chunks of the
input channels. A task goes through its images in a fixed order, and the partial sums are added up in a fixed order.
So no two threads add to the same number, and the sums are the same bits for any number of threads.

The tasks can compute the input gradient as well, from the same copies of grad_output.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .epilogue import NO_EPILOGUE
from .packing import pack_weights, unpack_weight_grad
from .plan import GatherPlan
from .threads import Tasks, run_tasks
from .tile_buffers import load_tile
from .tiles import Workload, cut_into_tiles, groups_per_task
from .workspace import get_workspace_limit


def write_weight_grad(
    source: Array,
    multiplier: Array,
    dweight: Array,
    plans: tuple[GatherPlan, ...],
    macs: int,
    *,
    weight: Array | None = None,
    target: Array | None = None,
) -> None:
    """Write into `dweight` (G, out, in, kh, kw) the products of `multiplier` (N, G, out, H, W) and copies of `source`.

    With `weight` and `target`, the same copies also give the results, as :func:`~.gather.gather_results` writes them.
    This needs at least MAX_CHUNKS groups, so that every task has all images and input channels.
    """
    with weight_grad_tasks(source, multiplier, dweight, plans, weight=weight, target=target) as tasks:
        run_tasks(tasks, macs)


@contextlib.contextmanager
def weight_grad_tasks(
    source: Array,
    multiplier: Array,
    dweight: Array,
    plans: tuple[GatherPlan, ...],
    *,
    weight: Array | None = None,
    target: Array | None = None,
) -> Iterator[Tasks]:
    """Yield the tasks of :func:`write_weight_grad`, to be run inside the block; then add the partial sums up."""
    workloads = [Workload.of(plan, source, target, multiplier) for plan in plans]
    most_channels = max_input_channels(dweight) if target is None else source.shape[2]  # results need all channels
    cuts = _cut(workloads, most_channels, dweight.nbytes)
    if cuts.partial_sums > 1:
        partial_sums = np.empty((cuts.partial_sums, *dweight.shape), dweight.dtype)
    else:
        partial_sums = dweight[None]  # (1, G, out, in, kh, kw)
    if sum(plan.tap_count for plan in plans) < math.prod(dweight.shape[3:]):  # the other taps meet padding alone
        partial_sums[...] = 0

    def compute(part: _Part) -> None:
        copied, multiplied = source[part.images, :, part.channels], multiplier[part.images]
        gradient = partial_sums[part.partial_sum][part.groups, :, part.channels]  # (g, out, in, kh, kw)
        for plan in plans:
            workload = Workload.of(plan, copied, target, multiplied)
            weights = [] if weight is None else pack_weights(weight[part.groups], plan)
            groups = part.groups.stop - part.groups.start
            sums = np.empty((plan.product_count, groups, *workload.weight_grad_shape), source.dtype)
            limit = get_workspace_limit()
            tiles_of_part = cut_into_tiles(workload, part.groups.start, part.groups.stop, limit, all_groups=True)
            for number, tile in enumerate(tiles_of_part):
                buffers, operands = load_tile(workload, tile, copied)
                if target is not None:
                    buffers.write_results(operands, target, weights, NO_EPILOGUE)
                buffers.add_weight_grad(operands, multiplied, sums, is_first_tile=number == 0)
            unpack_weight_grad(sums, workload, gradient)

    yield [functools.partial(compute, part) for part in cuts.parts]
    if cuts.partial_sums > 1:
        partial_sums.sum(axis=0, out=dweight)


def max_input_channels(weight: Array) -> int:
    """Return for how many input channels of `weight` (G, out, in, kh, kw) a gradient fits in the workspace.

    One group's gradient is held twice, and may take half of the workspace.
    """
    bytes_per_channel = weight.itemsize * weight.shape[1] * weight.shape[3] * weight.shape[4]
    return max(1, get_workspace_limit() // (4 * bytes_per_channel))


@dataclass(frozen=True)
class _Part:
    """What one task computes: the sum over some images, for some groups and input channels."""

    partial_sum: int  # number of the partial sum that it belongs to
    images: slice
    groups: slice
    channels: slice


@dataclass(frozen=True)
class _Cuts:
    """How a weight gradient is cut into tasks."""

    parts: list[_Part]
    partial_sums: int


def _cut(workloads: list[Workload], most_channels: int, gradient_bytes: int) -> _Cuts:
    """Cut a weight gradient along its groups; where these are few, along the images or the input channels.

    Images are cut if the partial sums, each as large as the gradient itself, take at most a quarter of the workspace.
    """
    if not workloads:  # no tap reads the image
        return _Cuts([], 1)
    limit, most_chunks = get_workspace_limit(), thresholds.MAX_CHUNKS
    batch, groups, channels = workloads[0].batch, workloads[0].groups, workloads[0].source_channels
    images_per_part, groups_per_part, channel_chunks = batch, 1, 1
    if groups >= most_chunks:
        groups_per_part = min(groups_per_task(workload, limit) for workload in workloads)
    elif batch > 1 and min(most_chunks, batch) * gradient_bytes <= limit // 4:
        images_per_part = ceil_div(batch, most_chunks)
    else:
        channel_chunks = _channel_chunks(workloads)
    image_chunks = list(enumerate(chunks(batch, images_per_part)))
    channels_per_part = min(most_channels, ceil_div(channels, channel_chunks))
    parts = [
        _Part(number, images_of_part, groups_of_part, channels_of_part)
        for (number, images_of_part), groups_of_part, channels_of_part in itertools.product(
            image_chunks, chunks(groups, groups_per_part), chunks(channels, channels_per_part)
        )
    ]
    return _Cuts(parts, len(image_chunks))


def _channel_chunks(workloads: list[Workload]) -> int:
    """Return into how many chunks the input channels are cut; a power of two makes most chunks equally long."""
    inner_size = max(workload.inner_size for workload in workloads)
    most = max(2, inner_size // thresholds.INNER_SIZE_PER_CHUNK)
    return next(count for count in (thresholds.MAX_CHUNKS, 4, 2) if count <= most)
