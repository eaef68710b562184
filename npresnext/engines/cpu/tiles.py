"""Tiles: how much of a correlation one thread computes at a time, and what it copies for that.

A tile is a range of groups, images, rows and columns of the results. It needs few NumPy calls if it is large, and its
copies stay in the cache if it is small. Tiles depend on shapes and on the workspace limit, never on the number of
threads. So the results are the same bits for any number of threads.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .correlation import Correlation
from .workspace import limit_too_small

Index: TypeAlias = tuple[Any, ...]  # slices and numbers


class TileShape(NamedTuple):
    """How many groups, images, rows and columns a tile has."""

    groups: int
    images: int
    rows: int
    columns: int


class ScratchShapes(NamedTuple):
    """The arrays that a tile needs beside source and results."""

    copies: tuple[int, ...]
    products: tuple[int, ...]  # (g, R, out, P)
    multiplier: tuple[int, ...]  # (g, R, out, P)
    weight_grads: tuple[int, ...]  # (g, R, K, out) row by row, (g, 1, out, K) otherwise


@dataclass(frozen=True)
class Workload:
    """A correlation and the sizes of the arrays that it is applied to: all that the choice of tiles depends on."""

    correlation: Correlation
    batch: int
    groups: int
    source_channels: int  # of one group
    target_channels: int  # of one group; 0 if no results are computed
    multiplier_channels: int  # of one group; 0 if no weight gradient is computed
    map_shape: tuple[int, int]  # of the source
    itemsize: int
    shares_weight: bool = False  # whether the groups are parts of the batch, which have one weight

    @functools.cached_property
    def inner_size(self) -> int:
        """K, the length of the inner products."""
        return self.source_channels * self.correlation.tap_count

    @functools.cached_property
    def row_by_row(self) -> bool:
        """Whether every row of results is a product of its own, so that the rows of the source are copied only once.

        That is faster where few channels share the work of copying, and a row is not much shorter than they are many.
        """
        row_length = self.batch * self.correlation.columns.count
        return self.correlation.rows_overlap and self._channels < min(thresholds.ROW_BY_ROW_CHANNELS, row_length + 1)

    @property
    def usual_tile_bytes(self) -> int:
        """How many bytes a tile should have: where many channels share the work of copying, the cache matters less."""
        wide = self._channels >= thresholds.WIDE_TILE_CHANNELS
        return thresholds.WIDE_TILE_BYTES if wide else thresholds.TILE_BYTES

    def images_for_blas(self, images: int) -> int:
        """Return how many images a tile has, `images` at most, so that BLAS multiplies its rows fast."""
        sizes = self._fast_sizes(range(1, images + 1)) if self.row_by_row else []
        if not sizes:
            return images
        count = ceil_div(self.batch, sizes[-1])
        return next(n for n in sizes if n * count >= self.batch)  # about equally large tiles

    @property
    def batch_parts(self) -> int:
        """Into how many parts the batch of a single group is cut, so that its rows are small products.

        Then one call of matmul computes many of them: a tile has several parts, as it has groups.
        """
        if self.groups > 1 or not self.row_by_row:
            return 1
        shortest = ceil_div(self._channels, self.correlation.columns.count)  # so that it stays row by row
        sizes = self._fast_sizes(n for n in range(shortest, self.batch + 1) if self.batch % n == 0)
        return self.batch // sizes[-1] if sizes else 1

    @functools.cached_property
    def gradient_parts(self) -> int:
        """Row by row, the products of a weight gradient: one for each tap row if BLAS then packs nothing, or one."""
        tap_rows = len(self.correlation.row_offsets)
        values = self.multiplier_channels * self.inner_size // tap_rows
        return tap_rows if values <= thresholds.SMALL_GRADIENT else 1

    def scratch_shapes(self, tile: TileShape) -> ScratchShapes:
        """The shapes of the scratch arrays of a tile."""
        g, n, rows, columns = tile
        tap_rows, tap_columns = len(self.correlation.row_offsets), len(self.correlation.column_offsets)
        copies: tuple[int, ...]
        if self.row_by_row:
            source_rows = (rows - 1) * self.correlation.row_step + tap_rows
            copies = (g, source_rows, tap_columns, self.source_channels, n, columns)
            products, positions = rows, n * columns
            gradient = (self.inner_size, self.multiplier_channels)
        else:
            copies = (g, self.source_channels, tap_rows, tap_columns, rows, n, columns)
            products, positions = 1, rows * n * columns
            gradient = (self.multiplier_channels, self.inner_size)
        return ScratchShapes(
            copies,
            (g, products, self.target_channels, positions),
            (g, products, self.multiplier_channels, positions),
            (g, products, *gradient),
        )

    def tile_bytes(self, groups: int, images: int, rows: int, columns: int) -> int:
        """How many bytes of scratch arrays a tile needs, with the weight gradient that it is added to."""
        shapes = self.scratch_shapes(TileShape(groups, images, rows, columns))
        sums = groups * self.multiplier_channels * self.inner_size
        return (sum(map(math.prod, shapes)) + sums) * self.itemsize + 64 * len(shapes)

    @property
    def _channels(self) -> int:
        """How many channels of a group share the work of copying."""
        return max(self.target_channels, self.multiplier_channels)

    def _fast_sizes(self, sizes: Iterable[int]) -> list[int]:
        """Return those numbers of images, ascending as they are given, in which a row is multiplied fast by BLAS.

        OpenBLAS does not pack the operands of small products, and reads panels of columns: whole ones if possible.
        """
        columns = self.correlation.columns.count
        most = thresholds.SMALL_PRODUCT // (self._channels * self.inner_size * columns)
        small = [n for n in sizes if n <= most and n * columns >= thresholds.PANEL_COLUMNS]
        whole_panels = [n for n in small if n * columns % thresholds.PANEL_COLUMNS == 0]
        return whole_panels or [n for n in small if n * columns % thresholds.VECTOR_COLUMNS == 0]


def workload_of(correlation: Correlation, source: Array, target: Array | None, multiplier: Array | None) -> Workload:
    """Describe the work of a correlation on images (G, C, H, N, W)."""
    G, C, H, N, W = source.shape
    outputs, multiplied = (0 if images is None else images.shape[1] for images in (target, multiplier))
    return _workload(correlation, N, G, C, outputs, multiplied, (H, W), source.itemsize)


@functools.lru_cache(maxsize=1024)  # with what a workload has found out
def _workload(correlation: Correlation, batch: int, groups: int, *sizes: Any) -> Workload:
    """Return a workload whose groups are parts of the batch, if that makes small products."""
    workload = Workload(correlation, batch, groups, *sizes)
    parts = workload.batch_parts
    return workload if parts == 1 else replace(workload, batch=batch // parts, groups=parts, shares_weight=True)


@dataclass(frozen=True, eq=False)
class Tile:
    """A range of groups, images, rows and columns of the results; rows and columns are counted within their phases."""

    workload: Workload
    groups: slice
    images: slice
    rows: slice
    columns: slice

    @functools.cached_property
    def shape(self) -> TileShape:
        """How many groups, images, rows and columns."""
        ranges = (self.groups, self.images, self.rows, self.columns)
        return TileShape(*(part.stop - part.start for part in ranges))

    @functools.cached_property
    def scratch_shapes(self) -> ScratchShapes:
        """The shapes of the scratch arrays."""
        return self.workload.scratch_shapes(self.shape)

    @functools.cached_property
    def transposes_multiplier(self) -> bool:
        """Whether the multiplier is copied as (P, out), so that BLAS need not pack the operands of small products."""
        workload, positions = self.workload, self.shape.images * self.shape.columns
        values = workload.multiplier_channels * workload.inner_size  # of the weight gradient of a group
        small = values * positions <= thresholds.SMALL_PRODUCT
        return workload.row_by_row and small and values // workload.gradient_parts > thresholds.SMALL_GRADIENT

    @functools.cached_property
    def place(self) -> Index:
        """Where the results of this tile are in images (G, c, H, N, W)."""
        correlation = self.workload.correlation
        rows, columns = (
            slice(phase.first + part.start * phase.step, phase.first + (part.stop - 1) * phase.step + 1, phase.step)
            for phase, part in ((correlation.rows, self.rows), (correlation.columns, self.columns))
        )
        return self.groups, slice(None), rows, self.images, columns

    @functools.cached_property
    def copies_whole_rows(self) -> bool:
        """Whether the rows of the copies have a column for each step through the rows of the source."""
        return self.shape.columns * self.workload.correlation.column_step == self.workload.map_shape[1]

    @functools.cached_property
    def copy_steps(self) -> list[tuple[Index, Index]]:
        """Places in the copies, and those of the pixels (G, C, H, N, W) that belong there."""
        return self._copy_steps(self.images, self._column_ranges)

    @functools.cached_property
    def run_steps(self) -> list[tuple[Index, Index]]:
        """The same for images that are side by side, as if they were one: G, C, H, 1, N·W.

        A shift takes columns from the neighbouring image; zeros are written over them (zero_steps).
        """
        correlation, count = self.workload.correlation, self.shape.images * self.shape.columns
        width, offsets = self.shape.images * self.workload.map_shape[1], correlation.column_offsets
        ranges = [_inside_image(offset, correlation.column_step, count, width) for offset in offsets]
        return self._copy_steps(slice(None), ranges)

    def _copy_steps(self, images: slice, column_ranges: list[tuple[slice, slice]]) -> list[tuple[Index, Index]]:
        """Places in the copies, and those of the pixels that belong there."""
        steps = []
        for target, target_rows, rows in self._row_ranges:
            for number, (target_columns, columns) in enumerate(column_ranges):
                if _length(target_rows) and _length(target_columns):
                    place = self._in_copies(target, number, target_rows, target_columns)
                    steps.append((place, (self.groups, slice(None), rows, images, columns)))
        return steps

    @functools.cached_property
    def zero_steps(self) -> list[Index]:
        """Places in the copies that are outside the image."""
        steps = []
        for target, target_rows, _ in self._row_ranges:
            every = slice(None)
            for outside in (slice(0, target_rows.start), slice(target_rows.stop, self._copied_rows)):
                if _length(outside):
                    steps.append(self._in_copies(target, every, outside, every))
            for number, (target_columns, _) in enumerate(self._column_ranges):
                for outside in (slice(0, target_columns.start), slice(target_columns.stop, self.shape.columns)):
                    if _length(outside) and _length(target_rows):
                        steps.append(self._in_copies(target, number, target_rows, outside))
        return steps

    @functools.cached_property
    def _copied_rows(self) -> int:
        """How many rows there are for each tap row; all tap rows share them where products go row by row."""
        return self.scratch_shapes.copies[1] if self.workload.row_by_row else self.shape.rows

    @functools.cached_property
    def _row_ranges(self) -> list[tuple[int, slice, slice]]:
        """For each tap row that has copies: its number, the rows of the copies, and the rows of the image in them."""
        correlation, height = self.workload.correlation, self.workload.map_shape[0]
        by_row = self.workload.row_by_row
        step, offsets = (1, correlation.row_offsets[:1]) if by_row else (correlation.row_step, correlation.row_offsets)
        return [
            (number, *_inside_image(self.rows.start * correlation.row_step + offset, step, self._copied_rows, height))
            for number, offset in enumerate(offsets)
        ]

    @functools.cached_property
    def _column_ranges(self) -> list[tuple[slice, slice]]:
        """For each tap column: the columns of the copies, and the columns of the image in them."""
        correlation, width = self.workload.correlation, self.workload.map_shape[1]
        step, first = correlation.column_step, self.columns.start * correlation.column_step
        return [_inside_image(first + offset, step, self.shape.columns, width) for offset in correlation.column_offsets]

    def _in_copies(self, tap_row: int, tap_column: int | slice, rows: slice, columns: slice) -> Index:
        """Return a place in the copies."""
        every = slice(None)
        if self.workload.row_by_row:
            return every, rows, tap_column, every, every, columns
        return every, every, tap_row, tap_column, rows, every, columns


@functools.lru_cache(maxsize=1024)
def cut_into_tiles(
    workload: Workload, rows: range | None, fewest: int, limit: int, beside: tuple[Workload, ...] = ()
) -> tuple[Tile, ...]:
    """Cut a range of rows, or all, into tiles: one or two at least, if there are so many rows, groups or images.

    They have no more groups, images and rows than tiles of the workloads `beside`.
    """
    correlation = workload.correlation
    rows = range(correlation.rows.count) if rows is None else rows
    shapes = [_tile_shape(each, len(rows), limit) for each in (workload, *beside)]
    (g, n, r, _), q = map(min, zip(*shapes)), shapes[0].columns
    if fewest > 1 and (g, n, r, q) == (workload.groups, workload.batch, len(rows), correlation.columns.count):
        if g > 1:
            g = ceil_div(g, 2)
        elif r > 1:
            r = ceil_div(r, 2)
        else:
            n = ceil_div(n, 2)
    return tuple(
        Tile(workload, groups, images, slice(rows.start + part.start, rows.start + part.stop), columns)
        for groups, images, part, columns in itertools.product(
            chunks(workload.groups, g),
            chunks(workload.batch, n),
            chunks(len(rows), r),
            chunks(correlation.columns.count, q),
        )
    )


def _tile_shape(workload: Workload, all_rows: int, limit: int) -> TileShape:
    """Choose the size of the tiles: images until their rows are long enough, then rows, then groups."""
    goal, columns = min(limit, workload.usual_tile_bytes), workload.correlation.columns.count
    images = _largest(workload.batch, lambda n: workload.tile_bytes(1, n, all_rows, columns) <= goal)
    images = max(images, min(workload.batch, ceil_div(thresholds.LONG_ROW, columns)))
    images = workload.images_for_blas(_even(workload.batch, images))
    rows = _largest(all_rows, lambda r: workload.tile_bytes(1, images, r, columns) <= goal)
    if workload.tile_bytes(1, images, rows, columns) > limit:
        images = _largest(images, lambda n: workload.tile_bytes(1, n, rows, columns) <= limit)
        columns = _largest(columns, lambda q: workload.tile_bytes(1, images, rows, q) <= limit)
        if workload.tile_bytes(1, images, rows, columns) > limit:
            raise limit_too_small("the smallest tile of this convolution", workload.tile_bytes(1, 1, 1, 1))
    groups = _largest(workload.groups, lambda g: workload.tile_bytes(g, images, rows, columns) <= goal)
    return TileShape(_even(workload.groups, groups), images, _even(all_rows, rows), columns)


def _inside_image(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Return the r of 0 … count−1 for which ``0 <= first + r·step < size``, and those pixels ``first + r·step``."""
    low = min(max(0, -(first // step)), count)
    high = max(low, min(count, (size - 1 - first) // step + 1))
    return slice(low, high), slice(first + low * step, max(0, first + (high - 1) * step + 1), step)


def _length(part: slice) -> int:
    """How many numbers a slice from start to stop has."""
    return part.stop - part.start


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
    """Shrink `size` so that there are two, four, six … chunks of `total`, about equally long, or a single one."""
    count = ceil_div(total, size)
    return total if count < 2 else ceil_div(total, count + count % 2)
