"""Arguments of the user, checked: integers, pairs, real numbers, and which gradients are wanted."""

from __future__ import annotations

import operator
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from .plurals import counted

Pair = tuple[int, int]


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """Return `value` as a Python integer, or raise naming the argument `name` and its `least` value."""
    try:
        if isinstance(value, bool):
            raise TypeError
        result = operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{name} must be an integer, but {value!r} is of type {type(value).__name__}") from None
    if least is not None and result < least:
        raise InvalidValueError(f"{name} must be at least {least}, but is {result}")
    return result


def as_pair(value: Any, name: str, least: int | None = None) -> Pair:
    """Return an integer or a pair of integers as a pair (vertical, horizontal)."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InvalidValueError(
                f"{name} must be an integer or a pair, but {value!r} has {counted(len(value), 'entry', 'entries')}"
            )
        return as_int(value[0], f"{name}[0]", least), as_int(value[1], f"{name}[1]", least)
    both = as_int(value, name, least)
    return both, both


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
