"""Arguments of the user, checked: integers, numbers, bools, choices, generators, and which gradients are wanted."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

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


def as_sizes(value: Any, name: str) -> tuple[int, ...]:
    """Return a sequence of sizes as Python integers, or raise naming the argument `name`.

    >>> as_sizes(8, "x_shape")
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidTypeError: x_shape must be a sequence of integers, but is of type int
    """
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise InvalidTypeError(f"{name} must be a sequence of integers, but is of type {type(value).__name__}")
    return tuple(as_int(size, f"{name}[{axis}]", 0) for axis, size in enumerate(value))


def check_number(value: Any, name: str, least: float | None = None) -> None:
    """Raise, naming the argument `name`, unless `value` is a finite real number, and at least `least`.

    >>> check_number("0.1", "lr", 0)
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidTypeError: lr must be a number, but '0.1' is of type str
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # NumPy's are, but for its bool
    if not is_number:
        raise InvalidTypeError(f"{name} must be a number, but {value!r} is of type {type(value).__name__}")
    if least is not None and not value >= least:
        raise InvalidValueError(f"{name} must be at least {least}, but is {value}")
    if not -math.inf < value < math.inf:
        raise InvalidValueError(f"{name} must be a finite number, but is {value}")


def as_bool(value: Any, name: str) -> bool:
    """Return `value` as a Python bool, or raise naming the argument `name`: an array, say, is neither true nor false.

    >>> as_bool("no", "bias")
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidTypeError: bias must be True or False, but 'no' is of type str
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError(f"{name} must be True or False, but {value!r} is of type {type(value).__name__}")
    return bool(value)


def check_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    """Raise, naming the argument `name`, unless `value` is one of these texts.

    >>> check_choice("max", "reduction", ("mean", "sum"))
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidValueError: reduction must be one of mean, sum, but is 'max'
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")


def check_mapping(value: Any, name: str) -> None:
    """Raise, naming the argument `name`, unless `value` is a mapping or None.

    >>> check_mapping(["groups"], "supports")
    Traceback (most recent call last):
    ...
    npresnext.errors.InvalidTypeError: supports must be a mapping, but ['groups'] is of type list
    """
    if value is not None and not isinstance(value, Mapping):
        raise InvalidTypeError(f"{name} must be a mapping, but {value!r} is of type {type(value).__name__}")


def as_generator(rng: Any) -> np.random.Generator:
    """Return the generator that `rng` (None, a seed or a generator) stands for."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(
            f"rng must be None, a seed of at least 0, or a numpy.random.Generator, but is {rng!r}"
        ) from error


def check_needs(needs: Any) -> None:
    """Raise unless `needs` says of each of three gradients whether it is wanted."""
    if not isinstance(needs, (tuple, list)) or len(needs) != 3:
        raise InvalidTypeError(f"needs must be three bools, for dx, dweight and dbias, but is {needs!r}")
