"""A bottleneck network without its cardinality and width: how many blocks each stage has, and what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from .._support.arguments import as_int
from ..counting import summary
from ..errors import InvalidValueError
from ..models import Bottleneck, ResNet
from ..nn.init import Undrawn

# depth = 3 convolutions per block, the stem and the classifier (He et al., arXiv:1512.03385, Table 1)
IMAGENET_BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class Counts:
    """The parameters of a network, and its multiply-adds for one image: those of convolutions and the classifier."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Skeleton:
    """The blocks of each stage, the size of the images and the number of classes.

    The kind says what stands before the stages: in an ``imagenet`` network, a 7x7 convolution and a pool, each with
    stride 2; in a ``cifar`` network, a 3x3 convolution (arXiv:1611.05431, table 1 and section 5.3).
    """

    kind: str
    blocks: tuple[int, ...]
    image_size: int
    num_classes: int

    @classmethod
    def of(
        cls,
        depth: int | Sequence[int] = 50,
        *,
        kind: str = "imagenet",
        image_size: int | None = None,
        num_classes: int | None = None,
    ) -> Skeleton:
        """Return the skeleton of a `depth`, or of the blocks in each stage.

        Raises
        ------
        ValueError
            The kind or the depth is not known; the message says which are.

        Examples
        --------
        >>> Skeleton.of(101).blocks, Skeleton.of(29, kind="cifar").blocks, Skeleton.of((1, 1, 1, 1)).depth
        ((3, 4, 23, 3), (3, 3, 3), 14)
        """
        if kind not in ("imagenet", "cifar"):
            raise InvalidValueError(f"kind must be imagenet or cifar, but is {kind!r}")
        sizes = (224, 1000) if kind == "imagenet" else (32, 10)
        return cls(
            kind,
            _blocks(depth, kind),
            as_int(sizes[0] if image_size is None else image_size, "image_size", 1),
            as_int(sizes[1] if num_classes is None else num_classes, "num_classes", 1),
        )

    @property
    def depth(self) -> int:
        """The number of layers with weights, shortcuts left out: three per block, the stem and the classifier."""
        return 3 * sum(self.blocks) + 2

    def network(self, cardinality: int = 1, width: int = 64) -> ResNet:
        """Return the C x d network with all weights 0, which take no memory.

        `width` is d, the channels of a group in the first stage; it doubles with every stage.

        >>> Skeleton.of(50).network(32, 4).layer2[0].conv2
        Conv2d(256, 256, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=32, bias=False)
        """
        return ResNet(
            Bottleneck,
            self.blocks,
            num_classes=self.num_classes,
            groups=cardinality,
            width_per_group=width,
            stem=self.kind,
            rng=Undrawn(),
        )

    def counts(self, cardinality: int = 1, width: int = 64) -> Counts:
        """Count what the C x d network holds and computes.

        >>> Skeleton.of(50).counts(32, 4)
        Counts(parameters=25028904, macs=4230479872)
        """
        return _counts(self, cardinality, width)


@lru_cache(maxsize=256)
def _counts(skeleton: Skeleton, cardinality: int, width: int) -> Counts:
    """Return the totals of a network's summary. The blocks of a stage from its second on are equal: one is counted.

    So the time, some 20 ms, does not grow with the depth; a search for the width counts dozens of networks.
    """
    short = replace(skeleton, blocks=tuple(min(blocks, 2) for blocks in skeleton.blocks))
    found = summary(short.network(cardinality, width), (1, 3, skeleton.image_size, skeleton.image_size))
    parameters, macs = found.total_params, found.total_macs
    rows = {row.path: row for row in found.rows}
    for stage, blocks in enumerate(skeleton.blocks, 1):
        if blocks > 2:
            second = rows[f"layer{stage}.1"]
            parameters += (blocks - 2) * second.num_params
            macs += (blocks - 2) * second.macs
    return Counts(parameters, macs)


def _blocks(depth: int | Sequence[int], kind: str) -> tuple[int, ...]:
    """Return the blocks of each stage for a depth, or as they were given."""
    if isinstance(depth, Sequence):
        if not depth:
            raise InvalidValueError("depth has no stages: give the blocks of each stage, such as (3, 4, 6, 3)")
        return tuple(as_int(count, f"depth[{stage}]", 1) for stage, count in enumerate(depth))
    depth = as_int(depth, "depth", 1)
    if kind == "cifar" and depth > 2 and (depth - 2) % 9 == 0:
        return ((depth - 2) // 9,) * 3
    if kind == "imagenet" and depth in IMAGENET_BLOCKS:
        return IMAGENET_BLOCKS[depth]
    known = "9n + 2, such as 29" if kind == "cifar" else ", ".join(map(str, IMAGENET_BLOCKS))
    raise InvalidValueError(
        f"depth {depth} is not a known {kind} depth ({known}): give the blocks of each stage, such as (3, 4, 6, 3)"
    )
