"""The versions that the record of a run names."""

from __future__ import annotations

import platform
import sys

import numpy as np


def versions() -> dict[str, str]:
    """Return the versions of npresnext, NumPy and Python.

    >>> list(versions())
    ['npresnext', 'numpy', 'python']
    """
    package = sys.modules[__name__.partition(".")[0]]  # whose name no module below may import
    return {"npresnext": package.__version__, "numpy": np.__version__, "python": platform.python_version()}
