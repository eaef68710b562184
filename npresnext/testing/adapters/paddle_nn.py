"""PaddlePaddle: ``paddle.nn.functional.conv2d``; ``paddle.grad`` goes backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from .target import Target
from .windows import by_axis, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float64"]}  # float16 needs a GPU
IMPORTS = ("paddle",)


def make_target() -> Target:
    """Return PaddlePaddle as a target."""
    translate = with_padding(by_axis)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        describe=lambda: f"paddle {paddle.__version__}, {paddle.get_device()}",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Return y."""
    x, weight, bias = (a if a is None else paddle.to_tensor(a) for a in (x, weight, bias))
    return paddle.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups).numpy()


def backward(
    grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int, dtype: str
) -> Any:
    """Return dx, dw, db."""
    given = [paddle.to_tensor(a, stop_gradient=False) for a in (x, weight, np.zeros(len(weight), dtype))]
    y = paddle.nn.functional.conv2d(*given, stride, padding, dilation, groups)
    return tuple(a.numpy() for a in paddle.grad([y], given, [paddle.to_tensor(grad_output)]))
