"""Which pixels every tap reads: the plan of a pass, in integers alone.

One algorithm serves the forward pass and the input gradient, because along one axis both say the same:
*number u of a phase of the result reads pixel u·step + offset of the source, for every tap of that phase.*

    forward          one phase, all outputs:        u reads  x[u·stride + tap·dilation − before]
    input gradient   `stride` phases of the input:  pixel u·stride + b reads
                                                    grad_output[u + (b + before − tap·dilation)/stride]
                     for those taps where the division leaves no rest

So the input gradient is gathered, phase by phase, never scattered. (At stride 1 it is one phase: the
convolution of grad_output with the flipped kernel.)

A `Pass` says how to lay out the copies of the source (drawing in cpu.py):

    shared   one copy for each tap column; its rows serve all tap rows, at different starting rows
    merged   one copy for each tap, all in one matmul: the textbook's columns. Better where adding up the
             results of the tap rows would cost more than copying, as in a 7x7 stem from 3 to 64 channels
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ...geometry import ConvGeometry


@dataclass(frozen=True)
class Phase:
    """Along one axis, the results ``first, first + step, …`` (`count` of them) and the taps they read."""

    first: int
    step: int
    count: int
    taps: tuple[tuple[int, int], ...]  # (tap, offset)


@dataclass(frozen=True)
class Block:
    """Source rows ``first + r·step`` for r = 0 … count + extra − 1, one after the other in a copy."""

    first: int
    extra: int


@dataclass(frozen=True)
class Run:
    """Matmuls that read the copies at starting rows a constant step apart, so that one call does them all."""

    phase: int  # the row phase that they add to
    kernel_rows: tuple[tuple[int, ...], ...]  # of each matmul
    block: int
    shift: int  # of the first, from the beginning of the block
    step: int  # from one to the next


@dataclass(frozen=True, eq=False)  # plans are cached, so that being the same is being equal
class Pass:
    """One layout of copies, and the matmuls that read it.

    The copies are indexed [stack, column, channel], and so is K, the inner axis of the matmuls: a stack is a pile
    of blocks of rows, a column an offset along the rows, in the order of ``kernel_rows`` and ``kernel_columns``.
    """

    rows: tuple[Phase, ...]  # the row phases that the products add to
    columns: Phase  # the column phase of them all
    row_step: int  # of the source
    column_step: int
    stacks: tuple[tuple[Block, ...], ...]
    offsets: tuple[int, ...]  # of each column copy
    kernel_columns: tuple[int, ...]
    runs: tuple[Run, ...]  # in the order of their phases

    @functools.cached_property
    def copies(self) -> int:
        """How many copies of the source the layout holds."""
        return len(self.stacks) * len(self.offsets)

    @functools.cached_property
    def taps(self) -> int:
        """How many taps of the kernel it serves."""
        return len(self.kernel_columns) * sum(len(rows) for run in self.runs for rows in run.kernel_rows)

    @functools.cached_property
    def is_identity(self) -> bool:
        """Whether the only copy would be the source as it is."""
        alone = self.copies == 1 and self.stacks == ((Block(0, 0),),) and self.offsets == (0,)
        return alone and self.row_step == self.column_step == 1

    @functools.cached_property
    def count(self) -> int:
        """The results of the longest row phase."""
        return max(phase.count for phase in self.rows)

    def height(self, rows: int) -> int:
        """How many rows a copy needs to serve `rows` rows of the result."""
        return sum(rows + block.extra for block in self.stacks[0])

    def start(self, run: Run, rows: int) -> int:
        """The row of the copies at which `run` starts to read, for `rows` rows of the result."""
        return sum(rows + block.extra for block in self.stacks[0][: run.block]) + run.shift

    def matmuls(self, phase: int | None = None) -> int:
        """How many matmuls add to a row phase, or to all of them together."""
        return sum(len(run.kernel_rows) for run in self.runs if phase in (None, run.phase))


@functools.lru_cache(maxsize=512)
def forward_plan(geometry: ConvGeometry) -> tuple[Pass, ...]:
    """Plan y from x."""
    rows, columns = (_output_phases(geometry, axis) for axis in (0, 1))
    # copying is 1 a value; adding two results up and reading them again is about 2
    taps, fan_in, fan_out = geometry.kernel, geometry.in_channels, geometry.out_channels
    merged = fan_in * taps[0] * taps[1] < fan_in * taps[1] + 2 * fan_out * (taps[0] - 1)
    return _passes(rows, columns, geometry.stride, merged)


@functools.lru_cache(maxsize=512)
def input_plan(geometry: ConvGeometry) -> tuple[Pass, ...]:
    """Plan dx from grad_output."""
    rows, columns = (_input_phases(geometry, axis) for axis in (0, 1))
    return _passes(rows, columns, (1, 1), False)


def _output_phases(geometry: ConvGeometry, axis: int) -> list[Phase]:
    """All outputs along one axis as one phase."""
    before, dilation = geometry.padding[axis][0], geometry.dilation[axis]
    windows = (geometry.out_height, geometry.out_width)[axis]
    return [Phase(0, 1, windows, tuple((k, k * dilation - before) for k in range(geometry.kernel[axis])))]


def _input_phases(geometry: ConvGeometry, axis: int) -> list[Phase]:
    """The pixels along one axis, split into phases read by the same taps; pixels that no tap reads are in none."""
    before, dilation, stride = geometry.padding[axis][0], geometry.dilation[axis], geometry.stride[axis]
    size = (geometry.height, geometry.width)[axis]
    phases = []
    for b in sorted({(k * dilation - before) % stride for k in range(geometry.kernel[axis])}):
        if b >= size:
            break
        reads = [(k, b + before - k * dilation) for k in range(geometry.kernel[axis])]
        taps = tuple((k, distance // stride) for k, distance in reads if distance % stride == 0)
        phases.append(Phase(b, stride, (size - b + stride - 1) // stride, taps))
    return phases


def _passes(rows: list[Phase], columns: list[Phase], steps: tuple[int, int], merged: bool) -> tuple[Pass, ...]:
    """Pair row phases with column phases."""
    if not rows:
        return ()
    passes = []
    for row_phases, stacks, runs in [_merged([row]) for row in rows] if merged else [_shared(rows, steps[0])]:
        for column in columns:
            kernel_columns, offsets = zip(*column.taps)
            passes.append(Pass(row_phases, column, *steps, stacks, offsets, kernel_columns, runs))
    return tuple(passes)


_Layout = tuple[tuple[Phase, ...], tuple[tuple[Block, ...], ...], tuple[Run, ...]]


def _merged(rows: list[Phase]) -> _Layout:
    """Every tap row has copies of its own, and one matmul reads them all."""
    kernel_rows, offsets = zip(*rows[0].taps)
    return tuple(rows), tuple((Block(offset, 0),) for offset in offsets), (Run(0, (kernel_rows,), 0, 0, 0),)


def _shared(rows: list[Phase], step: int) -> _Layout:
    """Tap rows whose source rows overlap share a block, where each starts at a row of its own."""
    count = max(row.count for row in rows)
    blocks: list[Block] = []
    starts = []  # (phase, block, shift, tap)
    reads = [(offset % step, offset, phase, tap) for phase, row in enumerate(rows) for tap, offset in row.taps]
    for residue, offset, phase, tap in sorted(reads):
        last = blocks[-1] if blocks else None
        if last is None or last.first % step != residue or (offset - last.first) // step > last.extra + count:
            blocks.append(Block(offset, 0))
        else:
            blocks[-1] = Block(last.first, (offset - last.first) // step)
        starts.append((phase, len(blocks) - 1, (offset - blocks[-1].first) // step, tap))
    runs: list[Run] = []
    for phase, block, shift, tap in sorted(starts):
        if runs and (runs[-1].phase, runs[-1].block) == (phase, block):
            last_run = runs[-1]
            length = len(last_run.kernel_rows)
            gap = shift - last_run.shift if length == 1 else last_run.step
            if shift == last_run.shift + length * gap:
                runs[-1] = Run(phase, (*last_run.kernel_rows, (tap,)), block, last_run.shift, gap)
                continue
        runs.append(Run(phase, ((tap,),), block, shift, 0))
    return tuple(rows), (tuple(blocks),), tuple(runs)
