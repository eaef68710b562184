"""Tiles: how much of a pass one thread does at a time.

A tile is some images, some groups, some rows and some columns of the result. It should be large, because every
NumPy call costs a fight over the interpreter's lock, and small, because its copies should still lie in the cache
when the matmul reads them. Tiles depend on shapes and on the workspace limit alone, never on the number of
threads; so do, therefore, all results.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._support.integers import chunks
from ..._support.typing import NumPyArray as Array
from .plan import Pass
from .workspace import too_small

TILE_BYTES = 6 * 2**20
PIECES = 8  # at most, to share groups or channels out over the threads
SMALL_MATMUL = 10**6  # M·N·K up to which OpenBLAS multiplies without packing its operands first
SHORT_MAP = 128  # positions below which the matmul of one image is not worth its packing,
SHORT_COPIES = 400  # and where the images are copied anyway


@dataclass(frozen=True)
class Tile:
    """Half-open ranges of the result."""

    images: slice
    groups: slice
    rows: slice
    columns: slice

    @functools.cached_property
    def size(self) -> tuple[int, int, int, int]:
        """How many images, groups, rows and columns."""
        images, groups, rows, columns = (part.stop - part.start for part in self._parts)
        return images, groups, rows, columns

    @functools.cached_property
    def kind(self) -> tuple[int, ...]:
        """What the layout of its copies depends on: its size, and where it begins in the images."""
        return (*self.size, self.rows.start, self.columns.start)

    @property
    def _parts(self) -> tuple[slice, slice, slice, slice]:
        return self.images, self.groups, self.rows, self.columns


@dataclass(frozen=True)
class Work:
    """A pass and what it works on: everything that the size of a tile depends on."""

    plan: Pass
    batch: int
    groups: int
    channels: int  # of the source, in each group
    results: int  # channels of the target in each group; 0 if there is none
    partners: int  # channels in each group of the array that the weight gradient multiplies with, or 0
    itemsize: int
    in_place: bool  # the source is read as it lies in memory: nothing is copied

    @classmethod
    def of(cls, plan: Pass, source: Array, target: Array | None, partner: Array | None) -> Work:
        """Describe the work on source (N, G, in, ·, ·), target (N, G, out, ·, ·) and partner (N, G, out, ·, ·)."""
        N, G, channels, height, width = source.shape
        results, partners = (0 if array is None else array.shape[2] for array in (target, partner))
        fits = plan.is_identity and planar(source) and plan.columns.count == width and plan.count <= height
        return _work(plan, N, G, channels, results, partners, source.itemsize, fits)

    @functools.cached_property
    def depth(self) -> int:
        """K, the length of the inner products."""
        return self.channels * self.plan.copies

    @functools.cached_property
    def positions(self) -> int:
        """How many results one image has in each channel."""
        return self.plan.count * self.plan.columns.count

    @functools.cached_property
    def beside(self) -> bool:
        """Whether one map is too short for a matmul of its own, so that images lie side by side in the copies."""
        short = self.positions < (SHORT_MAP if self.in_place else SHORT_COPIES)
        return short and max(self.results, self.partners) * self.depth * self.positions > SMALL_MATMUL

    @functools.cached_property
    def small(self) -> bool:
        """Whether the weight gradient of one group and image is a small matmul."""
        return self.partners * self.depth * self.positions <= SMALL_MATMUL and not self.beside

    @functools.cached_property
    def transposed(self) -> bool:
        """Whether the weight gradient comes out as (K, out): OpenBLAS is faster with the longer side first."""
        return self.partners >= 24 if self.small else self.depth > self.partners

    @functools.cached_property
    def turned(self) -> bool:
        """Whether the matmuls of the weight gradient read copies of the partner, as (P, out)."""
        return self.small and self.transposed  # then a copy gains more than it costs

    def partner_shape(self, positions: int) -> tuple[int, int]:
        """The shape of a copy of the partner of one group: (out, P), or (P, out) turned."""
        return (positions, self.partners) if self.turned else (self.partners, positions)

    @functools.cached_property
    def gradient_shape(self) -> tuple[int, int]:
        """The shape of the weight gradient of one group and matmul: (out, K), or (K, out) transposed."""
        return (self.depth, self.partners) if self.transposed else (self.partners, self.depth)

    def shapes(self, images: int, groups: int, rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of what a tile needs: copies, terms of results, partner, partial and whole weight gradients."""
        stack, matmuls = images * groups, self.plan.matmuls()
        most = max(self.plan.matmuls(phase) for phase in range(len(self.plan.rows)))
        batch = 1 if self.beside else images
        return (
            (0 if self.in_place else stack, self.depth, self.plan.height(rows), columns),
            (stack * most, self.results, rows, columns),
            (stack, self.partners, rows, columns),
            (matmuls, batch * groups, self.partners, self.depth),
            (matmuls, groups, self.partners, self.depth),
        )

    def bytes(self, images: int, groups: int, rows: int, columns: int) -> int:
        """What a tile of this size needs."""
        shapes = self.shapes(images, groups, rows, columns)
        return self.itemsize * sum(a * b * c * d for a, b, c, d in shapes)


@functools.lru_cache(maxsize=1024)
def _work(*described: Any) -> Work:
    """Return the same object for the same work, so that what it works out is worked out once."""
    work = Work(*described)
    return dataclasses.replace(work, in_place=False) if work.in_place and work.beside else work


@functools.lru_cache(maxsize=1024)
def tiles(work: Work, start: int, stop: int, walking: bool, limit: int) -> list[Tile]:
    """Return the tiles of the groups from `start` to `stop`, in an order that never changes.

    If `walking`, one thread does them all, and each tile holds all of these groups.
    """
    n, g, u, q = tile_size(work, stop - start if walking else 0, limit)
    return [
        Tile(images, slice(start + groups.start, start + groups.stop), rows, columns)
        for groups in chunks(stop - start, g)
        for images in chunks(work.batch, n)
        for rows in chunks(work.plan.count, u)
        for columns in chunks(work.plan.columns.count, q)
    ]


@functools.lru_cache(maxsize=1024)
def tile_size(work: Work, walking: int, limit: int) -> tuple[int, int, int, int]:
    """Choose images, groups, rows and columns of a tile; `walking` is how many groups it must hold, or 0."""
    goal, least = min(limit, TILE_BYTES), max(1, walking)
    rows, columns = work.plan.count, work.plan.columns.count
    rows = _largest(rows, lambda u: work.bytes(1, least, u, columns) <= goal)
    if rows == 1:
        columns = _largest(columns, lambda q: work.bytes(1, least, 1, q) <= limit)
        if work.bytes(1, least, 1, columns) > limit:
            raise too_small("the least piece of one row of this convolution", work.bytes(1, least, 1, 1))
    groups = walking or _largest(-(-work.groups // shares(work)), lambda g: work.bytes(1, g, rows, columns) <= goal)
    most = work.batch if walking or work.groups >= PIECES else -(-work.batch // (2 if work.beside else PIECES))
    images = _largest(most, lambda n: work.bytes(n, groups, rows, columns) <= goal)
    return _even(work.batch, images), walking or _even(work.groups, groups), _even(work.plan.count, rows), columns


def groups_at_once(work: Work, limit: int) -> int:
    """How many groups a thread takes that walks over all images with them: tiles of a pixel must fit."""
    return _largest(-(-work.groups // shares(work)), lambda g: work.bytes(1, g, 1, 1) <= limit)


def shares(work: Work) -> int:
    """How many pieces the groups are cut into: two at least, and no more than are a whole tile each."""
    everything = work.bytes(work.batch, work.groups, work.plan.count, work.plan.columns.count)
    return min(PIECES, max(2, everything // TILE_BYTES))


def planar(array: Array) -> bool:
    """Whether each image plane is one run of memory."""
    return array.strides[-1] == array.itemsize and array.strides[-2] == array.itemsize * array.shape[-1]


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from 1 to `most` that fits; 1 if none does."""
    low, high = 1, max(most, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _even(total: int, size: int) -> int:
    """Shrink `size`, to half of it at most, so that the chunks of `total` come out even."""
    least = -(-total // size)
    return next((total // n for n in range(least, 2 * least) if total % n == 0), -(-total // least))
