"""Tiles: how much of a convolution one thread computes at a time.

A tile is a range of images, groups, rows and columns of the result. A large tile needs fewer NumPy calls, at each of
which threads may wait for the interpreter's lock. A small tile needs copies that still lie in the cache when the
matmuls read them. Tiles depend on shapes and on the workspace limit, never on the number of threads. So the results
are the same bits for any number of threads.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .plan import GatherPlan
from .workspace import limit_too_small


class TileShape(NamedTuple):
    """How many images, groups, rows and columns a tile has."""

    images: int
    groups: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Tile:
    """A range of images, groups, rows and columns of the result; rows and columns are counted within their phases."""

    images: slice
    groups: slice
    rows: slice
    columns: slice

    @functools.cached_property
    def shape(self) -> TileShape:
        """How many images, groups, rows and columns."""
        ranges = (self.images, self.groups, self.rows, self.columns)
        return TileShape(*(part.stop - part.start for part in ranges))

    @functools.cached_property
    def layout_key(self) -> tuple[int, ...]:
        """What the layout of the tile's copies depends on: its shape, and where it begins in the images."""
        return (*self.shape, self.rows.start, self.columns.start)


class BufferShapes(NamedTuple):
    """The shapes of the arrays that a tile needs beside source and result, each with four axes."""

    copies: tuple[int, ...]
    products: tuple[int, ...]  # of one row phase
    multiplier: tuple[int, ...]  # a copy of it
    weight_grads: tuple[int, ...]  # one for each image
    weight_grad_sums: tuple[int, ...]  # over the images of all tiles: these outlive the tile


@dataclass(frozen=True)
class Workload:
    """A gather plan and the sizes of the arrays that it is applied to: all that the choice of tiles depends on."""

    plan: GatherPlan
    batch: int
    groups: int
    source_channels: int  # of one group
    target_channels: int  # of one group; 0 if no results are computed
    multiplier_channels: int  # of one group; 0 if no weight gradient is computed
    itemsize: int
    without_copies: bool  # the matmuls read the source where it lies in memory

    @classmethod
    def of(cls, plan: GatherPlan, source: Array, target: Array | None, multiplier: Array | None) -> Workload:
        """Describe the work on source (N, G, in, H, W), target and multiplier (N, G, out, H, W)."""
        N, G, channels, height, width = source.shape
        target_channels = 0 if target is None else target.shape[2]
        multiplier_channels = 0 if multiplier is None else multiplier.shape[2]
        whole_rows = plan.column_count == width and plan.row_count <= height
        without_copies = plan.is_identity and whole_rows and has_contiguous_maps(source)
        sizes = (N, G, channels, target_channels, multiplier_channels, source.itemsize)
        return _workload(plan, *sizes, without_copies)

    @functools.cached_property
    def inner_size(self) -> int:
        """K, the length of the inner products of a matmul."""
        return self.source_channels * self.plan.copy_count

    @functools.cached_property
    def positions(self) -> int:
        """P, how many results one image has in each channel."""
        return self.plan.row_count * self.plan.column_count

    @functools.cached_property
    def images_side_by_side(self) -> bool:
        """Whether the images of a tile lie side by side in the copies, as columns of one matmul.

        That is faster where the matmul of one image is so large that OpenBLAS packs its operands, and the map so short
        that packing takes long compared to multiplying.
        """
        outputs = max(self.target_channels, self.multiplier_channels)
        short = thresholds.SHORT_MAP if self.without_copies else thresholds.SHORT_COPIED_MAP
        return self.positions < short and outputs * self.inner_size * self.positions > thresholds.SMALL_MATMUL

    @functools.cached_property
    def has_small_weight_grad(self) -> bool:
        """Whether the weight gradient of one group and image is a small matmul."""
        size = self.multiplier_channels * self.inner_size * self.positions
        return size <= thresholds.SMALL_MATMUL and not self.images_side_by_side

    @functools.cached_property
    def weight_grad_transposed(self) -> bool:
        """Whether the weight gradient is computed as (K, out): OpenBLAS is faster with the longer side first."""
        if self.has_small_weight_grad:
            return self.multiplier_channels >= thresholds.TRANSPOSED_CHANNELS
        return self.inner_size > self.multiplier_channels

    @functools.cached_property
    def multiplier_transposed(self) -> bool:
        """Whether the multiplier is copied as (P, out): for a small weight gradient the matmul gains more than that."""
        return self.has_small_weight_grad and self.weight_grad_transposed

    def multiplier_shape(self, positions: int) -> tuple[int, int]:
        """The shape of a copy of one group's multiplier: (out, P), or (P, out) if transposed."""
        channels = self.multiplier_channels
        return (positions, channels) if self.multiplier_transposed else (channels, positions)

    @functools.cached_property
    def weight_grad_shape(self) -> tuple[int, int]:
        """The shape of the weight gradient of one group and product: (out, K), or (K, out) if transposed."""
        shape = (self.multiplier_channels, self.inner_size)
        return shape[::-1] if self.weight_grad_transposed else shape

    def buffer_shapes(self, tile: TileShape) -> BufferShapes:
        """The shapes of the arrays that a tile needs."""
        plan, matrices = self.plan, tile.images * tile.groups
        copied = 0 if self.without_copies else matrices
        summed_images = 1 if self.images_side_by_side else tile.images
        gradient = (self.multiplier_channels, self.inner_size)
        return BufferShapes(
            copies=(copied, self.inner_size, plan.copy_height(tile.rows), tile.columns),
            products=(matrices * max(plan.product_counts), self.target_channels, tile.rows, tile.columns),
            multiplier=(matrices, self.multiplier_channels, tile.rows, tile.columns),
            weight_grads=(plan.product_count, summed_images * tile.groups, *gradient),
            weight_grad_sums=(plan.product_count, tile.groups, *gradient),
        )

    def tile_bytes(self, images: int, groups: int, rows: int, columns: int) -> int:
        """How many bytes a tile of this shape needs."""
        shapes = self.buffer_shapes(TileShape(images, groups, rows, columns))
        return self.itemsize * sum(map(math.prod, shapes))


@functools.lru_cache(maxsize=1024)
def _workload(*fields: Any) -> Workload:
    """Return the same object for the same fields, so that what it computes from them is computed once."""
    workload = Workload(*fields)
    if workload.without_copies and workload.images_side_by_side:  # images can lie side by side in copies alone
        return dataclasses.replace(workload, without_copies=False)
    return workload


@functools.lru_cache(maxsize=1024)
def cut_into_tiles(workload: Workload, first_group: int, end_group: int, limit: int, *, all_groups: bool) -> list[Tile]:
    """Cut the groups from `first_group` up to `end_group` into tiles, in an order that never changes.

    With `all_groups` every tile holds all of these groups: so one thread can sum over the images.
    """
    groups = end_group - first_group
    shape = tile_shape(workload, groups if all_groups else None, limit)
    return [
        Tile(images, slice(first_group + part.start, first_group + part.stop), rows, columns)
        for part in chunks(groups, shape.groups)
        for images in chunks(workload.batch, shape.images)
        for rows in chunks(workload.plan.row_count, shape.rows)
        for columns in chunks(workload.plan.column_count, shape.columns)
    ]


@functools.lru_cache(maxsize=1024)
def tile_shape(workload: Workload, fixed_groups: int | None, limit: int) -> TileShape:
    """Choose the shape of the tiles: first rows (and columns where one row is too much), then groups, then images."""
    plan, batch, goal = workload.plan, workload.batch, min(limit, thresholds.TILE_BYTES)
    rows, columns = _rows_and_columns(workload, fixed_groups or 1, goal, limit)
    groups = fixed_groups or _largest(
        ceil_div(workload.groups, group_chunks(workload)), lambda g: workload.tile_bytes(1, g, rows, columns) <= goal
    )
    images = _largest(
        _most_images(workload, fixed_groups), lambda n: workload.tile_bytes(n, groups, rows, columns) <= goal
    )
    return TileShape(
        _even(batch, images), fixed_groups or _even(workload.groups, groups), _even(plan.row_count, rows), columns
    )


def _rows_and_columns(workload: Workload, groups: int, goal: int, limit: int) -> tuple[int, int]:
    """Choose how many rows and columns a tile of one image has: whole rows within `goal`, or part of one in `limit`."""
    all_columns = workload.plan.column_count
    rows = _largest(workload.plan.row_count, lambda u: workload.tile_bytes(1, groups, u, all_columns) <= goal)
    if rows > 1:
        return rows, all_columns
    columns = _largest(all_columns, lambda q: workload.tile_bytes(1, groups, 1, q) <= limit)
    if workload.tile_bytes(1, groups, 1, columns) > limit:
        raise limit_too_small("the smallest tile of this convolution", workload.tile_bytes(1, groups, 1, 1))
    return rows, columns


def _most_images(workload: Workload, fixed_groups: int | None) -> int:
    """Return how many images a tile may have, so that there are tiles for several threads."""
    if fixed_groups is not None or workload.groups >= thresholds.MAX_CHUNKS:  # the groups are shared out already
        return workload.batch
    side_by_side = workload.images_side_by_side
    return ceil_div(workload.batch, thresholds.SIDE_BY_SIDE_CHUNKS if side_by_side else thresholds.MAX_CHUNKS)


def groups_per_task(workload: Workload, limit: int) -> int:
    """Return how many groups one task of a weight gradient has: a tile of one pixel of them must fit in the limit."""
    most = ceil_div(workload.groups, group_chunks(workload))
    return _largest(most, lambda g: workload.tile_bytes(1, g, 1, 1) <= limit)


def group_chunks(workload: Workload) -> int:
    """Return into how many chunks the groups are cut: at least two, and at most as many as there are full tiles."""
    everything = workload.tile_bytes(
        workload.batch, workload.groups, workload.plan.row_count, workload.plan.column_count
    )
    return min(thresholds.MAX_CHUNKS, max(2, everything // thresholds.TILE_BYTES))


def has_contiguous_maps(array: Array) -> bool:
    """Whether the map (H, W) of each image and channel is contiguous in memory."""
    return array.strides[-1] == array.itemsize and array.strides[-2] == array.itemsize * array.shape[-1]


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from 1 to `most` that fits, by bisection; 1 if none does."""
    low, high = 1, max(most, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _even(total: int, size: int) -> int:
    """Shrink `size`, to half of it at most, so that the chunks of `total` are of equal length if possible."""
    fewest = ceil_div(total, size)
    for count in range(fewest, 2 * fewest):
        if total % count == 0:
            return total // count
    return ceil_div(total, fewest)
