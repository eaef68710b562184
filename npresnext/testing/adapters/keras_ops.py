"""Keras: ``keras.ops.conv`` of the backend that KERAS_BACKEND names, forward only, on (N, H, W, C).

It has no explicit padding: the image is padded before. The weight is (kh, kw, C_in/G, C_out), as in TensorFlow.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # of its backend TensorFlow
import keras

from .target import Target
from .windows import of_all_axes_channels_last, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False}
IMPORTS = ("keras",)


def make_target() -> Target:
    """Return Keras as a target."""
    translate = with_padding(of_all_axes_channels_last)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        None,
        SUPPORTS,
        layout="NHWC",
        arithmetic={"bias": "after rounding"},
        describe=lambda: f"keras {keras.__version__}, backend {keras.backend.backend()}",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return y."""
    x = keras.ops.pad(keras.ops.convert_to_tensor(x), padding)
    weight = keras.ops.transpose(keras.ops.convert_to_tensor(weight), (1, 2, 3, 0))  # (kh, kw, C_in/G, C_out)
    y = keras.ops.conv(x, weight, stride, "valid", "channels_last", dilation)
    return keras.ops.convert_to_numpy(y if bias is None else y + keras.ops.convert_to_tensor(bias))
