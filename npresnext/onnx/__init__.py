"""Networks to and from ONNX, the format that onnxruntime and many others run. Needs the extra ``onnx``."""

from ._graph_module import GraphModule
from .exporter import OPSET, export
from .importer import load

__all__ = ["OPSET", "GraphModule", "export", "load"]
