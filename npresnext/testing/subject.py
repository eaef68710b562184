"""The subject: the convolution under test, and what is declared of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .arithmetic import Arithmetic
from .cases import ConvCase
from .formats import REAL_FORMATS
from .parameters import accepted_window
from .supports import SUPPORTS, offers

# Order of axes of an array -> which axis of NCHW each of them is.
AXES = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
# Role of a callable -> the operands that it takes, the results that it returns.
SIGNATURES = {
    "forward": (("x", "weight", "bias"), ("y",)),
    "backward": (("grad_output", "x", "weight"), ("dx", "dw", "db")),
}


@dataclass(frozen=True)
class Subject:
    """Callables on NumPy arrays, either of which may be missing, and what is declared of them."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    arithmetic: Arithmetic
    algorithm: str = "direct"
    axes: tuple[int, ...] = AXES["NCHW"]
    supports: Mapping[str, Any] = field(default_factory=SUPPORTS.copy)
    missing: Mapping[str, str] = field(default_factory=dict)  # window arguments without a parameter, and why

    @cached_property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """The window arguments that each callable takes."""
        return {role: accepted_window(function) for role in self.roles if (function := self.function(role))}

    def window(self, role: str, window: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the window arguments that a callable takes."""
        return {name: window[name] for name in self.accepted[role]}

    @property
    def is_direct(self) -> bool:
        """Whether it sums products as they are, so that it is exact on integers."""
        return self.algorithm == "direct"

    @cached_property
    def is_complex(self) -> bool:
        """Whether its operands are complex."""
        return self.arithmetic.dtype in REAL_FORMATS

    @property
    def on_real_numbers(self) -> tuple[bool, ...]:
        """The kinds of values that are tried: integers (False) and real numbers (True); complex ones are integers."""
        return (False,) if self.is_complex else (False, True)

    @cached_property
    def channels_first(self) -> bool:
        """Whether arrays are (N, C, H, W)."""
        return self.axes == AXES["NCHW"]

    def function(self, role: str) -> Callable[..., Any] | None:
        """Return the callable for forward or backward, or None if it is missing."""
        return self.forward if role == "forward" else self.backward

    @cached_property
    def roles(self) -> list[str]:
        """The directions that can be tried: forward, backward or both."""
        return [role for role in SIGNATURES if self.function(role) is not None]

    def roles_in(self, case: ConvCase) -> list[str]:
        """The directions that the subject offers in a case."""
        return [role for role in self.roles if offers(self.supports, role, case)]

    def as_given(self, operand: Any) -> Any:
        """Return an operand as the callables receive it: channels last if that is declared."""
        if operand is None or operand.ndim != 4 or self.channels_first:
            return operand
        given = operand.transpose(self.axes)  # (N, H, W, C)
        return np.ascontiguousarray(given) if operand.flags.c_contiguous else given

    def as_nchw(self, result: Any) -> Any:
        """Return a result of the callables with the channels in axis 1."""
        if result.ndim != 4 or self.channels_first:
            return result
        return result.transpose(np.argsort(self.axes))  # (N, C, H, W)

    def place_given(self, place: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape or an index of NCHW as the callables see it."""
        if len(place) != 4 or self.channels_first:
            return place
        return tuple(place[axis] for axis in self.axes)
