"""The student's function out of its file, or why there is none."""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .answers import Answer
from .calls import Outcome, captured, guarded
from .exercise import Exercise

MODULE = "submission"  # the name under which a file is imported, so that `if __name__ == "__main__"` does not run
LARGEST_FILE = 1_000_000  # bytes
SECONDS_TO_IMPORT = 5.0


def load_function(path: Path, exercise: Exercise) -> Callable[..., Any] | Answer:
    """Import a file, and return its function; or the answer that says why this is not possible."""

    def failed(reason: str, printed: str = "") -> Answer:
        return Answer(exercise.name, False, f"{path.name} {reason}", printed=printed, question=exercise.hints[0])

    try:
        if path.stat().st_size > LARGEST_FILE:
            return failed(f"is larger than {LARGEST_FILE:,} bytes: is it the right file?")
        code = compile(path.read_bytes(), str(path), "exec")
    except SyntaxError as error:
        text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
        where = f"line {error.lineno}: " if error.lineno else ""
        return failed(f"is not valid Python: {where}{error.msg}{text}")
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, or an expression without end
        return failed(f"is not valid Python: {error}")
    except OSError as error:
        return failed(f"cannot be read: {error.strerror or error}")
    module = types.ModuleType(MODULE)
    module.__file__ = str(path)
    sys.modules[MODULE] = module
    sys.path.append(str(path.parent.resolve()))  # at the end: a file of the student hides no library
    outcome = Outcome(None)
    with captured() as printed:
        guarded(lambda: exec(code, module.__dict__), outcome, SECONDS_TO_IMPORT)
    if outcome.kind:
        where = f", at {outcome.where}" if outcome.where else ""
        return failed(f"cannot be imported: it {outcome.problem}{where}", printed.text)
    if exercise.function not in vars(module):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == MODULE]
        similar = difflib.get_close_matches(exercise.function, own, n=1)
        told = f"; did you mean {similar[0]!r}?" if similar else f": it should define {exercise.signature}"
        return failed(f"has no function {exercise.function!r}{told}")
    function = vars(module)[exercise.function]
    if not callable(function):
        return failed(f"defines {exercise.function} as a value of type {type(function).__name__}: expected a function")
    return function
