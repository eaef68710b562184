"""Apache MXNet: ``mx.nd.Convolution`` and its autograd, with one padding for both ends of an axis; needs NumPy 1.23."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np

from .target import Target
from .windows import one_for_both_ends, with_padding
from .written_call import written_call

SUPPORTS = {"asymmetric_padding": False, "negative_padding": False, "dtypes": ["float32", "float64"]}
IMPORTS = ("mxnet as mx",)


def make_target() -> Target:
    """Return MXNet as a target."""
    translate = with_padding(one_for_both_ends)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        describe=lambda: f"mxnet {mx.__version__}, {mx.current_context()}",
    )


def forward(
    x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return y."""
    x, weight, bias = (a if a is None else mx.nd.array(a, dtype=dtype) for a in (x, weight, bias))
    options = {"kernel": weight.shape[2:], "num_filter": len(weight), "num_group": groups, "no_bias": bias is None}
    given = [x, weight] if bias is None else [x, weight, bias]
    return mx.nd.Convolution(*given, stride=stride, dilate=dilation, pad=padding, **options).asnumpy()


def backward(
    grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return dx, dw, db."""
    options = {"kernel": weight.shape[2:], "num_filter": len(weight), "num_group": groups}
    given = [mx.nd.array(a, dtype=dtype) for a in (x, weight, np.zeros(len(weight)))]
    for operand in given:
        operand.attach_grad()
    with mx.autograd.record():
        y = mx.nd.Convolution(*given, stride=stride, dilate=dilation, pad=padding, **options)
    y.backward(mx.nd.array(grad_output, dtype=dtype))
    return tuple(operand.grad.asnumpy() for operand in given)
