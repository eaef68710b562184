"""tract: an ONNX model with constant weights, read from a temporary file, forward only."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from typing import Any

import numpy as np
import onnx.numpy_helper
import onnx.parser
import tract

from .onnx_text import with_constants
from .target import Target
from .written_call import written_call

SUPPORTS = {"negative_padding": False, "dtypes": ["float32", "float64", "float16"]}


def make_target() -> Target:
    """Return tract as a target."""
    return Target(
        written_call("forward", forward, ("onnx.numpy_helper", "onnx.parser", "tempfile", "tract"), with_constants),
        None,
        SUPPORTS,
        describe=lambda: f"tract {version('tract')}, CPU, constant weights",
    )


def forward(x: Any, weight: Any, bias: Any, *, text: str) -> Any:
    """Return y."""
    model = onnx.parser.parse_model(text)
    given = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a.copy(), name) for name, a in given.items())
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(model, file.name)
        run = tract.onnx().load(file.name).into_model().into_runnable()
    return run.run([np.ascontiguousarray(x)])[0].to_numpy()
