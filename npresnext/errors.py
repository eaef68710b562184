"""Every exception that npresnext raises on purpose.

All of them are below :class:`NpresnextError`, and each is also the built-in exception that a
Python programmer would expect, so that ``except ValueError`` works as well as
``except NpresnextError``.
"""

from __future__ import annotations

import os
from typing import Any


class NpresnextError(Exception):
    """The root: catches everything that npresnext raises on purpose."""


class InvalidValueError(NpresnextError, ValueError):
    """An argument has the right type and an impossible value."""


class ConfigurationError(InvalidValueError):
    """A field of a configuration has a value that no run can have.

    >>> str(ConfigurationError("lr", -1, "above 0"))
    'lr must be above 0, but is -1'

    Attributes
    ----------
    field : str
        The name of the field.
    value : object
        Its value.
    expected : str
        What is expected instead, in words that follow "must be".
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field} must be {expected}, but is {value!r}")
        self.field, self.value, self.expected = field, value, expected

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the arguments to make a copy or pickle with; Python alone would pass the message."""
        return type(self), (self.field, self.value, self.expected)


class OutputExistsError(InvalidValueError, FileExistsError):
    """A file to be written exists already, and the caller did not allow it to be overwritten.

    >>> str(OutputExistsError("norms.csv"))
    'norms.csv exists already: choose another name, or pass overwrite=True'

    Attributes
    ----------
    path : str or path
        The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(f"{path} exists already: choose another name, or pass overwrite=True")
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the arguments to make a copy or pickle with; Python alone would pass the message."""
        return type(self), (self.path,)


class ShapeError(InvalidValueError):
    """Shapes that do not fit each other; the message names the argument, what came and the rule."""


class AllocationError(InvalidValueError, MemoryError):
    """A result too large for memory; the message says its shape and its bytes."""


class InvalidTypeError(NpresnextError, TypeError):
    """An argument of the wrong type or dtype."""


class BackendMixError(InvalidTypeError):
    """Arrays of two array libraries in one call."""


class BackendError(NpresnextError, RuntimeError):
    """A backend that cannot be used here."""


class BackendNotInstalledError(BackendError, ImportError):
    """The array library of a backend is not installed."""


class NoDeviceError(BackendError):
    """The array library is installed and finds no device."""


class MissingExtraError(NpresnextError, ImportError):
    """An optional dependency is not installed; the message says what to install."""


class BackwardError(NpresnextError, RuntimeError):
    """A backward pass without a forward pass to go with."""


class ModuleError(NpresnextError, RuntimeError):
    """A network put together in a way that cannot work, such as one layer in two places."""


class StateDictError(InvalidValueError):
    """A state dictionary that does not fit the module; the message lists every key at fault."""


class FileFormatError(InvalidValueError):
    """A file that is truncated, of another kind, or disagrees with itself."""


class NonFiniteLossError(NpresnextError, ArithmeticError):
    """The loss became NaN or infinite; the message says at which step."""


class RanksDifferError(NpresnextError, RuntimeError):
    """The processes of one training run hold different numbers; the message says at which step."""
