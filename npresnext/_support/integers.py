"""Integers: division that rounds up, and ranges cut into pieces."""

from __future__ import annotations


def ceil_div(number: int, divisor: int) -> int:
    """Return ``number / divisor``, rounded up.

    >>> ceil_div(7, 2), ceil_div(8, 2)
    (4, 4)
    """
    return -(-number // divisor)


def chunks(total: int, size: int) -> list[slice]:
    """Cut ``range(total)`` into slices of `size`, the last of them shorter.

    >>> chunks(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
