"""A function that is called as ONNX defines its operator Conv: strides, pads, dilations, group."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..._support.typing import NumPyArray as Array
from ..cases import Pair
from ..reproducible_call import ReproducibleCall
from .target import Target
from .windows import Padding, onnx_attributes

SUPPORTS = {"negative_padding": False}


def make_target(conv: Callable[..., Any], name: str, imports: tuple[str, ...]) -> Target:
    """Return a function as a target; `name` and `imports` are how a reproduction calls it."""
    call = ReproducibleCall(partial(forward, conv=conv), imports, partial(forward_lines, conv=name))
    return Target(call, None, SUPPORTS)


def forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    conv: Callable[..., Any],
) -> Any:
    """Return y."""
    return conv(x, weight, bias, **onnx_attributes(stride, padding, dilation, groups))


def forward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int, conv: str
) -> list[str]:
    """Write :func:`forward` down."""
    attributes = onnx_attributes(stride, padding, dilation, groups)
    arguments = ", ".join(f"{name}={value}" for name, value in attributes.items())
    return [f"y = {conv}(x, weight, bias, {arguments})"]
