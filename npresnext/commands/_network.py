"""Networks for the commands: by name, or from an ONNX file."""

from __future__ import annotations

import os
from typing import Any


def is_onnx(name: str | os.PathLike[str]) -> bool:
    """Return whether `name` is that of an ONNX file: whether it ends in ".onnx"."""
    return os.fspath(name).lower().endswith(".onnx")


def network_from(name: str, **options: Any) -> Any:
    """Return the network in an ONNX file, or the network called `name`, built with `options`."""
    if is_onnx(name):
        from ..onnx import load

        return load(name)
    from ..models import get_model

    return get_model(name, **options)
