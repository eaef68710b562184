"""score_test: how many wrong convolutions does a test catch?"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .._support.integers import ceil_div
from .._support.plurals import counted
from ..errors import InvalidTypeError, InvalidValueError
from ..testing.mistakes import MISTAKES, RESULTS, Mistake
from .calls import Outcome, captured, describe, guarded
from .kernels import make_kernels

SECONDS = 60.0  # of the processor, for all wrong convolutions together: other programs change nothing
SECONDS_PER_CALL = 10.0
TIMES_RIGHT = 3  # a right convolution is tried so often: a test may draw its operands
Test = Callable[..., Any]


@dataclass
class TestScore:
    """What a test catches: print it.

    Attributes
    ----------
    caught, missed : list of str
        The names of the mistakes that the test notices, and of those that it lets pass.
    refusal : str
        Why the test cannot be scored, such as an exception that it raises with a right convolution; "" if it can.
    left_out : int
        How many mistakes were not tried because the time was over.
    printed : str
        What the test printed with a right convolution.
    """

    __test__ = False  # pytest shall not take this for a class of tests

    caught: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    refusal: str = ""
    kind: str = ""
    where: str = ""
    left_out: int = 0
    printed: str = ""

    @property
    def tried(self) -> int:
        """The number of wrong convolutions that the test was run on."""
        return len(self.caught) + len(self.missed)

    @property
    def points(self) -> float:
        """The share of the wrong convolutions that the test catches, from 0 to 1."""
        return len(self.caught) / self.tried if self.tried and not self.refusal else 0.0

    def headline(self) -> str:
        """Return the score in one sentence."""
        if self.refusal:
            return f"The test {self.refusal}."
        told = f"The test catches {len(self.caught)} of {counted(self.tried, 'wrong convolution')}"
        told += f" ({self.points:.0%})."
        if self.left_out:
            told += f" {self.left_out} more could not be tried in time."
        return told

    def __str__(self) -> str:
        lines = [self.headline()]
        if self.missed and not self.refusal:
            lines += ["", "It lets pass a convolution that", *(f"  {name}" for name in self.missed)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def score_test(test: Test, *, results: Iterable[str] = RESULTS, seconds: float = SECONDS) -> TestScore:
    """Score a test by the wrong convolutions that it catches.

    Parameters
    ----------
    test : callable
        ``test(conv2d, conv2d_backward)`` raises an exception if one of them is wrong, and returns None, as a test of
        pytest does. The two take the arguments of ``npresnext.conv2d`` and ``npresnext.conv2d_backward``.
    results : iterable of str
        Which results may be wrong, out of y, dx, dw and db: ``("y",)`` for a test of the forward pass alone.
    seconds : float
        After so many, of the processor, no further mistake is tried.

    Returns
    -------
    TestScore
        With ``points``, ``caught`` and ``missed``. A test that refuses a right convolution, or that returns a value in
        place of raising an exception, has 0 points.

    Raises
    ------
    ValueError, TypeError
        For arguments that make no sense.

    Examples
    --------
    A test on ones misses most mistakes:

    >>> def test(conv2d, conv2d_backward):
    ...     x, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))
    ...     assert conv2d(x, weight) == 9
    >>> import numpy as np
    >>> score = score_test(test, results=("y",))
    >>> score.points < 0.4, "rotates the kernel" in score.missed
    (True, True)
    """
    if not callable(test):
        raise InvalidTypeError(f"test must be callable, but is of type {type(test).__name__}")
    chosen = (results,) if isinstance(results, str) else tuple(results)
    if not chosen or not set(chosen) <= set(RESULTS):
        raise InvalidValueError(f"results must be names out of {', '.join(RESULTS)}, but is {chosen!r}")
    try:
        inspect.signature(test).bind(None, None)
    except TypeError:
        parameters = inspect.signature(test)
        return TestScore(
            refusal=f"has the parameters {parameters}: expected (conv2d, conv2d_backward)", kind="signature"
        )
    except ValueError:
        pass
    score = TestScore()
    per_call = math.inf  # seconds of the processor
    for _ in range(TIMES_RIGHT):
        began = time.process_time()
        outcome = run_test(test, make_kernels(None, chosen))
        score.printed = outcome.printed
        if outcome.kind:
            score.kind, score.where = outcome.kind, outcome.where
            score.refusal = (
                outcome.problem
                if outcome.kind in ("unwritten", "hangs", "returns")
                else f"refuses a right convolution: it {outcome.problem}"
            )
            return score
        per_call = min(per_call, time.process_time() - began)
    entries = [mistake for mistake in MISTAKES if set(mistake.results) & set(chosen)]
    _try_mistakes(test, entries, chosen, score, time.process_time() + seconds, per_call)
    return score


def _try_mistakes(
    test: Test, entries: list[Mistake], results: tuple[str, ...], score: TestScore, end: float, per_call: float
) -> None:
    """Run the test on each mistake; if the time does not suffice, on mistakes of every kind."""
    room = int((end - time.process_time()) / max(per_call, 1e-6))
    step = ceil_div(len(entries), max(room, 1))
    for mistake in (entry for first in range(step) for entry in entries[first::step]):
        if time.process_time() > end and score.tried:
            score.left_out += 1
            continue
        outcome = run_test(test, make_kernels(mistake, results))
        noticed = outcome.kind not in ("", "returns")
        (score.caught if noticed else score.missed).append(mistake.name)


def run_test(test: Test, kernels: tuple[Any, Any]) -> Outcome:
    """Run a test on a convolution; the outcome has a kind if the test raises, or returns a value."""
    outcome = Outcome(None)
    with captured() as printed:
        returned = guarded(lambda: test(*kernels), outcome, SECONDS_PER_CALL)
    if returned is not None:
        outcome.kind = "returns"
        outcome.problem = f"returns {describe(returned)}, which nobody reads: write assert in place of return"
    outcome.printed = printed.text
    return outcome
