"""The types of arrays, defined in one place."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

# An array of any library: NumPy, CuPy, array_api_strict. With a protocol (shape, dtype, operators) in place of Any,
# strict mypy finds no mistake and reports 158 false errors: NumPy's functions do not accept the protocol, and the
# overloads of ndarray.reshape do not fit it.
Array: TypeAlias = Any
NumPyArray: TypeAlias = np.ndarray[Any, Any]
