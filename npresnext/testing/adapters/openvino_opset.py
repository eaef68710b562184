"""OpenVINO: ``Convolution``, or ``GroupConvolution`` for groups, with constant weights, forward only.

It is compiled for each call, for the CPU in float32 (the plugin has no float64).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset13

from .target import Target
from .windows import both_ends, with_padding
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float16"]}


def make_target() -> Target:
    """Return OpenVINO as a target."""
    return Target(
        written_call("forward", forward, ("openvino", "openvino.opset13 as opset13"), with_padding(both_ends)),
        None,
        SUPPORTS,
        describe=lambda: f"openvino {openvino.__version__}, CPU plugin, 1 thread, float32 inference, constant weights",
    )


def forward(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Return y."""
    image = opset13.parameter(x.shape, x.dtype)
    if groups == 1:
        y = opset13.convolution(image, opset13.constant(weight), stride, *padding, dilation)
    else:
        grouped = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])  # (G, C_out/G, C_in/G, kh, kw)
        y = opset13.group_convolution(image, opset13.constant(grouped), stride, *padding, dilation)
    y = y if bias is None else opset13.add(y, opset13.constant(bias.reshape(1, -1, 1, 1)))
    options = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": 1}
    return np.array(openvino.compile_model(openvino.Model([y], [image]), "CPU", options)([x])[0])
