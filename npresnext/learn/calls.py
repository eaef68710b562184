"""One call of a student's function: within a time limit, with what it prints kept, and its result looked at."""

from __future__ import annotations

import contextlib
import inspect
import io
import linecache
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from .exercise import Case, Exercise, WrongReturn

SECONDS_PER_CALL = 5.0
MOST_PRINTED = 600  # characters that are kept
LONGEST_LINE = 90


class TimeIsUp(BaseException):
    """A call took too long. It is no Exception, so that ``except Exception`` in the function does not stop it."""


@dataclass
class Outcome:
    """What one call came to.

    Attributes
    ----------
    results : dict
        The results that can be compared, by name.
    returned : dict
        The arrays of the function of which `results` are copies.
    index : dict
        Where an exercise calls the function once for each value: the arguments of the last such call.
    kind : str
        What the call broke: "" (nothing), "unwritten", "raises", "exits", "hangs", "returns", "changes", "overwrites".
    problem : str
        The same in words, to follow the name of the function: "raises IndexError: ...".
    where : str
        The line of the function that raised the exception.
    printed : str
        What it printed, cut to some hundred characters.
    """

    case: Case
    results: dict[str, Any] = field(default_factory=dict)
    returned: dict[str, Array] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    kind: str = ""
    problem: str = ""
    where: str = ""
    printed: str = ""


def try_case(exercise: Exercise, function: Callable[..., Any], case: Case) -> Outcome:
    """Call the function in one case."""
    outcome = Outcome(case)
    given = exercise.arguments(case)
    names = tuple(given)
    before = {name: value.copy() for name, value in given.items() if isinstance(value, np.ndarray)}
    with captured() as printed:
        returned = guarded(lambda: exercise.call(function, given), outcome, SECONDS_PER_CALL)
    outcome.printed = printed.text
    outcome.index = {name: given[name] for name in exercise.parameters if name in given and name not in names}
    if outcome.kind:
        return outcome
    changed = [name for name, value in before.items() if not np.array_equal(given[name], value)]
    if changed:
        outcome.kind = "changes"
        outcome.problem = f"changes its argument {changed[0]}: copy it before you write into it"
    read_results(exercise, returned, outcome)
    return outcome


def guarded(action: Callable[[], Any], outcome: Outcome, seconds: float) -> Any:
    """Return what an action returns; what it raises is written into the outcome."""
    try:
        with time_limit(seconds), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return action()
    except KeyboardInterrupt:
        raise
    except TimeIsUp:
        outcome.kind, outcome.problem = "hangs", f"does not return within {seconds:g} seconds: does a loop never end?"
    except NotImplementedError as error:
        outcome.kind, outcome.problem = "unwritten", str(error) or "raises NotImplementedError"
    except WrongReturn as error:
        outcome.kind, outcome.problem = "returns", str(error)
    except SystemExit:
        outcome.kind, outcome.problem = "exits", "ends the program, as sys.exit does: use return"
    except BaseException as error:
        outcome.kind, outcome.problem = "raises", f"raises {describe_exception(error)}"
        outcome.where = line_of(error)
    return None


def read_results(exercise: Exercise, returned: Any, outcome: Outcome) -> None:
    """Take the results out of what was returned, and note what cannot be compared."""
    names = list(exercise.results)
    if len(names) > 1:
        if not isinstance(returned, (tuple, list)) or len(returned) != len(names):
            count = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else describe(returned)
            outcome.kind = "returns"
            outcome.problem = f"returns {count}: expected {len(names)} arrays, {', '.join(names)}"
            return
    values = list(returned) if len(names) > 1 else [returned]
    for name, value in zip(names, values):
        problem = why_not_comparable(value, exercise.results[name])
        if problem:
            outcome.kind, outcome.problem = "returns", f"returns {f'as {name} ' if len(names) > 1 else ''}{problem}"
        elif exercise.results[name] == "int":
            outcome.results[name] = int(value)
        else:
            outcome.results[name], outcome.returned[name] = np.array(value), value


def why_not_comparable(value: Any, shape: str) -> str:
    """Return what is wrong with the type of a result, or ""."""
    if shape == "int":
        if isinstance(value, (float, np.floating)):
            return f"the float {value:g}: expected an int (`//` divides integers without a remainder)"
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            return f"{describe(value)}: expected an int"
        return ""
    if not isinstance(value, np.ndarray):
        return f"{describe(value)}: expected a NumPy array {shape}"
    if value.dtype != np.float64:
        return f"an array of dtype {value.dtype}: expected float64, as its arguments have"
    return ""


def overwrites(earlier: Outcome) -> bool:
    """Whether the arrays that an earlier call returned have changed since."""
    return any(
        not np.array_equal(array, earlier.results[name], equal_nan=True) for name, array in earlier.returned.items()
    )


def describe(value: Any) -> str:
    """Return what a value is, in a few words.

    >>> describe(None), describe([1]), describe(np.zeros(2))
    ('None (is a `return` missing?)', 'a list', 'an array of shape (2,)')
    """
    if value is None:
        return "None (is a `return` missing?)"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def why_not_callable(exercise: Exercise, function: Callable[..., Any]) -> str:
    """Return why a function cannot be called with the arguments of an exercise, or ""."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # functions written in C may have none
        return ""
    try:
        signature.bind(*exercise.parameters)
    except TypeError:
        return f"{exercise.function} has the parameters {signature}: expected {exercise.signature}"
    return ""


def describe_exception(error: BaseException) -> str:
    """Return type and message of an exception in one line of at most 200 characters.

    >>> describe_exception(IndexError("index 9 is out of bounds"))
    'IndexError: index 9 is out of bounds'
    """
    name = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
    try:
        message = " ".join(str(error).split())
    except Exception:  # of a class of the student's
        message = ""
    return f"{name}: {message}"[:200] if message else name


def line_of(error: BaseException) -> str:
    """Return the deepest line outside this package and NumPy that an exception passed through.

    Such as ``line 12: y[p, q] += x[p + i] * w[i]``, or "".
    """
    told = ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in ("npresnext", "numpy", "contextlib", "importlib"):
            continue
        text = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
        told = f"line {number}: {text}" if text else f"line {number}"
    return told


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the block after some seconds, where the system can: in the main thread, not on Windows."""
    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not can or signal.getitimer(signal.ITIMER_REAL)[0]:  # somebody else's timer
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TimeIsUp

    old = signal.signal(signal.SIGALRM, stop)
    # Once more every second, for code that catches everything.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


class Kept(io.TextIOBase):
    """A stream that keeps the first characters written to it, and counts the others."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room, self.left_out = MOST_PRINTED, 0

    def write(self, text: str) -> int:
        """Keep what there is room for."""
        kept = text[: self.room]
        if kept:
            self.parts.append(kept)
        self.room -= len(kept)
        self.left_out += len(text) - len(kept)
        return len(text)

    @property
    def text(self) -> str:
        """What was written, and how much more."""
        lines = "".join(self.parts).rstrip().splitlines()
        told = "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..." for line in lines)
        return f"{told}\n({self.left_out:,} more characters)" if self.left_out else told


@contextlib.contextmanager
def captured() -> Iterator[Kept]:
    """Keep what is printed in the block."""
    kept = Kept()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        yield kept
