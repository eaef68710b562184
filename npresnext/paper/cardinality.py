"""The cardinality designer: how wide can each of C paths be, if the block or the network is to keep its cost?

A block of C paths of width d maps 256 channels to C·d, each group of d to d by a 3x3, and back to 256:
C·(256·d + 9·d·d + d·256) weights (Xie et al., arXiv:1611.05431, equation 4). Going from 1x64d to 32x4d keeps
that number and turns one path into 32.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .._support.arguments import as_int
from ..errors import InvalidTypeError, InvalidValueError
from .skeleton import Counts, Skeleton

PAPER_CARDINALITIES = (1, 2, 4, 8, 32)  # Table 2


@dataclass(frozen=True)
class Design:
    """C paths of width d inside a block that maps `channels` to `channels` on a `size` x `size` image.

    >>> design = Design(32, 4)
    >>> design.name, design.group_width, design.parameters, design.macs
    ('32x4d', 128, 70144, 219971584)
    >>> design.network(50)
    Counts(parameters=25028904, macs=4230479872)
    """

    cardinality: int
    width: int
    channels: int = 256
    size: int = 56

    @property
    def name(self) -> str:
        """Such as "32x4d", the paper's way of writing it."""
        return f"{self.cardinality}x{self.width}d"

    @property
    def group_width(self) -> int:
        """C·d, the channels of the grouped 3x3 ("width of group conv." in Table 2)."""
        return self.cardinality * self.width

    @property
    def parameters(self) -> int:
        """Weights of the block, C·(channels·d + 9·d·d + d·channels)."""
        return self.grouped_parameters + 2 * self.channels * self.group_width

    @property
    def grouped_parameters(self) -> int:
        """Weights of the block's grouped 3x3 alone, 9·C·d·d."""
        return 9 * self.cardinality * self.width**2

    @property
    def macs(self) -> int:
        """Multiply-adds of the block for one image: each weight is used once per position."""
        return self.parameters * self.size**2

    def network(self, depth: int | Sequence[int] = 50, **skeleton: Any) -> Counts:
        """Count the whole network of a `depth`; other arguments as for :meth:`Skeleton.of`."""
        return Skeleton.of(depth, **skeleton).counts(self.cardinality, self.width)


def equal_complexity(
    cardinalities: int | Iterable[int] = PAPER_CARDINALITIES,
    *,
    reference: tuple[int, int] = (1, 64),
    by: str = "parameters",
    channels: int = 256,
    size: int = 56,
    depth: int | Sequence[int] | None = None,
    kind: str = "imagenet",
) -> list[Design]:
    """Find for each cardinality the width that costs as much as the reference does.

    Widths are whole numbers of channels, so the cost comes as close as it can and seldom agrees exactly. A
    cardinality so large that even width 1 costs too much gets width 1; compare the costs.

    Parameters
    ----------
    cardinalities : int or ints
        C, the numbers of paths to design for.
    reference : (C, d)
        The block whose cost is to be kept.
    by : "parameters" or "macs"
        Which cost to keep. The two agree for one block, but not for a whole network.
    channels, size : int
        Channels in and out of the block, and the side of its image.
    depth : int or blocks of each stage, optional
        Keep the cost of the whole network of this depth rather than that of one block.
    kind : "imagenet" or "cifar"
        The kind of network that `depth` describes.

    Returns
    -------
    list of Design
        In the order of `cardinalities`.

    Raises
    ------
    ValueError
        `by`, `depth` or `kind` is not known, or a number is below 1.

    Examples
    --------
    Table 2 of arXiv:1611.05431:

    >>> for design in equal_complexity([1, 2, 4, 8, 32]):
    ...     print(f"{design.name:>6} {design.group_width:4} {design.parameters:,}")
     1x64d   64 69,632
     2x40d   80 69,760
     4x24d   96 69,888
     8x14d  112 71,456
     32x4d  128 70,144
    """
    if by not in ("parameters", "macs"):
        raise InvalidValueError(f"by must be parameters or macs, but is {by!r}")
    channels, size = as_int(channels, "channels", 1), as_int(size, "size", 1)
    wanted = cardinalities if isinstance(cardinalities, Iterable) else [cardinalities]
    wanted = [as_int(value, "cardinalities", 1) for value in wanted]
    if not isinstance(reference, Sequence) or len(reference) != 2:
        raise InvalidTypeError(f"reference must be a pair (C, d), but is {reference!r}")
    start = Design(as_int(reference[0], "reference[0]", 1), as_int(reference[1], "reference[1]", 1), channels, size)
    skeleton = None if depth is None else Skeleton.of(depth, kind=kind)

    def cost(design: Design) -> int:
        return getattr(design if skeleton is None else skeleton.counts(design.cardinality, design.width), by)

    budget = cost(start)

    def solve(cardinality: int) -> Design:
        designs = [Design(cardinality, width, channels, size) for width in range(1, start.group_width + 1)]
        above = bisect_left(designs, budget, key=cost)  # the cost grows with the width
        return min(designs[max(above - 1, 0) : above + 1], key=lambda design: abs(cost(design) - budget))

    return [solve(cardinality) for cardinality in wanted]


def valid_groups(in_channels: int, out_channels: int) -> list[int]:
    """List every G that a convolution between these channels can have: the common divisors.

    Parameters
    ----------
    in_channels, out_channels : int
        At least 1.

    Returns
    -------
    list of int
        In increasing order.

    Examples
    --------
    >>> valid_groups(64, 96)
    [1, 2, 4, 8, 16, 32]
    """
    common = math.gcd(as_int(in_channels, "in_channels", 1), as_int(out_channels, "out_channels", 1))
    small = [groups for groups in range(1, math.isqrt(common) + 1) if common % groups == 0]
    return sorted({*small, *(common // groups for groups in small)})


def network_counts(depth: int | Sequence[int] = 50, cardinality: int = 1, width: int = 64, **skeleton: Any) -> Counts:
    """Count the parameters and MACs of a C x d bottleneck network.

    Parameters
    ----------
    depth : int or blocks of each stage
        Such as 50, 101, or (3, 4, 6, 3).
    cardinality, width : int
        C and d; 1 and 64 give a ResNet.
    **skeleton
        `kind`, `image_size`, `num_classes`, as for :meth:`Skeleton.of`.

    Returns
    -------
    Counts
        ``.parameters`` and ``.macs`` (for one image).

    Raises
    ------
    ValueError
        The depth or the kind is not known, or a number is below 1.

    Examples
    --------
    >>> network_counts(29, 8, 64, kind="cifar")
    Counts(parameters=34426698, macs=5387266048)
    """
    design = Design(as_int(cardinality, "cardinality", 1), as_int(width, "width", 1))
    return design.network(depth, **skeleton)
