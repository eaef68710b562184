"""Sweeps: the copies and matmuls of a correlation, tile by tile.

    results            target = weights · copies                      (G, R, out, K) · (G, R, K, P)
    weight gradient    sums over all tiles of copies · multiplierᵀ    (G, R, K, P) · (G, R, P, out)

R is the number of products of a group: one for each row of the tile, or one in all. P is the number of columns of a
product, K the length of its inner products. With one product in all, the weight gradient is computed as it lies in
memory: multiplier · copiesᵀ, (G, 1, out, P) · (G, 1, P, K).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .copies import fill_copies
from .correlation import Correlation
from .tiles import Tile, Workload, cut_into_tiles, workload_of
from .workspace import get_workspace_limit, scratch_arrays


class Sweep:
    """One correlation, and the arrays that it reads and writes: images are (G, C, H, N, W).

    Parameters
    ----------
    source : array
        Images whose pixels are copied: x or grad_output.
    weight : array (G, out, in, kh, kw), optional
        What the copies are multiplied by, for results.
    target : array, optional
        Where the results are written.
    multiplier : array, optional
        Images that the copies are multiplied by, for a weight gradient.
    """

    def __init__(
        self,
        correlation: Correlation,
        source: Array,
        *,
        weight: Array | None = None,
        target: Array | None = None,
        multiplier: Array | None = None,
    ) -> None:
        self.correlation = correlation
        self.workload = workload_of(correlation, source, target, multiplier)
        self.source: Any = self._cut(source)
        self.target: Any = self._cut(target)
        self.multiplier: Any = self._cut(multiplier)
        self.weights: Any = None if weight is None else self._packed(weight)  # (G, 1, out, K)

    def tiles(self, rows: range | None = None, fewest: int = 1, beside: tuple[Workload, ...] = ()) -> tuple[Tile, ...]:
        """Return the tiles of a range of rows, or of all, as large as those of the workloads `beside`."""
        return cut_into_tiles(self.workload, rows, fewest, get_workspace_limit(), beside)

    def write_results(self, tile: Tile) -> None:
        """Write a tile of the results."""
        self._write_results(tile, *self._loaded(tile))

    def weight_grad(self, tiles: tuple[Tile, ...]) -> Array:
        """Return the weight gradient of some tiles (G, out, K); write their results."""
        count = 1 if self.workload.shares_weight else self.workload.groups
        sums = np.empty((count, *tiles[0].scratch_shapes.weight_grads[2:]), self.source.dtype)
        for tile in tiles:
            operand, products, multiplier, grads = self._loaded(tile)
            if self.target is not None:
                self._write_results(tile, operand, products, multiplier, grads)
            groups, of_tile = tile.groups, self._products_with_multiplier(tile, operand, multiplier, grads)  # (g, …)
            is_first = tile.images.start == tile.columns.start == 0 and tile.rows.start == tiles[0].rows.start
            if self.workload.shares_weight:  # then one gradient is the sum over all groups
                groups, of_tile, is_first = slice(0, 1), of_tile.sum(axis=0), tile is tiles[0]
            if is_first:
                sums[groups] = of_tile
            else:
                sums[groups] += of_tile
        return sums.swapaxes(1, 2) if self.workload.row_by_row else sums

    def unpack(self, sums: Array, dweight: Array) -> None:
        """Write a weight gradient as :meth:`weight_grad` returns it into dweight (G, out, in, kh, kw)."""
        target = dweight[:, :, :, *self.correlation.taps]  # (G, out, in, tap rows, tap columns)
        G, out, inner, *taps = target.shape
        if self.workload.row_by_row:
            target[...] = sums.reshape(G, out, *taps, inner).transpose(0, 1, 4, 2, 3)
        else:
            target[...] = sums.reshape(G, out, inner, *taps)

    def _cut(self, images: Array | None) -> Array | None:
        """View images (1, C, H, N, W) as (G, C, H, N/G, W) where the groups are parts of the batch."""
        if images is None or not self.workload.shares_weight:
            return images
        return images[0].reshape(*images.shape[1:3], self.workload.groups, -1, images.shape[4]).transpose(2, 0, 1, 3, 4)

    def _packed(self, weight: Array) -> Array:
        """Return the weights (G, 1, out, K) in the order of the copies; transposed in memory for an input gradient."""
        used = weight[:, :, :, *self.correlation.taps]  # (G, out, in, tap rows, tap columns)
        axes = (3, 4, 2) if self.workload.row_by_row else (2, 3, 4)
        if used.strides[1] < used.strides[2]:  # then copying in this order is faster
            return used.transpose(0, *axes, 1).reshape(len(used), 1, -1, used.shape[1]).swapaxes(2, 3)
        return used.transpose(0, 1, *axes).reshape(len(used), 1, used.shape[1], -1)

    def _loaded(self, tile: Tile) -> tuple[Array, Array, Array, Array]:
        """Lay out the copies of a tile; return the operand (g, R, K, P) that they are, and the scratch arrays."""
        copies, products, multiplier, grads = scratch_arrays(self.source.dtype, *tile.scratch_shapes)
        fill_copies(copies, tile, self.source)
        g, R, _, P = products.shape
        row_bytes = P * copies.itemsize
        if self.workload.row_by_row:  # the operands of consecutive rows overlap
            source_row = copies.strides[1]
            strides = (copies.strides[0], self.correlation.row_step * source_row, row_bytes, copies.itemsize)
        else:
            strides = (copies.strides[0], 0, row_bytes, copies.itemsize)
        return (
            np.ndarray((g, R, self.workload.inner_size, P), copies.dtype, copies, 0, strides),
            products,
            multiplier,
            grads,
        )

    def _write_results(self, tile: Tile, operand: Array, products: Array, *_: Array) -> None:
        """Multiply by the weights, where the results lie if they are matrices there."""
        results = self.target[tile.place]  # (g, out, rows, n, columns)
        matrices = self._as_matrices(results)
        weights = self.weights if self.workload.shares_weight else self.weights[tile.groups]
        np.matmul(weights, operand, out=products if matrices is None else matrices)
        if matrices is None:
            results[...] = self._as_images(products, tile)

    def _products_with_multiplier(self, tile: Tile, operand: Array, scratch: Array, grads: Array) -> Array:
        """Multiply by the multiplier and return the sum over the products of each group."""
        factors = self._multiplier_matrices(tile, scratch)  # (g, R, P, out)
        if not self.workload.row_by_row:
            np.matmul(factors.swapaxes(2, 3), operand.swapaxes(2, 3), out=grads)
            return grads[:, 0]  # (g, out, K)
        g, R, _, P = operand.shape
        parts = operand.reshape(g, R, self.workload.gradient_parts, -1, P)
        np.matmul(parts, factors[:, :, None], out=grads.reshape(*parts.shape[:4], -1))  # (g, R, parts, K / parts, out)
        return grads.sum(axis=1)  # (g, K, out)

    def _multiplier_matrices(self, tile: Tile, scratch: Array) -> Array:
        """Return the pixels of the multiplier as matrices (g, R, P, out): copied if they are none in memory."""
        images = self.multiplier[tile.place]  # (g, out, rows, n, columns)
        if tile.transposes_multiplier:
            by_position = scratch.reshape(images.shape[0], *images.shape[2:], images.shape[1])
            by_position[...] = np.moveaxis(images, 1, -1)  # (g, rows, n, columns, out)
            return by_position.reshape(*scratch.shape[:2], *scratch.shape[:1:-1])
        matrices = self._as_matrices(images)
        if matrices is None:
            matrices = scratch
            self._as_images(matrices, tile)[...] = images
        return matrices.swapaxes(2, 3)

    def _as_matrices(self, images: Array) -> Array | None:
        """View images (g, c, rows, n, columns) as matrices (g, R, c, P), or return None if they are none in memory."""
        g, c, rows, n, columns = images.shape
        _, _, row_bytes, image_bytes, itemsize = images.strides
        if itemsize != images.itemsize or (n > 1 and image_bytes != columns * itemsize):
            return None
        if self.workload.row_by_row:
            return images.reshape(g, c, rows, n * columns).swapaxes(1, 2)  # (g, R, c, P)
        if rows > 1 and row_bytes != n * columns * itemsize:
            return None
        return images.reshape(g, 1, c, rows * n * columns)  # (g, 1, c, P)

    def _as_images(self, matrices: Array, tile: Tile) -> Array:
        """View matrices (g, R, c, P) as images (g, c, rows, n, columns)."""
        g, R, c, _ = matrices.shape
        if self.workload.row_by_row:
            return matrices.reshape(g, R, c, *tile.shape[1::2]).swapaxes(1, 2)
        return matrices.reshape(g, c, tile.shape.rows, tile.shape.images, tile.shape.columns)
