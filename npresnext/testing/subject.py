"""The convolution under test: called with care, so that whatever it does is a finding and never a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from .arithmetic import Arithmetic, as_dtype
from .cases import ConvCase, Operands
from .oracle import Truth

Array = np.ndarray

# callable -> what it is given, what it returns
SIGNATURES = {
    "forward": (("x", "weight", "bias"), ("y",)),
    "backward": (("grad_output", "x", "weight"), ("dx", "dw", "db")),
}
# what every call is held to, beside its values
CONTRACT = ("returns", "result type", "shape", "dtype", "finite", "inputs untouched")


class Broken(Exception):
    """A call that broke the contract: in which trial, of which callable, which part, and how."""

    def __init__(self, trial: Trial, role: str, part: str, message: str) -> None:
        super().__init__(message)
        self.trial, self.role, self.part = trial, role, part


class Subject:
    """A forward and a backward callable on NumPy arrays, either of which may be missing."""

    def __init__(
        self, forward: Callable[..., Any] | None, backward: Callable[..., Any] | None, dtype: Any, layout: str = "NCHW"
    ) -> None:
        self.functions = {"forward": forward, "backward": backward}
        self.dtype = as_dtype(dtype)
        self.axes = (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)

    def as_given(self, operand: Array | None) -> Array | None:
        """Return an operand as the callables see it: channels last if so agreed."""
        if operand is None or operand.ndim != 4 or self.axes[1] == 1:
            return operand
        given = operand.transpose(self.axes)  # (N, H, W, C)
        return np.ascontiguousarray(given) if operand.flags.c_contiguous else given

    def place_given(self, place: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape or an index as the callables see it."""
        return tuple(place[axis] for axis in self.axes) if len(place) == 4 else place


class Trial:
    """One case with its operands, integers or real numbers, and what the subject makes of them, computed once."""

    def __init__(self, subject: Subject, case: ConvCase, operands: Operands, real: bool) -> None:
        self.subject, self.case, self.operands, self.real = subject, case, operands, real
        self._truths: dict[str, Truth] = {}

    @classmethod
    def draw(cls, subject: Subject, case: ConvCase, arithmetic: Arithmetic, *, real: bool) -> Trial:
        """Take the operands from the case."""
        return cls(subject, case, case.operands(subject.dtype, real=real, bits=arithmetic.exact_bits), real)

    def again(self, operands: Operands | None = None, **changes: Any) -> Trial:
        """Return a trial of contiguous copies of the operands, some of them others, in a case changed accordingly."""
        every = {**self.operands, **(operands or {})}
        copies = {name: None if array is None else array.copy() for name, array in every.items()}
        return Trial(self.subject, replace(self.case, layouts=("contiguous",) * 3, **changes), copies, self.real)

    def truth(self, name: str) -> Truth:
        """Return the y, dx, dw or db of the definition."""
        if name not in self._truths:
            self._truths[name] = Truth(name, self.case, self.operands)
        return self._truths[name]

    @cached_property
    def results(self) -> dict[str, Array]:
        """The y, dx, dw, db that the subject returns, as far as it has the callables, right in all but their values."""
        found: dict[str, Array] = {}
        for role, function in self.subject.functions.items():
            if function is not None:
                found |= self._call(role, function)
        return found

    def _call(self, role: str, function: Callable[..., Any]) -> dict[str, Array]:
        """Call, and hold the results to the contract."""
        takes, gives = SIGNATURES[role]
        given = [self.subject.as_given(self.operands[name]) for name in takes]
        before = [None if operand is None else operand.copy() for operand in given]
        try:
            returned = function(*given, **self.case.kwargs)
        except (Exception, SystemExit) as error:
            line = next(iter(str(error).splitlines()), "")[:200]
            raise Broken(self, role, "returns", f"{role} raised {type(error).__name__}: {line}") from error
        for name, operand, kept in zip(takes, given, before):
            if kept is not None and not np.array_equal(operand, kept):  # type: ignore[arg-type]
                raise Broken(self, role, "inputs untouched", f"{role} changed its operand {name}")
        if role == "forward":
            returned = (returned,)
        if not isinstance(returned, (tuple, list)) or len(returned) != len(gives):
            what = f"{role} returned {_kind(returned)}: expected ({', '.join(gives)})"
            raise Broken(self, role, "result type", what)
        results = {}
        for name, result in zip(gives, returned):
            if result is None and name == "db" and not self.case.has_bias:
                continue  # without a bias there may be no gradient of it
            shape = self.subject.place_given(self.case.shapes[name])
            if wrong := self._wrong(name, result, shape):
                raise Broken(self, role, *wrong)
            results[name] = result.transpose(np.argsort(self.subject.axes)) if len(shape) == 4 else result  # NCHW
        return results

    def _wrong(self, name: str, result: Any, shape: tuple[int, ...]) -> tuple[str, str] | None:
        """Return which part of the contract a result breaks, and how."""
        if not isinstance(result, np.ndarray):
            return "result type", f"{name} is {_kind(result)}: expected a NumPy array"
        if result.shape != shape:
            return "shape", f"{name} has shape {result.shape}: expected {shape}"
        if result.dtype != self.subject.dtype:
            return "dtype", f"{name} has dtype {result.dtype}: expected {self.subject.dtype}"
        if not np.isfinite(result.astype(np.float64)).all():
            return "finite", f"{name} has values that are NaN or infinite, from finite operands"
        return None


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__module__}.{type(value).__name__}"
