"""The kit's window arguments in the words of other frameworks.

The kit passes stride and dilation as pairs (vertical, horizontal) and padding as ((top, bottom), (left, right)).
"""

from __future__ import annotations

from typing import Any

from ..cases import Pair

Padding = tuple[Pair, Pair]


def symmetric_padding(padding: Padding) -> Pair | None:
    """Return (rows, columns) if both sides of each axis are padded alike, and None where an image is padded first.

    >>> symmetric_padding(((1, 1), (2, 2))), symmetric_padding(((0, 1), (2, 2))), symmetric_padding(((-1, -1), (0, 0)))
    ((1, 2), None, None)
    """
    (top, bottom), (left, right) = padding
    if top == bottom and left == right and min(top, left) >= 0:
        return top, left
    return None


def last_axis_first(padding: Padding) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom), as ``torch.nn.functional.pad`` takes them."""
    (top, bottom), (left, right) = padding
    return left, right, top, bottom


def onnx_attributes(stride: Pair, padding: Padding, dilation: Pair, groups: int) -> dict[str, Any]:
    """Return the attributes of ONNX's Conv; ``pads`` lists the beginnings of all axes, then their ends.

    >>> onnx_attributes((1, 2), ((1, 2), (3, 4)), (1, 1), 2)
    {'strides': [1, 2], 'pads': [1, 3, 2, 4], 'dilations': [1, 1], 'group': 2}
    """
    (top, bottom), (left, right) = padding
    return {
        "strides": list(stride),
        "pads": [top, left, bottom, right],
        "dilations": list(dilation),
        "group": groups,
    }
