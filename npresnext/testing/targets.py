"""Convolutions by name: frameworks, and functions of a module, as the callables that ``check_conv`` takes."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError
from ..extras import load_extra
from .cases import LAYOUTS

Array = np.ndarray
CONVENTIONS = ("npresnext", "torch", "onnx")


class Target(NamedTuple):
    """The callables of a target, and what they do not offer."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    supports: dict[str, Any]


def load(
    name: str,
    *,
    backward: str | None = None,
    convention: str = "npresnext",
    device: str = "cpu",
    backend: str = "numpy",
    engine: str | None = None,
) -> Target:
    """Return a target by name: torch, onnxruntime, jax, npresnext, or ``package.module:function``.

    Raises
    ------
    ValueError
        It cannot be imported, or the convention is unknown.
    """
    if convention not in CONVENTIONS:
        raise InvalidValueError(f"convention is {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    if name == "torch":
        target = _torch(load_extra("torch", "torch", "the target torch").nn.functional.conv2d, device)
    elif name == "onnxruntime":
        target = _onnx(_onnxruntime)
    elif name == "jax":
        target = _jax()
    elif name == "npresnext":
        target = _npresnext(backend, engine)
    elif convention == "torch":
        target = _torch(_function(name), device)
    elif convention == "onnx":
        target = _onnx(_function(name))
    else:
        return Target(_function(name), _function(backward) if backward else None, {})
    options = {"convention": convention, "device": device, "backend": backend, "engine": engine}
    call = f"targets.load({', '.join([repr(name), *(f'{key}={value!r}' for key, value in options.items())])})"
    for role in ("forward", "backward"):
        if getattr(target, role):  # a reproduction has to find the adapter again
            getattr(target, role).origin = f"from npresnext.testing import targets; {role} = {call}.{role}"
    return target


def _function(name: str) -> Callable[..., Any]:
    """Import ``package.module:function``."""
    module, colon, path = name.partition(":")
    if not colon:
        raise InvalidValueError(
            f"target is {name!r}: expected torch, onnxruntime, jax, npresnext or package.module:function"
        )
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except Exception as error:  # whatever the module does on import
        raise InvalidValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InvalidValueError(f"{name} is of type {type(found).__name__}: expected a function")
    return found


def _torch(conv: Callable[..., Any], device: str) -> Target:
    """Wrap ``conv(x, weight, bias, stride, padding, dilation, groups)`` on tensors; autograd does the backward.

    Padding that torch.nn.functional.conv2d has no word for, asymmetric or negative, is done by its ``pad``.
    """
    torch = load_extra("torch", "torch", "the convention torch")

    def tensor(array: Array | None) -> Any:
        if array is None:
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            if array.dtype.name == "bfloat16":
                return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16).to(device)
            return torch.from_numpy(array).to(device)

    def array(tensor: Any) -> Array:
        tensor = tensor.detach().cpu()
        if tensor.dtype is torch.bfloat16:
            return tensor.view(torch.uint16).numpy().view(np.dtype("bfloat16"))
        return tensor.numpy()

    def apply(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        (top, bottom), (left, right) = padding
        if top != bottom or left != right or min(top, left) < 0:
            x, top, left = torch.nn.functional.pad(x, (left, right, top, bottom)), 0, 0
        return conv(x, weight, bias, stride, (top, left), dilation, groups)

    def forward(x: Array, weight: Array, bias: Array | None, **window: Any) -> Array:
        with torch.no_grad():
            return array(apply(tensor(x), tensor(weight), tensor(bias), **window))

    def backward(grad_output: Array, x: Array, weight: Array, **window: Any) -> tuple[Array, ...]:
        bias = torch.zeros(weight.shape[0], dtype=tensor(weight).dtype, device=device)
        leaves = [leaf.requires_grad_() for leaf in (tensor(x), tensor(weight), bias)]
        y = apply(*leaves, **window)
        return tuple(map(array, torch.autograd.grad(y, leaves, tensor(grad_output))))

    return Target(forward, backward, {"layouts": [name for name in LAYOUTS if name != "reversed"]})


def _onnx(conv: Callable[..., Any]) -> Target:
    """Wrap ``conv(x, weight, bias, *, strides, pads, dilations, group)``; pads are all beginnings, then all ends."""

    def forward(x: Array, weight: Array, bias: Array | None, **window: Any) -> Array:
        (top, bottom), (left, right) = window["padding"]
        return conv(
            x, weight, bias, strides=window["stride"], pads=(top, left, bottom, right),
            dilations=window["dilation"], group=window["groups"],
        )  # fmt: skip

    return Target(forward, None, {"negative_padding": False})


def _onnxruntime(x: Array, weight: Array, bias: Array | None, **attributes: Any) -> Array:
    """Run a model of one Conv node on the CPU."""
    session = _session(x.dtype.name, bias is not None, tuple(sorted(attributes.items())))
    operands = {"x": x, "weight": weight, "bias": bias}
    return session.run(None, {name: value for name, value in operands.items() if value is not None})[0]


@lru_cache(maxsize=1024)
def _session(dtype: str, has_bias: bool, attributes: tuple) -> Any:
    helper = load_extra("onnx", "onnx", "the target onnxruntime").helper
    runtime = load_extra("onnxruntime", "onnx", "the target onnxruntime")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes = {"x": [None] * 4, "weight": [None] * 4, **({"bias": [None]} if has_bias else {})}
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("y", kind, [None] * 4)
    node = helper.make_node("Conv", list(shapes), ["y"], **dict(attributes))
    graph = helper.make_graph([node], "conv", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _jax() -> Target:
    jax = load_extra("jax", "jax", "the target jax")
    jax.config.update("jax_enable_x64", True)

    def conv(x: Any, weight: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
        return jax.lax.conv_general_dilated(
            x, weight, stride, padding, rhs_dilation=dilation, feature_group_count=groups, precision="highest"
        )

    def forward(x: Array, weight: Array, bias: Array | None, **window: Any) -> Array:
        y = conv(x, weight, **window)
        return np.asarray(y if bias is None else y + bias.reshape(1, -1, 1, 1))

    def backward(grad_output: Array, x: Array, weight: Array, **window: Any) -> tuple[Array, ...]:
        def biased(x: Any, weight: Any, bias: Any) -> Any:
            return conv(x, weight, **window) + bias.reshape(1, -1, 1, 1)

        _, pull_back = jax.vjp(biased, x, weight, np.zeros(weight.shape[0], weight.dtype))
        return tuple(map(np.asarray, pull_back(grad_output)))

    return Target(forward, backward, {})


def _npresnext(backend: str, engine: str | None) -> Target:
    """Wrap our own convolution, on arrays of a backend, with an engine or the one that it picks itself."""
    from .. import asarray, conv2d, conv2d_backward, to_numpy, use_backend, use_engine

    def carried(operand: Array | None) -> Any:
        return operand if operand is None or backend == "numpy" else asarray(operand, operand.dtype)

    def call(function: Callable[..., Any], *operands: Array | None, **window: Any) -> Any:
        with use_backend(backend), use_engine(engine) if engine else nullcontext():
            return function(*map(carried, operands), **window)

    with use_backend(backend), use_engine(engine) if engine else nullcontext():  # raises now what a call would raise
        pass

    def forward(x: Array, weight: Array, bias: Array | None, **window: Any) -> Array:
        return to_numpy(call(conv2d, x, weight, bias, **window))

    def backward(grad_output: Array, x: Array, weight: Array, **window: Any) -> tuple[Array, ...]:
        return tuple(map(to_numpy, call(conv2d_backward, grad_output, x, weight, **window)))

    return Target(forward, backward, {})
