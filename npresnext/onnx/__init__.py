"""Networks out to ONNX, which onnxruntime and many others run. Needs the extra ``onnx``."""

from .exporter import OPSET, export

__all__ = ["OPSET", "export"]
