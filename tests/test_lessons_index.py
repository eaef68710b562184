"""The index of misconceptions: every one has its place in a lesson, with an experiment that asserts its result."""

import re

import pytest

from tests.support.paths import ROOT

LESSONS = sorted((ROOT / "docs" / "lessons").glob("[0-9][0-9]_*.py"))
INDEX = ROOT / "docs" / "lessons" / "misconceptions.md"
ANCHOR = re.compile(r"^# \(misconception-(\d+)\)=$", re.MULTILINE)
COUNT = 25


def entries():
    """Return number -> text of each entry of the index."""
    parts = re.split(r"^## (\d+)\. ", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(map(int, parts[1::2]), parts[2::2]))


def places():
    """Return (misconception, lesson, text up to the next anchor) of each anchor."""
    found = []
    for path in LESSONS:
        pieces = ANCHOR.split(path.read_text(encoding="utf-8"))
        found += [
            (int(number), int(path.name[:2]), text.partition("\n# ## ")[0])
            for number, text in zip(pieces[1::2], pieces[2::2])
        ]
    return found


def test_the_index_has_25_entries_in_order_and_each_anchor_is_in_one_lesson():
    assert list(entries()) == list(range(1, COUNT + 1))
    assert sorted(number for number, _, _ in places()) == list(range(1, COUNT + 1))


@pytest.mark.parametrize("number", range(1, COUNT + 1))
def test_an_entry_has_belief_answer_place_and_source(number):
    labels = re.findall(r"^- \*\*(.*?)\*\*", entries()[number], re.MULTILINE)
    assert labels[:3] == ["Believed:", "Right:", "Run in"]
    assert labels[3:] in (["Asked in:"], ["Known from:"])


@pytest.mark.parametrize("number, lesson, text", places(), ids=lambda value: str(value)[:2].strip())
def test_what_the_index_calls_run_is_asserted_in_the_lesson_that_it_names(number, lesson, text):
    assert f"**Run in** [lesson {lesson}](#misconception-{number})." in entries()[number]
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert re.search(r"^\s*assert ", code, re.MULTILINE)


def test_the_table_of_lessons_has_the_title_and_the_minutes_of_each():
    rows = re.findall(
        r"^\| \[(.+)\]\((\d\d_\w+\.py)\) \| .+\. \| (\d+) \|$",
        (ROOT / "docs" / "lessons" / "index.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    texts = {path.name: path.read_text(encoding="utf-8") for path in LESSONS}
    assert [name for _, name, _ in rows] == list(texts)
    for title, name, minutes in rows:
        assert f"\n# # {title}\n" in texts[name]
        assert f"\n# *{minutes} minutes. " in texts[name]
