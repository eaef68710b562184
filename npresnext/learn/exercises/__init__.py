"""The sixteen exercises, in order."""

from __future__ import annotations

import difflib

from ...errors import InvalidValueError
from ..exercise import Exercise
from .batch_norm import BATCH_NORM
from .block_forms import BLOCK_FORMS
from .columns import COL2IM, IM2COL
from .convolution import (
    BIAS_GRAD,
    FORWARD,
    GROUPED_BACKWARD,
    GROUPED_FORWARD,
    INPUT_GRAD,
    STRIDED_INPUT_GRAD,
    SUM_OF_PRODUCTS,
    WEIGHT_GRAD,
)
from .counting import CARDINALITY, OUTPUT_SIZE, WINDOWS
from .own_tests import WRITE_TESTS

EXERCISES: tuple[Exercise, ...] = (
    WINDOWS,
    OUTPUT_SIZE,
    SUM_OF_PRODUCTS,
    IM2COL,
    COL2IM,
    FORWARD,
    INPUT_GRAD,
    STRIDED_INPUT_GRAD,
    WEIGHT_GRAD,
    BIAS_GRAD,
    GROUPED_FORWARD,
    GROUPED_BACKWARD,
    BATCH_NORM,
    BLOCK_FORMS,
    CARDINALITY,
    WRITE_TESTS,
)
NAMES = tuple(exercise.name for exercise in EXERCISES)


def number_of(exercise: Exercise) -> int:
    """Return the number of an exercise, from 1 to 16."""
    return NAMES.index(exercise.name) + 1


def file_name_of(exercise: Exercise) -> str:
    """Return the name of a student's file.

    >>> file_name_of(find_exercise("im2col"))
    '04_im2col.py'
    """
    return f"{number_of(exercise):02}_{exercise.name}.py"


def find_exercise(name: str | int) -> Exercise:
    """Return an exercise by its name, its number, or the name of its file.

    Raises
    ------
    ValueError
        There is none; the message has the most similar name.

    Examples
    --------
    >>> find_exercise("im2col") is find_exercise(4) is find_exercise("04_im2col.py")
    True
    """
    text = str(name).strip().removesuffix(".py")
    number, _, rest = text.partition("_")
    if number.isdigit():
        if not 1 <= int(number) <= len(EXERCISES):
            raise InvalidValueError(f"there is no exercise {text}: the exercises are 1 to {len(EXERCISES)}")
        by_number = EXERCISES[int(number) - 1]
        if rest in ("", by_number.name):
            return by_number
        text = rest
    if text in NAMES:
        return EXERCISES[NAMES.index(text)]
    similar = difflib.get_close_matches(text, NAMES, n=1)
    hint = f" (did you mean {similar[0]!r}?)" if similar else ""
    raise InvalidValueError(f"there is no exercise {str(name)!r}{hint}: choose one of {', '.join(NAMES)}")
