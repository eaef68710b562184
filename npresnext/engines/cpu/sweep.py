"""Sweeps: a whole convolution, or its gradients, as tiles shared out over the threads.

In a sweep that only computes results, every tile is a piece of its own. A weight gradient is a sum over all images;
its pieces are groups, and where there are few of these, some images with a partial sum each, or channels of the copied
array. A piece walks over its images in a fixed order, and so are partial sums added up: no two threads ever add to
the same number. The pieces of both gradients are shared out together.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..._support.integers import chunks
from ..._support.typing import NumPyArray as Array
from .epilogue import Ending
from .plan import Pass
from .products import slabs, workbench, write_gradient
from .threads import run
from .tiles import PIECES, Tile, Work, groups_at_once, tiles
from .workspace import get_workspace_limit

Pieces = Sequence[Callable[[], None]]  # of work, in any order and on any threads

NOTHING = Ending()
Part = tuple[int, slice, slice, slice]  # number of a partial sum, and the images, groups and inputs of a piece

SINGLE = 5_000_000  # multiply-adds below which a second thread starts too late to help


def convolve(
    source: Array,
    weight: Array,
    target: Array,
    plan: tuple[Pass, ...],
    macs: int,
    ending: Ending = NOTHING,
    beside: Pieces = (),
) -> None:
    """Write into `target` (N, G, out, ·, ·) what `weight` (G, out, in, kh, kw) makes of `source` (N, G, in, ·, ·).

    Pieces of other work `beside` it are shared out with its last ones, so that threads meet once in place of twice.
    """
    rearranged = weight.nbytes if weight.shape[3:] != (1, 1) else 0
    rounds = max(1, -(-rearranged // max(1, get_workspace_limit() // 2)))  # to bound what is rearranged
    passes = list(itertools.product(chunks(weight.shape[1], -(-weight.shape[1] // rounds)), plan))

    def one(outputs: slice, layout: Pass, more: Pieces) -> None:
        weights = slabs(weight[:, outputs], layout)  # gone at the end, before the next ones come
        pieces = _pieces(layout, source, weights, target[:, :, outputs], ending.of(outputs))
        _share_out([*pieces, *more], macs)

    for number, (outputs, layout) in enumerate(passes, 1):
        one(outputs, layout, beside if number == len(passes) else ())
    if not passes:  # no tap meets the image
        _share_out(beside, macs)


def _pieces(layout: Pass, source: Array, weights: list[Array], target: Array, ending: Ending) -> Pieces:
    """Return the tiles of one pass as pieces; where they are too few, parts of their channels."""
    work = Work.of(layout, source, target, None)
    whole = tiles(work, 0, work.groups, False, get_workspace_limit())
    parts = 1 if len(whole) > 1 else min(4, -(-work.results // 64))

    def piece(tile: Tile, outputs: slice) -> None:
        chosen = target[:, :, outputs]
        bench, reads = workbench(Work.of(layout, source, chosen, None), tile, source)
        bench.write_results(reads, chosen, [each[:, :, tile.groups, outputs] for each in weights], ending.of(outputs))

    cuts = chunks(work.results, -(-work.results // parts))
    return [functools.partial(piece, tile, outputs) for tile in whole for outputs in cuts]


def weigh(
    source: Array,
    partner: Array,
    dweight: Array,
    plan: tuple[Pass, ...],
    macs: int,
    *,
    weight: Array | None = None,
    target: Array | None = None,
) -> None:
    """Write into `dweight` (G, out, in, kh, kw) the products of `partner` (N, G, out, ·, ·) and copies of `source`.

    Given `weight` and `target`, the same copies give the results as :func:`convolve` writes them.
    """
    with weighing(source, partner, dweight, plan, weight=weight, target=target) as pieces:
        _share_out(pieces, macs)


@contextlib.contextmanager
def weighing(
    source: Array,
    partner: Array,
    dweight: Array,
    plan: tuple[Pass, ...],
    *,
    weight: Array | None = None,
    target: Array | None = None,
) -> Iterator[Pieces]:
    """Give the pieces of :func:`weigh`, to be done inside the block; add partial sums up after it."""
    most = channels_at_once(dweight) if target is None else source.shape[2]  # results need all channels of the copies
    parts, sums = _parts([Work.of(layout, source, target, partner) for layout in plan], most, dweight.nbytes)
    partial = np.empty((sums, *dweight.shape), dweight.dtype) if sums > 1 else dweight[None]
    if sum(layout.taps for layout in plan) < math.prod(dweight.shape[3:]):  # the others meet padding alone
        partial[...] = 0

    def piece(part: Part) -> None:
        number, images, groups, channels = part
        copied, multiplied = source[images, :, channels], partner[images]
        for layout in plan:
            work = Work.of(layout, copied, target, multiplied)
            weights = [] if weight is None else slabs(weight[groups], layout)
            total = np.empty((layout.matmuls(), groups.stop - groups.start, *work.gradient_shape), source.dtype)
            for index, tile in enumerate(tiles(work, groups.start, groups.stop, True, get_workspace_limit())):
                bench, reads = workbench(work, tile, copied)
                if target is not None:
                    bench.write_results(reads, target, weights, NOTHING)
                bench.weight_gradient(reads, multiplied, total, first=index == 0)
            write_gradient(partial[number][groups, :, channels], work, total)

    yield [functools.partial(piece, part) for part in parts]
    if sums > 1:
        partial.sum(axis=0, out=dweight)


def _share_out(pieces: Pieces, macs: int) -> None:
    """Do all pieces of work of a size, on several threads unless that is small."""
    run(lambda piece: piece(), pieces, small=macs < SINGLE)


def channels_at_once(weight: Array) -> int:
    """How many input channels of `weight` (G, out, in, kh, kw) have a gradient, held twice, of half the workspace."""
    a_channel = weight.itemsize * weight.shape[1] * weight.shape[3] * weight.shape[4]
    return max(1, get_workspace_limit() // (4 * a_channel))


def _parts(works: list[Work], most: int, size: int) -> tuple[list[Part], int]:
    """Share a weight gradient out, and tell of how many partial sums it consists, each as large as itself.

    Groups are shared out; where these are few, images, if the partial sums are small, or else input channels.
    """
    if not works:  # no tap meets the image
        return [], 1
    batch, groups, inputs = works[0].batch, works[0].groups, works[0].channels
    images, at_once, input_parts = batch, 1, 1
    if groups >= PIECES:
        at_once = min(groups_at_once(work, get_workspace_limit()) for work in works)
    elif batch > 1 and min(PIECES, batch) * size <= get_workspace_limit() // 4:
        images = -(-batch // PIECES)
    else:
        most_parts = max(2, max(work.depth for work in works) // 256)  # matmuls with a shorter side are slower
        input_parts = next(parts for parts in (PIECES, 4, 2) if parts <= most_parts)
    sums = list(enumerate(chunks(batch, images)))
    cuts = sums, chunks(groups, at_once), chunks(inputs, min(most, -(-inputs // input_parts)))
    return [(*part, some, ins) for part, some, ins in itertools.product(*cuts)], len(sums)
