"""The types of arrays, defined in one place."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of any library: NumPy, CuPy, array_api_strict
NumPyArray: TypeAlias = np.ndarray[Any, Any]
