"""The folder of a student: files of the exercises, and how far the student has come."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .._support.files import atomic_path
from ..errors import InvalidValueError
from .answers import Answer
from .exercise import Exercise
from .exercises import EXERCISES, NAMES, file_name_of, find_exercise

FOLDER = "npresnext-exercises"
PROGRESS = ".npresnext-learn.json"


@dataclass
class LastAnswer:
    """The last answer to an exercise: its seed, what it was about, and how many of its steps were shown."""

    seed: int
    about: str
    steps: int = 1


@dataclass
class Progress:
    """What is stored: the exercises that are solved, the one at hand, and the last answers."""

    solved: list[str] = field(default_factory=list)
    current: str = EXERCISES[0].name
    seen: dict[str, LastAnswer] = field(default_factory=dict)


class Workbook:
    """A folder of exercise files with its progress, read and written as a whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     book = Workbook(folder)
    ...     path, is_new = book.start(book.current)
    ...     path.name, is_new, book.current.title
    ('01_windows.py', True, 'count windows')
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Open a folder; by default the current one if it has progress, else "npresnext-exercises" below it."""
        if folder is None:
            folder = Path() if (Path() / PROGRESS).exists() else Path(FOLDER)
        self.folder = Path(folder)
        self.progress = self._read()

    def _read(self) -> Progress:
        path = self.folder / PROGRESS
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            solved = [name for name in stored["solved"] if name in NAMES]
            current = stored["current"] if stored["current"] in NAMES else NAMES[0]
            seen = {name: LastAnswer(**one) for name, one in stored["seen"].items() if name in NAMES}
            return Progress(solved, current, seen)
        except FileNotFoundError:
            return Progress()
        except NotADirectoryError:
            raise InvalidValueError(f"{self.folder} is not a folder") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidValueError(
                f"{path} is damaged: delete it to count the solved exercises anew; your files stay as they are"
            ) from None

    def save(self) -> None:
        """Write the progress."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.folder / PROGRESS, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(self.progress), indent=1), encoding="utf-8")

    @property
    def current(self) -> Exercise:
        """The exercise at hand."""
        return find_exercise(self.progress.current)

    def path_of(self, exercise: Exercise) -> Path:
        """Return where the file of an exercise is."""
        return self.folder / file_name_of(exercise)

    def is_solved(self, exercise: Exercise) -> bool:
        """Whether an exercise was solved once."""
        return exercise.name in self.progress.solved

    def next_unsolved(self) -> Exercise | None:
        """Return the first exercise not yet solved, from the current one on, then from the start; None if all are."""
        at = NAMES.index(self.progress.current)
        in_order = (*EXERCISES[at:], *EXERCISES[:at])
        return next((exercise for exercise in in_order if not self.is_solved(exercise)), None)

    def start(self, exercise: Exercise) -> tuple[Path, bool]:
        """Make an exercise the current one, and write its file unless there is one; return whether it is new."""
        path = self.path_of(exercise)
        is_new = not path.exists()
        self.progress.current = exercise.name
        self.save()
        if is_new:
            self._write_starter(exercise)
        return path, is_new

    def reset(self, exercise: Exercise) -> Path | None:
        """Write the starter file anew; return where the student's file is kept, None if there is nothing to keep."""
        path = self.path_of(exercise)
        if not path.exists() or path.read_bytes() == exercise.starter.encode():
            self.start(exercise)
            return None
        numbers = itertools.count(1)
        kept = next(name for name in (path.with_name(f"{path.name}.{n}") for n in numbers) if not name.exists())
        path.rename(kept)
        self.start(exercise)
        return kept

    def _write_starter(self, exercise: Exercise) -> None:
        with atomic_path(self.path_of(exercise)) as temporary:
            temporary.write_text(exercise.starter, encoding="utf-8", newline="\n")

    def note(self, exercise: Exercise, answer: Answer) -> int:
        """Store an answer, and return how many of its steps were shown before: 0 if it is about something else."""
        name = exercise.name
        if answer.passed:
            self.progress.solved = [one for one in NAMES if one in {*self.progress.solved, name}]
            self.progress.seen.pop(name, None)
            self.save()
            return 0
        about = f"{answer.question} {' '.join(answer.mistakes)}"
        before = self.progress.seen.get(name)
        steps = before.steps if before is not None and before.about == about else 0
        self.progress.seen[name] = LastAnswer(answer.seed, about, max(steps, 1))
        self.save()
        return steps

    def show_steps(self, exercise: Exercise, steps: int) -> None:
        """Store how many steps of the last answer have been shown."""
        self.progress.seen[exercise.name].steps = steps
        self.save()
