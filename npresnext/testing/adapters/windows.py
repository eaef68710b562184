"""The kit's window arguments in the words of other frameworks.

The kit passes stride and dilation as pairs (vertical, horizontal) and padding as ((top, bottom), (left, right)).
"""

from __future__ import annotations

from collections.abc import Callable
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


def by_end(padding: Padding) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right), as TVM takes them."""
    (top, bottom), (left, right) = padding
    return top, left, bottom, right


def by_axis(padding: Padding) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right), as PaddlePaddle takes them."""
    (top, bottom), (left, right) = padding
    return top, bottom, left, right


def both_ends(padding: Padding) -> tuple[list[int], list[int]]:
    """Return [top, left] and [bottom, right], as MLX and OpenVINO take them."""
    (top, bottom), (left, right) = padding
    return [top, left], [bottom, right]


def one_for_both_ends(padding: Padding) -> Pair:
    """Return (top, left), which hold for bottom and right too: for frameworks without asymmetric padding."""
    return padding[0][0], padding[1][0]


def of_all_axes_channels_last(padding: Padding) -> tuple[Pair, Pair, Pair, Pair]:
    """Return the padding of (N, H, W, C), as TensorFlow takes it."""
    return (0, 0), *padding, (0, 0)


def of_all_axes_channels_first(padding: Padding) -> tuple[Pair, Pair, Pair, Pair]:
    """Return the padding of (N, C, H, W), as ``numpy.pad`` takes it."""
    return (0, 0), (0, 0), *padding


def unchanged(padding: Padding) -> Padding:
    """Return ((top, bottom), (left, right))."""
    return padding


def with_padding(write: Callable[[Padding], Any] = unchanged) -> Callable[..., dict[str, Any]]:
    """Return a translation of a call: the padding as a framework writes it, and the names of its dtypes.

    ``dtype`` is that of the operands. ``wide`` is a dtype of NumPy's own that holds the same values: frameworks do not
    read NumPy's bfloat16.

    >>> import numpy as np
    >>> translate = with_padding(by_end)
    >>> translate({"x": np.ones(3, "float16")}, stride=(1, 2), padding=((1, 2), (3, 4)), dilation=(1, 1), groups=2)
    {'stride': (1, 2), 'padding': (1, 3, 2, 4), 'dilation': (1, 1), 'groups': 2, 'dtype': 'float16', 'wide': 'float32'}
    """

    def translate(operands: dict[str, Any], *, padding: Padding, **window: Any) -> dict[str, Any]:
        dtype = operands["x"].dtype.name
        return {
            "stride": window["stride"],
            "padding": write(padding),
            "dilation": window["dilation"],
            "groups": window["groups"],
            "dtype": dtype,
            "wide": "float64" if dtype == "float64" else "float32",
        }

    return translate
