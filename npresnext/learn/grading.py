"""Grading: the files of many students, each checked in a process of its own."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidValueError, NpresnextError
from .answers import Answer
from .exercise import Exercise
from .exercises import EXERCISES, file_name_of
from .processes import MEGABYTES, check_file

NAMES_OF_FILES = {file_name_of(exercise) for exercise in EXERCISES}


@dataclass(frozen=True)
class Submission:
    """The folder of one student."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Grade:
    """What one exercise of one submission came to; without an answer, its file is missing."""

    submission: str
    exercise: Exercise
    answer: Answer | None

    @property
    def points(self) -> float:
        """From 0 to 1."""
        return self.answer.points if self.answer is not None else 0.0

    @property
    def fault(self) -> str:
        """What is wrong in a few words, without numbers of cases: the mistake, or the verdict; "" if nothing is."""
        if self.answer is None:
            return "no file"
        if self.answer.passed:
            return ""
        if self.answer.mistakes and self.exercise.results:
            return self.answer.mistakes[0]
        verdict = re.sub(r",? in \d+ of \d+ cases?| \([^()]*seed \d+\)", "", self.answer.headline).rstrip(".")
        shared = re.search(r"fails only with [^.]*", self.answer.explanation)
        return f"{verdict}: {shared[0]}" if shared else verdict


def find_submissions(folders: Iterable[str | Path]) -> list[Submission]:
    """Return the submissions in folders: each is one, or has one in each folder below it.

    Raises
    ------
    ValueError
        A folder does not exist, or there are no files of exercises in it or in the folders below.
    """
    found: list[Submission] = []
    for given in folders:
        folder = Path(given)
        if not folder.is_dir():
            raise InvalidValueError(f"{folder} is not a folder")
        if has_exercises(folder):
            found.append(Submission(folder.resolve().name, folder))
            continue
        below = [one for one in sorted(folder.iterdir()) if one.is_dir() and has_exercises(one)]
        if not below:
            raise InvalidValueError(
                f"{folder} has no file of an exercise, such as {file_name_of(EXERCISES[0])}, and no folder with one"
            )
        found += [Submission(one.name, one) for one in below]
    return _with_different_names(found)


def has_exercises(folder: Path) -> bool:
    """Whether a folder has a file of an exercise."""
    return any((folder / name).is_file() for name in NAMES_OF_FILES)


def _with_different_names(submissions: list[Submission]) -> list[Submission]:
    """Return submissions of which those with equal names are called by their paths."""
    counts = Counter(one.name for one in submissions)
    return [Submission(str(one.folder), one.folder) if counts[one.name] > 1 else one for one in submissions]


def grade(
    submissions: Sequence[Submission],
    exercises: Sequence[Exercise] = EXERCISES,
    *,
    seed: int = 0,
    time_limit: float | None = None,
    memory_limit: int = MEGABYTES,
    jobs: int | None = None,
    watch: Callable[[int, int], object] = lambda done, of: None,
) -> list[Grade]:
    """Check every exercise of every submission, and return the grades in this order.

    Parameters
    ----------
    submissions : sequence of Submission
    exercises : sequence of Exercise
    seed : int
        Of the cases: the same cases for everybody.
    time_limit, memory_limit
        As for ``check_file``.
    jobs : int, optional
        How many processes run at a time; by default one for each core.
    watch : callable
        Called after each file with the number of files done and of all files.
    """
    places = [(one, exercise) for one in submissions for exercise in exercises]
    done = 0

    def check(place: tuple[Submission, Exercise]) -> Grade:
        submission, exercise = place
        path = submission.folder / file_name_of(exercise)
        if not path.is_file():
            return Grade(submission.name, exercise, None)
        try:
            answer = check_file(path, exercise, seed=seed, time_limit=time_limit, memory_limit=memory_limit)
        except NpresnextError as error:  # one file that cannot be checked stops no other
            answer = Answer(exercise.name, False, f"could not be checked: {error}")
        return Grade(submission.name, exercise, answer)

    grades: list[Grade] = []
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for one in pool.map(check, places):
            grades.append(one)
            done += 1
            watch(done, len(places))
    return grades


def most_frequent_faults(grades: Sequence[Grade]) -> list[tuple[int, str, str]]:
    """Return (number of submissions, exercise, fault), the most frequent first; missing files are left out."""
    counts = Counter((one.exercise.name, one.fault) for one in grades if one.answer is not None and one.fault)
    return [(number, exercise, fault) for (exercise, fault), number in counts.most_common()]
