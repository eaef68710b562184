"""MyGrad: ``conv_nd`` without groups, with one padding for both ends of an axis; ``Tensor.backward`` goes backward."""

from __future__ import annotations

from typing import Any

import mygrad
import mygrad.nnet
import numpy as np

from .target import Target
from .windows import one_for_both_ends, with_padding
from .written_call import written_call

SUPPORTS = {
    "groups": False,
    "asymmetric_padding": False,
    "negative_padding": False,
    "dtypes": ["float16", "float32", "float64"],
}
IMPORTS = ("mygrad", "mygrad.nnet")


def make_target() -> Target:
    """Return MyGrad as a target."""
    translate = with_padding(one_for_both_ends)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        arithmetic={"bias": "after rounding"},
        describe=lambda: f"mygrad {mygrad.__version__}, NumPy {np.__version__}",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return y."""
    y = mygrad.nnet.conv_nd(x, weight, stride=stride, padding=padding, dilation=dilation)
    return (y if bias is None else y + bias.reshape(1, -1, 1, 1)).data


def backward(grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, dtype: str) -> Any:
    """Return dx, dw, db."""
    x, weight, bias = (mygrad.tensor(a) for a in (x, weight, np.zeros((1, len(weight), 1, 1), dtype)))
    y = mygrad.nnet.conv_nd(x, weight, stride=stride, padding=padding, dilation=dilation)
    (y + bias).backward(grad_output)
    return (x.grad, weight.grad, bias.grad.reshape(-1))
