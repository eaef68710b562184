"""MLX: ``mx.conv_general`` on (N, H, W, C) and (C_out, kh, kw, C_in/G); ``mx.vjp`` goes backward.

The convolution has no bias of its own: it is added to the rounded result.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from .target import Target
from .windows import both_ends, with_padding
from .written_call import written_call

SUPPORTS = {
    "negative_padding": False,
    "layouts": ["transposed", "sliced", "broadcast"],  # arrays with negative strides cannot be converted
}
IMPORTS = ("mlx.core as mx",)


def make_target() -> Target:
    """Return MLX as a target."""
    translate = with_padding(both_ends)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        layout="NHWC",
        arithmetic={"bias": "after rounding"},
        describe=lambda: f"mlx {mx.__version__}, {mx.default_device()}",
    )


def forward(
    x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str, wide: str
) -> Any:
    """Return y."""
    given = (a if a is None else mx.array(a.astype(wide, copy=False), getattr(mx, dtype)) for a in (x, weight, bias))
    x, weight, bias = given
    y = mx.conv_general(x, weight, stride, padding, dilation, groups=groups)
    y = y if bias is None else y + bias
    return np.array(y.astype(getattr(mx, wide))).astype(dtype)


def backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    dtype: str,
    wide: str,
) -> Any:
    """Return dx, dw, db."""
    arrays = (grad_output, x, weight, np.zeros(len(weight), dtype))
    upstream, *given = (mx.array(a.astype(wide, copy=False), getattr(mx, dtype)) for a in arrays)
    _, gradients = mx.vjp(
        lambda x, weight, bias: mx.conv_general(x, weight, stride, padding, dilation, groups=groups) + bias,
        given,
        [upstream],
    )
    return tuple(np.array(a.astype(getattr(mx, wide))).astype(dtype) for a in gradients)
