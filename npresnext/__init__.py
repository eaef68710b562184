"""Grouped convolutions, ResNet and ResNeXt in NumPy: every gradient by hand, every claim tested.

Importing npresnext loads NumPy and nothing heavier; subpackages load at their first touch.
"""

import importlib
from typing import Any

from . import errors, functional
from .backend import asarray, get_backend, set_backend, to_numpy, use_backend
from .engines import use_engine
from .errors import NpresnextError
from .functional import (
    col2im,
    conv2d,
    conv2d_backward,
    conv2d_input_grad,
    conv2d_parameter_count,
    conv2d_weight_grad,
    im2col,
)

__version__ = "0.1.0"

__all__ = [
    "NpresnextError",
    "__version__",
    "asarray",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv2d_input_grad",
    "conv2d_parameter_count",
    "conv2d_weight_grad",
    "errors",
    "functional",
    "get_backend",
    "im2col",
    "set_backend",
    "to_numpy",
    "use_backend",
    "use_engine",
]

# name -> the module that holds it, loaded at the first touch ("" marks a subpackage)
_LAZY = {
    "counting": "",
    "data": "",
    "gradients": "",
    "group_grad_norms": "gradients.norms",
    "io": "",
    "models": "",
    "nn": "",
    "no_grad": "nn",
    "onnx": "",
    "paper": "",
    "reference": "",
    "set_num_threads": "engines.cpu.threads",
    "set_workspace_limit": "engines.cpu.workspace",
    "summary": "counting.summary",
    "testing": "",
    "training": "",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _LAZY[name]:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY})
