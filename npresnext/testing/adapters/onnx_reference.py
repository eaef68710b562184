"""ONNX's own ReferenceEvaluator, the executable definition of its operators, forward only."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.parser
import onnx.reference

from .onnx_text import with_inputs
from .target import Target
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float64"]}


def make_target() -> Target:
    """Return the reference evaluator as a target."""
    return Target(
        written_call("forward", forward, ("onnx.parser", "onnx.reference"), with_inputs),
        None,
        SUPPORTS,
        describe=lambda: f"onnx {onnx.__version__}, ReferenceEvaluator",
    )


def forward(x: Any, weight: Any, bias: Any, *, text: str) -> Any:
    """Return y."""
    feeds = {"x": x, "weight": weight} if bias is None else {"x": x, "weight": weight, "bias": bias}
    return onnx.reference.ReferenceEvaluator(onnx.parser.parse_model(text)).run(None, feeds)[0]
