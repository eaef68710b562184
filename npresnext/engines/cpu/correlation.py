"""Correlations: which pixels of a source every result reads. In integers alone.

Every result is a sum over the taps of a kernel, of weight times pixel. The forward pass is one correlation, from x to
y. The input gradient is one for each phase of the pixels of dx (engines/phases.py), from grad_output to dx.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from ...geometry import ConvGeometry
from ..phases import Phase, forward_phase, input_grad_phases


@dataclass(frozen=True, eq=False)  # correlations are cached, so that being the same is being equal
class Correlation:
    """Results ``(u, v)``, which read the source pixels ``(u·row_step + row offset, v·column_step + column offset)``."""

    rows: Phase  # of the result
    columns: Phase
    row_step: int  # in the source, from one result to the next
    column_step: int

    @functools.cached_property
    def row_offsets(self) -> tuple[int, ...]:
        """The offsets of the tap rows, ascending."""
        return tuple(offset for _, offset in self.rows.taps_by_offset)

    @functools.cached_property
    def column_offsets(self) -> tuple[int, ...]:
        """The offsets of the tap columns, ascending."""
        return tuple(offset for _, offset in self.columns.taps_by_offset)

    @functools.cached_property
    def taps(self) -> tuple[slice, slice]:
        """The rows and columns of the kernel, in the order of their offsets."""
        return _as_slice(self.rows), _as_slice(self.columns)

    @functools.cached_property
    def tap_count(self) -> int:
        """How many taps there are."""
        return len(self.row_offsets) * len(self.column_offsets)

    @functools.cached_property
    def rows_overlap(self) -> bool:
        """Whether consecutive results read some of the same source rows, without gaps between the tap rows."""
        offsets = self.row_offsets
        return len(offsets) > self.row_step and all(below - above == 1 for above, below in itertools.pairwise(offsets))


@functools.lru_cache(maxsize=512)
def forward_correlations(geometry: ConvGeometry) -> tuple[Correlation, ...]:
    """Return the one correlation that makes y from x."""
    return (Correlation(forward_phase(geometry, 0), forward_phase(geometry, 1), *geometry.stride),)


@functools.lru_cache(maxsize=512)
def input_grad_correlations(geometry: ConvGeometry) -> tuple[Correlation, ...]:
    """Return those that make dx from grad_output; none where no tap reads the image."""
    phases = itertools.product(input_grad_phases(geometry, 0), input_grad_phases(geometry, 1))
    return tuple(Correlation(rows, columns, 1, 1) for rows, columns in phases)


def _as_slice(phase: Phase) -> slice:
    """Return the taps of a phase, which are evenly spaced, as a slice."""
    taps = [tap for tap, _ in phase.taps_by_offset]
    step = taps[1] - taps[0] if len(taps) > 1 else 1
    stop = taps[-1] + (1 if step > 0 else -1)
    return slice(taps[0], None if stop < 0 else stop, step)
