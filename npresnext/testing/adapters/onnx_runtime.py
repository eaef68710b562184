"""ONNX Runtime's convolution on the CPU, forward only: a model of one node for each call."""

from __future__ import annotations

from typing import Any

import onnx.parser
import onnxruntime

from ..._support.typing import NumPyArray as Array
from ..cases import Pair
from ..reproducible_call import ReproducibleCall
from .target import Target
from .windows import Padding, onnx_attributes

SUPPORTS = {"negative_padding": False, "dtypes": ["float16", "float32"]}  # others are not implemented
AXES = {"x": "N, C, H, W", "weight": "O, I, K, L", "bias": "O"}
HEADER = '<ir_version: 8, opset_import: ["" : 17]> '


def make_target() -> Target:
    """Return ONNX Runtime as a target."""
    onnxruntime.set_default_logger_severity(4)  # what it refuses is a finding, and need not be logged as well
    return Target(ReproducibleCall(forward, ("onnx.parser", "onnxruntime"), forward_lines), None, SUPPORTS)


def forward(
    x: Array, weight: Array, bias: Array | None, *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """Return y."""
    feeds = {name: array for name, array in (("x", x), ("weight", weight), ("bias", bias)) if array is not None}
    node = node_text(list(feeds), onnx_attributes(stride, padding, dilation, groups))
    inputs, output = graph_types(list(feeds), x.dtype.name)
    text = f"{HEADER}conv ({inputs}) => ({output}) {{ {node} }}"
    model = onnx.parser.parse_model(text).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def forward_lines(
    operands: dict[str, Array], *, stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> list[str]:
    """Write :func:`forward` down."""
    given = [name for name, array in operands.items() if array is not None]
    node = node_text(given, onnx_attributes(stride, padding, dilation, groups))
    inputs, output = graph_types(given, operands["x"].dtype.name)
    feeds = ", ".join(f"{name}={name}" for name in given)
    return [
        f"node = '{node}'",
        f"graph = 'conv ({inputs}) => ({output}) {{ ' + node + ' }}'",
        f"model = onnx.parser.parse_model('{HEADER}' + graph).SerializeToString()",
        f'y = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, dict({feeds}))[0]',
    ]


def node_text(given: list[str], attributes: dict[str, Any]) -> str:
    """Return the node in ONNX's language."""
    listed = ", ".join(f"{name} = {value}" for name, value in attributes.items())
    return f"y = Conv <{listed}> ({', '.join(given)})"


def graph_types(given: list[str], dtype: str) -> tuple[str, str]:
    """Return the inputs and the output of the graph with their types, in ONNX's language."""
    kind = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    inputs = ", ".join(f"{kind}[{AXES[name]}] {name}" for name in given)
    return inputs, f"{kind}[N, O, P, Q] y"
