"""A target: the callables of a framework, what they do not support, and what ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Target(NamedTuple):
    """A convolution for ``check_conv``: ``check_conv(target.forward, target.backward, **target.options)``."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    supports: dict[str, Any]
    layout: str = "NCHW"
    arithmetic: dict[str, str] = {}
    algorithm: str = "direct"
    describe: Callable[[], str] = str  # the version, the number of threads and the code path, in one line

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``check_conv`` that describe the target."""
        return {
            "supports": self.supports,
            "layout": self.layout,
            "arithmetic": self.arithmetic,
            "algorithm": self.algorithm,
        }
