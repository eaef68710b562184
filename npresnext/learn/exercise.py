"""An exercise: what the student's function gets and returns, and the mistakes that a wrong one is compared with."""

from __future__ import annotations

import ast
import functools
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..testing.mistakes import Mistake
from .sheets import read_sheet, solution_of, starter_of

Arguments = dict[str, Any]  # of the student's function, by name and in the order of its parameters
Results = Mapping[str, Any]  # arrays or integers by name
Combine = Callable[[tuple[Mistake, ...], str, Arguments], Array]  # a result with mistakes of the catalogue
Case = Any  # a ConvCase, or the sizes of another kind of case by name


class WrongReturn(Exception):
    """The function returned something that cannot be compared; the message describes it."""


@dataclass(frozen=True)
class Wrong:
    """A mistake that an exercise recognises.

    Attributes
    ----------
    name : str
        What a function with this mistake does: "forgets to rotate the kernel".
    result : str
        The result that it makes wrong.
    question, explanation : str
        A question that leads to the mistake, and one sentence on what is wrong.
    compute : callable
        ``compute(arguments)`` is the result with this mistake.
    catalogue : Mistake, optional
        The mistake of ``npresnext.testing.mistakes`` that this is.
    before, after : callable, optional
        What the mistake changes, if it can meet another one: ``before(arguments)`` are the arguments as they are read,
        ``after(arguments, value)`` is the result as it is written.
    """

    name: str
    result: str
    question: str
    explanation: str
    compute: Callable[[Arguments], Any]
    catalogue: Mistake | None = None
    before: Callable[[Arguments], Arguments] | None = None
    after: Callable[[Arguments, Array], Array] | None = None

    @property
    def can_be_combined(self) -> bool:
        """Whether a function can make another mistake beside it."""
        return any(part is not None for part in (self.catalogue, self.before, self.after))


def compute_with(combine: Combine, result: str, mistakes: Sequence[Wrong]) -> Callable[[Arguments], Array]:
    """Return the function that computes a result with several mistakes at once."""
    made = tuple(wrong.catalogue for wrong in mistakes if wrong.catalogue is not None)

    def compute(arguments: Arguments) -> Array:
        as_read = arguments
        for wrong in mistakes:
            as_read = as_read if wrong.before is None else wrong.before(as_read)
        value = combine(made, result, as_read)
        for wrong in mistakes:
            value = value if wrong.after is None else wrong.after(arguments, value)
        return value

    return compute


def own_mistake(combine: Combine, result: str, name: str, question: str, explanation: str, **parts: Any) -> Wrong:
    """Return a mistake that is not in the catalogue: another way to read the arguments or to write the result."""
    wrong = Wrong(name, result, question, explanation, lambda arguments: None, **parts)
    return replace(wrong, compute=compute_with(combine, result, [wrong]))


def call_once(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Call the student's function with its arguments in order."""
    return function(*arguments.values())


@dataclass(frozen=True)
class Exercise:
    """What the student writes, and how it is judged.

    Attributes
    ----------
    name, title : str
        Such as "im2col", and a title of a few words.
    function : str
        The name of the function that the student writes.
    parameters : tuple of str
        Its parameters, in order.
    results : dict of str
        The name of each result and its shape, such as ``{"dx": "(N, C_in, H, W)"}``; "int" for an integer.
    cases, smaller : callable
        ``cases(rng)`` draws cases, the smallest first; ``smaller(case)`` yields smaller ones.
    arguments, right : callable
        ``arguments(case)`` makes the arguments; ``right(arguments)`` is what a right function returns, by name.
    mistakes : tuple of Wrong
        The mistakes that are recognised.
    hints : tuple of str
        Help that does not depend on what the function returns, the least first.
    afterwards : str
        What to know once the exercise is solved.
    call : callable
        ``call(function, arguments)`` calls the function, once or more, and returns what is compared.
    tolerance : float
        The largest error of a right result, relative to its largest value, or to 1 if that is larger.
    combine : callable, optional
        ``combine(mistakes, result, arguments)`` is the result with several mistakes of the catalogue.
    """

    name: str
    title: str
    function: str
    parameters: tuple[str, ...]
    results: Mapping[str, str]
    cases: Callable[[random.Random], Iterable[Case]]
    smaller: Callable[[Case], Iterator[Case]]
    arguments: Callable[[Case], Arguments]
    right: Callable[[Arguments], Results]
    mistakes: tuple[Wrong, ...]
    hints: tuple[str, ...]
    afterwards: str
    call: Callable[[Callable[..., Any], Arguments], Any] = call_once
    tolerance: float = 1e-9  # of code that divides or transforms; other code is exact on integers
    combine: Combine | None = None

    @property
    def signature(self) -> str:
        """Such as "im2col(x, kernel, stride, padding, dilation)"."""
        return f"{self.function}({', '.join(self.parameters)})"

    @functools.cached_property
    def starter(self) -> str:
        """The file that a student begins with."""
        return starter_of(read_sheet(self.name), self.function)

    @property
    def task(self) -> str:
        """What to do: the text at the top of the file."""
        return inspect.cleandoc(ast.get_docstring(ast.parse(self.starter)) or "")

    @functools.cached_property
    def solution(self) -> str:
        """The same file with the function written."""
        return solution_of(read_sheet(self.name))


def agree(got: Any, expected: Any, tolerance: float) -> bool:
    """Whether a result is the expected one, up to an error relative to the largest expected value, or to 1."""
    return differences(got, expected, tolerance) is None


def differences(got: Any, expected: Any, tolerance: float) -> Array | None:
    """Return where a result differs from the expected one; all of it for another shape, None if it agrees.

    NaN agrees with nothing. Where NaN is *expected*, nothing was written, and any value agrees.
    """
    left, right = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if left.shape != right.shape:
        return np.ones(right.shape, bool)
    largest = np.abs(right[np.isfinite(right)]).max(initial=1.0)
    with np.errstate(invalid="ignore"):
        wrong = ~((np.abs(left - right) <= tolerance * largest) | np.isnan(right))
    return wrong if wrong.any() else None
