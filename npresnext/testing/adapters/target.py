"""A target: the callables of a framework, and what they do not support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Target(NamedTuple):
    """What ``check_conv`` is given: ``check_conv(forward, backward, supports=supports)``."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any] | None
    supports: dict[str, Any]
