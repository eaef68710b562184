"""A mistake that a kernel can make, and the list in which the modules of the catalogue enter theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from .call import Call

Change = Callable[[Call, str], Call]
Compute = Callable[[Call, str], Array]
Finish = Callable[[Array, Call, str], Array]

UNWRITTEN = np.nan  # stands for whatever lay in memory: any value of a kernel agrees with it


@dataclass(frozen=True)
class Mistake:
    """One mistake, and what a kernel that makes it computes.

    A kernel reads its arguments, sums products and writes a result; a mistake goes wrong in one or more of these
    steps. ``change`` is the wrong reading, ``compute`` the wrong sum, ``finish`` the wrong writing. Two mistakes of a
    kernel follow each other in each step.

    Attributes
    ----------
    name : str
        What a kernel with this mistake does: "ignores the dilation".
    results : tuple of str
        The results that it makes wrong: y, dx, dw, db.
    question : str
        A question that leads to the mistake without naming it.
    explanation : str
        One sentence on what is wrong.
    source : str
        A thread or a page on which somebody made this mistake, or "".
    diagnosis : str
        The diagnosis by which it is recognised; "" if its values are compared.
    """

    name: str
    results: tuple[str, ...]
    question: str
    explanation: str
    source: str = ""
    change: Change | None = None
    compute: Compute | None = None
    finish: Finish | None = None
    diagnosis: str = ""

    def result(self, name: str, call: Call) -> Array:
        """Return the result `name` of a kernel with this mistake, in float64 or complex128.

        NaN stands for memory that is not written.

        >>> from npresnext.testing import ConvCase, mistakes
        >>> case = ConvCase(size=(1, 4), kernel=(1, 2), seed=3)
        >>> call = mistakes.as_call(case.operands(), case.kwargs)
        >>> wrong = mistakes.find("rotates the kernel").result("y", call)
        >>> call.y().tolist(), wrong.tolist()
        ([[[[-1.0, 3.0, 2.0]]]], [[[[0.0, -1.0, 3.0]]]])
        """
        return result_of((self,), name, call)


def inverse(count: int) -> float:
    """Return 1 / count; a kernel that averages nothing may return anything."""
    return 1 / count if count else UNWRITTEN


def result_of(made: tuple[Mistake, ...], name: str, call: Call) -> Array:
    """Return the result `name` of a kernel that makes several mistakes, each step in their order."""
    for mistake in made:
        if mistake.change is not None:
            call = mistake.change(call, name)
    wrong_sums = [mistake.compute for mistake in made if mistake.compute is not None]
    result = wrong_sums[0](call, name) if wrong_sums else call.result(name)
    for mistake in made:
        if mistake.finish is not None:
            result = mistake.finish(result, call, name)
    return result


class Catalogue(list[Mistake]):
    """The list of mistakes of one module, filled by :meth:`enter`."""

    def enter(self, name: str, results: str, question: str, explanation: str, **parts: Any) -> None:
        """Enter a mistake; `results` are names with spaces between them."""
        self.append(Mistake(name, tuple(results.split()), question, explanation, **parts))
