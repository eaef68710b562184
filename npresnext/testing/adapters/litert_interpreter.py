"""LiteRT (TensorFlow Lite): ``tf.nn.conv2d`` with constant weights, converted and interpreted anew in each call.

It goes forward only.
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

SUPPORTS = {"negative_padding": False, "dtypes": ["float32"]}


def make_target() -> Target:
    """Return LiteRT as a target."""
    return Target(
        written_call("forward", forward, ("tensorflow as tf",), with_padding(of_all_axes_channels_last)),
        None,
        SUPPORTS,
        layout="NHWC",
        describe=lambda: f"LiteRT of tensorflow {tf.__version__}, CPU, XNNPACK, 1 thread, constant weights",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, dtype: str) -> Any:
    """Return y."""
    hwio = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))  # (kh, kw, C_in/G, C_out)
    add = tf.identity if bias is None else lambda y: tf.nn.bias_add(y, bias)
    image = tf.TensorSpec(x.shape, dtype)
    conv = tf.function(lambda x: add(tf.nn.conv2d(x, hwio, stride, padding, dilations=dilation)), [image])
    model = tf.lite.TFLiteConverter.from_concrete_functions([conv.get_concrete_function()]).convert()
    run = tf.lite.Interpreter(model_content=model, num_threads=1)
    run.allocate_tensors()
    run.set_tensor(run.get_input_details()[0]["index"], np.ascontiguousarray(x))
    run.invoke()
    return run.get_tensor(run.get_output_details()[0]["index"])
