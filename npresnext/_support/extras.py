"""Optional dependencies: imported where they are used, with a clear message where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtraError


def load_extra(module: str, extra: str, purpose: str) -> Any:
    """Import and return `module`, or say what needs it and how to install it.

    >>> load_extra("no_such_module", "plot", "--plot")
    Traceback (most recent call last):
    ...
    npresnext.errors.MissingExtraError: --plot needs no_such_module: pip install 'npresnext[plot]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {module.partition('.')[0]}: pip install 'npresnext[{extra}]'"
        ) from error
