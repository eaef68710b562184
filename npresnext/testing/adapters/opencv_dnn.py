"""OpenCV: ``cv2.dnn`` reads an ONNX model with constant weights, forward only."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnx.numpy_helper
import onnx.parser

from .onnx_text import with_constants
from .target import Target
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32"]}


def make_target() -> Target:
    """Return OpenCV as a target."""
    return Target(
        written_call("forward", forward, ("cv2", "onnx.numpy_helper", "onnx.parser"), with_constants),
        None,
        SUPPORTS,
        describe=lambda: f"opencv {cv2.__version__}, dnn, {cv2.getNumThreads()} threads, constant weights",
    )


def forward(x: Any, weight: Any, bias: Any, *, text: str) -> Any:
    """Return y."""
    model = onnx.parser.parse_model(text)
    given = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a.copy(), name) for name, a in given.items())
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(np.ascontiguousarray(x))
    return net.forward()
