"""A bottleneck network as nothing but integers: its convolutions, counted without building it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._support.arguments import as_int
from ..errors import InvalidValueError
from ..geometry import ConvGeometry

EXPANSION = 4

# depth = 3 convolutions a block, the stem and the classifier (He et al., arXiv:1512.03385, Table 1)
IMAGENET_BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class Counts:
    """What a network holds and does for one image; MACs of convolutions and of the classifier only."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Skeleton:
    """The blocks of each stage, and what stands before them.

    The ``imagenet`` kind has a 7x7 stem of stride 2 and a pool of stride 2, the ``cifar`` kind a 3x3 stem
    (arXiv:1611.05431, table 1 and section 5.3). Every stage after the first halves the image and doubles the planes.
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
        """Layers with weights, shortcuts left out: three a block, the stem and the classifier."""
        return 3 * sum(self.blocks) + 2

    def convolutions(self, cardinality: int, width: int) -> Iterator[ConvGeometry]:
        """Yield the convolutions of the C x d network for one image, in the order of their names.

        ``width`` is d, the channels of a group in the first stage; it doubles with every stage.
        """
        kernel, stride = (7, 2) if self.kind == "imagenet" else (3, 1)
        stem = _conv(3, 64, kernel, self.image_size, stride=stride)
        yield stem
        size, channels, planes = stem.out_height, 64, 64
        if self.kind == "imagenet":
            size = (size - 1) // 2 + 1  # the 3x3 pool of stride 2
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                inner = planes * width // 64 * cardinality
                yield from bottleneck(channels, inner, planes * EXPANSION, cardinality, size, stride, project=not block)
                size, channels = (size - 1) // stride + 1, planes * EXPANSION
            planes *= 2

    def counts(self, cardinality: int = 1, width: int = 64) -> Counts:
        """Count the C x d network: convolutions, two parameters a channel of batch norm, the classifier.

        >>> Skeleton.of(50).counts(32, 4)
        Counts(parameters=25028904, macs=4230479872)
        """
        convolutions = list(self.convolutions(cardinality, width))
        features = 64 * 2 ** (len(self.blocks) - 1) * EXPANSION
        parameters = sum(weights(conv) + 2 * conv.out_channels for conv in convolutions)
        return Counts(
            parameters + (features + 1) * self.num_classes,
            sum(conv.macs for conv in convolutions) + features * self.num_classes,
        )


def bottleneck(
    channels: int, inner: int, out_channels: int, cardinality: int, size: int, stride: int = 1, *, project: bool = False
) -> Iterator[ConvGeometry]:
    """Yield a block's 1x1, grouped 3x3 and 1x1, and its shortcut's 1x1 if it projects; the 3x3 holds the stride."""
    yield _conv(channels, inner, 1, size)
    grouped = _conv(inner, inner, 3, size, stride=stride, groups=cardinality)
    yield grouped
    yield _conv(inner, out_channels, 1, grouped.out_height)
    if project:
        yield _conv(channels, out_channels, 1, size, stride=stride)


def weights(conv: ConvGeometry) -> int:
    """Return the number of weights, C_in·C_out·kh·kw/G."""
    return conv.out_channels * conv.inner


def _conv(
    channels: int, out_channels: int, kernel: int, size: int, *, stride: int = 1, groups: int = 1
) -> ConvGeometry:
    """Return the geometry of a square convolution of one image that keeps its size before striding."""
    return ConvGeometry.of_conv(
        (1, channels, size, size),
        (out_channels, channels // groups, kernel, kernel),
        stride=stride,
        padding=kernel // 2,
        groups=groups,
    )


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
