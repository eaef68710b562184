"""Grading: many submissions, their points, and their most frequent mistakes; exports for other graders."""

import csv
import io
import json
import re

import pytest

from npresnext import learn
from npresnext.errors import InvalidValueError, NpresnextError
from npresnext.learn import Answer, grading
from npresnext.learn.export import write_nbgrader, write_otter
from npresnext.learn.grading import Grade, Submission, find_submissions, grade, most_frequent_faults
from npresnext.learn.tables_of_grades import write_csv, write_html, write_text

WINDOWS, BACKWARD = learn.find_exercise("windows"), learn.find_exercise("grouped_backward")
WRONG = "def count_windows(size, kernel, stride):\n    return (size - kernel) // stride\n"


@pytest.fixture
def course(tmp_path):
    """Three students: one is right, one is wrong, one has another exercise alone."""
    for name in ("ada", "bob", "cleo"):
        (tmp_path / name).mkdir()
    (tmp_path / "ada" / "01_windows.py").write_text(WINDOWS.solution, encoding="utf-8")
    (tmp_path / "bob" / "01_windows.py").write_text(WRONG)
    (tmp_path / "cleo" / "02_output_size.py").write_text("")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_submissions_are_folders_with_files_of_exercises(course):
    assert [one.name for one in find_submissions([course])] == ["ada", "bob", "cleo"]
    assert [one.name for one in find_submissions([course / "bob", course / "ada"])] == ["bob", "ada"]
    twice = find_submissions([course, course / "ada"])
    assert len({one.name for one in twice}) == 3  # equal names become paths
    with pytest.raises(InvalidValueError, match="notes has no file of an exercise, such as 01_windows.py"):
        find_submissions([course / "notes"])
    with pytest.raises(InvalidValueError, match="is not a folder"):
        find_submissions([course / "ada" / "01_windows.py"])


def test_each_file_is_checked_on_the_same_cases(course):
    seen = []
    grades = grade(find_submissions([course]), [WINDOWS], seed=4, watch=lambda done, of: seen.append((done, of)))
    assert [(one.submission, one.points) for one in grades] == [("ada", 1), ("bob", 0), ("cleo", 0)]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {one.answer.seed for one in grades if one.answer} == {4}
    assert grades[0].fault == "" and grades[2].answer is None and grades[2].fault == "no file"
    assert grades[1].fault == "computes one window too few"


def test_a_file_that_cannot_be_checked_stops_no_other(course, monkeypatch):
    def check_file(path, exercise, **options):
        if path.parent.name == "ada":
            raise NpresnextError("no memory")
        return Answer("windows", True, "right", points=1.0)

    monkeypatch.setattr(grading, "check_file", check_file)
    first, second, _ = grade(find_submissions([course]), [WINDOWS], jobs=1)
    assert first.fault == "could not be checked: no memory" and second.points == 1


def answer(mistakes=(), points=0.0, headline="wrong in 3 of 60 cases (seed 0)."):
    return Answer("windows", points == 1, headline, mistakes=list(mistakes), points=points, tried=60, failed=3)


GRADES = [
    Grade("ada", WINDOWS, answer(points=1.0)),
    Grade("ada", BACKWARD, answer(["averages over the batch"], 2 / 3)),
    Grade("bob <b>", WINDOWS, answer(headline="count_windows raises KeyError, in 3 of 60 cases (seed 0).")),
    Grade("bob <b>", BACKWARD, answer(["averages over the batch"])),
    Grade("=cmd()", WINDOWS, None),
    Grade("=cmd()", BACKWARD, answer(["adds the gradient twice"])),
]


def test_the_most_frequent_mistakes_come_first():
    assert most_frequent_faults(GRADES) == [
        (2, "grouped_backward", "averages over the batch"),
        (1, "windows", "count_windows raises KeyError"),
        (1, "grouped_backward", "adds the gradient twice"),
    ]


def test_faults_without_a_name_are_counted_by_what_their_failing_cases_share():
    def graded(failing, shared):
        found = answer(headline=f"conv2d is wrong in {failing} of 83 cases (seed 0).")
        found.explanation = f"No mistake in the catalogue gives these results in every case. {shared}A hint: W. Go."
        return Grade("ada", WINDOWS, found)

    strided = "The function fails only with stride > 1, no bias. "
    grades = [graded(3, strided), graded(7, strided), graded(7, "")]
    assert most_frequent_faults(grades) == [
        (2, "windows", "conv2d is wrong: fails only with stride > 1, no bias"),
        (1, "windows", "conv2d is wrong"),
    ]


def test_grades_as_text():
    points, faults = write_text(GRADES).split("\n\nmost frequent mistakes\n\n")
    assert re.search(r"submission +1 +12 +points", points)
    assert re.search(r"ada +1 +0\.67 +1\.67", points) and re.search(r"=cmd\(\) +- +0 +0", points)
    assert faults.splitlines()[2].split() == "2 grouped_backward averages over the batch".split()
    assert write_text(GRADES[:1]).endswith("no mistakes\n")


def test_grades_as_a_page_show_no_markup_of_a_student():
    page = write_html(GRADES)
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert "bob &lt;b&gt;" in page and "<b>" not in page and "averages over the batch" in page


def test_grades_as_csv_have_a_row_for_each_exercise_and_no_formula():
    rows = list(csv.DictReader(io.StringIO(write_csv(GRADES))))
    assert len(rows) == len(GRADES)
    assert rows[1] == {
        "submission": "ada",
        "number": "12",
        "exercise": "grouped_backward",
        "points": "0.67",
        "fault": "averages over the batch",
        "cases": "60",
        "failing_cases": "3",
        "seed": "0",
    }
    assert rows[4]["submission"] == "'=cmd()" and rows[4]["fault"] == "no file"


# --- other graders -------------------------------------------------------------------------------------------------


def cells(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in stored["cells"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[\w-]{1,64}", name) for name in names)
    return {cell["id"]: cell for cell in stored["cells"]}


def test_otter_gets_a_notebook_without_solutions_and_a_test_for_each_exercise(tmp_path):
    notebook, *tests = write_otter(tmp_path / "course", learn.EXERCISES)
    assert len(tests) == 16 and tests[3].name == "04_im2col.py" and tests[3].parent.name == "tests"
    stored = cells(notebook)
    assert "NotImplementedError" in stored["im2col"]["source"] and 'grader.check("04_im2col")' in str(stored)
    namespace = {}
    # otter-grader itself is not needed: its decorator takes points and a function
    text = tests[0].read_text(encoding="utf-8").replace("from otter.test_files import test_case", "")
    exec(text, {"test_case": lambda **options: lambda f: f}, namespace)
    assert namespace["OK_FORMAT"] is False and namespace["points"] == 1 and namespace["name"] == "01_windows"
    right, wrong = {}, {}
    exec(WINDOWS.solution, right)
    exec(WRONG, wrong)
    namespace["test_windows"](right)
    with pytest.raises(AssertionError, match="count_windows is wrong in"):
        namespace["test_windows"](wrong)
    with pytest.raises(AssertionError, match="the notebook defines no function count_windows"):
        namespace["test_windows"]({})


def test_nbgrader_gets_the_source_with_solutions_and_points(tmp_path):
    configuration, notebook = write_nbgrader(tmp_path / "course", learn.EXERCISES)
    assert notebook.relative_to(tmp_path).as_posix() == "course/source/npresnext/npresnext.ipynb"
    assert "generate_assignment npresnext" in configuration.read_text(encoding="utf-8")
    stored = cells(notebook)
    for exercise in learn.EXERCISES:
        solution, check = stored[exercise.name], stored[f"{exercise.name}-check"]
        assert solution["source"].count("### BEGIN SOLUTION") == solution["source"].count("### END SOLUTION") == 1
        told = {key: solution["metadata"]["nbgrader"][key] for key in ("solution", "grade", "locked")}
        assert told == {"solution": True, "grade": False, "locked": False}
        graded = check["metadata"]["nbgrader"]
        assert (graded["points"], graded["grade"], graded["locked"], graded["schema_version"]) == (1, True, True, 3)
    names = {}
    for name in ("windows", "windows-check"):
        exec(stored[name]["source"], names)
    assert names["answer"].passed and stored["windows-check"]["source"].endswith("answer.points")


def test_an_export_overwrites_nothing(tmp_path):
    for write in (write_otter, write_nbgrader):
        with pytest.raises(InvalidValueError, match="exists already: choose a folder that does not exist$"):
            write(tmp_path, [WINDOWS])
    assert list(tmp_path.iterdir()) == []


def test_names_of_submissions_are_those_of_their_folders(course, monkeypatch):
    monkeypatch.chdir(course / "ada")
    assert find_submissions(["."]) == [Submission("ada", find_submissions(["."])[0].folder)]
