"""A convolution as an ONNX model of one node, in ONNX's own language, for every program that reads such a model."""

from __future__ import annotations

from typing import Any

from ..._support.typing import NumPyArray as Array
from .windows import onnx_attributes

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
TYPES = {"float32": "float", "float64": "double"}
AXES = {"x": "N, C, H, W", "weight": "O, I, K, L", "bias": "O"}


def with_inputs(operands: dict[str, Array], **window: Any) -> dict[str, str]:
    """Return the model whose inputs are all operands, as the argument ``text``."""
    return {"text": model_text(operands, {name: AXES[name] for name in given(operands)}, window)}


def with_constants(operands: dict[str, Array], **window: Any) -> dict[str, str]:
    """Return the model whose only input is x, of its own shape, as the argument ``text``; the others are constants."""
    return {"text": model_text(operands, {"x": ", ".join(map(str, operands["x"].shape))}, window)}


def given(operands: dict[str, Array]) -> list[str]:
    """Return the names of the operands that are not None."""
    return [name for name, array in operands.items() if array is not None]


def model_text(operands: dict[str, Array], inputs: dict[str, str], window: dict[str, Any]) -> str:
    """Return a model of one Conv; `inputs` are its inputs and their axes."""
    dtype = operands["x"].dtype.name
    kind = TYPES.get(dtype, dtype)
    taken = ", ".join(f"{kind}[{axes}] {name}" for name, axes in inputs.items())
    attributes = ", ".join(f"{name} = {value}" for name, value in onnx_attributes(**window).items())
    node = f"y = Conv <{attributes}> ({', '.join(given(operands))})"
    return f"{HEADER} conv ({taken}) => ({kind}[N, O, P, Q] y) {{ {node} }}"
