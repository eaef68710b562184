"""Chainer: ``convolution_2d`` on NumPy, with one padding for both ends of an axis; needs NumPy 1.23."""

from __future__ import annotations

from typing import Any

import chainer
import numpy as np

from .target import Target
from .windows import one_for_both_ends, with_padding
from .written_call import written_call

SUPPORTS = {"asymmetric_padding": False, "negative_padding": False, "dtypes": ["float16", "float32", "float64"]}
IMPORTS = ("chainer",)


def make_target() -> Target:
    """Return Chainer as a target."""
    translate = with_padding(one_for_both_ends)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        arithmetic={"bias": "after rounding"},
        describe=lambda: f"chainer {chainer.__version__}, NumPy {np.__version__}",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Return y."""
    options = {"dilate": dilation, "groups": groups}
    return chainer.functions.convolution_2d(x, weight, bias, stride, padding, **options).array


def backward(
    grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return dx, dw, db."""
    given = [chainer.Variable(a) for a in (x, weight, np.zeros(len(weight), dtype))]
    y = chainer.functions.convolution_2d(*given, stride, padding, dilate=dilation, groups=groups)
    return tuple(a.array for a in chainer.grad([y], given, [chainer.Variable(grad_output)]))
