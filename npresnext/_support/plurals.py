"""Numbers of things, in the singular and the plural."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which ends in s unless there is one of it.

    >>> counted(1, "image"), counted(1442, "image"), counted(0, "layer")
    ('1 image', '1,442 images', '0 layers')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
