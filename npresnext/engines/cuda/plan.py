"""The integers of a CUDA launch: which taps a pixel gathers, how the image is cut into tiles, what a block stages.

No arrays and no CuPy here: a plan is made of the ConvGeometry alone, so it is the same on every device, and so is
the order of every sum. A plan that the kernels cannot take (a stride above 4, a kernel of more than 144 taps, a rim
too wide for shared memory) is None, and the caller goes another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..._support.integers import ceil_div
from ...geometry import ConvGeometry
from ..phases import Phase, all_input_grad_phases, forward_phase
from .launch import DIVISOR, divisor

PIXELS_PER_THREAD = 8  # TP of gather.cu
TAPS_PER_THREAD = 9  # TAPS of weight_grad.cu
SHARED_BYTES = 32 * 1024  # of one block: four to seven blocks fit on a multiprocessor of an H100
BLOCKS = 2048  # of the weight gradient, where there are tiles enough: 15 a multiprocessor
LARGEST_INTEGER = 2**31 - 1
MOST_PHASES, MOST_TAPS = 16, 144  # as many as gather.cu and weight_grad.cu have room for

_RECTANGLE = np.dtype(
    [(name, np.int32) for name in ("images", "rows", "columns")]
    + [(name, DIVISOR) for name in ("by_area", "by_columns")]
)
_PHASE = np.dtype([(name, np.int32) for name in "row column rows columns from_row from_column taps first_tap".split()])
GATHER = np.dtype(
    [
        (name, np.int32)
        for name in """
            images groups in_channels out_channels in_height in_width out_height out_width out_step_row out_step_column
            step_row step_column weight_group weight_out weight_in tile_rows tile_columns tiles_down tiles_across
            tiles_out phases chunk""".split()
    ]
    + [(name, DIVISOR) for name in ("by_tile_rows", "by_tile_columns")]
    + [("staged", _RECTANGLE), ("phase", _PHASE, MOST_PHASES)]
    + [(name, np.int32, MOST_TAPS) for name in ("tap_input", "tap_weight")]
)
WEIGHT_GRAD = np.dtype(
    [
        (name, np.int32)
        for name in """
            images groups in_channels out_channels in_height in_width out_height out_width step_row step_column from_row
            from_column tiles_images tiles_down tiles_across blocks_out blocks_in blocks_tap splits taps""".split()
    ]
    + [("tile", _RECTANGLE), ("staged", _RECTANGLE), ("tap_input", np.int32, MOST_TAPS)]
)


@dataclass(frozen=True)
class Launch:
    """How to start a kernel: its template arguments, its blocks, and the struct that it reads everything else from."""

    template: tuple[int, ...]
    blocks: int
    threads: tuple[int, int]
    shared_bytes: int
    plan: np.ndarray


@lru_cache(maxsize=1024)
def forward_launch(geometry: ConvGeometry, itemsize: int) -> Launch | None:
    """Plan y = gather(x, weight); `itemsize` is that of the sums, 4 or 8 bytes."""
    inner, taps = geometry.inner, geometry.kernel[0] * geometry.kernel[1]
    axes = [forward_phase(geometry, 0)], [forward_phase(geometry, 1)]
    return _gather(
        geometry,
        itemsize,
        axes,
        geometry.stride,
        (1, 1),
        geometry.x_shape,
        geometry.output_shape,
        pitches=(inner, taps),
    )


@lru_cache(maxsize=1024)
def input_grad_launch(geometry: ConvGeometry, itemsize: int) -> Launch | None:
    """Plan dx = gather(grad_output, weight with its two channel axes exchanged)."""
    inner, taps = geometry.inner, geometry.kernel[0] * geometry.kernel[1]
    axes = all_input_grad_phases(geometry, 0), all_input_grad_phases(geometry, 1)
    return _gather(
        geometry,
        itemsize,
        axes,
        (1, 1),
        geometry.stride,
        geometry.output_shape,
        geometry.x_shape,
        pitches=(taps, inner),
    )


def _gather(
    geometry: ConvGeometry,
    itemsize: int,
    axes: tuple[list[Phase], list[Phase]],
    step: tuple[int, int],
    out_step: tuple[int, int],
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    pitches: tuple[int, int],
) -> Launch | None:
    images, groups = geometry.batch, geometry.groups
    phases = [(down, across) for down in axes[0] for across in axes[1]]
    most_taps = max(len(down.taps) * len(across.taps) for down, across in phases)
    if len(phases) > MOST_PHASES or geometry.kernel[0] * geometry.kernel[1] > MOST_TAPS or not _in_range(geometry):
        return None
    ins, outs = in_shape[1] // groups, out_shape[1] // groups
    per_thread = _channels_per_thread(outs, itemsize)
    rows_of_threads = min(ceil_div(outs, per_thread), 8)
    block_outs = per_thread * rows_of_threads
    height, width = axes[0][0].count, axes[1][0].count  # the first phase is the largest
    warps = range(1, min(8 // rows_of_threads, ceil_div(images * height * width, 32 * PIXELS_PER_THREAD)) + 1)

    reach = [max(phase.span for phase in phases_of_axis) for phases_of_axis in axes]

    def staged(tile: tuple[int, int, int]) -> tuple[int, int]:
        return (tile[1] - 1) * step[0] + reach[0] + 1, (tile[2] - 1) * step[1] + reach[1] + 1

    def words(tile: tuple[int, int, int]) -> int:  # of shared memory, for each input channel staged
        rows, columns = staged(tile)
        return most_taps * block_outs + tile[0] * rows * columns

    slots = [32 * PIXELS_PER_THREAD * count for count in warps]
    cut = _tile((images, height, width), slots, words, SHARED_BYTES // itemsize)
    if cut is None:
        return None
    tile, lanes = cut[0], ceil_div(cut[1], 32 * PIXELS_PER_THREAD) * 32
    rows, columns = staged(tile)
    chunk = min(ins, SHARED_BYTES // itemsize // words(tile))
    chunk = ceil_div(ins, ceil_div(ins, chunk))  # evenly
    tiles = [ceil_div(size, part) for size, part in zip((images, height, width), tile)]
    tiles_out = ceil_div(outs, block_outs)
    blocks = len(phases) * tiles[0] * tiles[1] * tiles[2] * tiles_out * groups
    if blocks > LARGEST_INTEGER:
        return None

    plan = np.zeros((), GATHER)
    _fill(
        plan,
        images=images,
        groups=groups,
        in_channels=ins,
        out_channels=outs,
        in_height=in_shape[2],
        in_width=in_shape[3],
        out_height=out_shape[2],
        out_width=out_shape[3],
        out_step_row=out_step[0],
        out_step_column=out_step[1],
        step_row=step[0],
        step_column=step[1],
        weight_group=geometry.inner * (geometry.out_channels // groups),
        weight_out=pitches[0],
        weight_in=pitches[1],
        tile_rows=tile[1],
        tile_columns=tile[2],
        tiles_down=tiles[1],
        tiles_across=tiles[2],
        tiles_out=tiles_out,
        phases=len(phases),
        chunk=chunk,
        by_tile_rows=divisor(tile[1]),
        by_tile_columns=divisor(tile[2]),
        staged=_rectangle(tile[0], rows, columns),
    )
    taps = 0
    for number, (down, across) in enumerate(phases):
        plan["phase"][number] = (
            down.first,
            across.first,
            down.count,
            across.count,
            down.lowest_offset,
            across.lowest_offset,
            len(down.taps) * len(across.taps),
            taps,
        )
        for i, j, y, x in _pairs(down, across):
            plan["tap_input"][taps] = (y - down.lowest_offset) * columns + x - across.lowest_offset
            plan["tap_weight"][taps] = i * geometry.kernel[1] + j
            taps += 1
    run = 3 if all(_side_by_side(across, 3) for across in axes[1]) else 1
    return Launch((per_thread, run), blocks, (lanes, rows_of_threads), chunk * words(tile) * itemsize, plan)


@lru_cache(maxsize=1024)
def weight_grad_launch(geometry: ConvGeometry, itemsize: int) -> Launch | None:
    """Plan the partial sums of dweight; the plan's `splits` says how many there are of each weight."""
    groups, taps = geometry.groups, geometry.kernel[0] * geometry.kernel[1]
    down, across = forward_phase(geometry, 0), forward_phase(geometry, 1)
    if taps > MOST_TAPS or not _in_range(geometry):
        return None
    ins, outs = geometry.in_channels // groups, geometry.out_channels // groups
    per_thread, warps = _channels_per_thread(outs, itemsize), min(ins, 8)

    def staged(tile: tuple[int, int, int]) -> tuple[int, int]:
        return (
            (tile[1] - 1) * geometry.stride[0] + down.span + 1,
            (tile[2] - 1) * geometry.stride[1] + across.span + 1,
        )

    def words(tile: tuple[int, int, int]) -> int:
        rows, columns = staged(tile)
        positions = tile[0] * tile[1] * tile[2]
        return max(
            positions + 1 + per_thread * positions + warps * tile[0] * rows * columns, warps * TAPS_PER_THREAD * 33
        )

    sizes = geometry.batch, geometry.out_height, geometry.out_width
    cut = _tile(sizes, list(range(32, 513, 32)), words, SHARED_BYTES // itemsize)
    if cut is None:
        return None
    tile, _ = cut
    rows, columns = staged(tile)
    tiles = [ceil_div(size, part) for size, part in zip(sizes, tile)]
    blocks_out, blocks_in, blocks_tap = (
        ceil_div(outs, per_thread),
        ceil_div(ins, warps),
        ceil_div(taps, TAPS_PER_THREAD),
    )
    blocks = groups * blocks_out * blocks_in * blocks_tap
    splits = min(tiles[0] * tiles[1] * tiles[2], ceil_div(BLOCKS, blocks))
    if blocks * splits > LARGEST_INTEGER:
        return None

    plan = np.zeros((), WEIGHT_GRAD)
    _fill(
        plan,
        images=geometry.batch,
        groups=groups,
        in_channels=ins,
        out_channels=outs,
        in_height=geometry.height,
        in_width=geometry.width,
        out_height=geometry.out_height,
        out_width=geometry.out_width,
        step_row=geometry.stride[0],
        step_column=geometry.stride[1],
        from_row=down.lowest_offset,
        from_column=across.lowest_offset,
        tiles_images=tiles[0],
        tiles_down=tiles[1],
        tiles_across=tiles[2],
        blocks_out=blocks_out,
        blocks_in=blocks_in,
        blocks_tap=blocks_tap,
        splits=splits,
        taps=taps,
        tile=_rectangle(*tile),
        staged=_rectangle(tile[0], rows, columns),
    )
    offsets = [(y - down.lowest_offset) * columns + x - across.lowest_offset for _, _, y, x in _pairs(down, across)]
    plan["tap_input"][:taps] = offsets
    return Launch((per_thread,), blocks * splits, (32, warps), words(tile) * itemsize, plan)


def _tile(
    sizes: tuple[int, int, int], slots: list[int], words: Callable[[tuple[int, int, int]], int], most: int
) -> tuple[tuple[int, int, int], int] | None:
    """Choose (images, rows, columns) and one of `slots` for its pixels: little idle, little staged, `most` words."""
    images, height, width = sizes
    while slots:
        fitting = []
        for count in slots:
            least = ceil_div(width, count)
            for columns in (ceil_div(width, parts) for parts in range(least, least + 16)):
                rows = _evenly(height, count // columns)
                whole = (rows, columns) == (height, width)
                tile = (_evenly(images, count // (rows * columns)) if whole else 1, rows, columns)
                tiles = ceil_div(images, tile[0]) * ceil_div(height, rows) * ceil_div(width, columns)
                if words(tile) <= most:
                    fitting.append((tiles * (count + words(tile)), tile, count))
        if fitting:
            return min(fitting)[1:]
        slots = [count // 2 for count in slots if count > 1]
    return None


def _evenly(size: int, most: int) -> int:
    """Return the size of the pieces when `size` is cut into as few as possible of at most `most`, all much alike."""
    return ceil_div(size, ceil_div(size, most))


def _pairs(down: Phase, across: Phase) -> Iterator[tuple[int, int, int, int]]:
    for i, y in down.taps_by_offset:
        for j, x in across.taps_by_offset:
            yield i, j, y, x


def _side_by_side(phase: Phase, run: int) -> bool:
    """Return whether the taps of this phase are neighbours, and their number a multiple of `run`."""
    offsets = [offset for _, offset in phase.taps_by_offset]
    return len(offsets) % run == 0 and offsets == list(range(phase.lowest_offset, phase.lowest_offset + len(offsets)))


def _channels_per_thread(outs: int, itemsize: int) -> int:
    """Return how many output channels a thread sums for: as registers allow, and no more than there are."""
    return next(count for count in (1, 2, 4, 8) if count >= min(outs, 32 // itemsize))


def _rectangle(images: int, rows: int, columns: int) -> tuple[Any, ...]:
    return images, rows, columns, divisor(rows * columns), divisor(columns)


def _in_range(geometry: ConvGeometry) -> bool:
    """Return whether coordinates in a map, and offsets in the weight of a group, are so far below 2³¹ that sums fit."""
    padded = [
        size + sum(abs(side) for side in sides) + 2 * d * k
        for size, sides, d, k in zip(
            (geometry.height, geometry.width), geometry.padding, geometry.dilation, geometry.kernel
        )
    ]
    weights = geometry.inner * (geometry.out_channels // geometry.groups)
    return max(*padded, geometry.batch, weights) < 2**30


def _fill(plan: np.ndarray, **values: Any) -> None:
    for name, value in values.items():
        plan[name] = value
