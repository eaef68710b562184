"""Results: the forward pass and the input gradient, tile by tile, shared out over the threads.

Both gather: every result reads its pixels, and no result is written by two tasks. Every tile is a task of its own.
"""

from __future__ import annotations

import functools
import itertools

from ..._support.integers import ceil_div, chunks
from ..._support.typing import NumPyArray as Array
from . import thresholds
from .epilogue import NO_EPILOGUE, Epilogue
from .packing import pack_weights
from .plan import GatherPlan
from .threads import Tasks, run_tasks
from .tile_buffers import load_tile
from .tiles import Tile, Workload, cut_into_tiles
from .workspace import get_workspace_limit


def gather_results(
    source: Array,
    weight: Array,
    target: Array,
    plans: tuple[GatherPlan, ...],
    macs: int,
    *,
    epilogue: Epilogue = NO_EPILOGUE,
    other_tasks: Tasks = (),
) -> None:
    """Write into `target` (N, G, out, ·, ·) what `weight` (G, out, in, kh, kw) makes of `source` (N, G, in, ·, ·).

    `other_tasks` run together with the last tasks of this call, so that the threads wait for each other once and not
    twice. `macs`, the multiply-adds of the convolution, decides whether there are several threads.
    """
    steps = list(itertools.product(_output_chunks(weight), plans))
    for outputs, plan in steps[:-1]:
        _gather_step(source, weight, target, plan, outputs, macs, epilogue, ())
    if steps:
        outputs, plan = steps[-1]
        _gather_step(source, weight, target, plan, outputs, macs, epilogue, other_tasks)
    else:  # no tap reads the image
        run_tasks(other_tasks, macs)


def _gather_step(
    source: Array,
    weight: Array,
    target: Array,
    plan: GatherPlan,
    outputs: slice,
    macs: int,
    epilogue: Epilogue,
    other_tasks: Tasks,
) -> None:
    """Compute some output channels by one plan; the packed weights are freed before the next step packs its own."""
    weights = pack_weights(weight[:, outputs], plan)
    tasks = _tile_tasks(source, weights, target[:, :, outputs], plan, epilogue.for_outputs(outputs))
    run_tasks([*tasks, *other_tasks], macs)


def _output_chunks(weight: Array) -> list[slice]:
    """Cut the output channels of `weight` (G, out, in, kh, kw) so that packed weights take half of the workspace."""
    outputs, packed_bytes = weight.shape[1], weight.nbytes
    if weight.shape[3:] == (1, 1):
        packed_bytes = 0  # these are used as they are
    count = max(1, ceil_div(packed_bytes, max(1, get_workspace_limit() // 2)))
    return chunks(outputs, ceil_div(outputs, count))


def _tile_tasks(source: Array, weights: list[Array], target: Array, plan: GatherPlan, epilogue: Epilogue) -> Tasks:
    """Return one task for each tile of a plan; a tile that is the only one is cut along its output channels."""
    workload = Workload.of(plan, source, target, None)
    all_tiles = cut_into_tiles(workload, 0, workload.groups, get_workspace_limit(), all_groups=False)
    channels = workload.target_channels
    count = 1
    if len(all_tiles) == 1:
        count = min(thresholds.MAX_CHANNEL_CHUNKS, ceil_div(channels, thresholds.CHANNELS_PER_CHUNK))

    def compute(tile: Tile, outputs: slice) -> None:
        part = target[:, :, outputs]
        buffers, operands = load_tile(Workload.of(plan, source, part, None), tile, source)
        weights_of_tile = [packed[:, :, tile.groups, outputs] for packed in weights]  # (products, 1, g, out, K)
        buffers.write_results(operands, part, weights_of_tile, epilogue.for_outputs(outputs))

    output_chunks = chunks(channels, ceil_div(channels, count))
    return [functools.partial(compute, tile, outputs) for tile in all_tiles for outputs in output_chunks]
