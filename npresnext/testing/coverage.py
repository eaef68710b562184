"""What a case is an example of, so that a report can say what was tried."""

from __future__ import annotations

from itertools import combinations

from .cases import ConvCase


def kind_of_groups(case: ConvCase) -> str:
    """Dense, depthwise, or between the two."""
    if case.groups == 1:
        return "dense"
    return "depthwise" if case.groups >= case.in_channels else "1 < G < C"


def kind_of_stride(case: ConvCase) -> str:
    """1, above 1, or larger than the kernel, so that pixels are passed over."""
    if case.stride == (1, 1):
        return "1"
    larger = case.stride[0] > case.kernel[0] or case.stride[1] > case.kernel[1]
    return "beyond the kernel" if larger else "over 1"


def kind_of_dilation(case: ConvCase) -> str:
    """1 or above 1."""
    return "1" if case.dilation == (1, 1) else "over 1"


def kind_of_padding(case: ConvCase) -> str:
    """The first that applies: negative, wide (windows of padding alone), asymmetric, symmetric, none."""
    (top, bottom), (left, right) = case.padding
    rows, columns = case.reach
    if min(top, bottom, left, right) < 0:
        return "negative"
    if top >= rows or left >= columns:
        return "wide"
    if top != bottom or left != right:
        return "asymmetric"
    return "symmetric" if top or left else "none"


def kind_of_layout(case: ConvCase) -> str:
    """The memory layout of x."""
    return case.layouts[0]


def kinds(case: ConvCase) -> list[str]:
    """Return the kind of a case in each of the five ways in which kinds must meet in pairs."""
    return [
        f"groups: {kind_of_groups(case)}",
        f"stride: {kind_of_stride(case)}",
        f"dilation: {kind_of_dilation(case)}",
        f"padding: {kind_of_padding(case)}",
        f"layout: {kind_of_layout(case)}",
    ]


def kind_pairs(case: ConvCase) -> list[tuple[str, ...]]:
    """Return every pair of kinds that meet in a case."""
    return list(combinations(kinds(case), 2))


def features(case: ConvCase) -> list[str]:
    """Return the kinds of a case and its other features."""
    others = {
        "not square": case.kernel[0] != case.kernel[1],
        "1x1 kernel": case.kernel == (1, 1),
        "bias": case.has_bias,
        "stride with dilation": case.stride != (1, 1) and case.dilation != (1, 1),
        "empty batch": case.batch == 0,
        "C_in = 0": case.in_channels == 0,
    }
    return kinds(case) + [name for name, present in others.items() if present]
