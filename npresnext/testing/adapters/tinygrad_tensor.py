"""tinygrad: ``Tensor.conv2d`` and its ``gradient``, compiled for each new shape; tinygrad keeps what it compiled."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import numpy as np

os.environ.setdefault("DEV", "CPU")
import tinygrad

from .target import Target
from .windows import last_axis_first, with_padding
from .written_call import written_call

SUPPORTS = {"dtypes": ["float32", "float64", "float16"]}  # bfloat16 depends on the compiler
IMPORTS = ("tinygrad",)


def make_target() -> Target:
    """Return tinygrad as a target."""
    translate = with_padding(last_axis_first)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        describe=lambda: f"tinygrad {version('tinygrad')}, device {tinygrad.Device.DEFAULT}",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Return y."""
    x, weight, bias = (a if a is None else tinygrad.Tensor(np.ascontiguousarray(a)) for a in (x, weight, bias))
    return x.conv2d(weight, bias, groups, stride, dilation, padding).numpy()


def backward(
    grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return dx, dw, db."""
    bias = np.zeros(len(weight), dtype)
    given = (grad_output, x, weight, bias)
    upstream, x, weight, bias = (tinygrad.Tensor(np.ascontiguousarray(a)) for a in given)
    y = x.conv2d(weight, bias, groups, stride, dilation, padding)
    return tuple(a.numpy() for a in y.gradient(x, weight, bias, gradient=upstream))
