"""Grades as text, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from textwrap import shorten

from .._support.tables import html_table, text_table
from .exercises import number_of
from .grading import Grade, most_frequent_faults

MOST_FAULTS = 20
LONGEST_FAULT = 90  # characters on a terminal
STYLE = """<style>
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 2em; }
table { border-collapse: collapse; margin-bottom: 2em; display: block; overflow-x: auto; }
th, td { padding: 0.2em 0.7em; border-bottom: 1px solid #8886; }
</style>"""


def table_of_points(grades: Sequence[Grade]) -> tuple[list[str], list[list[object]]]:
    """Return the header and the rows of the points: a row for each submission, a column for each exercise."""
    exercises = list(dict.fromkeys(one.exercise.name for one in grades))
    numbers = {one.exercise.name: f"{number_of(one.exercise)}" for one in grades}
    rows: list[list[object]] = []
    for submission in dict.fromkeys(one.submission for one in grades):
        own = {one.exercise.name: one for one in grades if one.submission == submission}
        cells = ["-" if own[name].answer is None else write_points(own[name].points) for name in exercises]
        rows.append([submission, *cells, write_points(sum(one.points for one in own.values()))])
    return ["submission", *(numbers[name] for name in exercises), "points"], rows


def table_of_faults(grades: Sequence[Grade]) -> tuple[list[str], list[list[object]]]:
    """Return the header and the rows of the most frequent mistakes."""
    faults = most_frequent_faults(grades)[:MOST_FAULTS]
    return ["submissions", "exercise", "what is wrong"], [[number, name, fault] for number, name, fault in faults]


def write_points(points: float) -> str:
    """Return points with at most two decimals.

    >>> write_points(1.0), write_points(2 / 3)
    ('1', '0.67')
    """
    return f"{points:.2f}".rstrip("0").rstrip(".")


def write_text(grades: Sequence[Grade]) -> str:
    """Return both tables for a terminal."""
    header, faults = table_of_faults(grades)
    parts = [text_table(*table_of_points(grades))]
    faults = [[number, name, shorten(str(fault), LONGEST_FAULT, placeholder=" ...")] for number, name, fault in faults]
    parts.append(f"most frequent mistakes\n\n{text_table(header, faults)}" if faults else "no mistakes")
    return "\n\n".join(parts) + "\n"


def write_html(grades: Sequence[Grade]) -> str:
    """Return both tables as a page."""
    header, faults = table_of_faults(grades)
    parts = [html_table(*table_of_points(grades))]
    parts += ["<h2>Most frequent mistakes</h2>", html_table(header, faults)] if faults else ["<p>No mistakes.</p>"]
    title = escape("npresnext learn grade")
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<head><meta charset="utf-8">{viewport}<title>{title}</title>{STYLE}</head>'
    return "\n".join(
        ["<!DOCTYPE html>", '<html lang="en">', head, "<body>", "<h1>Points</h1>", *parts, "</body>", "</html>\n"]
    )


def write_csv(grades: Sequence[Grade]) -> str:
    """Return one row for each exercise of each submission."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["submission", "number", "exercise", "points", "fault", "cases", "failing_cases", "seed"])
    for one in grades:
        answer = one.answer
        counts = (answer.tried, answer.failed, answer.seed) if answer is not None else (0, 0, "")
        fault = f"'{one.fault}" if one.fault.startswith(("=", "+", "-", "@")) else one.fault  # no formula of a student
        name = f"'{one.submission}" if one.submission.startswith(("=", "+", "-", "@")) else one.submission
        rows.writerow([name, number_of(one.exercise), one.exercise.name, write_points(one.points), fault, *counts])
    return text.getvalue()
