"""MNN: ``MNN.expr.conv2d`` with constant weights, forward only.

Stride, padding and dilation are (width, height), and padding is ignored unless the padding mode is CAFFE.
"""

from __future__ import annotations

from typing import Any

import MNN
import MNN.expr
import numpy as np

from .target import Target
from .windows import one_for_both_ends, with_padding
from .written_call import written_call

SUPPORTS = {
    "asymmetric_padding": False,
    "negative_padding": False,
    "dtypes": ["float32"],
}


def make_target() -> Target:
    """Return MNN as a target."""
    return Target(
        written_call("forward", forward, ("MNN.expr",), with_padding(one_for_both_ends)),
        None,
        SUPPORTS,
        describe=lambda: f"MNN {MNN.version()}, CPU, constant weights",
    )


def forward(
    x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return y."""
    bias = np.zeros(len(weight), dtype) if bias is None else bias
    x, weight, bias = (MNN.expr.const(np.ascontiguousarray(a), a.shape) for a in (x, weight, bias))
    window = [*stride[::-1]], [*padding[::-1]], [*dilation[::-1]]
    mode = MNN.expr.Padding_Mode.CAFFE
    x = MNN.expr.convert(x, MNN.expr.NC4HW4)
    y = MNN.expr.conv2d(x, weight, bias, window[0], window[1], window[2], groups, mode)
    return np.array(MNN.expr.convert(y, MNN.expr.NCHW).read(), copy=True)
