"""check, for functions that are there already: in a notebook, in a script, in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .answers import Answer
from .checking import check_function
from .exercises import find_exercise


def check(function: Callable[..., Any], exercise: str | int, *, seed: int | None = None) -> Answer:
    """Check a function against an exercise; the last line of a notebook's cell shows the answer.

    Parameters
    ----------
    function : callable
        With the parameters of the exercise, in their order.
    exercise : str or int
        The name or the number of the exercise, such as "im2col" or 4.
    seed : int, optional
        The cases are drawn from it. By default they are new ones each time; the answer has the seed.

    Returns
    -------
    Answer
        ``passed``; print it for the smallest failing case, and call ``hint()`` for a question and then for the mistake.

    Raises
    ------
    ValueError, TypeError
        There is no such exercise, or `function` cannot be called. What the function raises is in the answer.

    Examples
    --------
    >>> def count_windows(size, kernel, stride):
    ...     return (size - kernel) // stride
    >>> answer = check(count_windows, "windows", seed=1)
    >>> print(answer)
    count_windows is wrong in 60 of 60 cases (seed 1).
    <BLANKLINE>
    Smallest failing case:
      count_windows(size=1, kernel=1, stride=1)
    <BLANKLINE>
      windows: yours 0, expected 1
    >>> print(answer.hint().question)
    A 3-pixel image and a 2-pixel kernel: how many windows fit?
    """
    return check_function(find_exercise(exercise), function, seed)
