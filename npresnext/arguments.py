"""Arguments that are real numbers, and which gradients are wanted. (Integers and shapes are in ``geometry.py``.)"""

from __future__ import annotations

from typing import Any

from .errors import InvalidTypeError, InvalidValueError


def check_number(value: Any, name: str, least: float | None = None) -> None:
    """Raise, naming the argument `name`, unless `value` is a number, and at least `least`; NaN is not.

    >>> check_number("0.1", "lr", 0)
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidTypeError: lr must be a number, but '0.1' is of type str
    """
    if not hasattr(value, "__float__"):
        raise InvalidTypeError(f"{name} must be a number, but {value!r} is of type {type(value).__name__}")
    if least is not None and not value >= least:
        raise InvalidValueError(f"{name} must be at least {least}, but is {value}")


def check_needs(needs: Any) -> None:
    """Raise unless `needs` says of each of three gradients whether it is wanted."""
    if not isinstance(needs, (tuple, list)) or len(needs) != 3:
        raise InvalidTypeError(f"needs must be three bools, for dx, dweight and dbias, but is {needs!r}")
