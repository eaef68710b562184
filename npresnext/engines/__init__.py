"""How a convolution that is known to be valid is carried out, and which engine does it.

Every engine is a module with the same three functions,

    forward(x, weight, bias, geometry)         input_grad(grad_output, weight, geometry)
    weight_grad(grad_output, x, geometry)

on arrays that ``functional.conv`` has already checked against the ConvGeometry. An engine that gains from doing
more in one go may have two others,

    gradients(grad_output, x, weight, geometry)             which returns (dx, dweight)
    forward_relu(x, weight, bias, geometry, shortcut)       relu(y + shortcut), or relu(y) where that is None

All engines compute the same thing; the property tests hold them to it. What is not chosen with
``use_engine`` goes to the fast engine of the array's library, or else to the lesson.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from .._support.memory import memory_for
from .._support.typing import Array
from ..errors import InvalidTypeError, InvalidValueError

# engine -> the array libraries whose arrays it takes (None: any), fastest last
ENGINES: dict[str, tuple[str, ...] | None] = {"im2col": None, "cpu": ("numpy",), "cuda": ("cupy",)}

# (array library, operation other than convolution) -> the module that has it as fused kernels
FUSED = {
    ("numpy", "relu"): "cpu.elementwise",
    ("numpy", "relu_"): "cpu.elementwise",
    ("numpy", "relu_backward"): "cpu.elementwise",
    ("numpy", "add"): "cpu.elementwise",
    ("numpy", "add_"): "cpu.elementwise",
    ("numpy", "matmul"): "cpu.matmul",
    ("numpy", "batch_norm"): "cpu.batchnorm",
    ("numpy", "batch_norm_backward"): "cpu.batchnorm",
    ("numpy", "batch_norm_relu"): "cpu.batchnorm",
    ("numpy", "batch_norm_relu_backward"): "cpu.batchnorm",
    ("numpy", "max_pool2d"): "cpu.maxpool",
    ("numpy", "max_pool2d_backward"): "cpu.maxpool",
    ("cupy", "batch_norm"): "cuda.batchnorm",
    ("cupy", "batch_norm_backward"): "cuda.batchnorm",
    ("cupy", "max_pool2d"): "cuda.maxpool",
    ("cupy", "max_pool2d_backward"): "cuda.maxpool",
}

_chosen: ContextVar[str | None] = ContextVar("npresnext_engine", default=None)
_tf32: ContextVar[bool] = ContextVar("npresnext_tf32", default=False)


@contextlib.contextmanager
def use_engine(name: str, *, allow_tf32: bool = False) -> Iterator[None]:
    """Carry out every convolution inside the ``with`` block with the engine `name`.

    Parameters
    ----------
    name : str
        "cpu" (for NumPy's arrays), "cuda" (CuPy's), or "im2col" (any library's), under which batch norm, pooling and
        all else, too, are plain array operations.
    allow_tf32 : bool
        Let cuBLAS round the factors of float32 products to TF32 (10 bits of mantissa instead of 23) for the speed
        of tensor cores. For the engine "cuda" only; off unless asked for, here.

    Raises
    ------
    ValueError
        There is no such engine, or it knows no TF32.
    TypeError
        From a call inside the block: the engine does not take its arrays.

    >>> import numpy as np, npresnext as nx
    >>> with use_engine("im2col"):
    ...     nx.conv2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)))
    array([[[[4.]]]])
    """
    if name not in ENGINES:
        raise InvalidValueError(f"engine must be one of {', '.join(ENGINES)}, but is {name!r}")
    if allow_tf32 and name != "cuda":
        raise InvalidValueError(f"allow_tf32=True is for the engine cuda, but the engine is {name!r}")
    engine, tf32 = _chosen.set(name), _tf32.set(allow_tf32)
    try:
        yield
    finally:
        _chosen.reset(engine)
        _tf32.reset(tf32)


def tf32_allowed() -> bool:
    """Return whether the user has allowed TF32 here."""
    return _tf32.get()


def engines_for(library: str) -> list[str]:
    """Return the engines that take arrays of `library`, fastest last.

    >>> engines_for("array_api_strict")
    ['im2col']
    """
    return [name for name, libraries in ENGINES.items() if libraries is None or library in libraries]


def engine_for(xp: Any) -> Any:
    """Return the engine module that computes on arrays of the library `xp`."""
    able = engines_for(xp.__name__)
    name = _chosen.get() or able[-1]
    if name not in able:
        raise InvalidTypeError(f"the engine {name} cannot take arrays of {xp.__name__}: it takes {ENGINES[name]}")
    return _module({"im2col": ".lesson.conv", "cpu": "cpu.convolution", "cuda": "cuda.convolution"}[name])


def fused(xp: Any, operation: str, x: Array, *others: Array, shape: Sequence[int] | None = None) -> Any:
    """Return the engine's own function for an operation on arrays like these, or None: then array operations do it.

    None too where ``use_engine`` has chosen the lesson. Errors for want of memory name `shape`, that of the result, if
    it is not that of x.
    """
    module = FUSED.get((xp.__name__, operation))
    if module is None or _chosen.get() == "im2col":
        return None
    kernels = _module(module)
    if not all(kernels.takes(array) for array in (x, *others)):
        return None
    memory = memory_for(f"the result of {operation}", x.shape if shape is None else shape, x.dtype)
    return memory(getattr(kernels, operation))


@functools.cache
def _module(name: str) -> Any:
    """Import a module of this package; asking Python again at every call takes as long as a tiny convolution."""
    return importlib.import_module(f".{name}", __name__)
