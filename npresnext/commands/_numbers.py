"""Numbers on the command line."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """Read a whole number above 0, as the ``type`` of an argument.

    >>> positive_int("3")
    3
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, but is {text!r}")
    return number
