"""Sweeps: a whole convolution, or its gradients, as tiles shared out over the threads.

In a sweep that only computes results, every tile is a piece of its own. A weight gradient is a sum over all images;
its pieces are groups, or channels of the copied array where there are few groups, and each walks over all images
in a fixed order. So no two threads ever add to the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_plan import Pass
from .cpu_products import Bench, slab, write_gradient
from .cpu_threads import run
from .cpu_tiles import PIECES, Tile, Work, chunks
from .cpu_workspace import get_workspace_limit

Array = np.ndarray[Any, Any]

SINGLE = 2_000_000    # multiply-adds below which a second thread does not help


def convolve(
    source: Array, weight: Array, bias: Array | None, target: Array, plan: tuple[Pass, ...], macs: int
) -> None:
    """Write into `target` (N, G, out, ·, ·) what `weight` (G, out, in, kh, kw) makes of `source` (N, G, in, ·, ·)."""
    panels = -(-weight.nbytes // (get_workspace_limit() // 2))     # the weights are rearranged panel by panel
    for outputs in chunks(weight.shape[1], -(-weight.shape[1] // panels)):
        for part in plan:
            slabs = [slab(weight[:, outputs], part, product) for product in part.products]
            work = Work(part, source.shape[0], source.shape[1], source.shape[2], slabs[0].shape[1], 0, source.itemsize)
            part_bias = None if bias is None else bias[:, outputs]
            _convolve_panel(work, source, slabs, part_bias, target[:, :, outputs], macs)


def _convolve_panel(
    work: Work, source: Array, slabs: list[Array], bias: Array | None, target: Array, macs: int
) -> None:
    def piece(tile: Tile) -> None:
        bench = Bench(work, tile, source)
        bench.results(target, [slab[tile.groups] for slab in slabs], None if bias is None else bias[tile.groups])

    groups = chunks(work.groups, work.tile_size()[1])
    run(piece, [tile for part in groups for tile in work.tiles(part)], small=macs < SINGLE)


def weigh(
    source: Array, partner: Array, dweight: Array, plan: tuple[Pass, ...], macs: int,
    *, weight: Array | None = None, target: Array | None = None,
) -> None:
    """Write into `dweight` (G, out, in, kh, kw) the products of `partner` (N, G, out, ·, ·) and copies of `source`.

    Given `weight` and `target`, the same copies give the results as :func:`convolve` writes them.
    """
    inputs = source.shape[2]
    if target is None and source.shape[1] < PIECES:
        inputs = -(-inputs // PIECES)

    def piece(part: tuple[slice, slice]) -> None:
        groups, channels = part
        for layout in plan:
            copied = source[:, :, channels]
            work = Work(
                layout, source.shape[0], source.shape[1], copied.shape[2], 0 if target is None else target.shape[2],
                partner.shape[2], source.itemsize,
            )
            slabs = [] if weight is None else [slab(weight[groups], layout, product) for product in layout.products]
            total = np.zeros(work.gradient_shape(groups), source.dtype)
            for tile in work.tiles(groups):
                bench = Bench(work, tile, copied)
                if target is not None:
                    bench.results(target, slabs, None)
                bench.add_weight_gradient(total, partner)
            write_gradient(dweight[groups, :, channels], layout, total.swapaxes(-1, -2) if work.transposed else total)

    pieces = [
        (groups, channels)
        for groups in chunks(source.shape[1], -(-source.shape[1] // PIECES))
        for channels in chunks(source.shape[2], inputs)
    ]
    run(piece, pieces, small=macs < SINGLE)
