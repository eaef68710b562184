"""A trial: one case with its operands, the calls of the subject on them, and the contract that every call must keep."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from traceback import format_exception_only
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from .cases import ConvCase, Operands
from .findings import Finding
from .formats import real_format
from .layouts import ALL_CONTIGUOUS
from .oracle import ExactResult, FlatOperands
from .subject import SIGNATURES, Subject

# Format -> a NaN that no arithmetic makes, as an integer of the same size: it is recognised where nothing was written.
MEMORY_NEVER_WRITTEN = {
    "float16": (0x7EAD, "uint16"),
    "bfloat16": (0x7FED, "uint16"),
    "float32": (0x7FC0DEAD, "uint32"),
    "float64": (0x7FF80000DEADBEEF, "uint64"),
}
NEVER_WRITTEN = "memory that was never written"

# What every call must keep, besides the values of its results.
CONTRACT = ("returns", "result type", "shape", "dtype", "finite", "inputs untouched")


class Trial:
    """One case with its operands, integers or real numbers, and the subject's results, computed once.

    `roles` are the directions that are called: forward, backward or, by default, all that the subject has.
    """

    def __init__(
        self,
        subject: Subject,
        case: ConvCase,
        real: bool,
        operands: Operands | None = None,
        roles: Sequence[str] | None = None,
    ) -> None:
        arithmetic = subject.arithmetic
        self.subject, self.case, self.real = subject, case, real
        self.roles = subject.roles if roles is None else roles
        self.operands = operands or case.operands(arithmetic.dtype, real=real, bits=arithmetic.exact_bits)
        self.not_implemented: dict[str, str] = {}  # direction -> the NotImplementedError that it raised
        self.broken: list[Finding] = []  # what the calls break of the contract
        self.misfits: dict[str, Array] = {}  # results of a wrong shape, or not finite
        self._exact: dict[str, ExactResult] = {}
        self._flat: FlatOperands | None = None

    def exact(self, name: str) -> ExactResult:
        """Return the exact y, dx, dw or db."""
        if name not in self._exact:
            self._flat = self._flat or FlatOperands(self.operands)
            self._exact[name] = ExactResult(name, self.case, self.operands, self._flat)
        return self._exact[name]

    def again(self, operands: Operands | None = None, **changes: Any) -> Trial:
        """Return a trial of contiguous copies of the operands, some of them replaced, in a case changed accordingly."""
        every = {**self.operands, **(operands or {})}
        copies = {name: None if array is None else array.copy() for name, array in every.items()}
        case = replace(self.case, layouts=ALL_CONTIGUOUS, **changes)
        return Trial(self.subject, case, self.real, copies, self.roles)

    @cached_property
    def results(self) -> dict[str, Array]:
        """The y, dx, dw, db that the subject returns, as far as they can be compared.

        A direction that the subject does not offer in this case gives none, one that raises NotImplementedError is
        noted in `not_implemented`, and what breaks the contract is noted in `broken`. Real numbers go through the
        backward first: it must not rely on a forward of the same operands.
        """
        roles = [role for role in self.subject.roles_in(self.case) if role in self.roles]
        called = {role: self._call(role) for role in (reversed(roles) if self.real else roles)}
        return {name: result for role in roles for name, result in called[role].items()}

    @property
    def is_complete(self) -> bool:
        """Whether every result of every direction can be compared."""
        expected = [name for role in self.roles for name in SIGNATURES[role][1]]
        return all(name in self.results or (name == "db" and not self.case.has_bias) for name in expected)

    def _call(self, role: str) -> dict[str, Array]:
        """Call one direction, and check the contract."""
        takes, gives = SIGNATURES[role]
        given = {name: self.subject.as_given(self.operands[name]) for name in takes}
        before = {name: operand.copy() for name, operand in given.items() if operand is not None}
        self._leave_nan_in_freed_memory(gives)
        function: Any = self.subject.function(role)
        try:
            returned = call(function, *given.values(), **self.subject.window(role, self.case.kwargs))
        except NotImplementedError as error:
            self.not_implemented[role] = describe_exception(error)
            return {}
        except (Exception, SystemExit) as error:
            self._break(role, "returns", "", f"{role} raised {describe_exception(error)}")
            return {}
        except BaseException as error:  # an interrupt, or the end of a test's time
            error.add_note(f"during {role} of {self.case}")
            raise
        for name, operand in before.items():
            if not (given[name] == operand).all():
                self._break(role, "inputs untouched", name, f"{role} changed its operand {name}")
        values = (returned,) if role == "forward" else returned
        return dict(self._comparable(role, gives, values))

    def _leave_nan_in_freed_memory(self, names: tuple[str, ...]) -> None:
        """Free blocks full of NaN of the results' sizes: NumPy's ``empty`` hands them out next.

        So a result that is not written everywhere tends to show NaN, and not the right values of an earlier call.
        """
        bits, unsigned = MEMORY_NEVER_WRITTEN[real_format(self.subject.arithmetic.dtype)]
        sizes = [math.prod(self.case.shapes[name]) * (1 + self.subject.is_complex) for name in names]
        blocks = [np.empty(size, unsigned) for size in sizes]
        for block in blocks:
            block.fill(bits)
        blocks += [block.copy() for block in blocks * 3]

    def _comparable(self, role: str, names: tuple[str, ...], values: Any) -> Iterator[tuple[str, Array]]:
        """Yield the name of each result that can be compared with its value in NCHW; note what breaks the contract."""
        is_sequence = isinstance(values, (tuple, list))
        if not is_sequence or len(values) != len(names):
            returned = f"{len(values)} values" if is_sequence else f"one {type(values).__name__}"
            self._break(role, "result type", names[0], f"{role} returned {returned}: expected {', '.join(names)}")
            return
        dtype = self.subject.arithmetic.dtype
        for name, value in zip(names, values):
            if value is None and name == "db" and not self.case.has_bias:
                continue  # without a bias there may be no gradient of it
            if not isinstance(value, np.ndarray):
                self._break(role, "result type", name, f"{name} is a {type(value).__name__}, not a NumPy array")
                continue
            result = np.asarray(value)  # a masked array hides nothing
            shape = self.subject.place_given(self.case.shapes[name])
            if result.dtype != dtype:
                self._break(role, "dtype", name, f"{name} has dtype {result.dtype}: expected {dtype}")
                if result.dtype.kind not in ("biufc" if self.subject.is_complex else "biuf"):
                    continue  # the numbers of another real dtype are compared all the same
            if result.shape != shape:
                self._break(role, "shape", name, f"{name} has shape {result.shape}: expected {shape}")
                self.misfits[name] = self.subject.as_nchw(result)
            elif not np.isfinite(result).all():
                self._break(role, "finite", name, *describe_nonfinite(name, result))
                self.misfits[name] = self.subject.as_nchw(result)
            else:
                yield name, self.subject.as_nchw(result)

    def _break(self, role: str, part: str, name: str, message: str, diagnosis: str = "") -> None:
        found = Finding(part, "contract", math.inf, message, self.case, name, role=role, diagnosis=diagnosis)
        self.broken.append(replace(found, trials=(self,)))


def call(function: Callable[..., Any], *operands: Any, **window: Any) -> Any:
    """Call a function that may change NumPy's error state, or fork a process that returns as well and is ended here."""
    process = os.getpid()
    try:
        with np.errstate():
            return function(*operands, **window)
    finally:
        if os.getpid() != process:
            os._exit(0)


def describe_nonfinite(name: str, result: Array) -> tuple[str, str]:
    """Return a message and a diagnosis for a result that is not finite."""
    bits, unsigned = MEMORY_NEVER_WRITTEN.get(real_format(result.dtype.name), (0, ""))
    unwritten = np.ascontiguousarray(result).view(unsigned) == bits if unsigned else np.zeros(0, bool)
    count = np.count_nonzero(unwritten) // max(1, unwritten.size // max(1, result.size))
    if count:
        return f"{name} contains {count} of {result.size} values that were in memory before the call", NEVER_WRITTEN
    return f"{name} is NaN or infinite somewhere, from finite operands", ""


def describe_exception(error: BaseException) -> str:
    """Return type and message of an exception in one line: the first line, and the last if there are several."""
    lines = [line.strip() for line in "".join(format_exception_only(error)).splitlines() if line.strip()]
    first, last = lines[0][:200], lines[-1][:200]
    return first if len(lines) == 1 else f"{first} ... {last}"
