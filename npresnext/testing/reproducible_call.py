"""A function of a framework together with the lines of Python that make the same call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReproducibleCall:
    """A callable for ``check_conv`` that can also be written down, with the window filled in.

    A test holds the two equal: the lines must compute the same as the function.
    """

    function: Callable[..., Any]
    imports: tuple[str, ...]  # what the lines import, besides NumPy
    write_lines: Callable[..., list[str]]  # of (operands by name, **window): the call, from operands to results

    def __call__(self, *operands: Any, **window: Any) -> Any:
        """Call the function."""
        return self.function(*operands, **window)
