"""The matmuls of a tile: results out of copies and weights, and weight gradients out of copies and partners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .cpu_copies import copy_rows, images_first, lay_out
from .cpu_plan import Pass, Product
from .cpu_tiles import Tile, Work
from .cpu_workspace import carve

Array = np.ndarray[Any, Any]


def slab(weight: Array, plan: Pass, product: Product) -> Array:
    """Return the weights (G, out, in, kh, kw) that one product multiplies with, as matrices (G, out, K)."""
    rows, columns = np.ix_(product.kernel_rows, plan.kernel_columns)
    taps = weight[:, :, :, rows, columns]                                      # (G, out, in, stacks, columns)
    return np.ascontiguousarray(taps).reshape(*taps.shape[:2], -1)             # (G, out, K)


def write_gradient(dweight: Array, plan: Pass, total: Array) -> None:
    """Put the gradients (products, G, out, K) to their taps in `dweight` (G, out, in, kh, kw)."""
    for gradient, product in zip(total, plan.products):
        taps = np.ix_(product.kernel_rows, plan.kernel_columns)
        matrices = dweight[:, :, :, *taps]                                     # (G, out, in, stacks, columns)
        dweight[:, :, :, *taps] = gradient.reshape(matrices.shape)


class Bench:
    """A tile's place of work: its copies, laid out, and the room for what is computed from them."""

    def __init__(self, work: Work, tile: Tile, source: Array) -> None:
        self.work, self.tile, self.plan = work, tile, work.plan
        images, self.groups = _length(tile.images), _length(tile.groups)
        self.rows, self.columns = _length(tile.rows), _length(tile.columns)
        self.batch, self.across = (1, images) if tile.beside else (images, 1)
        self.pitch = self.across * self.columns
        self.dtype = np.dtype(source.dtype)
        copies, *self.room = carve(self.dtype, *work.shapes(images, self.groups, self.rows, self.columns))
        self.copies = copies.reshape(self.batch, self.groups, work.depth, -1)  # (n, g, K, rows·columns)
        lay_out(self._as_images(copies), source, self.plan, tile)

    def _as_images(self, copies: Array) -> Array:
        """View the copies as (n, g, c, stack, column, rows, columns)."""
        layout = (self.groups, self.work.channels, len(self.plan.stacks), len(self.plan.offsets),
                  self.plan.height(self.rows))
        if self.tile.beside:
            return images_first(copies.reshape(*layout, self.across, self.columns), True)
        return copies.reshape(self.batch, *layout, self.columns)

    def read(self, product: Product, rows: int) -> Array:
        """View what `product` reads of the copies: (n, g, K, rows·columns)."""
        start = self.plan.start(product, self.rows) * self.pitch
        return self.copies[..., start : start + rows * self.pitch]

    def rows_of(self, phase: int) -> int:
        """How many rows of the tile exist in a row phase."""
        return max(0, min(self.tile.rows.stop, self.plan.rows[phase].count) - self.tile.rows.start)

    def part_of(self, array: Array, phase: int) -> Array:
        """View the pixels (n, g, c, rows, columns) of this tile and row phase in an image array (N, G, c, H, W)."""
        pixels = []
        for axis, part, count in (
            (self.plan.rows[phase], self.tile.rows, self.rows_of(phase)),
            (self.plan.columns, self.tile.columns, self.columns),
        ):
            first = axis.first + part.start * axis.step
            pixels.append(slice(first, first + (count - 1) * axis.step + 1, axis.step))
        return array[self.tile.images, self.tile.groups, :, pixels[0], pixels[1]]

    def results(self, target: Array, slabs: list[Array], bias: Array | None) -> None:
        """Multiply, add the products of each row phase up, and write this tile of the `target` (N, G, c, H, W)."""
        for phase in range(len(self.plan.rows)):
            rows = self.rows_of(phase)
            if rows == 0:
                continue
            shape = (self.batch, self.groups, self.work.results, rows * self.pitch)
            part = self.part_of(target, phase)
            first, *others = [k for k, product in enumerate(self.plan.products) if product.phase == phase]
            total = np.matmul(slabs[first], self.read(self.plan.products[first], rows), out=self._room(0, shape))
            for k in others:
                term = np.matmul(slabs[k], self.read(self.plan.products[k], rows), out=self._room(1, shape))
                if k != others[-1]:
                    total += term
            if others:
                np.add(self._image(total, rows), self._image(term, rows), out=part)
            else:
                copy_rows(part, self._image(total, rows))
            if bias is not None:
                part += bias

    def _room(self, which: int, shape: tuple[int, ...]) -> Array:
        """Return the beginning of one of the rooms as an array of this shape."""
        return self.room[which].reshape(-1)[: math.prod(shape)].reshape(shape)

    def _image(self, result: Array, rows: int) -> Array:
        """View a result (n, g, c, rows·columns) as (n, g, c, rows, columns)."""
        if self.tile.beside:
            return images_first(result.reshape(*result.shape[1:3], rows, self.across, self.columns), True)
        return result.reshape(*result.shape[:3], rows, self.columns)

    def add_weight_gradient(self, total: Array, partner: Array) -> None:
        """Multiply the copies with the `partner` (N, G, c, H, W) and add to `total` (products, G, …) of the work."""
        partial = self.room[3].reshape(len(self.plan.products), self.batch, *total.shape[1:])
        partial[:] = 0
        for phase in range(len(self.plan.rows)):
            rows = self.rows_of(phase)
            if rows == 0:
                continue
            matrices = self._partner(partner, phase)
            for out, product in zip(partial, self.plan.products):
                if product.phase != phase:
                    continue
                read = self.read(product, rows)                                # (n, g, K, P)
                if self.work.transposed:
                    np.matmul(read, matrices, out=out)                         # (n, g, K, c)
                else:
                    np.matmul(matrices, read.swapaxes(-1, -2), out=out)        # (n, g, c, K)
        total += partial[:, 0] if self.batch == 1 else partial.sum(axis=1)

    def _partner(self, partner: Array, phase: int) -> Array:
        """Return this tile of the partner as matrices (n, g, c, P), or (n, g, P, c) if transposed."""
        part = self.part_of(partner, phase)                                    # (n, g, c, rows, columns)
        shape = (self.batch, self.groups, self.work.partners, part.shape[-2] * self.pitch)
        planar = part.strides[-2:] == (part.itemsize * part.shape[-1], part.itemsize)
        if planar and not self.tile.beside and not self.work.transposed:
            return part.reshape(shape)
        if self.work.transposed:
            matrices = self._room(2, (*shape[:2], shape[3], shape[2]))         # (n, g, P, c)
            matrices.reshape(*shape[:2], *part.shape[3:], shape[2])[...] = np.moveaxis(part, 2, -1)
            return matrices
        matrices = self._room(2, shape)                                        # (n, g, c, P)
        copy_rows(self._image(matrices, part.shape[-2]), part)
        return matrices


def _length(part: slice) -> int:
    return int(part.stop - part.start)
