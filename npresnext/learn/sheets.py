"""The files of the exercises: each is stored once, with its solution, and the starter file is made from it.

The lines between ``# [solution`` and ``# solution]`` are the solution. The starter file has one line in their place,
which raises NotImplementedError, so it cannot differ from the solution in anything else.
"""

from __future__ import annotations

import re
from importlib.resources import files

BEGIN, END = "# [solution", "# solution]"
BLOCK = re.compile(rf"^( *){re.escape(BEGIN)}\n(.*?)^ *{re.escape(END)}\n", re.MULTILINE | re.DOTALL)


def read_sheet(name: str) -> str:
    """Return the stored file of an exercise."""
    return (files(__package__) / "solutions" / f"{name}.py").read_text(encoding="utf-8")


def starter_of(sheet: str, function: str) -> str:
    r"""Return what a student begins with.

    >>> print(starter_of("def one():\n    # TODO\n    # [solution\n    return 1\n    # solution]\n", "one"), end="")
    def one():
        # TODO
        raise NotImplementedError("one is not written yet")
    """
    return BLOCK.sub(rf'\1raise NotImplementedError("{function} is not written yet")\n', sheet)


def solution_of(sheet: str) -> str:
    r"""Return the file with its solution, without the marks and without the TODO above them.

    >>> print(solution_of("def one():\n    # TODO: count.\n    # [solution\n    return 1\n    # solution]\n"), end="")
    def one():
        return 1
    """
    without_todo = re.sub(rf"^ *# TODO(?:.*\n *#)*?.*\n(?= *{re.escape(BEGIN)})", "", sheet, flags=re.MULTILINE)
    return BLOCK.sub(r"\2", without_todo)
