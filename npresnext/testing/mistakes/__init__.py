"""The catalogue of mistakes: what kernels do that compute another convolution than the one asked for.

Each entry computes y, dx, dw or db *with* its mistake, for any convolution. A wrong result is compared, value for
value, with every one of ``MISTAKES``, and a complex one with those of ``COMPLEX`` too. How a sum rounds depends on its
order: the entries of ``INEXACT`` are recognised by a diagnosis, and those of ``KEPT`` by calls that follow each other.
:func:`find` returns an entry by its name.
"""

from __future__ import annotations

from .call import RESULTS, Call, as_call
from .channel_mistakes import CHANNEL
from .complex_mistakes import COMPLEX
from .gradient_mistakes import GRADIENT
from .inexact_mistakes import INEXACT, KEPT
from .mistake import UNWRITTEN, Mistake, result_of
from .result_mistakes import RESULT
from .window_mistakes import WINDOW

__all__ = [
    "COMPLEX",
    "INEXACT",
    "KEPT",
    "MISTAKES",
    "RESULTS",
    "UNWRITTEN",
    "Call",
    "Mistake",
    "as_call",
    "find",
    "result_of",
]

MISTAKES: tuple[Mistake, ...] = (*CHANNEL, *WINDOW, *RESULT, *GRADIENT)


def find(name: str) -> Mistake:
    """Return the mistake of that name.

    Raises
    ------
    KeyError
        There is none.

    Examples
    --------
    >>> find("ignores the dilation").results
    ('y', 'dx', 'dw')
    """
    return {mistake.name: mistake for mistake in (*MISTAKES, *COMPLEX, *INEXACT, *KEPT)}[name]
