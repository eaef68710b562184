"""What a convolution may not support, and what becomes of a case without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .._support.arguments import check_mapping
from ..errors import InvalidValueError
from .cases import ConvCase
from .layouts import LAYOUTS


def without_groups(case: ConvCase) -> ConvCase:
    """One group."""
    return replace(case, groups=1)


def without_stride(case: ConvCase) -> ConvCase:
    """Windows that move by one pixel."""
    return replace(case, stride=(1, 1))


def without_unequal_stride(case: ConvCase) -> ConvCase:
    """The vertical stride for both axes."""
    return replace(case, stride=(case.stride[0], case.stride[0]))


def without_dilation(case: ConvCase) -> ConvCase:
    """Taps side by side."""
    return replace(case, dilation=(1, 1))


def without_unequal_dilation(case: ConvCase) -> ConvCase:
    """The vertical dilation for both axes."""
    return replace(case, dilation=(case.dilation[0], case.dilation[0]))


def without_non_square_kernel(case: ConvCase) -> ConvCase:
    """As many columns of the kernel as rows."""
    return replace(case, kernel=(case.kernel[0], case.kernel[0]))


def without_padding(case: ConvCase) -> ConvCase:
    """No padding and no cropping."""
    return replace(case, padding=((0, 0), (0, 0)))


def without_asymmetric_padding(case: ConvCase) -> ConvCase:
    """As much at the bottom as at the top, and at the right as at the left."""
    (top, _), (left, _) = case.padding
    return replace(case, padding=((top, top), (left, left)))


def without_negative_padding(case: ConvCase) -> ConvCase:
    """Zero in place of a padding that crops."""
    (top, bottom), (left, right) = case.padding
    return replace(case, padding=((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))))


def without_wide_padding(case: ConvCase) -> ConvCase:
    """No window that sees padding alone."""
    (top, bottom), (left, right) = case.padding
    rows, columns = (reach - 1 for reach in case.reach)
    return replace(case, padding=((min(top, rows), min(bottom, rows)), (min(left, columns), min(right, columns))))


def without_unequal_padding(case: ConvCase) -> ConvCase:
    """The smaller padding of the two axes for both."""
    (top, bottom), (left, right) = case.padding
    sides = (min(top, left), min(bottom, right))
    return replace(case, padding=(sides, sides))


def without_empty_batch(case: ConvCase) -> ConvCase:
    """At least one image."""
    return replace(case, batch=max(case.batch, 1))


def without_zero_channels(case: ConvCase) -> ConvCase:
    """At least one input channel in each group."""
    return replace(case, in_channels=max(case.in_channels, case.groups))


def without_bias(case: ConvCase) -> ConvCase:
    """No bias."""
    return replace(case, has_bias=False)


# Key of `supports` -> the case without it. They are applied in this order: wide padding depends on kernel and dilation.
WITHOUT: dict[str, Callable[[ConvCase], ConvCase]] = {
    "groups": without_groups,
    "stride": without_stride,
    "unequal_stride": without_unequal_stride,
    "dilation": without_dilation,
    "unequal_dilation": without_unequal_dilation,
    "non_square_kernel": without_non_square_kernel,
    "padding": without_padding,
    "asymmetric_padding": without_asymmetric_padding,
    "negative_padding": without_negative_padding,
    "wide_padding": without_wide_padding,
    "unequal_padding": without_unequal_padding,
    "empty_batch": without_empty_batch,
    "zero_channels": without_zero_channels,
    "bias": without_bias,
}
SUPPORTS: dict[str, Any] = {
    **dict.fromkeys(WITHOUT, True),
    "layouts": tuple(LAYOUTS),  # memory layouts of the operands; False: contiguous only
    "invalid_calls": True,  # False: calls that break a rule are not made (a kernel without checks may crash)
    "dtypes": None,  # names of dtypes; None: any
    "only": None,  # a function of the case that tells whether it is supported; None: any is
    "forward": None,  # what the forward alone does not support, by the keys above; None: nothing more
    "backward": None,  # the same for the backward
}
OF_ONE_DIRECTION = (*WITHOUT, "layouts", "only")


def as_supports(supports: Mapping[str, Any] | None) -> dict[str, Any]:
    """Complete a `supports` dictionary; raise a ValueError for keys and layouts that do not exist."""
    check_mapping(supports, "supports")
    chosen = {**SUPPORTS, **(supports or {})}
    if unknown := sorted(set(chosen) - set(SUPPORTS)):
        raise InvalidValueError(f"supports has unknown keys {', '.join(unknown)}: expected {', '.join(SUPPORTS)}")
    if isinstance(chosen["dtypes"], (bool, str)):
        raise InvalidValueError(f'supports["dtypes"] is {chosen["dtypes"]!r}: expected names of dtypes')
    names = tuple(LAYOUTS) if chosen["layouts"] is True else tuple(chosen["layouts"] or ())
    if not set(names) <= set(LAYOUTS):
        raise InvalidValueError(f'supports["layouts"] is {names!r}: expected names out of {", ".join(LAYOUTS)}')
    if chosen["only"] is not None and not callable(chosen["only"]):
        raise InvalidValueError(f'supports["only"] is {chosen["only"]!r}: expected a function of a ConvCase')
    for role in ("forward", "backward"):
        if chosen[role] is not None:
            if unknown := sorted(set(chosen[role]) - set(OF_ONE_DIRECTION)):
                told = f'supports["{role}"] has unknown keys {", ".join(unknown)}'
                raise InvalidValueError(f"{told}: expected {', '.join(OF_ONE_DIRECTION)}")
            chosen[role] = as_supports(chosen[role])
    chosen["layouts"] = tuple(name for name in LAYOUTS if name == "contiguous" or name in names)
    return chosen


def keep_supported(case: ConvCase, supports: Mapping[str, Any] = SUPPORTS) -> ConvCase:
    """Return the case without what is not supported, its image large enough for one window and one uncropped pixel."""
    for key, without in WITHOUT.items():
        if not supports[key]:
            case = without(case)
    height, width = (
        max(size, reach - sum(sides), 1 - sum(min(side, 0) for side in sides))
        for size, reach, sides in zip(case.size, case.reach, case.padding)
    )
    layouts = tuple(layout if layout in supports["layouts"] else "contiguous" for layout in case.layouts)
    return replace(case, size=(height, width), layouts=layouts)


def offers(supports: Mapping[str, Any], role: str, case: ConvCase) -> bool:
    """Whether a direction, forward or backward, supports a case."""
    if supports["only"] is not None and not supports["only"](case):
        return False
    of_this = supports[role]
    if of_this is None:
        return True
    return keep_supported(case, of_this) == case and (of_this["only"] is None or bool(of_this["only"](case)))


def has_feature(key: str, case: ConvCase) -> bool:
    """Whether a case has a feature, by a key of ``WITHOUT``: the case without it is another one.

    >>> has_feature("groups", ConvCase(in_channels=2, groups=2)), has_feature("bias", ConvCase())
    (True, False)
    """
    return WITHOUT[key](case) != case


def has_all(conditions: Sequence[Callable[[ConvCase], bool]], case: ConvCase) -> bool:
    """Whether every condition holds in a case."""
    return all(condition(case) for condition in conditions)


def combine_supports(of_the_target: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a target supports, restricted or widened; a case must meet both functions under "only"."""
    both = [one["only"] for one in (of_the_target, chosen) if one.get("only") is not None]
    only = partial(has_all, both) if len(both) == 2 else (both or [None])[0]
    return {**of_the_target, **chosen, "only": only}
