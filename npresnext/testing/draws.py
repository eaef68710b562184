"""Which calls to make: cases drawn within what is supported, fixed sweeps, and calls that break one rule each."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError
from .cases import LAYOUTS, ConvCase

# what a convolution may not offer -> what a case becomes without it
WITHOUT: dict[str, Callable[[ConvCase], dict[str, Any]]] = {
    "groups": lambda case: {"groups": 1},
    "stride": lambda case: {"stride": (1, 1)},
    "dilation": lambda case: {"dilation": (1, 1)},
    "padding": lambda case: {"padding": ((0, 0), (0, 0))},
    "asymmetric_padding": lambda case: {"padding": tuple((first, first) for first, _ in case.padding)},
    "negative_padding": lambda case: {"padding": tuple((max(a, 0), max(b, 0)) for a, b in case.padding)},
    "wide_padding": lambda case: {
        "padding": tuple(
            (min(a, reach - 1), min(b, reach - 1))  # no window of padding alone
            for (a, b), reach in zip(case.padding, case.reach)
        )
    },
    "empty_batch": lambda case: {"batch": max(case.batch, 1)},
    "zero_channels": lambda case: {"in_channels": max(case.in_channels, case.groups)},
    "bias": lambda case: {"has_bias": False},
}
SUPPORTS: dict[str, Any] = {
    **dict.fromkeys(WITHOUT, True),
    "layouts": tuple(LAYOUTS),  # memory layouts of the operands; False: contiguous only
    "invalid_calls": True,  # False: calls that break a rule are not made (a kernel without checks may crash)
    "dtypes": None,  # names of dtypes; None: any
}


def as_supports(supports: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete a `supports` dictionary, and refuse keys and layouts that do not exist."""
    chosen = {**SUPPORTS, **(supports or {})}
    if unknown := sorted(set(chosen) - set(SUPPORTS)):
        raise InvalidValueError(f"supports has unknown keys {', '.join(unknown)}: expected {', '.join(SUPPORTS)}")
    if isinstance(chosen["dtypes"], (bool, str)):
        raise InvalidValueError(f'supports["dtypes"] is {chosen["dtypes"]!r}: expected names of dtypes')
    names = LAYOUTS if chosen["layouts"] is True else tuple(chosen["layouts"] or ())
    if not set(names) <= set(LAYOUTS):
        raise InvalidValueError(f'supports["layouts"] is {names!r}: expected names out of {", ".join(LAYOUTS)}')
    return {**chosen, "layouts": tuple(name for name in LAYOUTS if name in {"contiguous", *names})}


def within(case: ConvCase, offers: Mapping[str, Any] = SUPPORTS) -> ConvCase:
    """Return the case without what is not offered, its image so large that a window fits and a pixel is left."""
    for key, without in WITHOUT.items():
        if not offers[key]:
            case = replace(case, **without(case))
    height, width = (
        max(size, reach - sum(sides), 1 - sum(min(side, 0) for side in sides))
        for size, reach, sides in zip(case.size, case.reach, case.padding)
    )
    layouts = tuple(layout if layout in offers["layouts"] else "contiguous" for layout in case.layouts)
    return replace(case, size=(height, width), layouts=layouts)


def build(pick: Callable[[int, int], int], offers: Mapping[str, Any] = SUPPORTS) -> ConvCase:
    """Make a case out of integers: ``pick(low, high)`` returns one from low to high, simplest first.

    Every choice is valid, so that nothing is ever filtered. A third to a half of all cases have 1 < G < C. Each image
    is as large as its windows need, and a few pixels larger, so that the floor of the output size matters.
    """

    def one_of(*choices: Any) -> Any:
        return choices[pick(0, len(choices) - 1)]

    def side(reach: int) -> int:
        if padding == "wide":
            return reach + pick(0, 1)
        return -pick(0, 2) if padding == "negative" else pick(0, 0 if padding == "none" else reach - 1)

    layouts = one_of(("contiguous",), tuple(LAYOUTS))
    kind = one_of("dense", "grouped", "depthwise", "grouped", "dense", "grouped", "depthwise", "grouped", "no input")
    groups = 1 if kind == "dense" else one_of(2, 3, 4, 6, 8)
    ins = {"dense": one_of(1, 2, 3, 4), "grouped": one_of(2, 3), "depthwise": 1, "no input": 0}[kind]
    case = ConvCase(
        one_of(1, 2, 3, 2, 2, 1, 2, 3, 0),
        groups * ins,
        groups * one_of(1, 2, 3),
        groups,
        kernel=(one_of(1, 2, 3), one_of(1, 2, 3)),
        has_bias=one_of(False, True),
        stride=one_of((1, 1), (2, 2), (1, 2), (2, 1), (1, 1), (3, 1), (2, 3), (3, 3)),
        dilation=one_of((1, 1), (2, 2), (1, 2), (2, 1), (1, 1), (3, 1), (3, 2)),
        layouts=(one_of(*layouts), one_of(*layouts), one_of(*layouts)),
        span=one_of(1, 2, 4, 8),
        seed=pick(0, 2**16 - 1),
    )
    padding = one_of("none", "symmetric", "asymmetric", "negative", "symmetric", "asymmetric", "wide", "negative")
    (top, bottom), (left, right) = ((side(reach), side(reach)) for reach in case.reach)
    sides = ((top, top), (left, left)) if padding == "symmetric" else ((top, bottom), (left, right))
    height, width = (
        pick(0, 3) * step + pick(0, step - 1) + reach - before - after
        for step, reach, (before, after) in zip(case.stride, case.reach, sides)
    )
    return within(replace(case, padding=sides, size=(height, width)), offers)


def features(case: ConvCase) -> list[str]:
    """Name what a case is an example of: its kind in each of the five ways in which kinds must meet, and more."""
    (top, bottom), (left, right), (high, wide) = *case.padding, case.reach
    beyond = case.stride[0] > case.kernel[0] or case.stride[1] > case.kernel[1]
    ways = {
        "groups": {"dense": case.groups == 1, "depthwise": case.groups >= case.in_channels, "1 < G < C": True},
        "stride": {"1": case.stride == (1, 1), "beyond the kernel": beyond, "over 1": True},
        "dilation": {"1": case.dilation == (1, 1), "over 1": True},
        "padding": {
            "negative": min(top, bottom, left, right) < 0,
            "wide": top >= high or left >= wide,
            "asymmetric": top != bottom or left != right,
            "symmetric": any((top, left)),
            "none": True,
        },
        "layout": {layout: layout != "contiguous" for layout in case.layouts} | {"contiguous": True},
    }
    more = {
        "not square": case.kernel[0] != case.kernel[1],
        "1x1 kernel": case.kernel == (1, 1),
        "bias": case.has_bias,
        "empty batch": case.batch == 0,
        "C_in = 0": case.in_channels == 0,
    }
    first = [f"{way}: {next(kind for kind in kinds if kinds[kind])}" for way, kinds in ways.items()]
    return first + [name for name in more if more[name]]


def pairs(case: ConvCase) -> list[tuple[str, ...]]:
    """Return every pair of kinds that meet in a case."""
    return list(combinations(features(case)[:5], 2))


# kernel, stride, padding and dilation in networks: ResNet's, a padded 1x1, patches (ConvNeXt, ViT), AlexNet,
# 7x7 and 5x5 (depthwise in ConvNeXt, MobileNet), TensorFlow's "same", DeepLab
LAYERS = (
    (3, 1, (1, 1), 1),
    (1, 2, (0, 0), 1),
    (1, 1, (1, 1), 1),
    (4, 4, (0, 0), 1),
    (16, 16, (0, 0), 1),
    (11, 4, (2, 2), 1),
    (7, 1, (3, 3), 1),
    (5, 2, (2, 2), 1),
    (3, 2, (0, 1), 1),
    (3, 1, (6, 6), 6),
)


def fixed_cases() -> Iterator[ConvCase]:
    """Yield what a draw may miss: no images; no channels; layers of networks; every G from 1 to 32 (pytorch#50042: 24).

    And one number at a time beyond those drawn, so that blocks of 2, 4 … 32, and some up to 256, leave a rest.
    """
    small, ones = ConvCase(1, 2, 2, 1, (3, 4), (2, 2), has_bias=True), ((1, 1), (1, 1))
    sizes: dict[str, Any] = {
        "batch": (0, 263),
        "in_channels": (0, 263),
        "out_channels": (263,),
        "size": ((2, 264), (264, 2), (40, 41)),
    }
    yield from (replace(small, **{name: value}) for name, values in sizes.items() for value in values)
    for (k, s, sides, d), groups in product(LAYERS, (1, 4)):
        yield ConvCase(1, 4, 4, groups, (k + 2 * s, k + s + 2), (k, k), (s, s), (sides, sides), (d, d), has_bias=True)
    yield from (replace(small, size=(a + 1, b + 32), kernel=(a, b), stride=(1, 2)) for a, b in ((1, 7), (7, 1)))
    for G in (*range(1, 33), 263):
        yield ConvCase(1 + G % 9, G, G, G, (4, 5), (3, 3), (2, 2), ones, has_bias=G % 2 > 0, seed=G)
        yield ConvCase(2, 2 * G, 2 * G, G, (3, 3), (2, 3), (2, 2), ones, has_bias=G % 2 == 0, seed=G)
    for groups, stride in product((1, 3), ((1, 1), (2, 2))):
        case = ConvCase(1, 2 * groups, 3 * groups, groups, (3, 4), (3, 3), stride, ones, has_bias=True)
        changes: list[dict[str, Any]] = [{"in_channels": 16 * groups, "out_channels": 16 * groups}, {"batch": 35}]
        changes += [{"in_channels": 35 * groups}, {"out_channels": 35 * groups}]
        changes += [{"size": size} for size in ((3, 71), (71, 3), (5, 7), (7, 6), (6, 8))]
        yield from (replace(case, **change) for change in changes)


def sweep(offers: Mapping[str, Any] = SUPPORTS) -> list[ConvCase]:
    """Return the fixed cases that are offered, and every pair of kinds."""
    rng, seen, fixed = random.Random(0), set[tuple[str, ...]](), list(fixed_cases())
    for case in (build(rng.randint, offers) for _ in range(400)):
        if case.batch and case.in_channels and not seen.issuperset(pairs(case)):
            seen.update(pairs(case))
            fixed.append(case)
    return list(dict.fromkeys(within(case, offers) for case in fixed))


class InvalidConvCase(NamedTuple):
    """A call that every convolution must refuse, and the rule that it breaks."""

    rule: str
    x_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None
    kwargs: dict[str, Any]

    def operands(self, dtype: Any = "float64") -> list[Any]:
        """Return x, weight and bias, all of them ones."""
        return [None if shape is None else np.ones(shape, dtype) for shape in self[1:4]]


def broken_calls(case: ConvCase) -> dict[str, InvalidConvCase]:
    """Return, for each rule, a valid case with at least one input channel changed to break it, and it alone."""
    (N, C_in, H, W), (C_out, Cg, kh, kw), pair = case.x_shape, case.weight_shape, {"bias_shape": None, "groups": 2}
    changes: dict[str, dict[str, Any]] = {
        "groups divides C_in": {"x_shape": (N, 3, H, W), "weight_shape": (2, 1, kh, kw), **pair},
        "groups divides C_out": {"x_shape": (N, 2, H, W), "weight_shape": (3, 1, kh, kw), **pair},
        "groups is at least 1": {"groups": 0},
        "the weight has C_in/groups input channels": {"weight_shape": (C_out, Cg + 1, kh, kw)},
        "the kernel fits into the padded image": {"weight_shape": (C_out, Cg, H + sum(case.padding[0]) + 1, kw)},
        "the bias has C_out entries": {"bias_shape": (C_out + 1,)},
        "x has at most four axes": {"x_shape": (N, C_in, H, W, 1)},
        "stride is at least 1": {"stride": (0, case.stride[1])},
        "dilation is at least 1": {"dilation": (case.dilation[0], 0)},
    }
    bias_shape = (C_out,) if case.has_bias else None
    valid = {"x_shape": case.x_shape, "weight_shape": case.weight_shape, "bias_shape": bias_shape, **case.kwargs}
    calls = {rule: valid | change for rule, change in changes.items()}
    return {
        rule: InvalidConvCase(rule, kwargs={name: call.pop(name) for name in case.kwargs}, **call)
        for rule, call in calls.items()
    }
