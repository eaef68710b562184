"""Gather plans: which source pixels are copied where, and which matmuls read the copies. Integers alone.

The phases of a convolution (engines/phases.py) say which pixels every tap reads. A plan says how to lay out copies of
the source, so that what many taps read is one matrix. There are two layouts:

    row shift   One copy for each tap column. All tap rows read the same copies, from different starting rows on
                (the drawing is in engines/cpu/__init__.py).
    im2col      One copy for each tap, read by a single matmul: the columns of the lesson. This is better where
                adding up the results of the tap rows would cost more than copying, as in a 7x7 stem from 3 to 64
                channels.

A convolution needs one plan for each column phase of its result.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

from ...geometry import ConvGeometry
from ..phases import Phase, forward_phase, input_grad_phases
from . import thresholds


@dataclass(frozen=True)
class RowBlock:
    """Source rows that lie one below the other in a copy.

    For a tile of `rows` rows these are ``first + r·row_step`` for r = 0 … rows + extra − 1.
    """

    first: int
    extra: int


@dataclass(frozen=True)
class BatchedMatmul:
    """Matrix products that are one call of np.matmul, because their starting rows are a constant step apart.

    Each product multiplies the weights of its kernel rows by what the copies hold from its starting row on.
    """

    row_phase: int  # number of the row phase that the products are added to
    kernel_rows: tuple[tuple[int, ...], ...]  # one entry for each product
    block: int  # number of the row block that they read
    shift: int  # starting row of the first product, counted from the beginning of the block
    shift_step: int  # from the starting row of one product to that of the next


@dataclass(frozen=True, eq=False)  # plans are cached, so that being the same is being equal
class GatherPlan:
    """One layout of copies, and the matmuls that read it.

    There is a copy for each row stack and column offset. The inner axis K of the matmuls is (row stack, column offset,
    channel), in the order of ``kernel_rows`` and ``kernel_columns``.
    """

    row_phases: tuple[Phase, ...]  # of the result, all that the plan computes
    column_phase: Phase  # of the result, the same for all of them
    row_step: int  # from one copied source row to the next
    column_step: int
    row_stacks: tuple[tuple[RowBlock, ...], ...]  # the blocks of a stack lie one below the other
    column_offsets: tuple[int, ...]
    kernel_columns: tuple[int, ...]  # one for each column offset
    matmuls: tuple[BatchedMatmul, ...]  # in the order of their row phases

    @functools.cached_property
    def copy_count(self) -> int:
        """How many copies of the source the layout holds."""
        return len(self.row_stacks) * len(self.column_offsets)

    @functools.cached_property
    def tap_count(self) -> int:
        """How many taps of the kernel the plan serves."""
        return len(self.kernel_columns) * sum(len(rows) for matmul in self.matmuls for rows in matmul.kernel_rows)

    @functools.cached_property
    def is_identity(self) -> bool:
        """Whether the only copy would be the source as it is."""
        one_copy = self.row_stacks == ((RowBlock(0, 0),),) and self.column_offsets == (0,)
        return one_copy and self.row_step == self.column_step == 1

    @functools.cached_property
    def row_count(self) -> int:
        """How many rows the longest row phase has."""
        return max(phase.count for phase in self.row_phases)

    @functools.cached_property
    def column_count(self) -> int:
        """How many columns the column phase has."""
        return self.column_phase.count

    def copy_height(self, rows: int) -> int:
        """How many rows a copy has in a tile of `rows` rows."""
        return sum(rows + block.extra for block in self.row_stacks[0])

    def starting_row(self, matmul: BatchedMatmul, rows: int) -> int:
        """The row of the copies from which the first product of `matmul` reads, in a tile of `rows` rows."""
        return sum(rows + block.extra for block in self.row_stacks[0][: matmul.block]) + matmul.shift

    @functools.cached_property
    def product_counts(self) -> tuple[int, ...]:
        """How many matrix products are added to each row phase."""
        return tuple(
            sum(len(matmul.kernel_rows) for matmul in self.matmuls if matmul.row_phase == number)
            for number in range(len(self.row_phases))
        )

    @functools.cached_property
    def product_count(self) -> int:
        """How many matrix products there are in all."""
        return sum(self.product_counts)


@functools.lru_cache(maxsize=512)
def forward_plans(geometry: ConvGeometry) -> tuple[GatherPlan, ...]:
    """Plan y from x."""
    rows, columns = forward_phase(geometry, 0), forward_phase(geometry, 1)
    layout = _im2col_layout(rows) if _im2col_is_cheaper(geometry) else _row_shift_layout([rows], geometry.stride[0])
    return _plans(layout, [columns], geometry.stride)


@functools.lru_cache(maxsize=512)
def input_grad_plans(geometry: ConvGeometry) -> tuple[GatherPlan, ...]:
    """Plan dx from grad_output; no plan where no tap reads the image."""
    rows, columns = input_grad_phases(geometry, 0), input_grad_phases(geometry, 1)
    if not rows:
        return ()
    return _plans(_row_shift_layout(rows, 1), columns, (1, 1))


class _RowLayout(NamedTuple):
    """The rows of a plan."""

    phases: tuple[Phase, ...]
    stacks: tuple[tuple[RowBlock, ...], ...]
    matmuls: tuple[BatchedMatmul, ...]


def _plans(layout: _RowLayout, column_phases: list[Phase], steps: tuple[int, int]) -> tuple[GatherPlan, ...]:
    """Combine the layout of the rows with each column phase."""
    plans = []
    for column_phase in column_phases:
        kernel_columns, offsets = zip(*column_phase.taps)
        plan = GatherPlan(layout.phases, column_phase, *steps, layout.stacks, offsets, kernel_columns, layout.matmuls)
        plans.append(plan)
    return tuple(plans)


def _im2col_is_cheaper(geometry: ConvGeometry) -> bool:
    """Whether copying for all taps costs less than copying for one tap row, and adding up kh results."""
    kh, kw = geometry.kernel
    im2col = geometry.in_channels * kh * kw
    row_shift = geometry.in_channels * kw + thresholds.ADDITION_COST * geometry.out_channels * (kh - 1)
    return im2col < row_shift


def _im2col_layout(phase: Phase) -> _RowLayout:
    """Give every tap row copies of its own, which one product reads."""
    kernel_rows, offsets = zip(*phase.taps)
    stacks = tuple((RowBlock(offset, 0),) for offset in offsets)
    return _RowLayout((phase,), stacks, (BatchedMatmul(0, (kernel_rows,), 0, 0, 0),))


class _TapRow(NamedTuple):
    """A tap row of a row phase, and where it reads: the number of a row block, and the starting row in it."""

    row_phase: int
    block: int
    shift: int
    tap: int


def _row_shift_layout(row_phases: list[Phase], row_step: int) -> _RowLayout:
    """Let tap rows whose source rows overlap share a block."""
    blocks, tap_rows = _row_blocks(row_phases, row_step)
    return _RowLayout(tuple(row_phases), (blocks,), _batched(tap_rows))


def _row_blocks(row_phases: list[Phase], row_step: int) -> tuple[tuple[RowBlock, ...], list[_TapRow]]:
    """Return the blocks of source rows that the taps read, and where each tap row starts.

    A block holds every `row_step`-th row. A tap row joins the block before it if it reads rows of the same remainder
    modulo the step, and begins no later than one row after the end of the block.
    """
    rows = max(phase.count for phase in row_phases)
    reads = [
        (offset % row_step, offset, number, tap)
        for number, phase in enumerate(row_phases)
        for tap, offset in phase.taps
    ]
    blocks: list[RowBlock] = []
    tap_rows = []
    for remainder, offset, number, tap in sorted(reads):
        last = blocks[-1] if blocks else None
        if last is None or last.first % row_step != remainder or offset > last.first + (last.extra + rows) * row_step:
            blocks.append(RowBlock(offset, 0))
        else:
            blocks[-1] = RowBlock(last.first, (offset - last.first) // row_step)
        tap_rows.append(_TapRow(number, len(blocks) - 1, (offset - blocks[-1].first) // row_step, tap))
    return tuple(blocks), tap_rows


def _batched(tap_rows: list[_TapRow]) -> tuple[BatchedMatmul, ...]:
    """Unite the products of tap rows that read one block for one row phase.

    Their starting rows are always evenly spaced: the taps of a phase are, and so are those of them whose offsets leave
    the same remainder.
    """
    matmuls = []
    for (row_phase, block), group in itertools.groupby(sorted(tap_rows), key=lambda row: (row.row_phase, row.block)):
        products = list(group)
        shift_step = products[1].shift - products[0].shift if len(products) > 1 else 0
        kernel_rows = tuple((product.tap,) for product in products)
        matmuls.append(BatchedMatmul(row_phase, kernel_rows, block, products[0].shift, shift_step))
    return tuple(matmuls)
