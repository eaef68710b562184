"""The convolution under test: called with care, so that whatever it does is a finding and never a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .cases import ConvCase, as_dtype

Array = np.ndarray

# what every call is held to, beside its values
CONTRACT = ("returns", "result type", "shape", "dtype", "finite", "inputs untouched")


class Broken(Exception):
    """A call that broke the contract: which part of it, and how."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


class Call(NamedTuple):
    """One call: which callable, with what, and what it returned (nothing where it broke the contract)."""

    name: str
    case: ConvCase
    operands: dict[str, Array | None]
    results: dict[str, Array]


class Subject:
    """A forward and a backward callable on NumPy arrays, either of which may be missing."""

    def __init__(
        self,
        forward: Callable[..., Any] | None,
        backward: Callable[..., Any] | None,
        dtype: Any,
        layout: str = "NCHW",
    ) -> None:
        self.functions = {"forward": forward, "backward": backward}
        self.dtype = as_dtype(dtype)
        self.axes = (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)
        self.log: list[Call] | None = None

    def results(
        self, case: ConvCase, grad: Array | None, x: Array | None, weight: Array | None, bias: Array | None
    ) -> dict[str, Array]:
        """Return y, and dx, dw, db, as far as there are callables, checked in everything but their values."""
        found: dict[str, Array] = {}
        if self.functions["forward"]:
            found |= self._call("forward", {"x": x, "weight": weight, "bias": bias}, case, {"y": case.output_shape})
        if self.functions["backward"]:
            shapes = {"dx": case.x_shape, "dw": case.weight_shape, "db": (case.out_channels,)}
            found |= self._call("backward", {"grad_output": grad, "x": x, "weight": weight}, case, shapes)
        return found

    def refuses(self, operands: Sequence[Array | None], kwargs: dict[str, Any]) -> bool:
        """Whether the forward callable raises on a call that breaks a rule."""
        forward = self.functions["forward"]
        assert forward is not None
        try:
            forward(*map(self.as_given, operands), **kwargs)
        except (Exception, SystemExit):
            return True
        return False

    def as_given(self, operand: Array | None) -> Array | None:
        """Return an operand as the callable sees it: channels last if so agreed."""
        if operand is None or operand.ndim != 4 or self.axes[1] == 1:
            return operand
        given = operand.transpose(self.axes)  # (N, H, W, C)
        return np.ascontiguousarray(given) if operand.flags.c_contiguous else given

    def _call(
        self, name: str, operands: dict[str, Array | None], case: ConvCase, shapes: dict[str, tuple[int, ...]]
    ) -> dict[str, Array]:
        """Call, and hold the results to the contract."""
        results: dict[str, Array] = {}
        if self.log is not None:
            self.log.append(Call(name, case, operands, results))
        given = [self.as_given(operand) for operand in operands.values()]
        kept = [None if operand is None else operand.copy() for operand in given]
        function = self.functions[name]
        assert function is not None
        try:
            returned = function(*given, **case.kwargs)
        except (Exception, SystemExit) as error:
            raise Broken("returns", f"{name} raised {type(error).__name__}: {_first_line(error)}") from error
        for operand, before, label in zip(given, kept, operands):
            if operand is not None and before is not None and not np.array_equal(operand, before):
                raise Broken("inputs untouched", f"{name} changed its operand {label}")
        if name == "forward":
            returned = (returned,)
        if not isinstance(returned, (tuple, list)) or len(returned) != len(shapes):
            raise Broken("result type", f"{name} returned {_kind(returned)}: expected ({', '.join(shapes)})")
        for result, (label, shape) in zip(returned, shapes.items()):
            if result is not None or label != "db" or case.has_bias:  # without a bias, db may be None
                results[label] = self._checked(label, result, shape)
        return results

    def _checked(self, label: str, result: Any, shape: tuple[int, ...]) -> Array:
        """Return a result in NCHW order, or raise what is wrong with it."""
        if not isinstance(result, np.ndarray):
            raise Broken("result type", f"{label} is {_kind(result)}: expected a NumPy array")
        if len(shape) == 4 and result.ndim == 4:
            result = result.transpose(np.argsort(self.axes))  # (N, C, H, W)
        if result.shape != shape:
            raise Broken("shape", f"{label} has shape {result.shape}: expected {shape}")
        if result.dtype != self.dtype:
            raise Broken("dtype", f"{label} has dtype {result.dtype}: expected {self.dtype}")
        if not np.isfinite(result.astype(np.float64)).all():
            raise Broken("finite", f"{label} has values that are NaN or infinite, from finite operands")
        return result


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__module__}.{type(value).__name__}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:200]
