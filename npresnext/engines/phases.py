"""Phases: which taps read which pixels along one axis, in integers alone.

The forward pass and the input gradient are the same kind of sum. Along one axis, the positions of the result fall
into *phases*. All positions of a phase are read by the same taps, and for each of its taps

    result  first + u·step    reads    source  u·source_step + offset        for u = 0 … count − 1

What lies outside the source counts as zero.

    forward          One phase: all windows.                       source_step = stride
                         y[u]                reads  x[u·stride + tap·dilation − before]
    input gradient   `stride` phases of the image's pixels.        source_step = 1
                         dx[first + u·stride]  reads  grad_output[u + (first + before − tap·dilation) / stride]
                     for those taps where the division leaves no remainder.

The second line follows from the first: window p reads pixel h with tap i where p·stride = h + before − i·dilation.
So the input gradient is gathered phase by phase, never scattered. At stride 1 it has one phase: the convolution of
grad_output with the flipped kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._support.integers import ceil_div
from ..geometry import ConvGeometry


@dataclass(frozen=True)
class Phase:
    """Along one axis, `count` positions of the result, ``first, first + step, …``, and the taps that read for them."""

    first: int
    step: int
    count: int
    taps: tuple[tuple[int, int], ...]  # (tap, offset) in the order of the kernel

    @property
    def taps_by_offset(self) -> tuple[tuple[int, int], ...]:
        """The same taps, from the lowest offset to the highest."""
        return tuple(sorted(self.taps, key=lambda pair: pair[1]))

    @property
    def lowest_offset(self) -> int:
        """The lowest offset of any tap; 0 if there is no tap."""
        return min((offset for _, offset in self.taps), default=0)

    @property
    def span(self) -> int:
        """The distance from the lowest offset to the highest; 0 if there is no tap."""
        return max((offset for _, offset in self.taps), default=0) - self.lowest_offset


def forward_phase(geometry: ConvGeometry, axis: int) -> Phase:
    """Return the one phase of y: all windows along an axis (0: rows, 1: columns).

    >>> geometry = ConvGeometry.of_conv((1, 1, 6, 6), (1, 1, 3, 3), stride=2, padding=1)
    >>> forward_phase(geometry, 0)
    Phase(first=0, step=1, count=3, taps=((0, -1), (1, 0), (2, 1)))
    """
    before, dilation = geometry.padding[axis][0], geometry.dilation[axis]
    windows = (geometry.out_height, geometry.out_width)[axis]
    return Phase(0, 1, windows, tuple((tap, tap * dilation - before) for tap in range(geometry.kernel[axis])))


def input_grad_phases(geometry: ConvGeometry, axis: int) -> list[Phase]:
    """Return the phases of dx that have taps; the gradient of a pixel that is in none of them is zero.

    >>> geometry = ConvGeometry.of_conv((1, 1, 6, 6), (1, 1, 3, 3), stride=2, padding=1)
    >>> for phase in input_grad_phases(geometry, 0):
    ...     print(phase)
    Phase(first=0, step=2, count=3, taps=((1, 0),))
    Phase(first=1, step=2, count=3, taps=((0, 1), (2, 0)))
    """
    before, dilation, stride = geometry.padding[axis][0], geometry.dilation[axis], geometry.stride[axis]
    firsts = sorted({(tap * dilation - before) % stride for tap in range(geometry.kernel[axis])})
    return [_input_grad_phase(geometry, axis, first) for first in firsts if first < _size(geometry, axis)]


def all_input_grad_phases(geometry: ConvGeometry, axis: int) -> list[Phase]:
    """Return the phases of dx, also those without taps, so that every pixel is in one of them."""
    firsts = range(min(geometry.stride[axis], _size(geometry, axis)))
    return [_input_grad_phase(geometry, axis, first) for first in firsts]


def _input_grad_phase(geometry: ConvGeometry, axis: int, first: int) -> Phase:
    """Return the phase of dx that begins at pixel `first`."""
    before, dilation, stride = geometry.padding[axis][0], geometry.dilation[axis], geometry.stride[axis]
    distances = [(tap, first + before - tap * dilation) for tap in range(geometry.kernel[axis])]
    taps = tuple((tap, distance // stride) for tap, distance in distances if distance % stride == 0)
    return Phase(first, stride, ceil_div(_size(geometry, axis) - first, stride), taps)


def _size(geometry: ConvGeometry, axis: int) -> int:
    """Return the height (axis 0) or the width (axis 1) of the image."""
    return (geometry.height, geometry.width)[axis]
