"""Grouped convolutions, ResNet and ResNeXt in NumPy: every gradient by hand, every claim tested.

Importing npresnext loads NumPy and nothing heavier; subpackages load when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:  # for type checkers and editors; Python loads these when they are first used: see _LAZY
    from . import counting as counting
    from . import data as data
    from . import definitions as definitions
    from . import gradients as gradients
    from . import io as io
    from . import learn as learn
    from . import models as models
    from . import nn as nn
    from . import onnx as onnx
    from . import paper as paper
    from . import pictures as pictures
    from . import reference as reference
    from . import studies as studies
    from . import testing as testing
    from . import training as training
    from .counting import summary as summary
    from .engines.cpu.threads import set_num_threads as set_num_threads
    from .engines.cpu.workspace import set_workspace_limit as set_workspace_limit
    from .gradients import group_grad_norms as group_grad_norms
    from .nn import no_grad as no_grad

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

# name -> the module that holds it, loaded when the name is first used ("" marks a subpackage)
_LAZY = {
    "counting": "",
    "data": "",
    "definitions": "",
    "gradients": "",
    "group_grad_norms": "gradients.norms",
    "io": "",
    "learn": "",
    "models": "",
    "nn": "",
    "no_grad": "nn",
    "onnx": "",
    "paper": "",
    "pictures": "",
    "reference": "",
    "set_num_threads": "engines.cpu.threads",
    "set_workspace_limit": "engines.cpu.workspace",
    "studies": "",
    "summary": "counting.network",
    "testing": "",
    "training": "",
}

if not TYPE_CHECKING:  # a type checker that saw it would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if _LAZY[name]:
            return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
        return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY})
