"""Tiles: how much of a pass one thread does at a time.

A tile is some images, some groups, some rows and some columns of the result. It should be large, because every
NumPy call costs a fight over the interpreter's lock, and small, because its copies should still lie in the cache
when the matmul reads them. Tiles depend on shapes and on the workspace limit alone, never on the number of
threads; so do, therefore, all results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .cpu_plan import Pass
from .cpu_workspace import get_workspace_limit, too_small

TILE_BYTES = 4 * 2**20
PIECES = 8              # to share out over the threads, where there is enough to share
SMALL_MATMUL = 10**6    # M·N·K up to which OpenBLAS multiplies without packing its operands first
LONG_MATMUL = 400       # the length from which on a packed matmul is worth its packing


@dataclass(frozen=True)
class Tile:
    """Half-open ranges of the result, and whether its images lie side by side in the copies."""

    images: slice
    groups: slice
    rows: slice
    columns: slice
    beside: bool


@dataclass(frozen=True)
class Work:
    """What a pass works on: everything that the size of a tile depends on."""

    plan: Pass
    batch: int
    groups: int
    channels: int       # of the source that is copied, in each group
    results: int        # channels of the result in each group; 0 if none is wanted
    partners: int       # channels in each group of the array that the weight gradient multiplies with, or 0
    itemsize: int

    @property
    def depth(self) -> int:
        """K, the length of the inner products."""
        return self.channels * self.plan.copies

    @property
    def beside(self) -> bool:
        """Whether one image's map is too short for a matmul of its own, so that images lie side by side."""
        positions = self.plan.count * self.plan.columns.count
        across = max(self.results, self.partners)
        return positions < LONG_MATMUL and across * self.depth * positions > SMALL_MATMUL

    @property
    def transposed(self) -> bool:
        """Whether a small matmul for the weight gradient gains from having the partner transposed."""
        positions = self.plan.count * self.plan.columns.count
        return not self.beside and 16 <= self.partners and self.partners * self.depth * positions <= SMALL_MATMUL

    def gradient_shape(self, groups: slice) -> tuple[int, int, int, int]:
        """The shape of the weight gradients of some groups: (products, G, out, K), or (…, K, out) transposed."""
        matrix = (self.depth, self.partners) if self.transposed else (self.partners, self.depth)
        return len(self.plan.products), groups.stop - groups.start, *matrix

    def shapes(self, images: int, groups: int, rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of what a tile needs: copies, two results, the partner, partial and whole weight gradient."""
        stack = images * groups
        products = len(self.plan.products)
        batch = 1 if self.beside else images
        return (
            (stack, self.depth, self.plan.height(rows), columns),
            (stack, self.results, rows, columns),
            (stack, self.results if len(self.plan.products) > 1 else 0, rows, columns),
            (stack, self.partners, rows, columns),
            (products, batch * groups, self.partners, self.depth),
            (products, groups, self.partners, self.depth),
        )

    def bytes(self, images: int, groups: int, rows: int, columns: int) -> int:
        """What a tile of this size needs."""
        elements = 0
        for a, b, c, d in self.shapes(images, groups, rows, columns):
            elements += a * b * c * d
        return elements * self.itemsize

    def tile_size(self) -> tuple[int, int, int, int]:
        """Choose images, groups, rows and columns of a tile."""
        limit = get_workspace_limit()
        goal = min(limit, TILE_BYTES)
        rows, columns = self.plan.count, self.plan.columns.count
        rows = _largest(rows, lambda u: self.bytes(1, 1, u, columns) <= goal)
        if rows == 1:
            columns = _largest(columns, lambda q: self.bytes(1, 1, 1, q) <= limit)
            if self.bytes(1, 1, 1, columns) > limit:
                raise too_small("the least piece of one row of this convolution", self.bytes(1, 1, 1, 1))
        groups = _largest(-(-self.groups // PIECES), lambda g: self.bytes(1, g, rows, columns) <= goal)
        most = self.batch if self.groups >= PIECES else -(-self.batch // 2)
        images = _largest(most, lambda n: self.bytes(n, groups, rows, columns) <= goal)
        return _even(self.batch, images), groups, _even(self.plan.count, rows), columns

    def tiles(self, groups: slice) -> Iterator[Tile]:
        """Walk over all images, rows and columns of some groups, in an order that never changes."""
        n, _, u, q = self.tile_size()
        for images in chunks(self.batch, n):
            for rows in chunks(self.plan.count, u):
                for columns in chunks(self.plan.columns.count, q):
                    yield Tile(images, groups, rows, columns, self.beside)


def chunks(total: int, size: int) -> list[slice]:
    """Cut ``range(total)`` into slices of `size`, the last of them shorter."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from 1 to `most` that fits; 1 if none does."""
    low, high = 1, max(most, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _even(total: int, size: int) -> int:
    """Shrink `size` so that the chunks of `total` come out even."""
    return -(-total // -(-total // size))
