"""Which kinds of convolution were tried, in pairs; and the fixed sweeps that leave no pair to chance."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from .cases import ConvCase, as_supports, build, within


def kinds(case: ConvCase) -> dict[str, str]:
    """Return the kind of a case in each of the five ways in which kinds must meet."""
    (top, bottom), (left, right), (high, wide) = *case.padding, case.reach
    beyond = case.stride[0] > case.kernel[0] or case.stride[1] > case.kernel[1]
    choices = {
        "groups": {"dense": case.groups == 1, "depthwise": case.groups >= case.in_channels, "1 < G < C": True},
        "stride": {"1": case.stride == (1, 1), "beyond the kernel": beyond, "over 1": True},
        "dilation": {"1": case.dilation == (1, 1), "over 1": True},
        "padding": {"negative": min(top, bottom, left, right) < 0, "wide": top >= high or left >= wide,
                    "asymmetric": top != bottom or left != right, "symmetric": any((top, left)), "none": True},
        "layout": {layout: layout != "contiguous" for layout in case.layouts} | {"contiguous": True},
    }  # fmt: skip
    return {way: next(kind for kind, holds in kinds.items() if holds) for way, kinds in choices.items()}


def features(case: ConvCase) -> list[str]:
    """Name what a case is an example of: its five kinds, and more."""
    more = {"not square": case.kernel[0] != case.kernel[1], "1x1 kernel": case.kernel == (1, 1),
            "bias": case.has_bias, "empty batch": case.batch == 0, "C_in = 0": case.in_channels == 0}  # fmt: skip
    return [f"{way}: {kind}" for way, kind in kinds(case).items()] + [name for name, holds in more.items() if holds]


def pairs(case: ConvCase) -> set[tuple[str, str]]:
    """Return every pair of kinds that meet in a case."""
    return set(combinations(features(case)[:5], 2))


def every_group(first: int = 1, last: int = 32) -> Iterator[ConvCase]:
    """Yield G = first … last, each depthwise and with 1 < G < C, strided and padded (pytorch#50042 had G = 24)."""
    for groups in range(first, last + 1):
        case = ConvCase(2, groups, groups, groups, (4, 5), (3, 3), (2, 2), ((1, 1), (1, 1)), seed=groups)
        yield case
        yield replace(case, in_channels=2 * groups, out_channels=2 * groups, size=(3, 3), kernel=(2, 3))


def sweep(supports: Mapping[str, Any] | None = None, tries: int = 600) -> list[ConvCase]:
    """Return the fixed cases that `supports` allows: no images, no channels, every G, every pair of kinds."""
    offers, rng, seen = as_supports(supports), random.Random(0), set[tuple[str, str]]()
    nothing = ConvCase(2, 4, 4, 1, (4, 5), (3, 2), has_bias=True)
    fixed = [replace(nothing, batch=0), replace(nothing, in_channels=0), *every_group()]
    for case in (build(rng.randint, offers) for _ in range(tries)):
        if case.batch and case.in_channels and not pairs(case) <= seen:
            seen |= pairs(case)
            fixed.append(case)
    return list(dict.fromkeys(within(case, offers) for case in fixed))
