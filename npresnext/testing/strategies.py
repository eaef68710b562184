"""Hypothesis strategies for convolutions: every case valid by construction, none filtered away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._support.extras import load_extra
from .cases import ConvCase
from .drawn_cases import draw_case
from .invalid_calls import InvalidConvCase, broken_calls
from .supports import as_supports

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

st = load_extra("hypothesis", "testing", "npresnext.testing.strategies").strategies


def conv_cases(supports: Mapping[str, Any] | None = None) -> SearchStrategy[ConvCase]:
    """Draw a :class:`ConvCase`: 1 < G < C, depthwise, strides, dilation, all kinds of padding and memory layouts.

    `supports` says what not to draw, as for ``check_conv``: ``{"dilation": False}``. An unknown key is a ValueError.

    >>> from hypothesis import find
    >>> case = find(conv_cases(), lambda case: 1 < case.groups < case.in_channels)    # shrunk
    >>> case.x_shape, case.weight_shape, case.groups
    ((1, 4, 1, 1), (2, 2, 1, 1), 2)
    """
    supported = as_supports(supports)

    def conv_case(draw: Any) -> ConvCase:
        return draw_case(lambda low, high: draw(st.integers(low, high)), supported)

    return st.composite(conv_case)()


def invalid_conv_cases() -> SearchStrategy[InvalidConvCase]:
    """Draw a valid case with exactly one rule broken, and say which.

    >>> from hypothesis import find
    >>> find(invalid_conv_cases(), lambda case: case.rule == "stride is at least 1").kwargs["stride"]
    (0, 1)
    """
    return conv_cases({"zero_channels": False}).flatmap(lambda case: st.sampled_from([*broken_calls(case).values()]))


def block_cases() -> SearchStrategy[dict[str, Any]]:
    """Draw a residual block: its class, its arguments by torchvision's names, its input's batch and size.

    >>> from hypothesis import find
    >>> case = find(block_cases(), lambda case: case["groups"] > 1 and case["block"] == "Bottleneck")
    >>> case["inplanes"], case["width_per_group"], case["batch"], case["size"]
    (4, 64, 1, (1, 1))
    """
    sizes = {
        "inplanes": st.sampled_from((4, 8, 12, 16, 32)),
        "planes": st.sampled_from((4, 8)),
        "stride": st.integers(1, 2),
        "groups": st.sampled_from((1, 2, 4)),
        "batch": st.integers(1, 3),
        "size": st.tuples(st.integers(1, 6), st.integers(1, 6)),
    }
    basic = {"block": st.just("BasicBlock"), "width_per_group": st.just(64)}
    bottleneck = {"block": st.just("Bottleneck"), "width_per_group": st.sampled_from((64, 128))}
    return st.fixed_dictionaries(basic | sizes) | st.fixed_dictionaries(bottleneck | sizes)
