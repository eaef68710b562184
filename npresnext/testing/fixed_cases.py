"""Cases that every check tries, whatever its seed: sizes, layers and pairs of kinds that a draw may miss."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from .cases import ConvCase
from .coverage import kind_pairs
from .drawn_cases import draw_case
from .supports import SUPPORTS, keep_supported

# kernel, stride, padding of both axes, dilation
LAYERS = (
    (3, 1, (1, 1), 1),  # ResNet
    (1, 2, (0, 0), 1),  # the shortcut of ResNet
    (1, 1, (1, 1), 1),  # a padded 1x1
    (4, 4, (0, 0), 1),  # the patches of ConvNeXt
    (16, 16, (0, 0), 1),  # the patches of a vision transformer
    (11, 4, (2, 2), 1),  # AlexNet
    (7, 1, (3, 3), 1),  # ConvNeXt (depthwise)
    (5, 2, (2, 2), 1),  # MobileNet (depthwise)
    (3, 2, (0, 1), 1),  # TensorFlow's "same"
    (3, 1, (6, 6), 6),  # DeepLab
)
ONE_PIXEL = ((1, 1), (1, 1))  # of padding on every side


def fixed_cases() -> Iterator[ConvCase]:
    """Yield every group of fixed cases in turn."""
    yield from one_unusual_size()
    yield from layers_of_networks()
    yield from kernels_of_one_row_or_column()
    yield from every_number_of_groups()
    yield from block_remainders()


def one_unusual_size() -> Iterator[ConvCase]:
    """Yield a small case with one number that is 0 or leaves a remainder after blocks of up to 256."""
    small = ConvCase(batch=1, in_channels=2, out_channels=2, size=(3, 4), kernel=(2, 2), has_bias=True)
    for batch in (0, 263):
        yield replace(small, batch=batch)
    for channels in (0, 263):
        yield replace(small, in_channels=channels)
    yield replace(small, out_channels=263)
    for size in ((2, 264), (264, 2), (40, 41)):
        yield replace(small, size=size)


def layers_of_networks() -> Iterator[ConvCase]:
    """Yield the windows of well-known networks, with 1 and with 4 groups."""
    for (kernel, stride, sides, dilation), groups in product(LAYERS, (1, 4)):
        yield ConvCase(
            batch=1,
            in_channels=4,
            out_channels=4,
            groups=groups,
            size=(kernel + 2 * stride, kernel + stride + 2),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(sides, sides),
            dilation=(dilation, dilation),
            has_bias=True,
        )


def kernels_of_one_row_or_column() -> Iterator[ConvCase]:
    """Yield kernels of 1x7 and 7x1, as in Inception."""
    for kh, kw in ((1, 7), (7, 1)):
        yield ConvCase(
            batch=1,
            in_channels=2,
            out_channels=2,
            size=(kh + 1, kw + 32),
            kernel=(kh, kw),
            stride=(1, 2),
            has_bias=True,
        )


def every_number_of_groups() -> Iterator[ConvCase]:
    """Yield every G from 1 to 32, depthwise and with two channels per group (pytorch#50042 was wrong for 24 alone)."""
    for groups in (*range(1, 33), 263):
        yield ConvCase(
            batch=1 + groups % 9,
            in_channels=groups,
            out_channels=groups,
            groups=groups,
            size=(4, 5),
            kernel=(3, 3),
            stride=(2, 2),
            padding=ONE_PIXEL,
            has_bias=groups % 2 == 1,
            seed=groups,
        )
        yield ConvCase(
            batch=2,
            in_channels=2 * groups,
            out_channels=2 * groups,
            groups=groups,
            size=(3, 3),
            kernel=(2, 3),
            stride=(2, 2),
            padding=ONE_PIXEL,
            has_bias=groups % 2 == 0,
            seed=groups,
        )


def block_remainders() -> Iterator[ConvCase]:
    """Yield one number at a time that leaves a remainder after blocks of 2, 4, ... 32."""
    for groups, stride in product((1, 3), ((1, 1), (2, 2))):
        case = ConvCase(
            batch=1,
            in_channels=2 * groups,
            out_channels=3 * groups,
            groups=groups,
            size=(3, 4),
            kernel=(3, 3),
            stride=stride,
            padding=ONE_PIXEL,
            has_bias=True,
        )
        yield replace(case, in_channels=16 * groups, out_channels=16 * groups)
        yield replace(case, batch=35)
        yield replace(case, in_channels=35 * groups)
        yield replace(case, out_channels=35 * groups)
        for size in ((3, 71), (71, 3), (5, 7), (7, 6), (6, 8)):
            yield replace(case, size=size)


def every_pair_of_kinds(supports: Mapping[str, Any] = SUPPORTS) -> Iterator[ConvCase]:
    """Yield drawn cases, always the same, that together show every pair of kinds."""
    rng = random.Random(0)
    seen: set[tuple[str, ...]] = set()
    for _ in range(400):
        case = draw_case(rng.randint, supports)
        if case.batch and case.in_channels and not seen.issuperset(kind_pairs(case)):
            seen.update(kind_pairs(case))
            yield case


def sweep(supports: Mapping[str, Any] = SUPPORTS) -> list[ConvCase]:
    """Return the fixed cases and every pair of kinds, without what is not supported, each once."""
    cases = [*fixed_cases(), *every_pair_of_kinds(supports)]
    return list(dict.fromkeys(keep_supported(case, supports) for case in cases))


def new_kinds_first(cases: list[ConvCase]) -> list[ConvCase]:
    """Return cases in another order: those that show a pair of kinds for the first time, and then the others."""
    seen: set[tuple[str, ...]] = set()
    first: list[ConvCase] = []
    others: list[ConvCase] = []
    for case in reversed(cases):  # the cases drawn for the pairs of kinds come last in a sweep
        (others if seen.issuperset(kind_pairs(case)) else first).append(case)
        seen.update(kind_pairs(case))
    return first + others[::-1]
