"""The array library of an operation, and the backend: the library in which new arrays are created.

An operation runs on the library of its input arrays (``array_module``). The backend matters only where there is no
array yet: for new weights, loaded images and random numbers.

    set_backend("cupy")               for the whole process, every thread and notebook cell
    with use_backend("cupy"): ...     for this block
    NPRESNEXT_BACKEND=cupy            for a process that calls neither; read at the first use
"""

from __future__ import annotations

import functools
import importlib
import operator
import os
import sys
from contextvars import ContextVar
from typing import Any

import numpy as np

from ._support.arguments import as_int, check_choice
from ._support.scopes import Scope
from ._support.typing import Array
from .errors import (
    BackendMixError,
    BackendNotInstalledError,
    InvalidTypeError,
    InvalidValueError,
    NoDeviceError,
)

BACKENDS = ("numpy", "cupy")

_NUMPY_ONLY = {np.ndarray}
_dtype_of = operator.attrgetter("dtype")

_of_process: str | None = None
_of_block: ContextVar[str | None] = ContextVar("npresnext_backend", default=None)


def set_backend(name: str, *, device: int | None = None) -> None:
    """Choose the array library in which new arrays are created, for the whole process.

    Parameters
    ----------
    name : str
        "numpy" or "cupy".
    device : int, optional
        With "cupy": the CUDA device that the calling thread goes on to use, counted from 0; the current one if None.

    Raises
    ------
    ValueError
        `name` is neither "numpy" nor "cupy", or a device is given for NumPy.
    BackendNotInstalledError
        CuPy is not installed, or the CUDA libraries that it loads are not.
    NoDeviceError
        CuPy is installed and finds no device, none that its CUDA version can use, or not the one asked for.

    Examples
    --------
    >>> set_backend("numpy")
    """
    global _of_process
    chosen = _device(name, device)
    if chosen is not None:
        chosen.use()
    _of_process = name


def use_backend(name: str, *, device: int | None = None) -> Scope[str | None]:
    """Choose the array library in which new arrays are created, in a ``with`` block or a function so decorated.

    Arguments and errors are those of :func:`set_backend`.

    >>> with use_backend("numpy"):
    ...     get_backend()
    'numpy'
    """
    return _BackendScope(name, _device(name, device))


class _BackendScope(Scope[str | None]):
    """The scope of a backend, with its CUDA device as the current one."""

    def __init__(self, name: str, device: Any) -> None:
        super().__init__(_of_block, name)
        self._name, self._device = name, device

    def __enter__(self) -> None:
        super().__enter__()
        if self._device is not None:
            self._device.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._device is not None:
            self._device.__exit__(*error)
        super().__exit__(*error)

    def again(self) -> Scope[str | None]:
        """Return a new scope of the same backend and device."""
        return _BackendScope(self._name, self._device)


def get_backend() -> str:
    """Return "numpy" or "cupy": the array library in which a new array would be created now.

    Returns
    -------
    str

    Examples
    --------
    >>> with use_backend("numpy"):
    ...     get_backend()
    'numpy'
    """
    return _of_block.get() or _of_process or os.environ.get("NPRESNEXT_BACKEND") or "numpy"


def get_array_module() -> Any:
    """Return the module of the array library in which a new array would be created now."""
    return _namespace(get_backend())


def array_module(**arrays: Array) -> Any:
    """Return the library that all of `arrays` belong to; pass those that may be None through :func:`given`.

    Pass the arrays by the names their user knows, since a TypeError calls them so.

    >>> array_module(x=np.zeros(3), **given(bias=None)).__name__
    'numpy'
    """
    if _NUMPY_ONLY.issuperset(map(type, arrays.values())):  # the usual case, without a loop in Python
        return np
    found, first = None, ""
    for name, array in arrays.items():
        module = _library(array, name)
        if found is None:
            found, first = module, name
        elif module is not found:
            raise BackendMixError(
                f"{first} is an array of {found.__name__} and {name} one of {module.__name__}: "
                "all arrays of a call must belong to one library (to_numpy and asarray carry them over)"
            )
    return found


def given(**arrays: Array | None) -> dict[str, Array]:
    """Return those of `arrays` that are not None."""
    return {name: array for name, array in arrays.items() if array is not None}


def floating_module(*, allow_complex: bool = False, **arrays: Array) -> Any:
    """Return the library of `arrays` as :func:`array_module`, after checking that they share one floating dtype."""
    xp = array_module(**arrays)
    dtype, *others = map(_dtype_of, arrays.values())
    if not _is_floating(xp, dtype, allow_complex):
        kinds = "a floating or complex dtype" if allow_complex else "a real floating dtype"
        raise InvalidTypeError(f"{next(iter(arrays))} has dtype {dtype}: expected {kinds}; convert it first")
    if others.count(dtype) < len(others):
        first, *names = arrays
        name, other = next((name, other) for name, other in zip(names, others) if other != dtype)
        raise InvalidTypeError(
            f"{first} has dtype {dtype} and {name} has dtype {other}: all arrays of a call share one dtype"
        )
    return xp


@functools.lru_cache(maxsize=64)
def sum_dtype(xp: Any, dtype: Any) -> Any:
    """Return the dtype that sums of `dtype` are made in: float32 for the 16-bit types, else itself."""
    return xp.float32 if str(dtype) in ("float16", "bfloat16") else dtype


def widen(xp: Any, array: Array) -> Array:
    """Return `array` in the dtype that its sums are made in."""
    dtype = sum_dtype(xp, array.dtype)
    return array if dtype == array.dtype else xp.astype(array, dtype)


def conjugate(xp: Any, array: Array) -> Array:
    """Return the complex conjugate; of real numbers, the array itself."""
    return xp.conj(array) if xp.isdtype(array.dtype, "complex floating") else array


def asarray(values: Any, dtype: Any = None) -> Array:
    """Return `values` (numbers, lists, arrays of any library) as an array of the current backend.

    Parameters
    ----------
    values : number, sequence or array
    dtype : str or dtype, optional
        That of `values` if None: Python's numbers become 64 bits wide.

    Returns
    -------
    array of the shape of `values`
        `values` itself, not a copy, if it is such an array already.

    Examples
    --------
    >>> asarray([[1, 2], [3, 4]], dtype="float32")
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    xp = get_array_module()
    if type(values).__module__.partition(".")[0] != xp.__name__:
        values = to_numpy(values)
    return xp.asarray(values, dtype=dtype)


def to_numpy(array: Any) -> np.ndarray:
    """Return any array as a NumPy array: of NumPy, CuPy, or a library with ``__array__`` or DLPack.

    Parameters
    ----------
    array : array, number or sequence

    Returns
    -------
    numpy.ndarray
        Not a copy where the memory can be shared.

    Raises
    ------
    TypeError
        `array` is none of these.

    Examples
    --------
    >>> to_numpy([1.0, 2.0])
    array([1., 2.])
    """
    if type(array).__module__.partition(".")[0] == "cupy":
        return array.get()
    if hasattr(array, "__array__") or not hasattr(array, "__dlpack__"):
        result = np.asarray(array)
        if result.dtype == object and not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise InvalidTypeError(f"an object of type {kind} is no array, number or sequence of numbers")
        return result
    return np.from_dlpack(array)


def _namespace(name: str) -> Any:
    """Return the module of a backend, or raise the reason why it cannot be used."""
    if isinstance(name, str) and name == "numpy":
        return np
    check_choice(name, "backend", BACKENDS)
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise BackendNotInstalledError(
            f"the backend cupy needs CuPy, which cannot be imported ({error}): pip install 'npresnext[cuda12]' or "
            "'npresnext[cuda13]', whichever CUDA version nvidia-smi shows"
        ) from error
    if not cupy.cuda.is_available():
        raise NoDeviceError(f"CuPy {cupy.__version__} is installed but finds no CUDA device: {_hindrance(cupy)}")
    try:
        getattr(cupy.cuda, "cublas", None)  # loaded here, not at the first product
    except ImportError as error:
        raise BackendNotInstalledError(
            f"CuPy {cupy.__version__} is installed but cannot load CUDA's libraries ({str(error).splitlines()[0]}): "
            "pip install 'npresnext[cuda12]' or 'npresnext[cuda13]', whichever this CuPy is made for, brings them"
        ) from error
    return cupy


def _hindrance(cupy: Any) -> str:
    """Return why CuPy finds no device, and what to do about it."""
    try:
        driver, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    except Exception:  # a CuPy that cannot even say its versions
        driver = built = 0
    if 0 < driver // 1000 < built // 1000:
        return (
            f"it is made for CUDA {built // 1000}, but the driver knows CUDA {driver // 1000}.{driver % 1000 // 10} at "
            f"most: pip install 'npresnext[cuda{driver // 1000}]' in its place, or a newer driver"
        )
    return "check nvidia-smi, the driver and CUDA_VISIBLE_DEVICES, or use the backend numpy"


def _device(name: str, device: int | None) -> Any:
    """Return the CUDA device that was chosen, or None; raise the reason why backend or device cannot be used."""
    module = _namespace(name)
    if device is None:
        return None
    if name != "cupy":
        raise InvalidValueError(f"device={device} is for the backend cupy, but the backend is {name}")
    device, count = as_int(device, "device", 0), module.cuda.runtime.getDeviceCount()
    if device >= count:
        raise NoDeviceError(
            f"device {device} does not exist: there are {count}, counted from 0 (CUDA_VISIBLE_DEVICES hides the others)"
        )
    return module.cuda.Device(device)


def _library(array: Any, name: str) -> Any:
    """Return the library of one array that is not plainly NumPy's."""
    if isinstance(array, (np.matrix, np.ma.MaskedArray)):
        raise InvalidTypeError(
            f"{name} is a {type(array).__name__}, which computes by rules of its own: "
            "to_numpy makes it an array, without a mask"
        )
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    if type(array).__module__.partition(".")[0] == "cupy" and hasattr(array, "__cuda_array_interface__"):
        return sys.modules["cupy"]
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    kind = type(array).__name__
    special = {"NoneType": "None", "Parameter": f"a Parameter: its array is {name}.data"}
    raise InvalidTypeError(f"{name} must be an array, but is {special.get(kind, f'of type {kind}: asarray makes one')}")


def _is_floating(xp: Any, dtype: Any, allow_complex: bool) -> bool:
    if xp is np and dtype.kind in "fc":  # asking isdtype takes as long as a tiny convolution
        return allow_complex or dtype.kind == "f"
    if str(dtype) == "bfloat16":
        return True
    return xp.isdtype(dtype, ("real floating", "complex floating") if allow_complex else "real floating")
