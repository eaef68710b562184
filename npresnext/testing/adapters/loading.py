"""Loading a target by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ...errors import InvalidValueError, MissingExtraError
from .target import Target

# Framework -> the module here that adapts it, the modules that must be installed.
FRAMEWORKS = {
    "torch": ("pytorch", ("torch",)),
    "onnxruntime": ("onnx_runtime", ("onnx", "onnxruntime")),
    "jax": ("jax_xla", ("jax",)),
    "npresnext": ("own_engines", ()),
}
CONVENTIONS = ("npresnext", "torch", "onnx")


def load(
    name: str,
    *,
    backward: str | None = None,
    convention: str = "npresnext",
    device: str = "cpu",
    backend: str = "numpy",
    engine: str | None = None,
) -> Target:
    """Return a target by name.

    Parameters
    ----------
    name : str
        torch, onnxruntime, jax, npresnext, or ``package.module:function``.
    backward : str, optional
        The backward of a function in the convention npresnext, ``package.module:function``.
    convention : "npresnext", "torch" or "onnx"
        How the function is called.
    device : str
        Where tensors of PyTorch, or of the convention torch, are put.
    backend, engine : str
        Those of the target npresnext.

    Raises
    ------
    ValueError
        It cannot be imported, or an argument does not go with the target.
    ImportError
        The framework is not installed.
    """
    check_arguments(name, backward, convention, device, backend, engine)
    if name == "torch":
        return adapter("torch").make_target(device=device)
    if name == "npresnext":
        return adapter("npresnext").make_target(backend, engine)
    if name in FRAMEWORKS:
        return adapter(name).make_target()
    if convention == "torch":
        pytorch = adapter("torch")
        return pytorch.make_target(import_function(name), *written_name(name), device)
    function = import_function(name)
    if convention == "onnx":
        from . import onnx_operator

        return onnx_operator.make_target(function, *written_name(name))
    return Target(function, import_function(backward) if backward else None, {})


def check_arguments(
    name: str, backward: str | None, convention: str, device: str, backend: str, engine: str | None
) -> None:
    """Raise for arguments that do not go with the target."""
    if convention not in CONVENTIONS:
        raise InvalidValueError(f"convention is {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    if backward is not None and (name in FRAMEWORKS or convention != "npresnext"):
        raise InvalidValueError(f"backward is {backward!r}, but only a function in the convention npresnext takes one")
    if name != "npresnext" and (backend != "numpy" or engine):
        raise InvalidValueError(f"the target is {name!r}, but only the target npresnext has a backend and an engine")
    takes_tensors = name == "torch" or (convention == "torch" and name not in FRAMEWORKS)
    if device != "cpu" and not takes_tensors:
        raise InvalidValueError(f"device is {device!r}, but only tensors of the torch convention lie on one")


def adapter(framework: str) -> Any:
    """Import the adapter of a framework, or say what must be installed."""
    module, needed = FRAMEWORKS[framework]
    for package in needed:
        try:
            importlib.import_module(package)
        except ImportError as error:
            missing = error.name or package
            raise MissingExtraError(f"this target needs {missing}: pip install {missing}") from error
    return importlib.import_module(f".{module}", __package__)


def import_function(name: str) -> Callable[..., Any]:
    """Import ``package.module:function``."""
    module, colon, path = name.partition(":")
    if not colon:
        expected = f"{', '.join(FRAMEWORKS)} or package.module:function"
        raise InvalidValueError(f"target is {name!r}: expected {expected}")
    found: Any
    try:
        found = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:  # whatever the module raises on import
        raise InvalidValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InvalidValueError(f"{name} is of type {type(found).__name__}: expected a function")
    return found


def written_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return how a reproduction calls ``package.module:function``, and what it imports."""
    module, _, _ = name.partition(":")
    return name.replace(":", "."), (module,)
