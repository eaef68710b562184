"""Hypothesis strategies for convolutions: every case valid by construction, none filtered away.

    @given(strategies.conv_cases())
    def test_my_convolution(case):
        y = my_conv(case.x("float32"), case.weight("float32"), case.bias("float32"), **case.kwargs)
        assert (y == reference.conv2d(case.x(), case.weight(), case.bias(), **case.kwargs)).all()

The comparison is exact because the values are small integers. What fails shrinks to one image, few channels and
small integers: something to compute by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..extras import load_extra
from .cases import ConvCase, Shape
from .draws import RULES, InvalidConvCase, as_supports, break_rule, build

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

st = load_extra("hypothesis", "testing", "npresnext.testing.strategies").strategies


def conv_cases(supports: Mapping[str, Any] | None = None) -> SearchStrategy[ConvCase]:
    """Draw a :class:`ConvCase`: 1 < G < C, depthwise, strides, dilation, all kinds of padding and memory layouts.

    Parameters
    ----------
    supports : mapping, optional
        What not to draw, as for ``check_conv``: ``{"negative_padding": False, "empty_batch": False}``.

    Raises
    ------
    ValueError
        An unknown key.

    Examples
    --------
    >>> from hypothesis import find
    >>> case = find(conv_cases(), lambda case: 1 < case.groups < case.in_channels)    # shrunk
    >>> case.x_shape, case.weight_shape, case.groups
    ((1, 4, 1, 1), (2, 2, 1, 1), 2)
    """
    offers = as_supports(supports)
    return st.composite(lambda draw: build(_picker(draw), offers))()


def invalid_conv_cases() -> SearchStrategy[InvalidConvCase]:
    """Draw a valid case with exactly one rule broken, and say which.

    >>> from hypothesis import find
    >>> find(invalid_conv_cases(), lambda case: case.rule == "stride is at least 1").kwargs["stride"]
    (0, 1)
    """
    return st.builds(break_rule, conv_cases({"zero_channels": False}), st.sampled_from(list(RULES)))


@dataclass(frozen=True)
class BlockCase:
    """A residual block to try: ``Bottleneck`` or ``BasicBlock`` with torchvision's arguments, and its input."""

    block: str
    in_channels: int
    planes: int
    stride: int
    groups: int
    width_per_group: int
    x_shape: Shape
    seed: int


def block_cases() -> SearchStrategy[BlockCase]:
    """Draw the configuration of a residual block, its width a whole number of channels in every group.

    >>> from hypothesis import find
    >>> find(block_cases(), lambda case: case.groups > 1 and case.block == "Bottleneck").width_per_group
    64
    """

    def block(draw: DrawFn) -> BlockCase:
        pick = _picker(draw)
        name, expansion = (("BasicBlock", 1), ("Bottleneck", 4))[pick(0, 1)]
        groups, planes = (1, 2, 4)[pick(0, 2)], 4 * pick(1, 2)
        per_group = 64 * pick(1, 2) if name == "Bottleneck" else 64
        in_channels = planes * expansion if pick(0, 1) else 4 * pick(1, 3)
        x_shape = pick(1, 3), in_channels, pick(1, 6), pick(1, 6)
        return BlockCase(name, in_channels, planes, pick(1, 2), groups, per_group, x_shape, pick(0, 2**16 - 1))

    return st.composite(block)()


def _picker(draw: DrawFn) -> Callable[[int, int], int]:
    return lambda low, high: draw(st.integers(low, high))
