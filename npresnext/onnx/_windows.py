"""Windows of convolutions and poolings, read from the attributes of a node."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._support.arguments import Pair
from .._support.integers import ceil_div
from ..errors import FileFormatError, InvalidValueError
from ..geometry import Padding
from ._reading import Node, PartialShape

_MOST_TAPS = 2**20  # of a pooling, whose kernel no weight limits


@dataclass(frozen=True)
class Window:
    """The attributes that convolutions and poolings share, with ``auto_pad`` resolved."""

    kernel: Pair
    strides: Pair
    padding: Padding
    dilations: Pair
    ceil_mode: bool

    @classmethod
    def of(cls, node: Node, input_shape: PartialShape, kernel: Pair) -> Window:
        """Read the attributes of a node whose input (N, C, H, W) has this shape, as far as it is known."""
        strides, dilations = (
            as_attribute_pair(node, name, node.attributes.get(name, [1, 1])) for name in ("strides", "dilations")
        )
        reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations))
        auto_pad = node.attributes.get("auto_pad", "NOTSET")
        pads = node.attributes.get("pads", [0, 0, 0, 0])
        expect_length(node, "pads", pads, 4)
        if min(pads) < 0:
            raise InvalidValueError(f"{node} has pads={pads}: expected none below 0")
        ceil_mode = bool(node.attributes.get("ceil_mode", 0))
        if auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise FileFormatError(f"{node} has auto_pad={auto_pad!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
        if auto_pad != "NOTSET" and (any(pads) or ceil_mode):
            raise InvalidValueError(f"{node} has auto_pad={auto_pad} together with pads or ceil_mode: expected one")
        padding: Padding = (pads[0], pads[2]), (pads[1], pads[3])
        if auto_pad.startswith("SAME"):
            sizes = input_shape[2:]
            totals = [_same_padding(node, *axis) for axis in zip(sizes, strides, reach)]
            small, large = [total // 2 for total in totals], [ceil_div(total, 2) for total in totals]
            first, last = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
            padding = (first[0], last[0]), (first[1], last[1])
        return cls(kernel, strides, padding, dilations, ceil_mode)

    @classmethod
    def of_pool(cls, node: Node, input_shape: PartialShape) -> Window:
        """Read the attributes of a pooling."""
        kernel = as_attribute_pair(node, "kernel_shape", node.attributes["kernel_shape"])
        if math.prod(kernel) > _MOST_TAPS:
            raise InvalidValueError(f"{node} has kernel_shape={kernel}: expected at most {_MOST_TAPS} positions")
        window = cls.of(node, input_shape, kernel)
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, window.dilations)]
        if any(max(sides) >= size for sides, size in zip(window.padding, reach)):
            raise InvalidValueError(f"{node} has the padding {window.padding}, in which whole windows of {reach} fit")
        return window

    @property
    def top_left(self) -> Pair:
        """The padding at the top and at the left."""
        return self.padding[0][0], self.padding[1][0]

    @property
    def is_symmetric(self) -> bool:
        """Whether the padding is one that the poolings of ``npresnext.nn`` take."""
        return all(first == last <= size // 2 for (first, last), size in zip(self.padding, self.kernel))


def _same_padding(node: Node, size: int | None, stride: int, reach: int) -> int:
    """Return the padding along one axis that makes ceil(size / stride) windows."""
    if stride == 1:
        return reach - 1
    if size is None:
        raise InvalidValueError(
            f"{node} has auto_pad={node.attributes['auto_pad']} and a stride of {stride}: this padding depends on H "
            "and W, which the file leaves open"
        )
    return max(0, (ceil_div(size, stride) - 1) * stride + reach - size)


def as_attribute_pair(node: Node, name: str, value: list[int]) -> Pair:
    """Return an attribute that has two integers above 0."""
    expect_length(node, name, value, 2)
    return at_least_one(node, name, value[0]), at_least_one(node, name, value[1])


def at_least_one(node: Node, name: str, value: int) -> int:
    """Return an attribute after checking that it is at least 1."""
    if value < 1:
        raise FileFormatError(f"{node} has {name}={value}: expected at least 1")
    return value


def expect_length(node: Node, name: str, value: list[int], length: int) -> None:
    """Raise unless an attribute has as many integers as images of two dimensions need."""
    if len(value) != length:
        raise InvalidValueError(f"{node} has {name}={value}: expected {length} integers, for images of two dimensions")
