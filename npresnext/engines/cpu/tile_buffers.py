"""The matmuls of a tile: copies times weights gives results, copies times multiplier gives weight gradients.

A tile's buffers, and all views into them, are made once for each layout of tiles and kept (workspace.py): between two
matmuls there should be as little Python as possible.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..._support.typing import NumPyArray as Array
from ..phases import Phase
from .copies import copy_rows, copy_steps, images_first, run_copy_steps
from .epilogue import Epilogue
from .plan import BatchedMatmul
from .tiles import Tile, Workload, has_contiguous_maps
from .workspace import cached_views, claim, mark_intact, scratch_arrays

Operands = list[list[Array]]  # (products, n, g, K, P): what each matmul of each row phase reads


def load_tile(workload: Workload, tile: Tile, source: Array) -> tuple[TileBuffers, Operands]:
    """Return this thread's buffers for tiles like this one, filled from `source` (N, G, in, H, W), and the operands."""
    map_shape = source.shape[-2:]
    key = (workload, tile.layout_key, map_shape, source.dtype)
    buffers = cached_views(key, lambda: TileBuffers(workload, tile, map_shape, source.dtype))
    return buffers, buffers.load(tile, source)


@dataclass(frozen=True)
class RowPhaseViews:
    """The part of a tile that belongs to one row phase: its place in the result, and views into the buffers."""

    pixels: tuple[slice, slice]  # rows and columns of the result
    matmuls: list[int]  # their numbers in the plan
    operands: list[Array]  # (products, n, g, K, P), of each matmul; empty if the source is read without copies
    products: list[Array]  # (products, n, g, out, P), of each matmul
    product_images: list[Array]  # (n, g, out, rows, columns), of each product: the same memory
    multiplier: Array  # (n, g, out, P)
    multiplier_images: Array  # (n, g, out, rows, columns): the same memory
    weight_grads: list[Array]  # (products, n, g, …), of each matmul


class TileBuffers:
    """One thread's scratch arrays for tiles of one layout, and the views into them.

    Where images lie side by side, the columns of a matrix are (row, image, column), and n is 1. Otherwise they are
    (row, column), and n is the number of images.
    """

    def __init__(self, workload: Workload, tile: Tile, map_shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.workload, self.plan, self.tile = workload, workload.plan, tile
        images, self.groups, self.rows, self.columns = tile.shape
        if workload.images_side_by_side:
            self.n, self.images_across = 1, images
        else:
            self.n, self.images_across = images, 1
        self.row_pitch = self.images_across * self.columns  # values from one row of a copy to the next

        shapes = workload.buffer_shapes(tile.shape)
        copies, self._products, self._multiplier, weight_grads = scratch_arrays(
            dtype, shapes.copies, shapes.products, shapes.multiplier, shapes.weight_grads
        )
        operands: list[Array] = []  # of each matmul
        if not workload.without_copies:
            self.copies = self._as_images_of_copies(copies)
            self.steps = copy_steps(self.copies, self.plan, tile, map_shape)
            matrices = copies.reshape(self.n, self.groups, workload.inner_size, -1)  # (n, g, K, rows·pitch)
            operands = [self._operand(matrices, matmul) for matmul in self.plan.matmuls]
        products = self.plan.product_count
        self.weight_grads = _reshaped(
            weight_grads, (products, self.n, self.groups, *workload.weight_grad_shape)
        )  # (products, n, g, …)
        self.row_phases = [
            self._row_phase_views(number, operands)
            for number, phase in enumerate(self.plan.row_phases)
            if phase.count > tile.rows.start
        ]

    def load(self, tile: Tile, source: Array) -> Operands:
        """Lay out the copies of a tile, and return the operands: the copies, or the source itself."""
        is_intact = claim(self)
        self.tile = tile
        if self.workload.without_copies:
            part = source[tile.images, tile.groups, :, tile.rows, tile.columns]  # (n, g, K, rows, columns)
            whole = part.reshape(1, *part.shape[:3], -1)  # (1, n, g, K, P)
            return [[whole[..., : views.multiplier.shape[-1]]] * len(views.matmuls) for views in self.row_phases]
        if not is_intact:  # otherwise the zeros around the images are still there from the tile before
            self.copies[...] = 0
        run_copy_steps(self.steps, source[tile.images, tile.groups])
        mark_intact(self)
        return [views.operands for views in self.row_phases]

    def write_results(self, operands: Operands, target: Array, weights: list[Array], epilogue: Epilogue) -> None:
        """Write this tile of `target` (N, G, out, H, W): packed weights times operands, added up, and the epilogue."""
        for views, operands_of_phase in zip(self.row_phases, operands):
            place = self._place(views)
            result = target[place]  # (n, g, out, rows, columns)
            first, *others = views.product_images
            directly = not others and self._is_matrix(result)  # the only product is written to the target
            products = [result.reshape(views.products[0].shape)] if directly else views.products
            for number, operand, product in zip(views.matmuls, operands_of_phase, products):
                np.matmul(weights[number], operand, out=product)  # (products, n, g, out, P)
            for image in others[:-1]:
                first += image
            if others:
                np.add(first, others[-1], out=result)
            elif not directly:
                copy_rows(result, first)
            epilogue.apply(result, place)

    def add_weight_grad(self, operands: Operands, multiplier: Array, sums: Array, *, is_first_tile: bool) -> None:
        """Multiply the copies by `multiplier` (N, G, out, H, W), and add the products to `sums` (products, g, …).

        The first tile overwrites `sums`.
        """
        if len(self.row_phases) < len(self.plan.row_phases):  # some row phase ends before this tile
            self.weight_grads[:] = 0
        for views, operands_of_phase in zip(self.row_phases, operands):
            matrices = self._multiplier_matrices(views, multiplier)  # (n, g, out, P)
            for operand, gradient in zip(operands_of_phase, views.weight_grads):
                if self.workload.weight_grad_transposed:
                    np.matmul(operand, matrices.swapaxes(-1, -2), out=gradient)  # (products, n, g, K, out)
                else:
                    np.matmul(matrices, operand.swapaxes(-1, -2), out=gradient)  # (products, n, g, out, K)
        of_tile = self.weight_grads[:, 0] if self.n == 1 else self.weight_grads.sum(axis=1)  # (products, g, …)
        if is_first_tile:
            sums[...] = of_tile
        else:
            sums += of_tile

    def _multiplier_matrices(self, views: RowPhaseViews, multiplier: Array) -> Array:
        """Return the multiplier of a row phase as matrices (n, g, out, P): where it lies, or a copy."""
        part = multiplier[self._place(views)]  # (n, g, out, rows, columns)
        if self._is_matrix(part) and not self.workload.multiplier_transposed:
            return part.reshape(views.multiplier.shape)
        copy_rows(views.multiplier_images, part)
        return views.multiplier

    def _row_phase_views(self, number: int, operands: list[Array]) -> RowPhaseViews:
        """Return the views of one row phase, for tiles of this layout."""
        workload, plan = self.workload, self.plan
        phase, start = plan.row_phases[number], self.tile.rows.start
        rows = min(self.tile.rows.stop, phase.count) - start
        positions = rows * self.row_pitch
        matmuls = [index for index, matmul in enumerate(plan.matmuls) if matmul.row_phase == number]
        lengths = [len(plan.matmuls[index].kernel_rows) for index in matmuls]
        products = _reshaped(self._products, (sum(lengths), self.n, self.groups, workload.target_channels, positions))
        multiplier = _reshaped(self._multiplier, (self.n, self.groups, *workload.multiplier_shape(positions)))
        if workload.multiplier_transposed:
            multiplier = multiplier.swapaxes(-1, -2)  # (n, g, out, P)
        products_before = sum(plan.product_counts[:number])
        return RowPhaseViews(
            pixels=(
                _positions(phase, start, rows),
                _positions(plan.column_phase, self.tile.columns.start, self.columns),
            ),
            matmuls=matmuls,
            operands=[operands[index][..., :positions] for index in matmuls if operands],
            products=_split(products, lengths),
            product_images=[self._as_images(product, rows) for product in products],
            multiplier=multiplier,
            multiplier_images=self._as_images(multiplier, rows),
            weight_grads=_split(self.weight_grads[products_before:], lengths),
        )

    def _operand(self, matrices: Array, matmul: BatchedMatmul) -> Array:
        """View what a matmul reads of the copies (n, g, K, rows·pitch): (products, n, g, K, P), which overlap."""
        start = self.plan.starting_row(matmul, self.rows) * self.row_pitch
        first = matrices[..., start : start + self.rows * self.row_pitch]  # (n, g, K, P)
        step = matmul.shift_step * self.row_pitch * first.itemsize
        return as_strided(first, (len(matmul.kernel_rows), *first.shape), (step, *first.strides))

    def _as_images_of_copies(self, copies: Array) -> Array:
        """View the copies as (n, g, in, row stack, column offset, rows, columns)."""
        plan, workload = self.plan, self.workload
        layout = (
            len(plan.row_stacks),
            len(plan.column_offsets),
            workload.source_channels,
            plan.copy_height(self.rows),
        )
        if workload.images_side_by_side:
            images = images_first(copies.reshape(self.groups, *layout, self.images_across, self.columns))
        else:
            images = copies.reshape(self.n, self.groups, *layout, self.columns)
        return np.moveaxis(images, 4, 2)  # (n, g, in, row stack, column offset, rows, columns)

    def _as_images(self, matrices: Array, rows: int) -> Array:
        """View matrices (n, g, c, P) as images (n, g, c, rows, columns)."""
        if self.workload.images_side_by_side:
            return images_first(matrices.reshape(*matrices.shape[1:3], rows, self.images_across, self.columns))
        return matrices.reshape(*matrices.shape[:3], rows, self.columns)  # (n, g, c, rows, columns)

    def _place(self, views: RowPhaseViews) -> tuple[slice, ...]:
        """Return where this tile and row phase are in an image array (N, G, c, H, W)."""
        return (self.tile.images, self.tile.groups, slice(None), *views.pixels)

    def _is_matrix(self, part: Array) -> bool:
        """Whether the images of `part` can be read as matrices (out, P) where they lie."""
        return has_contiguous_maps(part) and not self.workload.images_side_by_side


def _positions(phase: Phase, start: int, count: int) -> slice:
    """Return the positions of `count` results of a phase, from its result number `start` on."""
    first = phase.first + start * phase.step
    return slice(first, first + (count - 1) * phase.step + 1, phase.step)


def _reshaped(buffer: Array, shape: tuple[int, ...]) -> Array:
    """Return the beginning of a buffer as an array of this shape."""
    return buffer.reshape(-1)[: math.prod(shape)].reshape(shape)


def _split(array: Array, lengths: list[int]) -> list[Array]:
    """Split the first axis into parts of the given lengths; what is left over is dropped."""
    stops = list(itertools.accumulate(lengths))
    return [array[stop - length : stop] for length, stop in zip(lengths, stops)]
