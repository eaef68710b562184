"""Sizes in bytes, in units that fit them."""

from __future__ import annotations


def size_text(size: int) -> str:
    """Return a number of bytes with three digits or so, in B, kB, MB or GB (powers of 1000).

    >>> size_text(256), size_text(542_440), size_text(100_115_616)
    ('256 B', '542 kB', '100 MB')
    """
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:,.0f} {units[0]}" if number >= 99.95 else f"{number:.3g} {units[0]}"
