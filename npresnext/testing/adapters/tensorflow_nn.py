"""TensorFlow: ``tf.nn.conv2d`` on (N, H, W, C) and (kh, kw, C_in/G, C_out); a gradient tape goes backward.

The number of groups is C_in divided by the third axis of the weight, so a call cannot get it wrong.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

from .target import Target
from .windows import of_all_axes_channels_last, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False}
IMPORTS = ("tensorflow as tf",)


def make_target() -> Target:
    """Return TensorFlow as a target."""
    translate = with_padding(of_all_axes_channels_last)
    return Target(
        written_call("forward", forward, IMPORTS, translate),
        written_call("backward", backward, IMPORTS, translate),
        SUPPORTS,
        layout="NHWC",
        arithmetic={"bias": "after rounding"},
        describe=describe,
    )


def describe() -> str:
    """Return the version, and whether oneDNN computes."""
    with_onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1") != "0"
    return f"tensorflow {tf.__version__}, CPU, oneDNN {'on' if with_onednn else 'off'}"


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return y."""
    weight = tf.transpose(weight, (1, 2, 3, 0))  # (kh, kw, C_in/G, C_out)
    y = tf.nn.conv2d(tf.constant(x), weight, stride, padding, dilations=dilation)
    return (y if bias is None else tf.nn.bias_add(y, tf.constant(bias))).numpy()


def backward(grad_output: Any, x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, dtype: str) -> Any:
    """Return dx, dw, db."""
    given = [tf.constant(a) for a in (x, weight, np.zeros(len(weight), dtype))]
    with tf.GradientTape() as tape:
        tape.watch(given)
        hwio = tf.transpose(given[1], (1, 2, 3, 0))  # (kh, kw, C_in/G, C_out)
        y = tf.nn.bias_add(tf.nn.conv2d(given[0], hwio, stride, padding, dilations=dilation), given[2])
    gradients = tape.gradient(y, given, tf.constant(grad_output))
    return tuple(tf.convert_to_tensor(a).numpy() for a in gradients)
