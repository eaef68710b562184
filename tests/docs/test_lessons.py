"""The lessons and the first hour: each is a script that runs, with the parts that a lesson has."""

import re
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

LESSONS = sorted((ROOT / "docs" / "lessons").glob("*.py"))
SCRIPTS = [ROOT / "docs" / "first_hour.py", *LESSONS]
PARTS = ["question", "predict", "experiment", "picture", "exercise"]


def script_id(path):
    return path.stem


def headings(path):
    """The headings of the Markdown cells: their level and their text."""
    found = re.findall(r"^# (#+) (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [(len(marks), text) for marks, text in found]


def test_there_are_lessons():
    assert LESSONS


@pytest.mark.parametrize("path", LESSONS, ids=script_id)
def test_a_lesson_has_its_parts_in_order(path):
    sections = [text.lower() for level, text in headings(path) if level == 2]
    places = [next((n for n, text in enumerate(sections) if text.startswith(part)), None) for part in PARTS]
    assert None not in places, f"{path.name} has the sections {sections}: expected {PARTS}"
    assert places == sorted(places), f"{path.name} has the sections {sections}: expected the order {PARTS}"


@pytest.mark.parametrize("path", SCRIPTS, ids=script_id)
def test_a_script_has_one_title_and_begins_with_it(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # "), f"{path.name} must begin with a Markdown cell and its title"
    assert [level for level, _ in headings(path)].count(1) == 1


@pytest.mark.parametrize("path", SCRIPTS, ids=script_id)
def test_the_script_runs(path, tmp_path):
    """In a process of its own, in an empty folder, with warnings as errors; it leaves no file behind."""
    pytest.importorskip("matplotlib")
    environment = {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
    process = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    assert list(tmp_path.iterdir()) == []
