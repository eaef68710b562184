"""ONNX Runtime's convolution on the CPU, forward only: a model of one node for each call."""

from __future__ import annotations

from typing import Any

import onnx.parser
import onnxruntime

from .onnx_text import with_inputs
from .target import Target
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float16", "float32"]}  # others are not implemented


def make_target() -> Target:
    """Return ONNX Runtime as a target."""
    onnxruntime.set_default_logger_severity(4)  # what it refuses is a finding, and need not be logged as well
    return Target(
        written_call("forward", forward, ("onnx.parser", "onnxruntime"), with_inputs),
        None,
        SUPPORTS,
        describe=lambda: f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider",
    )


def forward(x: Any, weight: Any, bias: Any, *, text: str) -> Any:
    """Return y."""
    model = onnx.parser.parse_model(text).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {"x": x, "weight": weight} if bias is None else {"x": x, "weight": weight, "bias": bias}
    return session.run(None, feeds)[0]
