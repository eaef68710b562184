"""The matmuls of a tile: results out of copies and weights, and weight gradients out of copies and partners."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .cpu_copies import copy_rows, images_first, lay_out
from .cpu_plan import Pass, Run
from .cpu_tiles import Tile, Work, planar
from .cpu_workspace import carve, keep

Array = np.ndarray[Any, Any]


def slabs(weight: Array, plan: Pass) -> list[Array]:
    """Return the weights (G, out, in, kh, kw) that each run multiplies with, as matrices (matmuls, 1, G, out, K)."""
    result = []
    for run in plan.runs:
        taps = [weight[:, :, :, rows, columns] for rows, columns in _taps(run, plan)]     # (G, out, in, ·, ·)
        result.append(np.stack(taps).reshape(len(taps), 1, *weight.shape[:2], -1))
    return result


def write_gradient(dweight: Array, work: Work, total: Array) -> None:
    """Put the gradients (matmuls, G, …) to their taps in `dweight` (G, out, in, kh, kw)."""
    if work.transposed:
        total = total.swapaxes(-1, -2)                                         # (matmuls, G, out, K)
    taps = [pair for run in work.plan.runs for pair in _taps(run, work.plan)]
    for gradient, (rows, columns) in zip(total, taps):
        target = dweight[:, :, :, rows, columns]                               # (G, out, in, stacks, columns)
        target[...] = gradient.reshape(target.shape)


def _taps(run: Run, plan: Pass) -> list[tuple[slice, slice]]:
    """The kernel rows and columns of each matmul of a run."""
    return [(_slice(rows), _slice(plan.kernel_columns)) for rows in run.kernel_rows]


def _slice(taps: tuple[int, ...]) -> slice:
    """Return taps as a slice: those of a phase are always evenly spaced."""
    step = taps[1] - taps[0] if len(taps) > 1 else 1
    return slice(taps[0], taps[-1] + 1, step)


class Workbench:
    """One tile at work: its copies, laid out, and the room for what is computed from them."""

    def __init__(self, work: Work, tile: Tile, source: Array) -> None:
        self.work, self.tile, self.plan = work, tile, work.plan
        images, self.groups = _length(tile.images), _length(tile.groups)
        self.rows, self.columns = _length(tile.rows), _length(tile.columns)
        self.batch, self.across = (1, images) if work.beside else (images, 1)
        self.pitch = self.across * self.columns
        shapes = work.shapes(images, self.groups, self.rows, self.columns)
        layout = (work, tile.rows, tile.columns, source.shape[-2:], shapes[0])
        (copies, *self.rooms), known = carve(source.dtype, *shapes, owner=layout)
        if work.in_place:
            copies = source[tile.images, tile.groups, :, tile.rows, tile.columns]
        else:
            lay_out(self._as_images(copies), source, self.plan, tile, blank=not known)
            keep(layout)
        self.copies = copies.reshape(self.batch, self.groups, work.depth, -1)  # (n, g, K, rows·columns)

    def write_results(self, target: Array, slabs: list[Array], bias: Array | None) -> None:
        """Multiply, add the matmuls of each row phase up, and write this tile of the `target` (N, G, out, H, W)."""
        for phase, rows in self._phases():
            part = self._part_of(target, phase)                                # (n, g, out, rows, columns)
            count = self.plan.matmuls(phase)
            shape = (count, self.batch, self.groups, self.work.results, rows * self.pitch)
            in_place = count == 1 and self._is_matrix(part)
            terms = part.reshape(shape) if in_place else self._room(0, shape)
            done = 0
            for run, weights in zip(self.plan.runs, slabs):
                if run.phase == phase:
                    np.matmul(weights, self._read(run, rows), out=terms[done : done + len(weights)])
                    done += len(weights)
            images = [self._image(term, rows) for term in terms]
            for image in images[1:-1]:
                images[0] += image
            if count > 1:
                np.add(images[0], images[-1], out=part)
            elif not in_place:
                copy_rows(part, images[0])
            if bias is not None:
                part += bias

    def add_weight_gradient(self, total: Array, partner: Array) -> None:
        """Multiply the copies with the `partner` (N, G, out, H, W) and add to `total` (matmuls, G, …)."""
        partial = self._room(2, (len(total), self.batch, self.groups, *self.work.gradient_shape))
        if self.rows > min(phase.count for phase in self.plan.rows) - self.tile.rows.start:
            partial[:] = 0    # some row phase ends before this tile
        done = 0
        for phase, rows in self._phases():
            matrices = self._partner(partner, phase)
            for run in self.plan.runs:
                if run.phase == phase:
                    out = partial[done : done + len(run.kernel_rows)]
                    if self.work.transposed:
                        np.matmul(self._read(run, rows), matrices, out=out)                       # (m, n, g, K, out)
                    else:
                        np.matmul(matrices, self._read(run, rows).swapaxes(-1, -2), out=out)      # (m, n, g, out, K)
                    done += len(out)
        total += partial[:, 0] if self.batch == 1 else partial.sum(axis=1)

    def _as_images(self, copies: Array) -> Array:
        """View the copies as (n, g, c, stack, column, rows, columns)."""
        layout = (self.work.channels, len(self.plan.stacks), len(self.plan.offsets), self.plan.height(self.rows))
        if self.work.beside:
            return images_first(copies.reshape(self.groups, *layout, self.across, self.columns), True)
        return copies.reshape(self.batch, self.groups, *layout, self.columns)

    def _phases(self) -> list[tuple[int, int]]:
        """The row phases that reach into this tile, and with how many rows."""
        start, stop = self.tile.rows.start, self.tile.rows.stop
        return [(k, min(stop, row.count) - start) for k, row in enumerate(self.plan.rows) if row.count > start]

    def _read(self, run: Run, rows: int) -> Array:
        """View what a run reads of the copies: (matmuls, n, g, K, rows·columns)."""
        start = self.plan.start(run, self.rows) * self.pitch
        first = self.copies[..., start : start + rows * self.pitch]            # (n, g, K, rows·columns)
        step = run.step * self.pitch * first.itemsize
        return as_strided(first, (len(run.kernel_rows), *first.shape), (step, *first.strides))

    def _part_of(self, array: Array, phase: int) -> Array:
        """View the pixels (n, g, c, rows, columns) of this tile and row phase in an image array (N, G, c, H, W)."""
        pixels = []
        for axis, part in ((self.plan.rows[phase], self.tile.rows), (self.plan.columns, self.tile.columns)):
            start, last = part.start, min(part.stop, axis.count) - 1
            pixels.append(slice(axis.first + start * axis.step, axis.first + last * axis.step + 1, axis.step))
        return array[self.tile.images, self.tile.groups, :, *pixels]

    def _partner(self, partner: Array, phase: int) -> Array:
        """Return this tile of the partner as matrices (n, g, out, P), or (n, g, P, out) if transposed."""
        part = self._part_of(partner, phase)                                   # (n, g, out, rows, columns)
        shape = (self.batch, self.groups, self.work.partners, part.shape[-2] * self.pitch)
        if self.work.transposed:
            matrices = self._room(1, (*shape[:2], shape[3], shape[2]))         # (n, g, P, out)
            matrices.reshape(*shape[:2], *part.shape[3:], shape[2])[...] = np.moveaxis(part, 2, -1)
            return matrices
        if self._is_matrix(part):
            return part.reshape(shape)
        matrices = self._room(1, shape)                                        # (n, g, out, P)
        copy_rows(self._image(matrices, part.shape[-2]), part)
        return matrices

    def _is_matrix(self, part: Array) -> bool:
        """Whether the images of `part` can be read as matrices (out, P) where they lie."""
        return planar(part) and not self.work.beside

    def _room(self, which: int, shape: tuple[int, ...]) -> Array:
        """Return the beginning of one of the rooms as an array of this shape."""
        return self.rooms[which].reshape(-1)[: math.prod(shape)].reshape(shape)

    def _image(self, matrices: Array, rows: int) -> Array:
        """View matrices (n, g, c, rows·columns) as images (n, g, c, rows, columns)."""
        if self.work.beside:
            return images_first(matrices.reshape(*matrices.shape[1:3], rows, self.across, self.columns), True)
        return matrices.reshape(*matrices.shape[:3], rows, self.columns)


def _length(part: slice) -> int:
    return int(part.stop - part.start)
