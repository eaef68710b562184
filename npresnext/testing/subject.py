"""The convolution under test: called with care, so that whatever it does is a finding and never a crash."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property, partial
from traceback import format_exception_only
from typing import Any, NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array
from .cases import BITS, CONTIGUOUS, ConvCase, Operands
from .draws import SUPPORTS
from .report import Finding
from .verdicts import Arithmetic, Truth

# layout -> which axis of NCHW each axis of an array is, as the callables see it
AXES = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
# callable -> what it is given, what it returns
SIGNATURES = {
    "forward": (("x", "weight", "bias"), ("y",)),
    "backward": (("grad_output", "x", "weight"), ("dx", "dw", "db")),
}
# what every call is held to, beside its values -> the assertion that shows it
CONTRACT = {
    "returns": "",
    "result type": "assert isinstance({name}, np.ndarray), type({name})",
    "shape": "assert {name}.shape == {shape}, {name}.shape",
    "dtype": 'assert {name}.dtype == "{dtype}", {name}.dtype',
    "finite": "assert np.isfinite({name}).all(), {name}",
    "inputs untouched": "assert np.array_equal({name}, before), {name}",
}


class Broken(Exception):
    """A call that broke the contract, with the finding that says so."""

    def __init__(self, trial: "Trial", role: str, part: str, name: str, message: str) -> None:
        self.finding = Finding(part, "contract", math.inf, message, trial.case, name, role=role, trials=(trial,))


class Subject(NamedTuple):
    """Callables on NumPy arrays, either of which may be missing, and what is declared of them."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    arithmetic: Arithmetic
    algorithm: str = "direct"
    axes: tuple[int, ...] = AXES["NCHW"]
    supports: Mapping[str, Any] = SUPPORTS

    def as_given(self, operand: Any) -> Any:
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

    def __init__(self, subject: Subject, case: ConvCase, real: bool, operands: Operands | None = None) -> None:
        self.subject, self.case, self.real = subject, case, real
        bits = min(BITS[name] for name in subject.arithmetic)  # integers that survive everywhere
        self.operands = operands or case.operands(subject.arithmetic.dtype, real=real, bits=bits)
        self.truth = cache(partial(Truth, case=case, operands=self.operands))  # of y, dx, dw or db

    def again(self, operands: Operands | None = None, **changes: Any) -> "Trial":
        """Return a trial of contiguous copies of the operands, some of them others, in a case changed accordingly."""
        every = {**self.operands, **(operands or {})}
        copies = {name: None if array is None else array.copy() for name, array in every.items()}
        return Trial(self.subject, replace(self.case, layouts=CONTIGUOUS, **changes), self.real, copies)

    @cached_property
    def results(self) -> dict[str, Array]:
        """The y, dx, dw, db that the subject returns, as far as it has the callables, right in all but their values."""
        there = [role for role in SIGNATURES if getattr(self.subject, role) is not None]
        turns = there[::-1] if self.real else there  # a backward may lean on no forward of the same operands
        called = {role: dict(self._called(role)) for role in turns}
        return {name: result for role in there for name, result in called[role].items()}

    def _called(self, role: str) -> Iterator[tuple[str, Array]]:
        """Call, and hold the results to the contract."""
        (takes, gives), dtype, axes = SIGNATURES[role], self.subject.arithmetic.dtype, self.subject.axes
        given = [self.subject.as_given(self.operands[name]) for name in takes]
        before: list[Any] = [None if operand is None else operand.copy() for operand in given]
        [np.full(self.case.shapes[name], np.nan, dtype) for name in gives * 4]  # which np.empty hands out next
        try:
            returned = getattr(self.subject, role)(*given, **self.case.kwargs)
        except (Exception, SystemExit) as error:
            line = "".join(format_exception_only(error)).splitlines()[0][:200]
            raise Broken(self, role, "returns", "", f"{role} raised {line}") from error
        except BaseException as error:  # an interrupt, or the end of a test's time
            error.add_note(f"during {role} of {self.case}")
            raise
        for name, operand, kept in zip(takes, given, before):
            if operand is not None and not np.array_equal(operand, kept):
                raise Broken(self, role, "inputs untouched", name, f"{role} changed its operand {name}")
        returned = (returned,) if role == "forward" else returned
        number = len(returned) if isinstance(returned, (tuple, list)) else type(returned).__name__
        if number != len(gives):
            raise Broken(self, role, "result type", gives[0], f"{role} returned {number}: expected {', '.join(gives)}")
        for name, result in zip(gives, returned):
            shape = self.subject.place_given(self.case.shapes[name])
            if result is None and name == "db" and not self.case.has_bias:
                continue  # without a bias there may be no gradient of it
            if not isinstance(result, np.ndarray):
                raise Broken(self, role, "result type", name, f"{name} is a {type(result).__name__}, not a NumPy array")
            result = np.asarray(result)  # a masked array hides nothing
            if result.shape != shape:
                raise Broken(self, role, "shape", name, f"{name} has shape {result.shape}: expected {shape}")
            if result.dtype != dtype:
                raise Broken(self, role, "dtype", name, f"{name} has dtype {result.dtype}: expected {dtype}")
            if not np.isfinite(result).all():
                raise Broken(self, role, "finite", name, f"{name} is NaN or infinite somewhere, from finite operands")
            yield name, result if result.ndim != 4 or axes[1] == 1 else result.transpose(np.argsort(axes))  # NCHW
