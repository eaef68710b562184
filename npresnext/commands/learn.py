"""``npresnext learn``: exercises that answer, and the grading of many submissions."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._support.tables import text_table
from ..errors import InvalidValueError
from . import FAILED
from ._numbers import natural_int, positive_int, seconds

if TYPE_CHECKING:
    from ..learn import Answer, Exercise
    from ..learn.workbook import Workbook

HELP = "sixteen exercises that answer: from counting windows to the backward pass of a grouped convolution"

EXAMPLES = """\
examples:
  {prog} start                        write the file of the next exercise, and print what to do
  {prog} check                        check the exercise at hand
  {prog} check --watch                check it each time the file is saved
  {prog} hint                         one step more: a question, then the mistake
  {prog} start im2col                 begin another exercise, by its name or number
  {prog} reset 4                      begin an exercise anew; the old file is kept
  {prog} solution im2col              a solution, once yours is right
  {prog} grade submissions            points and the most frequent mistakes of a class
  {prog} export nbgrader -o course    the exercises as notebooks for nbgrader, or for otter-grader

{prog} alone prints how far you are. Your files and the progress are in the folder npresnext-exercises, or in --folder.

exit codes: 0 success, 1 the check failed, 2 the command line is wrong"""

SECONDS_BETWEEN_LOOKS = 0.3


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES.format(prog=parser.prog)
    parser.set_defaults(folder=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], int], told: str, takes: str = "") -> Any:
        added = actions.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
        added.set_defaults(run=run)
        added.add_argument("--folder", metavar="DIR", help="where your files are (default: npresnext-exercises)")
        if takes:
            added.add_argument("exercise", nargs="?", metavar="EXERCISE", help=takes)
        return added

    which = "its name or number (default: the exercise at hand)"
    action("status", run, "print how far you are, and what comes next")
    action("list", run_list, "list the exercises")
    action("start", run_start, "write the file of an exercise, and print what to do", f"{which[:-1]}, or the next one)")
    check = action("check", run_check, "check an exercise", f"{which}, or its file")
    check.add_argument("--watch", action="store_true", help="check again each time the file is saved, until Ctrl-C")
    check.add_argument("--seed", type=natural_int, metavar="N", help="draw the cases of an earlier check again")
    _add_limits(check)
    hint = action("hint", run_hint, "one step more of the answer: a question, then the mistake", which)
    _add_limits(hint)
    action("reset", run_reset, "write the file of an exercise anew, and keep the old one", which)
    action("solution", run_solution, "print a solution of an exercise that you have solved", which)
    _configure_grade(actions)
    _configure_export(actions)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--time-limit", type=seconds, metavar="S", help="end the check after S seconds (default: 30; exercise 16: 90)"
    )
    parser.add_argument(
        "--memory-limit", type=positive_int, default=1024, metavar="MB", help="for your code, on Linux (default: 1024)"
    )


def _configure_grade(actions: Any) -> None:
    grade = actions.add_parser(
        "grade",
        help="points and the most frequent mistakes of many submissions",
        description="Check the files of many students, each in a process of its own with limits.",
        epilog="DIR is a submission, a folder with files such as 04_im2col.py, or a folder of submissions.\n"
        "An exercise has 1 point. With several results, each has its share; exercise 16 counts the mistakes caught.\n"
        "The limits protect you from accidents, not from attacks: grade strangers' code in a container.",
    )
    grade.set_defaults(run=run_grade)
    grade.add_argument("folders", nargs="+", metavar="DIR", help="submissions, or folders of submissions")
    grade.add_argument("--exercises", nargs="+", metavar="EXERCISE", help="names or numbers (default: all)")
    grade.add_argument(
        "--seed", type=natural_int, default=0, metavar="N", help="of the cases, the same for all (default: 0)"
    )
    grade.add_argument("--format", choices=("text", "csv", "html"), default="text", help="(default: text)")
    grade.add_argument("--jobs", type=positive_int, metavar="N", help="processes at a time (default: one per core)")
    _add_limits(grade)


def _configure_export(actions: Any) -> None:
    export = actions.add_parser(
        "export",
        help="the exercises for otter-grader or nbgrader",
        description="Write the exercises as notebooks and tests for a grader of courses.",
    )
    export.set_defaults(run=run_export)
    export.add_argument("grader", choices=("otter", "nbgrader"))
    export.add_argument("-o", "--output", metavar="DIR", required=True, help="the folder to write; it must not exist")
    export.add_argument("--exercises", nargs="+", metavar="EXERCISE", help="names or numbers (default: all)")


def run(args: argparse.Namespace) -> int:
    """Print how far the student is."""
    from ..learn.exercises import EXERCISES, number_of

    book = _open(args)
    solved, current = len(book.progress.solved), book.current
    print(f"{solved} of {len(EXERCISES)} exercises solved.")
    if book.is_solved(current):
        return _say_what_is_next(args, book)
    print(f"At hand: exercise {number_of(current)}, {current.title}.")
    path = book.path_of(current)
    begun = path.exists()
    print(f"Your file is {path}: {_command(args, 'check')}" if begun else f"Begin: {_command(args, 'start')}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print a table of the exercises."""
    from ..learn.exercises import EXERCISES, number_of

    book = _open(args)
    rows = []
    for exercise in EXERCISES:
        state = "solved" if book.is_solved(exercise) else "begun" if book.path_of(exercise).exists() else ""
        at_hand = "<- at hand" if exercise is book.current else ""
        rows.append([number_of(exercise), exercise.name, exercise.title, state, at_hand])
    print(text_table(["", "exercise", "what you write", "", ""], rows))
    return 0


def run_start(args: argparse.Namespace) -> int:
    """Write a starter file, and print the task."""
    from ..learn.exercises import find_exercise

    book = _open(args)
    if args.exercise:
        exercise = find_exercise(args.exercise)
    else:
        unsolved = book.next_unsolved()
        if unsolved is None:
            return _say_what_is_next(args, book)
        exercise = unsolved
    _start(args, book, exercise)
    return 0


def _start(args: argparse.Namespace, book: Workbook, exercise: Exercise) -> None:
    path, is_new = book.start(exercise)
    print(f"{exercise.task}\n")
    print(f"Wrote {path}." if is_new else f"{path} is there already, and stays as it is.")
    print(f"Write {exercise.function} in it, then: {_command(args, 'check')}")


def run_check(args: argparse.Namespace) -> int:
    """Check an exercise, once or each time its file is saved."""
    book = _open(args)
    exercise, path = _find(book, args.exercise)
    if args.watch:
        return watch(args, book, exercise, path, lambda exercise, path: _check(args, exercise, path))
    answer = _check(args, exercise, path)
    return _tell(args, book, exercise, answer)


def _check(args: argparse.Namespace, exercise: Exercise, path: Path, seed: int | None = None) -> Answer:
    from ..learn.processes import check_file

    seed = getattr(args, "seed", None) if seed is None else seed
    return check_file(path, exercise, seed=seed, time_limit=args.time_limit, memory_limit=args.memory_limit)


def _tell(args: argparse.Namespace, book: Workbook, exercise: Exercise, answer: Answer) -> int:
    """Print an answer, and what to do next."""
    book.note(exercise, answer)
    print(answer.text())
    print()
    if answer.passed:
        print(f"A solution to compare with: {_command(args, 'solution', exercise)}")
        _say_what_is_next(args, book)
        return 0
    print(f"One step more: {_command(args, 'hint', exercise)}")
    return FAILED


def _command(args: argparse.Namespace, action: str, exercise: Exercise | None = None) -> str:
    """Return the command of an action, for the folder and the file that this command was given."""
    from ..learn.exercises import find_exercise

    words = ["npresnext", "learn", action] + ([] if args.folder is None else ["--folder", args.folder])
    if exercise is not None:
        given = getattr(args, "exercise", None) or ""
        is_its_file = given.endswith(".py") and find_exercise(Path(given).name) is exercise
        words.append(given if is_its_file and action == "hint" else exercise.name)
    return shlex.join(words)


def _say_what_is_next(args: argparse.Namespace, book: Workbook) -> int:
    from ..learn.exercises import number_of

    unsolved = book.next_unsolved()
    if unsolved is None:
        print("All exercises are solved. Now run `npresnext check` on a convolution of your own.")
    else:
        print(f"Next is exercise {number_of(unsolved)}, {unsolved.title}: {_command(args, 'start')}")
    return 0


def watch(
    args: argparse.Namespace,
    book: Workbook,
    exercise: Exercise,
    path: Path,
    check: Callable[[Exercise, Path], Answer],
    wait: Callable[[float], Any] = time.sleep,
) -> int:
    """Check a file each time it is saved, and go on to the next exercise when it is right; return when all are."""
    last = None
    print(f"Watching {path}; Ctrl-C ends it.", flush=True)
    while True:
        stamp = _stamp(path)
        if stamp is not None and stamp != last:
            last = stamp
            print(f"\n--- {time.strftime('%H:%M:%S')} {path.name}", flush=True)
            if _tell(args, book, exercise, check(exercise, path)) == 0:
                unsolved = book.next_unsolved()
                if unsolved is None:
                    return 0
                exercise = unsolved
                print()
                _start(args, book, exercise)
                path = book.path_of(exercise)
                last = _stamp(path)
            sys.stdout.flush()
        wait(SECONDS_BETWEEN_LOOKS)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is saved, or None without the file: some editors replace it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def run_hint(args: argparse.Namespace) -> int:
    """Print one step more of the answer."""
    book = _open(args)
    exercise, path = _find(book, args.exercise)
    before = book.progress.seen.get(exercise.name)
    answer = _check(args, exercise, path, before.seed if before else None)
    steps = book.note(exercise, answer)
    if answer.passed:
        return _tell(args, book, exercise, answer)
    if steps == 0:  # a new answer: the case comes with its question
        print(f"{answer.text()}\n")
    last = answer.last_step
    step = min(max(steps, 1) + 1, last)
    book.show_steps(exercise, step)
    print(answer.step(step))
    if step < last:
        print(f"\nOne step more: {_command(args, 'hint', exercise)}")
    return 0


def run_reset(args: argparse.Namespace) -> int:
    """Write a starter file anew."""
    book = _open(args)
    exercise, path = _find(book, args.exercise, must_exist=False)
    kept = book.reset(exercise)
    if kept is not None:
        print(f"Your file is kept as {kept}.")
    print(f"{path} is as it was at the beginning.")
    return 0


def run_solution(args: argparse.Namespace) -> int:
    """Print a solution, once the student has one."""
    book = _open(args)
    exercise, _ = _find(book, args.exercise, must_exist=False)
    if not book.is_solved(exercise):
        raise InvalidValueError(f"{exercise.name} is not solved yet; npresnext learn hint {exercise.name} helps")
    print(exercise.solution, end="")
    return 0


def run_grade(args: argparse.Namespace) -> int:
    """Print the points and the mistakes of many submissions."""
    from ..learn.exercises import EXERCISES, find_exercise
    from ..learn.grading import find_submissions, grade
    from ..learn.tables_of_grades import write_csv, write_html, write_text

    exercises = tuple(find_exercise(name) for name in args.exercises) if args.exercises else EXERCISES
    submissions = find_submissions(args.folders)
    grades = grade(
        submissions,
        exercises,
        seed=args.seed,
        time_limit=args.time_limit,
        memory_limit=args.memory_limit,
        jobs=args.jobs,
        watch=_show_progress,
    )
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print({"text": write_text, "csv": write_csv, "html": write_html}[args.format](grades), end="")
    return 0


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} files", end="", file=sys.stderr)


def run_export(args: argparse.Namespace) -> int:
    """Write notebooks and tests for a grader."""
    from ..learn.exercises import EXERCISES, find_exercise
    from ..learn.export import write_nbgrader, write_otter

    exercises = tuple(find_exercise(name) for name in args.exercises) if args.exercises else EXERCISES
    written = {"otter": write_otter, "nbgrader": write_nbgrader}[args.grader](Path(args.output), exercises)
    for path in written:
        print(path)
    return 0


def _open(args: argparse.Namespace) -> Workbook:
    from ..learn.workbook import Workbook

    return Workbook(args.folder)


def _find(book: Workbook, name: str | None, must_exist: bool = True) -> tuple[Exercise, Path]:
    """Return an exercise and its file, given its name, its number, its file, or nothing."""
    from ..learn.exercises import find_exercise

    if name is None:
        exercise, path = book.current, book.path_of(book.current)
    elif name.endswith(".py"):
        path = Path(name)
        exercise = find_exercise(path.name)
    else:
        exercise = find_exercise(name)
        path = book.path_of(exercise)
    if must_exist and not path.exists():
        raise InvalidValueError(f"there is no file {path}: npresnext learn start {exercise.name} writes it")
    return exercise, path
