"""Sweeps: a whole convolution, or its gradients, as tiles shared out over the threads.

In a sweep that only computes results, every tile is a piece of its own. A weight gradient is a sum over all images;
its pieces are groups, or channels of the copied array where there are few groups, and each walks over all images
in a fixed order. So no two threads ever add to the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cpu_plan import Pass
from .cpu_products import Workbench, slabs, write_gradient
from .cpu_threads import run
from .cpu_tiles import PIECES, Tile, Work, chunks, tile_size
from .cpu_workspace import get_workspace_limit

Array = np.ndarray[Any, Any]

SINGLE = 2_000_000    # multiply-adds below which a second thread does not help


def convolve(
    source: Array, weight: Array, bias: Array | None, target: Array, plan: tuple[Pass, ...], macs: int
) -> None:
    """Write into `target` (N, G, out, ·, ·) what `weight` (G, out, in, kh, kw) makes of `source` (N, G, in, ·, ·)."""
    rounds = -(-weight.nbytes // max(1, get_workspace_limit() // 2))     # the weights are rearranged round by round
    for outputs in chunks(weight.shape[1], -(-weight.shape[1] // rounds)):
        for layout in plan:
            weights = slabs(weight[:, outputs], layout)
            _convolve(layout, source, weights, None if bias is None else bias[:, outputs], target[:, :, outputs], macs)


def _convolve(
    layout: Pass, source: Array, weights: list[Array], bias: Array | None, target: Array, macs: int
) -> None:
    """Share the tiles of one pass out; where they are too few, share its channels out as well."""
    work = Work.of(layout, source, target, None)
    _, size, _, _ = tile_size(work, False, get_workspace_limit())
    tiles = [tile for groups in chunks(work.groups, size) for tile in work.tiles(groups, False)]
    parts = 1 if len(tiles) > 1 else min(4, -(-work.results // 64))

    def piece(part: tuple[Tile, slice]) -> None:
        tile, outputs = part
        chosen = target[:, :, outputs]
        bench = Workbench(Work.of(layout, source, chosen, None), tile, source)
        part_bias = None if bias is None else bias[tile.groups, outputs]
        bench.write_results(chosen, [each[:, :, tile.groups, outputs] for each in weights], part_bias)

    pieces = [(tile, part) for tile in tiles for part in chunks(work.results, -(-work.results // parts))]
    run(piece, pieces, small=macs < SINGLE)


def channels_at_once(weight: Array) -> int:
    """How many input channels of `weight` (G, out, in, kh, kw) have a gradient, held twice, of half the workspace."""
    a_channel = weight.itemsize * weight.shape[1] * weight.shape[3] * weight.shape[4]
    return max(1, get_workspace_limit() // (4 * a_channel))


def weigh(
    source: Array, partner: Array, dweight: Array, plan: tuple[Pass, ...], macs: int,
    *, weight: Array | None = None, target: Array | None = None,
) -> None:
    """Write into `dweight` (G, out, in, kh, kw) the products of `partner` (N, G, out, ·, ·) and copies of `source`.

    Given `weight` and `target`, the same copies give the results as :func:`convolve` writes them.
    """
    inputs = source.shape[2]
    if source.shape[1] < PIECES:
        inputs = -(-inputs // min(PIECES, max(2, inputs * plan[0].copies // 256)))
    if target is None:    # which needs every channel of the copies
        inputs = min(inputs, channels_at_once(dweight))

    def piece(part: tuple[slice, slice]) -> None:
        groups, channels = part
        copied = source[:, :, channels]
        for layout in plan:
            work = Work.of(layout, copied, target, partner)
            weights = [] if weight is None else slabs(weight[groups], layout)
            total = np.zeros((layout.matmuls(), groups.stop - groups.start, *work.gradient_shape), source.dtype)
            for tile in work.tiles(groups, True):
                bench = Workbench(work, tile, copied)
                if target is not None:
                    bench.write_results(target, weights, None)
                bench.add_weight_gradient(total, partner)
            write_gradient(dweight[groups, :, channels], work, total)

    pieces = [
        (groups, channels)
        for groups in chunks(source.shape[1], -(-source.shape[1] // PIECES))
        for channels in chunks(source.shape[2], inputs)
    ]
    run(piece, pieces, small=macs < SINGLE)
