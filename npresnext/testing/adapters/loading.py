"""Loading a target by its name."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError, MissingExtraError
from .target import Target


class Package(NamedTuple):
    """What must be installed for a target."""

    module: str  # what is imported
    install: str  # what ``pip install`` is given
    least: str = ""  # the least version that has what the adapter calls


class Framework(NamedTuple):
    """A target by name: the module here that adapts it, and what it needs."""

    adapter: str
    needs: tuple[Package, ...] = ()


ONNX = Package("onnx", "onnx", "1.16")
TORCH = Package("torch", "torch", "2.3")
TENSORFLOW = Package("tensorflow", "tensorflow", "2.16")
FRAMEWORKS = {
    "torch": Framework("pytorch", (TORCH,)),
    "torch-compile": Framework("pytorch_compile", (TORCH,)),
    "jax": Framework("jax_xla", (Package("jax", "jax"),)),
    "tensorflow": Framework("tensorflow_nn", (TENSORFLOW,)),
    "keras": Framework("keras_ops", (Package("keras", "keras", "3.0"),)),
    "mlx": Framework("mlx_core", (Package("mlx.core", "'mlx[cpu]'", "0.22"),)),
    "tinygrad": Framework("tinygrad_tensor", (Package("tinygrad", "tinygrad", "0.10.1"),)),
    "paddle": Framework("paddle_nn", (Package("paddle", "paddlepaddle"),)),
    "mxnet": Framework("mxnet_nd", (Package("mxnet", "mxnet"),)),
    "chainer": Framework("chainer_functions", (Package("chainer", "chainer"),)),
    "mygrad": Framework("mygrad_nnet", (Package("mygrad", "mygrad"),)),
    "autograd": Framework("autograd_scipy", (Package("autograd", "autograd"), Package("scipy", "scipy"))),
    "scipy": Framework("scipy_signal", (Package("scipy", "scipy"),)),
    "onnxruntime": Framework("onnx_runtime", (ONNX, Package("onnxruntime", "onnxruntime"))),
    "onnx-reference": Framework("onnx_reference", (ONNX,)),
    "openvino": Framework("openvino_opset", (Package("openvino", "openvino", "2024.0"),)),
    "opencv": Framework("opencv_dnn", (Package("cv2", "opencv-python-headless"), ONNX)),
    "ncnn": Framework("ncnn_net", (Package("ncnn", "ncnn"),)),
    "mnn": Framework("mnn_expr", (Package("MNN", "MNN"),)),
    "tract": Framework("tract_onnx", (Package("tract", "tract"), ONNX)),
    "tvm": Framework("tvm_relax", (Package("tvm", "apache-tvm", "0.27"),)),
    "litert": Framework("litert_interpreter", (TENSORFLOW,)),
    "npresnext": Framework("own_engines"),
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
        One of ``FRAMEWORKS``, such as torch or npresnext, or ``package.module:function``.
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
        The framework is not installed, or too old.
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
    if not isinstance(name, str):
        raise InvalidTypeError(f"target must be a text, but is of type {type(name).__name__}")
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
    name, needs = FRAMEWORKS[framework]
    for package in needs:
        if package.least:
            check_version(framework, package)
    try:
        return importlib.import_module(f".{name}", __package__)
    except ImportError as error:
        missing = [package for package in needs if not is_installed(package.module)]
        if not missing:
            raise MissingExtraError(f"the target {framework} cannot be imported: {error}") from error
        install = " ".join(package.install for package in missing)
        named = " and ".join(package.module for package in missing)
        raise MissingExtraError(f"the target {framework} needs {named}: pip install {install}") from error


def is_installed(module: str) -> bool:
    """Whether a module can be found."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # not even its package
        return False


def check_version(framework: str, package: Package) -> None:
    """Raise if a package is installed in a version that lacks what the adapter calls."""
    names = metadata.packages_distributions().get(package.module.partition(".")[0], [])
    for name in names[:1]:
        found = metadata.version(name)
        if as_numbers(found) < as_numbers(package.least):
            message = f"the target {framework} needs {name} {package.least} or later, but {found} is installed"
            raise MissingExtraError(f"{message}: pip install --upgrade {package.install}")


def as_numbers(version: str) -> list[int]:
    """Return the numbers at the start of a version.

    >>> as_numbers("0.27.0.post1"), as_numbers("2.13.0+cpu")
    ([0, 27, 0], [2, 13, 0])
    """
    numbers = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []


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
        meant = f" (did you mean {module.removesuffix('.py')}:{path}?)" if module.endswith(".py") else ""
        raise InvalidValueError(f"{name} cannot be imported: {type(error).__name__}: {error}{meant}") from error
    if not callable(found):
        raise InvalidValueError(f"{name} is of type {type(found).__name__}: expected a function")
    return found


def written_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Return how a reproduction calls ``package.module:function``, and what it imports."""
    module, _, _ = name.partition(":")
    return name.replace(":", "."), (module,)
