"""The layers of somebody's own network as cases: ``cases_from`` of ``check_conv``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from ..geometry import ConvGeometry
from .cases import ConvCase

KEYS = ("name", "x", "weight", "bias", "stride", "padding", "dilation", "groups")


def as_layers(layers: Iterable[ConvCase | Mapping[str, Any]] | None) -> dict[str, ConvCase]:
    """Return the cases of layers by name.

    Parameters
    ----------
    layers : iterable of mappings or ConvCases
        A mapping has the shapes ``x`` (N, C_in, H, W) and ``weight`` (C_out, C_in/G, kh, kw) and may have a ``name``,
        ``bias`` (True or False), ``stride``, ``padding`` and ``dilation`` as ``nx.conv2d`` takes them, and ``groups``
        (by default C_in divided by the weight's channels).

    Raises
    ------
    ValueError, TypeError
        A layer that is no valid convolution; the message has its name.

    Examples
    --------
    >>> layer = {"name": "stem", "x": (1, 3, 32, 32), "weight": (8, 3, 7, 7), "stride": 2, "padding": 3}
    >>> as_layers([layer])["stem"].padding
    ((3, 3), (3, 3))
    """
    if layers is not None and not isinstance(layers, Iterable):
        raise InvalidTypeError(f"cases_from must be a list of layers, but is of type {type(layers).__name__}")
    named: dict[str, ConvCase] = {}
    for number, layer in enumerate(layers or (), 1):
        name = str(layer.get("name", f"layer {number}")) if isinstance(layer, Mapping) else f"layer {number}"
        if name in named:
            raise InvalidValueError(f"cases_from has two layers of the name {name!r}")
        try:
            named[name] = layer if isinstance(layer, ConvCase) else as_case(layer)
        except (ValueError, TypeError) as error:
            raise type(error)(f"cases_from, {name}: {error}") from error
    return named


def as_case(layer: Mapping[str, Any]) -> ConvCase:
    """Return the case that a mapping describes."""
    if not isinstance(layer, Mapping):
        raise InvalidTypeError(f"a layer must be a mapping or a ConvCase, but is of type {type(layer).__name__}")
    if unknown := sorted(set(layer) - set(KEYS)):
        raise InvalidValueError(f"unknown keys {', '.join(unknown)}: expected {', '.join(KEYS)}")
    if not {"x", "weight"} <= set(layer):
        raise InvalidValueError("expected the shapes of x and weight")
    x_shape, weight_shape = tuple(layer["x"]), tuple(layer["weight"])
    channels_per_group = weight_shape[1] if len(weight_shape) == 4 else 0
    g = ConvGeometry.of_conv(
        x_shape,
        weight_shape,
        stride=layer.get("stride", 1),
        padding=layer.get("padding", 0),
        dilation=layer.get("dilation", 1),
        groups=layer.get("groups", max(1, x_shape[1] // channels_per_group) if channels_per_group else 1),
    )
    return ConvCase(
        g.batch,
        g.in_channels,
        g.out_channels,
        g.groups,
        (g.height, g.width),
        g.kernel,
        g.stride,
        g.padding,
        g.dilation,
        bool(layer.get("bias", False)),
    )
