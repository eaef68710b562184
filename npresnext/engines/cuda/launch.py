"""Compile a kernel at its first use, and start it. The only module of the engine that needs CuPy's compiler."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..._support.integers import ceil_div
from ...errors import BackendError, BackendMixError

C_TYPES = {"float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double"}

DIVISOR = np.dtype([("by", np.uint32), ("magic", np.uint32)])


def source(file: str) -> str:
    """Return the CUDA source of the kernels in `file`, complete."""
    return "".join(Path(__file__).with_name(name).read_text("utf-8") for name in ("common.cuh", file))


def expression(kernel: str, dtype: Any, *template: int) -> str:
    """Return the name of one instance of a kernel.

    >>> expression("gather", "float32", 8, 3)
    'gather<float, 8, 3>'
    """
    return f"{kernel}<{', '.join([C_TYPES[str(dtype)], *map(str, template)])}>"


def divisor(by: int) -> tuple[int, int]:
    """Return the number and ⌈2³²/number⌉, with which the kernels divide: a DIVISOR.

    >>> divisor(3)
    (3, 1431655766)
    """
    return by, ceil_div(2**32, by) % 2**32


def launch(file: str, name: str, blocks: int, threads: tuple[int, int], args: tuple[Any, ...], shared: int = 0) -> None:
    """Start the kernel instance `name` of `file`; pointers, NumPy scalars and structs go by value.

    Raises
    ------
    BackendMixError
        The arrays lie on another device than the current one.
    BackendError
        The kernel cannot be compiled or loaded here: CuPy, the CUDA toolkit and the driver do not fit each other.
    """
    check_device(args[0])
    _compiled(file, name)((blocks,), threads, args, shared_mem=shared)


def check_device(array: Any) -> None:
    """Raise unless `array` is on the current device: kernels cannot reach the memory of another device."""
    import cupy

    its, current = array.device.id, cupy.cuda.device.get_device_id()
    if its != current:
        raise BackendMixError(
            f"the arrays lie on CUDA device {its}, but the current device is {current}: "
            f"use_backend('cupy', device={its}) makes it the current one"
        )


@cache
def _compiled(file: str, name: str) -> Any:
    import cupy

    try:
        module = cupy.RawModule(code=source(file), options=("-std=c++17",), name_expressions=(name,))
        return module.get_function(name)
    except (ImportError, RuntimeError, cupy.cuda.compiler.CompileException) as error:
        raise BackendError(
            f"the CUDA kernel {name} cannot be compiled here: CuPy {cupy.__version__}, the CUDA toolkit and the driver "
            f"must fit each other (python -c 'import cupy; cupy.show_config()' shows all three): {error}"
        ) from error
