"""Which kinds of convolution were tried, in pairs; and the fixed sweeps that leave no pair to chance."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from .cases import ConvCase, as_supports, build

Kinds = dict[str, str]


def kinds(case: ConvCase) -> Kinds:
    """Return the kind of a case in each of the five ways in which kinds must meet."""
    sides = [side for axis in case.padding for side in axis]
    reach = [d * (k - 1) + 1 for k, d in zip(case.kernel, case.dilation)]
    if case.groups == 1:
        groups = "dense"
    else:
        groups = "depthwise" if case.groups >= case.in_channels else "1 < G < C"
    if min(sides) < 0:
        padding = "negative"
    elif case.padding[0][0] >= reach[0] or case.padding[1][0] >= reach[1]:
        padding = "wide"
    elif sides[0] != sides[1] or sides[2] != sides[3]:
        padding = "asymmetric"
    else:
        padding = "symmetric" if any(sides) else "none"
    return {
        "groups": groups,
        "stride": "1" if case.stride == (1, 1) else "beyond the kernel" if _beyond(case) else "over 1",
        "dilation": "1" if case.dilation == (1, 1) else "over 1",
        "padding": padding,
        "layout": next((layout for layout in case.layouts if layout != "contiguous"), "contiguous"),
    }


def _beyond(case: ConvCase) -> bool:
    return any(s > k for s, k in zip(case.stride, case.kernel))


def features(case: ConvCase) -> list[str]:
    """Name what a case is an example of."""
    named = [f"{axis}: {kind}" for axis, kind in kinds(case).items()]
    flags = {
        "not square": case.kernel[0] != case.kernel[1],
        "1x1 kernel": case.kernel == (1, 1),
        "bias": case.has_bias,
        "empty batch": case.batch == 0,
        "C_in = 0": case.in_channels == 0,
    }
    return named + [name for name, holds in flags.items() if holds]


def pairs(case: ConvCase) -> set[tuple[str, str]]:
    """Return every pair of kinds that meet in a case."""
    return set(combinations(features(case)[:5], 2))


def every_group(first: int = 1, last: int = 32) -> Iterator[ConvCase]:
    """Yield G = first … last, each depthwise and with 1 < G < C, strided and padded (pytorch#50042 had G = 24)."""
    for groups in range(first, last + 1):
        case = ConvCase(2, groups, groups, groups, (4, 5), (3, 3), (2, 2), ((1, 1), (1, 1)), seed=groups)
        yield case
        yield replace(case, in_channels=2 * groups, out_channels=2 * groups, size=(3, 3), kernel=(2, 3))


def every_pair(supports: Mapping[str, Any] | None = None, tries: int = 600) -> Iterator[ConvCase]:
    """Yield cases until every pair of kinds that `supports` leaves has met: the same ones each time."""
    rng = random.Random(0)
    seen: set[tuple[str, str]] = set()
    for case in (build(rng.randint, supports) for _ in range(tries)):
        if case.batch and case.in_channels and not pairs(case) <= seen:
            seen |= pairs(case)
            yield case


def sweep(supports: Mapping[str, Any] | None = None) -> list[ConvCase]:
    """Return the fixed cases: nothing at all, every pair of kinds, every number of groups, as `supports` allows."""
    offers = as_supports(supports)
    groups = list(every_group()) if offers["groups"] else []
    simpler: dict[str, Any] = {} if offers["stride"] else {"stride": (1, 1)}
    simpler |= {} if offers["padding"] else {"padding": ((0, 0), (0, 0))}
    nothing = ConvCase(2, 4, 4, 1, (4, 5), (3, 2), has_bias=bool(offers["bias"]))
    empty = [replace(nothing, batch=0)] if offers["empty_batch"] else []
    empty += [replace(nothing, in_channels=0)] if offers["zero_channels"] else []
    return [*empty, *every_pair(offers), *(replace(case, **simpler) for case in groups)]
