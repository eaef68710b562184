"""The matmuls of a tile: results out of copies and weights, and weight gradients out of copies and partners."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .cpu_copies import carry_out, copy_rows, images_first, moves
from .cpu_ending import Ending
from .cpu_plan import Pass, Run
from .cpu_threads import run
from .cpu_tiles import PIECES, Tile, Work, chunks, planar
from .cpu_workspace import carve, leave, take, views

Array = np.ndarray[Any, Any]


def slabs(weight: Array, plan: Pass) -> list[Array]:
    """Return the weights (G, out, in, kh, kw) that each run multiplies with, as matrices (matmuls, 1, G, out, K)."""
    G, out, inner = weight.shape[:3]
    if weight.shape[3:] == (1, 1):
        return [weight.reshape(1, 1, G, out, inner)]
    swapped = weight.strides[1] < weight.strides[2]    # write in the order in which the memory is read
    result, copies = [], []
    for one in plan.runs:
        shape = (inner, plan.copies, out) if swapped else (out, inner, plan.copies)
        slab = np.empty((len(one.kernel_rows), 1, G, *shape), weight.dtype)
        values = slab.transpose(0, 1, 2, 5, 3, 4) if swapped else slab         # (matmuls, 1, G, out, in, taps)
        for matmul, rows in enumerate(one.kernel_rows):
            for tap, (row, column) in enumerate(itertools.product(rows, plan.kernel_columns)):
                copies.append((values[matmul, 0, ..., tap], weight[..., row, column]))    # (G, out, in)
        result.append(values.reshape(*values.shape[:4], -1))

    before = () if G > 1 else (slice(None),)           # share out groups, or else outputs

    def fill(part: slice) -> None:
        for target, source in copies:
            target[*before, part] = source[*before, part]

    length = weight.shape[len(before)]
    pieces = min(PIECES, max(2, weight.size // 2**18))
    run(fill, chunks(length, -(-length // pieces)), small=weight.size < 2**16)
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


def workbench(work: Work, tile: Tile, source: Array) -> Workbench:
    """Return this thread's bench for tiles like this one, with the tile of the `source` (N, G, c, H, W) on it."""
    plane = source.shape[-2:]
    if work.in_place:    # its views are of the source, which must not be kept alive
        bench = Workbench(work, tile, plane, source.dtype)
    else:
        bench = views((work, tile.kind, plane, source.dtype), lambda: Workbench(work, tile, plane, source.dtype))
    bench.load(tile, source)
    return bench


@dataclass(frozen=True)
class Share:
    """What a tile holds of one row phase."""

    rows: int
    pixels: tuple[slice, slice]                # of the result
    runs: list[tuple[int, int]]                # their numbers, and how many matmuls each has
    matmuls: int


class Workbench:
    """One thread's room for tiles of one kind: copies, what is computed from them, and the views for both."""

    def __init__(self, work: Work, tile: Tile, plane: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.work, self.plan, self.tile = work, work.plan, tile
        images, self.groups, self.rows, self.columns = tile.size
        self.batch, self.across = (1, images) if work.beside else (images, 1)
        self.pitch = self.across * self.columns
        copies, *self.rooms = carve(dtype, *work.shapes(images, self.groups, self.rows, self.columns))
        self.shares = [self._share(phase) for phase in range(len(self.plan.rows))]
        self.reads: list[Array] = []    # of each run
        if not work.in_place:
            self.images = self._as_images(copies)
            self.moves = moves(self.images, self.plan, tile, plane)
            matrices = copies.reshape(self.batch, self.groups, work.depth, -1)     # (n, g, K, rows·columns)
            self.reads = [self._read(matrices, run) for run in self.plan.runs]

    def load(self, tile: Tile, source: Array) -> None:
        """Lay out the copies of a tile, or find them where they lie in the source."""
        untouched = take(self)
        self.tile = tile
        if self.work.in_place:
            part = source[tile.images, tile.groups, :, tile.rows, tile.columns]    # (n, g, K, rows, columns)
            self.reads = [part.reshape(1, *part.shape[:3], -1)] * len(self.plan.runs)
            return
        if not untouched:    # otherwise the zeros around the images still stand there from the tile before
            self.images[...] = 0
        carry_out(self.moves, source[tile.images, tile.groups])
        leave(self)

    def write_results(self, target: Array, slabs: list[Array], ending: Ending) -> None:
        """Multiply, add up, end, and write this tile of the `target` (N, G, out, H, W)."""
        for share in self.shares:
            if share.rows < 1:
                continue
            part = target[self._place(share)]                                  # (n, g, out, rows, columns)
            shape = (share.matmuls, self.batch, self.groups, self.work.results, share.rows * self.pitch)
            in_place = share.matmuls == 1 and self._is_matrix(part)
            terms = part.reshape(shape) if in_place else self._room(0, shape)
            done = 0
            for number, matmuls in share.runs:
                read = self.reads[number][..., : shape[-1]]
                np.matmul(slabs[number], read, out=terms[done : done + matmuls])
                done += matmuls
            images = [self._image(term, share.rows) for term in terms]
            for image in images[1:-1]:
                images[0] += image
            if share.matmuls > 1:
                np.add(images[0], images[-1], out=part)
            elif not in_place:
                copy_rows(part, images[0])
            ending.finish(part, self._place(share))

    def add_weight_gradient(self, total: Array, partner: Array) -> None:
        """Multiply the copies with the `partner` (N, G, out, H, W) and add to `total` (matmuls, G, …)."""
        partial = self._room(2, (len(total), self.batch, self.groups, *self.work.gradient_shape))
        if min(share.rows for share in self.shares) < self.rows:
            partial[:] = 0    # some row phase ends before this tile
        done = 0
        for share in self.shares:
            if share.rows < 1:
                continue
            matrices = self._partner(partner, share)
            for number, matmuls in share.runs:
                read = self.reads[number][..., : share.rows * self.pitch]         # (m, n, g, K, P)
                out = partial[done : done + matmuls]
                if self.work.transposed:
                    np.matmul(read, matrices, out=out)                         # (m, n, g, K, out)
                else:
                    np.matmul(matrices, read.swapaxes(-1, -2), out=out)        # (m, n, g, out, K)
                done += matmuls
        total += partial[:, 0] if self.batch == 1 else partial.sum(axis=1)

    def _as_images(self, copies: Array) -> Array:
        """View the copies as (n, g, c, stack, column, rows, columns)."""
        layout = (self.work.channels, len(self.plan.stacks), len(self.plan.offsets), self.plan.height(self.rows))
        if self.work.beside:
            return images_first(copies.reshape(self.groups, *layout, self.across, self.columns))
        return copies.reshape(self.batch, self.groups, *layout, self.columns)

    def _share(self, phase: int) -> Share:
        """What tiles of this kind hold of a row phase: nothing, if it ends before."""
        start, count = self.tile.rows.start, self.plan.rows[phase].count
        rows = min(self.tile.rows.stop, count) - start
        pixels = []
        for axis, part, length in (
            (self.plan.rows[phase], self.tile.rows, rows), (self.plan.columns, self.tile.columns, self.columns)
        ):
            first = axis.first + part.start * axis.step
            pixels.append(slice(first, first + (length - 1) * axis.step + 1, axis.step))
        runs = [(number, len(run.kernel_rows)) for number, run in enumerate(self.plan.runs) if run.phase == phase]
        return Share(rows, (pixels[0], pixels[1]), runs, sum(matmuls for _, matmuls in runs))

    def _read(self, matrices: Array, run: Run) -> Array:
        """View what a run reads of the copies: (matmuls, n, g, K, rows·columns)."""
        start = self.plan.start(run, self.rows) * self.pitch
        first = matrices[..., start : start + self.rows * self.pitch]          # (n, g, K, rows·columns)
        step = run.step * self.pitch * first.itemsize
        return as_strided(first, (len(run.kernel_rows), *first.shape), (step, *first.strides))

    def _place(self, share: Share) -> tuple[slice, ...]:
        """Where this tile and row phase stand in an image array (N, G, c, H, W)."""
        return (self.tile.images, self.tile.groups, slice(None), *share.pixels)

    def _partner(self, partner: Array, share: Share) -> Array:
        """Return this tile of the partner as matrices (n, g, out, P), or (n, g, P, out) for a transposed gradient."""
        part = partner[self._place(share)]                                     # (n, g, out, rows, columns)
        shape = (self.batch, self.groups, self.work.partners, share.rows * self.pitch)
        if self.work.small and self.work.transposed:                           # then a copy gains more than it costs
            matrices = self._room(1, (*shape[:2], shape[3], shape[2]))         # (n, g, P, out)
            matrices.reshape(*shape[:2], *part.shape[3:], shape[2])[...] = np.moveaxis(part, 2, -1)
            return matrices
        if self._is_matrix(part):
            matrices = part.reshape(shape)
        else:
            matrices = self._room(1, shape)                                    # (n, g, out, P)
            copy_rows(self._image(matrices, share.rows), part)
        return matrices.swapaxes(-1, -2) if self.work.transposed else matrices

    def _is_matrix(self, part: Array) -> bool:
        """Whether the images of `part` can be read as matrices (out, P) where they lie."""
        return planar(part) and not self.work.beside

    def _room(self, which: int, shape: tuple[int, ...]) -> Array:
        """Return the beginning of one of the rooms as an array of this shape."""
        return self.rooms[which].reshape(-1)[: math.prod(shape)].reshape(shape)

    def _image(self, matrices: Array, rows: int) -> Array:
        """View matrices (n, g, c, rows·columns) as images (n, g, c, rows, columns)."""
        if self.work.beside:
            return images_first(matrices.reshape(*matrices.shape[1:3], rows, self.across, self.columns))
        return matrices.reshape(*matrices.shape[:3], rows, self.columns)
