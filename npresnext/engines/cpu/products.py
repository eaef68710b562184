"""The matmuls of a tile: results out of copies and weights, and weight gradients out of copies and partners."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..._support.integers import chunks
from ..._support.typing import NumPyArray as Array
from .copies import carry_out, copy_rows, images_first, moves
from .epilogue import Ending
from .plan import Pass, Phase, Run
from .threads import run
from .tiles import Tile, Work, planar
from .workspace import carve, leave, take, views

Reads = list[list[Array]]  # (m, n, g, K, P), of each run of each share of a tile

FILL_BYTES = 2**19  # of weights rearranged at once, so that they stay in the cache from tap to tap


def slabs(weight: Array, plan: Pass) -> list[Array]:
    """Return the weights (G, out, in, kh, kw) that each run multiplies with, as matrices (matmuls, 1, G, out, K)."""
    G, out, inner = weight.shape[:3]
    if weight.shape[3:] == (1, 1):
        return [weight.reshape(1, 1, G, out, inner)]
    depth, swapped = plan.copies * inner, weight.strides[1] < weight.strides[2]  # written as it is read: in rows
    result, copies = [], []
    for one in plan.runs:
        slab = np.empty((len(one.kernel_rows), 1, G, *((depth, out) if swapped else (out, depth))), weight.dtype)
        slab = slab.swapaxes(-1, -2) if swapped else slab  # (matmuls, 1, G, out, K)
        for matrices, (rows, columns) in zip(slab, _taps(one, plan)):
            source = weight[:, :, :, rows, columns]  # (G, out, in, stacks, columns)
            copies.append((_by_taps(matrices[0], source.shape), source))
        result.append(slab)

    outermost = 0 if G > 1 else 2 if swapped else 1  # in memory

    def fill(part: slice) -> None:
        here = (*[slice(None)] * outermost, part)
        for target, source in copies:
            target[here] = source[here]

    length, pieces = weight.shape[outermost], max(2, weight.nbytes // FILL_BYTES)
    run(fill, chunks(length, -(-length // pieces)), small=weight.size < 2**16)
    return result


def _by_taps(matrices: Array, shape: tuple[int, ...]) -> Array:
    """View weights or gradients (G, out, K) in this shape, (G, out, in, stacks, columns)."""
    G, out, inner, *taps = shape
    return matrices.reshape(G, out, *taps, inner).transpose(0, 1, 4, 2, 3)


def write_gradient(dweight: Array, work: Work, total: Array) -> None:
    """Put the gradients (matmuls, G, …) to their taps in `dweight` (G, out, in, kh, kw)."""
    if work.transposed:
        total = total.swapaxes(-1, -2)  # (matmuls, G, out, K)
    taps = [pair for run in work.plan.runs for pair in _taps(run, work.plan)]
    length, pieces = total.shape[2], max(1, total.nbytes // FILL_BYTES)
    for outputs in chunks(length, -(-length // pieces)):
        for gradient, (rows, columns) in zip(total, taps):
            target = dweight[:, outputs, :, rows, columns]  # (G, out, in, stacks, columns)
            source = _by_taps(gradient[:, outputs], target.shape)
            for stack, column in np.ndindex(target.shape[3:]):
                target[..., stack, column] = source[..., stack, column]


def _taps(run: Run, plan: Pass) -> list[tuple[slice, slice]]:
    """The kernel rows and columns of each matmul of a run."""
    return [(_slice(rows), _slice(plan.kernel_columns)) for rows in run.kernel_rows]


def _slice(taps: tuple[int, ...]) -> slice:
    """Return taps as a slice: those of a phase are always evenly spaced."""
    step = taps[1] - taps[0] if len(taps) > 1 else 1
    return slice(taps[0], taps[-1] + 1, step)


def workbench(work: Work, tile: Tile, source: Array) -> tuple[Workbench, Reads]:
    """Return this thread's bench for tiles like this one, and what to read for the tile of `source` (N, G, c, H, W)."""
    plane = source.shape[-2:]
    bench = views((work, tile.kind, plane, source.dtype), lambda: Workbench(work, tile, plane, source.dtype))
    return bench, bench.load(tile, source)


@dataclass(frozen=True)
class Share:
    """What a tile holds of one row phase: where it belongs, what its runs read, and room for what they make."""

    pixels: tuple[slice, slice]  # of the result
    runs: list[int]  # their numbers
    reads: list[Array]  # (m, n, g, K, P), of each run; none where the source itself is read
    products: list[Array]  # (m, n, g, out, P), of each run
    images: list[Array]  # (n, g, out, rows, columns): the products of all runs, one by one
    partner: Array  # (n, g, out, P)
    partner_image: Array  # (n, g, out, rows, columns): the same memory
    gradients: list[Array]  # (m, n, g, …), of each run


class Workbench:
    """One thread's room for tiles of one kind: copies, what is computed from them, and the views for both."""

    def __init__(self, work: Work, tile: Tile, plane: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.work, self.plan, self.tile = work, work.plan, tile
        images, self.groups, self.rows, self.columns = tile.size
        self.batch, self.across = (1, images) if work.beside else (images, 1)
        self.pitch = self.across * self.columns
        *shapes, _ = work.shapes(images, self.groups, self.rows, self.columns)  # the last outlives the tile
        copies, *self.rooms = carve(dtype, *shapes)
        reads: list[Array] = []  # of each run
        if not work.in_place:
            self.images = self._as_images(copies)
            self.moves = moves(self.images, self.plan, tile, plane)
            matrices = copies.reshape(self.batch, self.groups, work.depth, -1)  # (n, g, K, rows·columns)
            reads = [self._read(matrices, run) for run in self.plan.runs]
        self.gradient = self._room(2, (self.plan.matmuls(), self.batch, self.groups, *work.gradient_shape))
        here = [phase for phase, axis in enumerate(self.plan.rows) if axis.count > tile.rows.start]
        self.shares = [self._share(phase, reads) for phase in here]

    def load(self, tile: Tile, source: Array) -> Reads:
        """Lay out the copies of a tile; return what the runs of each share read: those, or the source itself."""
        untouched = take(self)
        self.tile = tile
        if self.work.in_place:
            part = source[tile.images, tile.groups, :, tile.rows, tile.columns]  # (n, g, K, rows, columns)
            whole = part.reshape(1, *part.shape[:3], -1)  # (1, n, g, K, P)
            return [[whole[..., : share.partner.shape[-1]]] * len(share.runs) for share in self.shares]
        if not untouched:  # otherwise the zeros around the images still stand there from the tile before
            self.images[...] = 0
        carry_out(self.moves, source[tile.images, tile.groups])
        leave(self)
        return [share.reads for share in self.shares]

    def write_results(self, reads: Reads, target: Array, slabs: list[Array], ending: Ending) -> None:
        """Multiply, add up, end, and write this tile of the `target` (N, G, out, H, W)."""
        for share, ours in zip(self.shares, reads):
            place = self._place(share)
            part, (first, *others) = target[place], share.images  # (n, g, out, rows, columns)
            straight = not others and self._is_matrix(part)
            products = [part.reshape(share.products[0].shape)] if straight else share.products
            for number, read, product in zip(share.runs, ours, products):
                np.matmul(slabs[number], read, out=product)
            for image in others[:-1]:
                first += image
            if others:
                np.add(first, others[-1], out=part)
            elif not straight:
                copy_rows(part, first)
            ending.finish(part, place)

    def weight_gradient(self, reads: Reads, partner: Array, total: Array, first: bool) -> None:
        """Multiply the copies with the `partner` (N, G, out, H, W), and write or add to `total` (matmuls, G, …)."""
        if len(self.shares) < len(self.plan.rows):  # some row phase ends before this tile
            self.gradient[:] = 0
        for share, ours in zip(self.shares, reads):
            part = partner[self._place(share)]  # (n, g, out, rows, columns)
            if self._is_matrix(part) and not self.work.turned:
                matrices = part.reshape(share.partner.shape)  # (n, g, out, P)
            else:
                matrices = share.partner
                copy_rows(share.partner_image, part)
            for read, gradient in zip(ours, share.gradients):
                if self.work.transposed:
                    np.matmul(read, matrices.swapaxes(-1, -2), out=gradient)  # (m, n, g, K, out)
                else:
                    np.matmul(matrices, read.swapaxes(-1, -2), out=gradient)  # (m, n, g, out, K)
        of_tile = self.gradient[:, 0] if self.batch == 1 else self.gradient.sum(axis=1)
        if first:
            total[...] = of_tile
        else:
            total += of_tile

    def _as_images(self, copies: Array) -> Array:
        """View the copies as (n, g, c, stack, column, rows, columns)."""
        layout = (len(self.plan.stacks), len(self.plan.offsets), self.work.channels, self.plan.height(self.rows))
        if self.work.beside:
            images = images_first(copies.reshape(self.groups, *layout, self.across, self.columns))
        else:
            images = copies.reshape(self.batch, self.groups, *layout, self.columns)
        return np.moveaxis(images, 4, 2)

    def _read(self, matrices: Array, run: Run) -> Array:
        """View what a run reads of the copies: (matmuls, n, g, K, rows·columns)."""
        start = self.plan.start(run, self.rows) * self.pitch
        first = matrices[..., start : start + self.rows * self.pitch]  # (n, g, K, rows·columns)
        step = run.step * self.pitch * first.itemsize
        return as_strided(first, (len(run.kernel_rows), *first.shape), (step, *first.strides))

    def _share(self, phase: int, reads: list[Array]) -> Share:
        """What tiles of this kind hold of a row phase."""
        work, axis, start = self.work, self.plan.rows[phase], self.tile.rows.start
        rows = min(self.tile.rows.stop, axis.count) - start
        positions = rows * self.pitch
        runs = [number for number, run in enumerate(self.plan.runs) if run.phase == phase]
        numbers = [len(self.plan.runs[run].kernel_rows) for run in runs]
        products = self._room(0, (sum(numbers), self.batch, self.groups, work.results, positions))
        partner = self._room(1, (self.batch, self.groups, *work.partner_shape(positions)))
        if work.turned:
            partner = partner.swapaxes(-1, -2)  # (n, g, out, P)
        before = sum(self.plan.matmuls(earlier) for earlier in range(phase))
        return Share(
            pixels=(_pixels(axis, start, rows), _pixels(self.plan.columns, self.tile.columns.start, self.columns)),
            runs=runs,
            reads=[reads[run][..., :positions] for run in runs if reads],
            products=_cut(products, numbers),
            images=[self._image(each, rows) for each in products],
            partner=partner,
            partner_image=self._image(partner, rows),
            gradients=_cut(self.gradient[before:], numbers),
        )

    def _place(self, share: Share) -> tuple[slice, ...]:
        """Where this tile and row phase stand in an image array (N, G, c, H, W)."""
        return (self.tile.images, self.tile.groups, slice(None), *share.pixels)

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


def _pixels(axis: Phase, start: int, count: int) -> slice:
    """Return the pixels of `count` results of a phase, from number `start` on."""
    first = axis.first + start * axis.step
    return slice(first, first + (count - 1) * axis.step + 1, axis.step)


def _cut(arrays: Array, numbers: list[int]) -> list[Array]:
    """Cut the first axis into pieces of the given lengths."""
    stops = list(itertools.accumulate(numbers))
    return [arrays[stop - number : stop] for number, stop in zip(numbers, stops)]
