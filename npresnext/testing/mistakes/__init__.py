"""The catalogue of mistakes: what kernels do that compute another convolution than the one asked for.

Each entry computes y, dx, dw or db *with* its mistake, for any convolution, so that a wrong result can be compared with
every one of them. :func:`find` returns an entry by its name.
"""

from __future__ import annotations

from .call import RESULTS, Call, as_call
from .channel_mistakes import CHANNEL
from .gradient_mistakes import GRADIENT
from .mistake import UNWRITTEN, Mistake, result_of
from .result_mistakes import RESULT
from .window_mistakes import WINDOW

__all__ = ["MISTAKES", "RESULTS", "UNWRITTEN", "Call", "Mistake", "as_call", "find", "result_of"]

MISTAKES: tuple[Mistake, ...] = (*CHANNEL, *WINDOW, *RESULT, *GRADIENT)


def find(name: str) -> Mistake:
    """Return the mistake of that name.

    Raises
    ------
    KeyError
        There is none.

    >>> find("ignores the dilation").results
    ('y', 'dx', 'dw')
    """
    return {mistake.name: mistake for mistake in MISTAKES}[name]
