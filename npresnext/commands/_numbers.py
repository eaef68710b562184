"""Numbers on the command line."""

from __future__ import annotations

import argparse
import math


def positive_int(text: str) -> int:
    """Read a whole number above 0, as the ``type`` of an argument.

    >>> positive_int("3")
    3
    """
    number = _number(text, int)
    if not number >= 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, but is {text!r}")
    return int(number)


def natural_int(text: str) -> int:
    """Read a whole number of at least 0, as the ``type`` of an argument.

    >>> natural_int("0")
    0
    """
    number = _number(text, int)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, but is {text!r}")
    return int(number)


def seconds(text: str) -> float:
    """Read a time in seconds, above 0 and at most a million, as the ``type`` of an argument.

    >>> seconds("2.5")
    2.5
    """
    number = _number(text, float)
    if not 0 < number <= 1e6:  # what the operating system can wait for at a time
        raise argparse.ArgumentTypeError(f"must be seconds, above 0 and at most 1000000, but is {text!r}")
    return number


def _number(text: str, kind: type[int] | type[float]) -> float:
    """Return the number that a text is, or NaN."""
    try:
        return kind(text)
    except ValueError:
        return math.nan
