"""The conditions under which a kernel fails: what its failing cases share and few of the passing ones have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..cases import ConvCase
from ..coverage import kind_of_groups, kind_of_padding, kind_of_stride

LARGEST_SHARE = 0.75  # of the passing cases that a further condition may leave
MOST_CONDITIONS = 4


def pixels_left_over(case: ConvCase) -> bool:
    """Whether the last window ends before the last padded pixel."""
    return any(
        (size + sum(pair) - reach) % stride
        for size, pair, reach, stride in zip(case.size, case.padding, case.reach, case.stride)
    )


# What a case can have -> whether it has it, and what it is called where it has it not ("" if that says nothing).
FEATURES: dict[str, tuple[Callable[[ConvCase], bool], str]] = {
    "groups > 1": (lambda case: case.groups > 1, "groups = 1"),
    "stride > 1": (lambda case: max(case.stride) > 1, "stride = 1"),
    "dilation > 1": (lambda case: max(case.dilation) > 1, "dilation = 1"),
    "padding": (lambda case: any(map(any, case.padding)), "no padding"),
    "a bias": (lambda case: case.has_bias, "no bias"),
    "1 < groups < C_in": (lambda case: kind_of_groups(case) == "1 < G < C", ""),
    "groups = C_in": (lambda case: kind_of_groups(case) == "depthwise", ""),
    "more output than input channels": (lambda case: case.out_channels > case.in_channels, ""),
    "more than one input channel per group": (lambda case: case.weight_shape[1] > 1, "one input channel per group"),
    "more than one output channel per group": (
        lambda case: case.out_channels > case.groups,
        "one output channel per group",
    ),
    "vertical stride > 1": (lambda case: case.stride[0] > 1, "vertical stride = 1"),
    "horizontal stride > 1": (lambda case: case.stride[1] > 1, "horizontal stride = 1"),
    "unequal strides": (lambda case: case.stride[0] != case.stride[1], "equal strides"),
    "a stride larger than the kernel": (lambda case: kind_of_stride(case) == "beyond the kernel", ""),
    "pixels left over behind the last window": (pixels_left_over, "no pixels left over behind the last window"),
    "vertical dilation > 1": (lambda case: case.dilation[0] > 1, "vertical dilation = 1"),
    "horizontal dilation > 1": (lambda case: case.dilation[1] > 1, "horizontal dilation = 1"),
    "unequal dilations": (lambda case: case.dilation[0] != case.dilation[1], "equal dilations"),
    "vertical padding": (lambda case: any(case.padding[0]), "no vertical padding"),
    "horizontal padding": (lambda case: any(case.padding[1]), "no horizontal padding"),
    "asymmetric padding": (lambda case: any(one != other for one, other in case.padding), "symmetric padding"),
    "negative padding": (lambda case: kind_of_padding(case) == "negative", "no negative padding"),
    "windows of padding alone": (lambda case: kind_of_padding(case) == "wide", "no windows of padding alone"),
    "a kernel that is not square": (lambda case: case.kernel[0] != case.kernel[1], "a square kernel"),
    "a kernel of 1x1": (lambda case: case.kernel == (1, 1), "a kernel larger than 1x1"),
    "more than one kernel row": (lambda case: case.kernel[0] > 1, "one kernel row"),
    "more than one kernel column": (lambda case: case.kernel[1] > 1, "one kernel column"),
    "more than one image": (lambda case: case.batch > 1, "at most one image"),
    "an empty batch": (lambda case: case.batch == 0, ""),
    "C_in = 0": (lambda case: case.in_channels == 0, ""),
    "x not contiguous": (lambda case: case.layouts[0] != "contiguous", "x contiguous"),
    "weight not contiguous": (lambda case: case.layouts[1] != "contiguous", "weight contiguous"),
    "grad_output not contiguous": (lambda case: case.layouts[2] != "contiguous", "grad_output contiguous"),
}
SIZES: dict[str, Callable[[ConvCase], int]] = {
    "groups": lambda case: case.groups,
    "images": lambda case: case.batch,
    "image rows": lambda case: case.size[0],
    "image columns": lambda case: case.size[1],
    "output columns": lambda case: case.output_shape[3],
    "output channels": lambda case: case.out_channels,
    "output channels per group": lambda case: case.out_channels // case.groups,
    "input channels per group": lambda case: case.weight_shape[1],
    "kernel rows": lambda case: case.kernel[0],
    "kernel columns": lambda case: case.kernel[1],
}


def features_of(case: ConvCase) -> list[str]:
    """Return everything that a case has or has not, the simplest first."""
    named = [name if has(case) else without for name, (has, without) in FEATURES.items()]
    larger = [
        f"more than {n} {what}" for what, size in SIZES.items() for n in (3, 4, 8, 16, 32, 64, 256) if size(case) > n
    ]
    return [name for name in named + larger if name]


def common_conditions(
    failing: Sequence[ConvCase], passing: Iterable[ConvCase], smallest: ConvCase | None = None
) -> str:
    """Say what the failing cases share and few of the passing ones have; "" if there is no such thing.

    The smallest case that fails shares it too, but is not counted.

    >>> strided = [ConvCase(stride=(2, 1)), ConvCase(stride=(2, 2), batch=2)]
    >>> common_conditions(strided, [ConvCase(), ConvCase(batch=2), ConvCase(stride=(1, 2))])
    'fails only with vertical stride > 1: in 2 of 2 such cases'
    """
    told = [(features_of(case), True) for case in failing] + [(features_of(case), False) for case in passing]
    of_the_smallest = told[0][0] if smallest is None else features_of(smallest)
    shared = [name for name in of_the_smallest if all(name in names for names, fails in told if fails)]
    others = [set(names) for names, fails in told if not fails]
    conditions: list[str] = []
    while others and shared and len(conditions) < MOST_CONDITIONS:
        best = min(shared, key=lambda name: sum(name in names for names in others))
        left = [names for names in others if best in names]
        if len(left) > LARGEST_SHARE * len(others):
            break
        conditions.append(best)
        others = left
    if not conditions:
        return ""
    such = f"in {len(failing)} of {len(failing) + len(others)} such cases"
    return f"fails only with {', '.join(conditions)}: {such}"
