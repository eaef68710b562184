"""The exercises as notebooks and tests for two graders of courses, otter-grader and nbgrader.

Both call :func:`npresnext.learn.check`, which draws new cases in every run: nothing has to be hidden.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._support.files import atomic_path
from ..errors import InvalidValueError
from .exercise import Exercise
from .exercises import file_name_of
from .sheets import BEGIN, END, read_sheet

ASSIGNMENT = "npresnext"
OTTER_TEST = '''"""The test of exercise {exercise} for otter-grader: it draws new cases in every run."""

from otter.test_files import test_case

OK_FORMAT = False

name = "{name}"
points = {points}


@test_case(points={points}, hidden=False)
def test_{exercise}(env):
    """Check the function of the notebook, and show the smallest failing case."""
    from npresnext.learn import check

    assert "{function}" in env, "the notebook defines no function {function}"
    check(env["{function}"], "{exercise}").raise_unless_passed()
'''
NBGRADER_CONFIG = '''"""Configuration of nbgrader: run ``nbgrader generate_assignment {assignment}`` in this folder."""

c = get_config()  # noqa: F821 (a name that nbgrader provides)
c.CourseDirectory.course_id = "{assignment}"
c.ExecutePreprocessor.timeout = 120  # seconds for one cell
'''


def write_otter(folder: Path, exercises: Sequence[Exercise]) -> list[Path]:
    """Write a notebook for students and a file of tests for each exercise, for otter-grader 4 and later.

    Parameters
    ----------
    folder : path
        It must not exist.
    exercises : sequence of Exercise

    Returns
    -------
    list of path
        The files written.

    Raises
    ------
    InvalidValueError
        The folder exists.
    """
    make_new(folder)
    (folder / "tests").mkdir()
    cells = [code("import otter\n\ngrader = otter.Notebook()", "setup")]
    written = []
    for exercise in exercises:
        name = file_name_of(exercise).removesuffix(".py")
        cells += [
            markdown(exercise.task, f"{exercise.name}-task"),
            code(without_task(exercise.starter), exercise.name),
            code(f'grader.check("{name}")', f"{exercise.name}-check"),
        ]
        text = OTTER_TEST.format(name=name, exercise=exercise.name, function=exercise.function, points=1)
        written.append(write(folder / "tests" / f"{name}.py", text))
    return [write(folder / f"{ASSIGNMENT}.ipynb", notebook(cells)), *written]


def write_nbgrader(folder: Path, exercises: Sequence[Exercise]) -> list[Path]:
    """Write the source of an assignment with its solutions, and a configuration, for nbgrader 0.9.

    Parameters, result and errors are those of :func:`write_otter`. ``nbgrader generate_assignment npresnext`` makes the
    students' version from it. A test prints the answer and ends in the points, from 0 to 1, which nbgrader takes as
    partial credit.
    """
    make_new(folder)
    source = folder / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    cells = []
    for exercise in exercises:
        sheet = without_task(read_sheet(exercise.name))
        marked = sheet.replace(BEGIN, "### BEGIN SOLUTION").replace(END, "### END SOLUTION")
        test = (
            "from npresnext.learn import check\n\n"
            f'answer = check({exercise.function}, "{exercise.name}")\nprint(answer)\nanswer.points'
        )
        cells += [
            markdown(exercise.task, f"{exercise.name}-task"),
            code(marked, exercise.name, nbgrader(exercise.name, solution=True)),
            code(test, f"{exercise.name}-check", nbgrader(f"{exercise.name}-check", points=1)),
        ]
    return [
        write(folder / "nbgrader_config.py", NBGRADER_CONFIG.format(assignment=ASSIGNMENT)),
        write(source / f"{ASSIGNMENT}.ipynb", notebook(cells)),
    ]


def make_new(folder: Path) -> None:
    """Create a folder, or raise if it exists."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InvalidValueError(f"{folder} exists already: choose a folder that does not exist") from None


def write(path: Path, text: str) -> Path:
    """Write a file, and return its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return path


def without_task(sheet: str) -> str:
    """Return a file without the text at its top, which a notebook shows above the cell.

    >>> without_task('\"\"\"The task.\"\"\"\\n\\nimport numpy as np\\n')
    'import numpy as np'
    """
    return sheet.split('"""', 2)[2].strip()


def notebook(cells: Sequence[dict[str, Any]]) -> str:
    """Return a notebook as JSON (nbformat 4.5)."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def markdown(text: str, name: str) -> dict[str, Any]:
    """Return a cell of text: the first line as a heading, the rest as it is, because its drawings need fixed width."""
    title, _, rest = text.partition("\n")
    return {
        "cell_type": "markdown",
        "id": name,
        "metadata": {},
        "source": f"## {title}\n\n```text\n{rest.strip()}\n```",
    }


def code(text: str, name: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a cell of code."""
    fixed = {"cell_type": "code", "id": name, "metadata": metadata or {}, "source": text}
    return {**fixed, "execution_count": None, "outputs": []}


def nbgrader(name: str, *, solution: bool = False, points: int = 0) -> dict[str, Any]:
    """Return the metadata of a cell that students write, or of a test with points (nbgrader's schema 3)."""
    cell: dict[str, Any] = {"grade_id": name, "schema_version": 3, "solution": solution, "task": False}
    cell |= {"grade": not solution, "locked": not solution}
    return {"nbgrader": cell if solution else cell | {"points": points}}
