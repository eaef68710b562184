"""Numbers of things, in the singular and the plural."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the plural unless there is one of it; the plural ends in s if None.

    >>> counted(1, "image"), counted(1442, "image"), counted(0, "class", "classes")
    ('1 image', '1,442 images', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
