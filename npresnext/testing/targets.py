"""Convolutions by name: frameworks, and functions of a module, as the callables that ``check_conv`` takes.

A framework's call is written down as lines of Python on NumPy arrays, with the window filled in. The kit runs these
lines and a reproduction shows them: what one reads is what was tried.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import InvalidValueError, MissingExtraError
from .cases import LAYOUTS
from .subject import SIGNATURES

CONVENTIONS = ("npresnext", "torch", "onnx")


class Framework(NamedTuple):
    """How to write a call: what is imported, lines that make y, lines that make dx, dw, db, and what is not offered."""

    modules: tuple[str, ...]
    forward: str
    backward: str
    supports: dict[str, Any]


# conv(x, weight, bias, stride, padding, dilation, groups) on tensors; autograd does the backward. Tensors have no
# negative strides in memory; windows of padding alone may crash the backward of PyTorch 2.13 (docs/verify.md)
TORCH = Framework(
    ("torch",),
    """
x, weight, bias = (None if a is None else {tensor} for a in (x, weight, bias))
y = {conv}({padded}, weight, bias, {stride}, {margin}, {dilation}, {groups}){array}
""",
    """
grad_output, x, weight, bias = ({tensor}.requires_grad_() for a in (grad_output, x, weight, {zeros}))
y = {conv}({padded}, weight, bias, {stride}, {margin}, {dilation}, {groups})
dx, dw, db = (g{array} for g in torch.autograd.grad(y, (x, weight, bias), grad_output))
""",
    {"layouts": [layout for layout in LAYOUTS if layout != "reversed"], "wide_padding": False},
)

# conv(x, weight, bias, *, strides, pads, dilations, group); pads are all beginnings, then all ends
ONNX = Framework(
    (),
    """
y = {conv}(x, weight, bias, strides={strides}, pads={pads}, dilations={dilations}, group={groups})
""",
    "",
    {"negative_padding": False},
)

ONNXRUNTIME = Framework(
    ("onnx.parser", "onnxruntime"),
    """
node = 'y = Conv <strides = {strides}, pads = {pads}, dilations = {dilations}, group = {groups}> ({given})'
graph = 'conv ({inputs}) => ({kind}[N, O, P, Q] y) {{ ' + node + ' }}'
model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + graph).SerializeToString()
y = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, dict({fed}))[0]
""",
    "",
    {"negative_padding": False},
)

JAX = Framework(
    ("jax",),
    """
jax.config.update("jax_enable_x64", True)
y = jax.lax.conv_general_dilated(x, weight, {stride}, {padding}, rhs_dilation={dilation},
                                 feature_group_count={groups}, precision="highest")
y = np.asarray(y if bias is None else y + bias.reshape(1, -1, 1, 1))
""",
    """
jax.config.update("jax_enable_x64", True)
conv = lambda x, weight, bias: bias.reshape(1, -1, 1, 1) + jax.lax.conv_general_dilated(
    x, weight, {stride}, {padding}, rhs_dilation={dilation}, feature_group_count={groups}, precision="highest")
dx, dw, db = map(np.asarray, jax.vjp(conv, x, weight, {zeros})[1](grad_output))
""",
    {},
)

NPRESNEXT = Framework(
    ("npresnext as nx",),
    """
with {scope}:
    x, weight, bias = (None if a is None else nx.asarray(a, a.dtype) for a in (x, weight, bias))
    y = nx.to_numpy(nx.conv2d(x, weight, bias, {window}))
""",
    """
with {scope}:
    grad_output, x, weight = (nx.asarray(a, a.dtype) for a in (grad_output, x, weight))
    dx, dw, db = map(nx.to_numpy, nx.conv2d_backward(grad_output, x, weight, {window}))
""",
    {},
)

FRAMEWORKS = {"torch": TORCH, "onnxruntime": ONNXRUNTIME, "jax": JAX, "npresnext": NPRESNEXT}


class Target(NamedTuple):
    """The callables of a target, and what they do not offer."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    supports: dict[str, Any]


class FrameworkCall:
    """A callable that runs the lines of a framework."""

    def __init__(self, role: str, framework: Framework, **words: str) -> None:
        self.role, self.modules, self.words, self.namespace = role, framework.modules, words, dict[str, Any]()
        self.template = getattr(framework, role).strip()
        try:
            exec(f"import {', '.join(['numpy as np', *self.modules])}", self.namespace)
        except ImportError as error:
            raise MissingExtraError(f"this target needs {error.name}: pip install {error.name}") from error

    def __call__(self, *operands: Any, **window: Any) -> Any:
        """Return what the lines make of the operands."""
        takes, gives = SIGNATURES[self.role]
        names = dict(zip(takes, operands))
        lines = _compiled(self.lines(names, **window))
        names |= self.namespace
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            exec(lines, names)
        return names["y"] if self.role == "forward" else [names[name] for name in gives]

    def lines(self, operands: dict[str, Any], **window: Any) -> str:
        """Return the lines for these operands and this window."""
        dtype, ((top, bottom), (left, right)) = operands["x"].dtype.name, window["padding"]
        odd = top != bottom or left != right or min(top, left) < 0  # torch's conv2d has no word for it, its pad has
        kind = {"float32": "float", "float64": "double"}.get(dtype, dtype)  # in ONNX's words
        axes = {"x": "N, C, H, W", "weight": "O, I, K, L", "bias": "O"}
        given = [name for name in axes if operands.get(name) is not None]
        tensor, array = "torch.from_numpy(a)", ".numpy(force=True)"
        if dtype == "bfloat16":  # which torch knows, but not as NumPy's
            tensor = "torch.from_numpy(a.view('u2')).view(torch.bfloat16)"
            array = ".view(torch.uint16).numpy(force=True).view('bfloat16')"
        return self.template.format(
            **window,
            **self.words,
            zeros=f"np.zeros({len(operands['weight'])}, x.dtype)",
            window=", ".join(f"{name}={value}" for name, value in window.items()),
            tensor=tensor + self.words["to"],
            array=array,
            kind=kind,
            padded=f"torch.nn.functional.pad(x, ({left}, {right}, {top}, {bottom}))" if odd else "x",
            margin=(0, 0) if odd else (top, left),
            strides=[*window["stride"]],
            pads=[top, left, bottom, right],
            dilations=[*window["dilation"]],
            inputs=", ".join(f"{kind}[{axes[name]}] {name}" for name in given),
            given=", ".join(given),
            fed=", ".join(f"{name}={name}" for name in given),
        )


@lru_cache(maxsize=4096)
def _compiled(lines: str) -> Any:
    return compile(lines, "<the call under test>", "exec")


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
        It cannot be imported, the convention is unknown, or has no `backward` of its own.
    ImportError
        The framework is not installed.
    """
    if convention not in CONVENTIONS:
        raise InvalidValueError(f"convention is {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    if backward is not None and (name in FRAMEWORKS or convention != "npresnext"):
        raise InvalidValueError(f"backward is {backward!r}, but only a function in the convention npresnext takes one")
    if name != "npresnext" and (backend != "numpy" or engine):
        raise InvalidValueError(f"the target is {name!r}, but only the target npresnext has a backend and an engine")
    framework, conv = FRAMEWORKS.get(name, TORCH if convention == "torch" else ONNX), "torch.nn.functional.conv2d"
    if device != "cpu":
        _refuse_device(device, framework)
    if name not in FRAMEWORKS:
        function, conv = _function(name), name.replace(":", ".")
        if convention == "npresnext":
            return Target(function, _function(backward) if backward else None, {})
        framework = framework._replace(modules=(*framework.modules, name.partition(":")[0]))
    if name == "npresnext":
        from .. import use_backend, use_engine

        with use_backend(backend), use_engine(engine) if engine else nullcontext():
            pass  # raises now what every call would raise
    scope = f"nx.use_backend({backend!r})" + (f", nx.use_engine({engine!r})" if engine else "")
    words = {"conv": conv, "to": "" if device == "cpu" else f".to({device!r})", "scope": scope}
    forward = FrameworkCall("forward", framework, **words)
    backwards = FrameworkCall("backward", framework, **words) if framework.backward else None
    if name == "onnxruntime":
        forward.namespace[name].set_default_logger_severity(4)  # what it refuses is a finding, not news
    return Target(forward, backwards, framework.supports)


def _refuse_device(device: str, framework: Framework) -> None:
    """Raise now what every call would raise, if no tensor can lie on the device."""
    if "torch" not in framework.modules:
        raise InvalidValueError(f"device is {device!r}, but only tensors of the torch convention lie on one")
    try:
        importlib.import_module("torch").zeros(1, device=device)
    except Exception as error:  # whatever torch has against it
        raise InvalidValueError(f"device is {device!r}: {error}") from error


def _function(name: str) -> Callable[..., Any]:
    """Import ``package.module:function``."""
    module, colon, path = name.partition(":")
    if not colon:
        expected = f"{', '.join(FRAMEWORKS)} or package.module:function"
        raise InvalidValueError(f"target is {name!r}: expected {expected}")
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:  # whatever the module does on import
        raise InvalidValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise InvalidValueError(f"{name} is of type {type(found).__name__}: expected a function")
    return found
