"""npresnext learn, as a student uses it: from start to solution; what it writes, and what it never overwrites."""

import json
import re
import shlex
from argparse import Namespace

import pytest

from npresnext import cli, learn
from npresnext.commands import learn as command
from npresnext.learn import Answer, processes
from npresnext.learn.checking import check_function
from npresnext.learn.loading import load_function
from npresnext.learn.workbook import FOLDER, PROGRESS, Workbook

from tests.support.paths import ROOT

WINDOWS = learn.find_exercise("windows")
WRONG = "def count_windows(size, kernel, stride):\n    return (size - kernel) // stride\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / FOLDER


@pytest.fixture
def in_this_process(monkeypatch):
    """Check without a process of its own, which takes a second."""

    def check_file(path, exercise, *, seed=None, **limits):
        loaded = load_function(path, exercise)
        return loaded if isinstance(loaded, Answer) else check_function(exercise, loaded, seed)

    monkeypatch.setattr(processes, "check_file", check_file)


@pytest.fixture
def run(capsys):
    """Run a command, and return its exit code and its output."""

    def run(*arguments):
        code = cli.main(["learn", *arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out + err

    return run


def solve(folder, exercise, text=None):
    path = folder / f"{learn.EXERCISES.index(exercise) + 1:02}_{exercise.name}.py"
    path.write_text(exercise.solution if text is None else text, encoding="utf-8")
    return path


def test_from_start_to_solution(folder, run):
    """With processes of their own: the way of a student."""
    assert run() == (
        0,
        "0 of 16 exercises solved.\nAt hand: exercise 1, count windows.\nBegin: npresnext learn start\n",
    )
    code, out = run("start")
    assert code == 0 and out.startswith("Exercise 1: count windows.") and f"Wrote {FOLDER}/01_windows.py." in out
    assert (folder / "01_windows.py").read_text(encoding="utf-8") == WINDOWS.starter
    code, out = run("check")
    assert code == 1 and out.startswith(
        "count_windows is not written yet.\n\nOne step more: npresnext learn hint windows"
    )
    solve(folder, WINDOWS, WRONG)
    code, out = run("check", "--seed", "3")
    assert code == 1 and "count_windows is wrong in 60 of 60 cases (seed 3)." in out
    assert (
        "Smallest failing case:\n  count_windows(size=1, kernel=1, stride=1)\n\n  windows: yours 0, expected 1" in out
    )
    code, out = run("hint")
    assert code == 0 and out.startswith("Question: A 3-pixel image and a 2-pixel kernel")
    code, out = run("hint")
    assert code == 0 and out.startswith("Mistake: it computes one window too few.")
    assert run("solution")[0] == 2
    solve(folder, WINDOWS)
    code, out = run("check")
    assert code == 0 and "count_windows is right in all 60 cases" in out and "The division rounds down." in out
    assert out.endswith("Next is exercise 2, the output size, with padding and dilation: npresnext learn start\n")
    assert run("solution", "windows") == (0, WINDOWS.solution)
    assert run()[1].startswith("1 of 16 exercises solved.\nNext is exercise 2")
    code, out = run("start")
    assert out.startswith("Exercise 2: ") and (folder / "02_output_size.py").exists()


def test_it_goes_on_where_it_was_inside_the_folder_too(folder, run, monkeypatch):
    run("start", "im2col")
    assert run("status")[1].startswith("0 of 16 exercises solved.\nAt hand: exercise 4, im2col")
    monkeypatch.chdir(folder)
    assert "Your file is 04_im2col.py: npresnext learn check" in run()[1]
    rows = run("list")[1].splitlines()
    assert rows[5].split()[-4:] == ["begun", "<-", "at", "hand"] and len(rows) == 18
    monkeypatch.chdir(folder.parent)
    assert "exercise 4" in run("status", "--folder", FOLDER)[1]


def test_a_hint_without_a_check_shows_the_case_too(folder, run, in_this_process):
    run("start")
    solve(folder, WINDOWS, WRONG)
    out = run("hint")[1]
    assert "Smallest failing case:" in out and "Question: " in out
    assert "Mistake: " in run("hint", "1")[1]
    assert "Mistake: " in run("hint", "windows")[1]  # there is no further step
    solve(folder, WINDOWS, WRONG.replace("(size - kernel)", "size"))  # another mistake: from the first step on
    out = run("hint")[1]
    assert "Smallest failing case:" in out and "Question: " in out and "Mistake: " not in out
    solve(folder, WINDOWS)
    assert "is right in all 60 cases" in run("hint")[1]


@pytest.mark.parametrize("given", [["--folder", "my homework", "windows"], ["my homework/windows.py"]])
def test_the_command_that_is_advised_works_for_another_folder_or_file(given, tmp_path, run, in_this_process):
    (tmp_path / "my homework").mkdir()
    for name in ("windows.py", "01_windows.py"):
        (tmp_path / "my homework" / name).write_text(WRONG, encoding="utf-8")
    for step in ("Question: ", "Mistake: "):
        advised = re.search(r"One step more: npresnext learn (.*)", run("check", *given)[1])[1]
        out = run(*shlex.split(advised))[1]
        assert step in out


def test_no_file_of_a_student_is_overwritten(folder, run, in_this_process):
    run("start")
    path = solve(folder, WINDOWS, WRONG)
    assert "is there already, and stays as it is" in run("start", "windows")[1]
    assert path.read_text() == WRONG
    out = run("reset", "windows")[1]
    assert f"Your file is kept as {FOLDER}/01_windows.py.1." in out
    assert (folder / "01_windows.py.1").read_text() == WRONG
    assert path.read_text(encoding="utf-8") == WINDOWS.starter
    assert "kept" not in run("reset", "windows")[1]  # a starter file needs no copy
    path.write_text("# mine\n")
    assert "01_windows.py.2" in run("reset")[1]
    assert (folder / "01_windows.py.1").read_text() == WRONG and (folder / "01_windows.py.2").read_text() == "# mine\n"


def test_a_file_anywhere_is_checked_by_its_name(tmp_path, run, in_this_process):
    solve(tmp_path, WINDOWS)
    assert run("check", "01_windows.py")[0] == 0
    (tmp_path / "solution.py").write_text("")
    code, out = run("check", "solution.py")
    assert code == 2 and "there is no exercise 'solution.py'" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check"], f"there is no file {FOLDER}/01_windows.py: npresnext learn start windows writes it"),
        (["check", "imcol"], "there is no exercise 'imcol' (did you mean 'im2col'?)"),
        (["start", "17"], "there is no exercise 17: the exercises are 1 to 16"),
        (["solution", "3"], "sum_of_products is not solved yet; npresnext learn hint sum_of_products helps"),
        (["grade", "nowhere"], "nowhere is not a folder"),
        (["grade", "."], "has no file of an exercise"),
        (["export", "otter", "-o", "."], ". exists already: choose a folder that does not exist"),
        (["export", "moodle", "-o", "x"], "invalid choice: 'moodle'"),
        (["check", "--memory-limit", "0"], "--memory-limit"),
        (["check", "--time-limit", "-1"], "--time-limit"),
        (["check", "--seed", "-1"], "--seed"),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_one_line(run, arguments, told):
    code, out = run(*arguments)
    assert code == 2 and told in out and len(out.splitlines()) == 1
    assert out.startswith("npresnext: error: ")


def test_damaged_progress_is_told_and_the_files_stay(folder, run):
    run("start")
    (folder / PROGRESS).write_text("{")
    code, out = run("check")
    assert code == 2 and "is damaged: delete it" in out
    (folder / PROGRESS).write_text(json.dumps({"solved": ["windows", "gone"], "current": "gone", "seen": {}}))
    assert run()[1].startswith("1 of 16 exercises solved.\nNext is exercise 2")
    (folder / PROGRESS).unlink()
    assert run()[1].startswith("0 of 16")


def test_watch_checks_each_time_the_file_is_saved_and_goes_on_to_the_next(folder, run, capsys):
    run("start")
    book = Workbook()
    paths = [book.path_of(exercise) for exercise in learn.EXERCISES[:2]]
    edits = iter(
        [
            lambda: None,  # nothing is saved: nothing is checked
            lambda: solve(folder, WINDOWS, WRONG),
            paths[0].unlink,  # an editor that replaces the file
            lambda: solve(folder, WINDOWS),
            lambda: solve(folder, learn.EXERCISES[1]),
        ]
    )
    checked = []

    def check(exercise, path):
        checked.append(path.name)
        return check_function(exercise, load_function(path, exercise), 1)

    def wait(seconds):
        edit = next(edits, None)
        if edit is None:
            raise KeyboardInterrupt
        edit()

    with pytest.raises(KeyboardInterrupt):
        command.watch(Namespace(folder=None), book, WINDOWS, paths[0], check, wait)
    assert checked == ["01_windows.py"] * 3 + ["02_output_size.py"]
    out = capsys.readouterr().out
    assert out.count("not written yet") == 1 and out.count("is wrong in") == 1 and out.count("is right in all") == 2
    assert "Exercise 2: " in out and "Exercise 3: " in out  # their tasks are shown as they begin
    assert Workbook().progress.solved == ["windows", "output_size"]


def test_the_end_is_told(folder, run):
    book = Workbook()
    book.progress.solved = [exercise.name for exercise in learn.EXERCISES]
    book.save()
    for arguments in ((), ("start",)):
        assert "All exercises are solved." in run(*arguments)[1]
    assert list(folder.iterdir()) == [folder / PROGRESS]


def test_grade_prints_points_and_mistakes(tmp_path, run):
    for name, text in (("ada", None), ("bob", WRONG)):
        (tmp_path / "class" / name).mkdir(parents=True)
        solve(tmp_path / "class" / name, WINDOWS, text)
    code, out = run("grade", "class", "--exercises", "1")
    assert code == 0
    assert [line.split() for line in out.splitlines()[2:4]] == [["ada", "1", "1"], ["bob", "0", "0"]]
    assert out.splitlines()[-1].split() == "1 windows computes one window too few".split()
    assert (
        run("grade", "class/ada", "--exercises", "windows", "--format", "csv")[1].splitlines()[1].startswith("ada,1,")
    )


def test_export_prints_what_it_writes(tmp_path, run):
    code, out = run("export", "otter", "-o", "course", "--exercises", "4")
    assert code == 0 and out.split() == ["course/npresnext.ipynb", "course/tests/04_im2col.py"]
    assert all((tmp_path / name).exists() for name in out.split())


def test_the_answer_of_the_page_is_what_is_printed(run, in_this_process):
    """docs/learn.md shows a file, and what three commands print about it."""
    page = (ROOT / "docs" / "learn.md").read_text(encoding="utf-8")
    text = re.search(r"```python\n(import numpy as np\n\n\ndef input_grad.*?)```", page, re.DOTALL)[1]
    run("start", "input_grad")
    solve(Workbook().folder, learn.find_exercise("input_grad"), text)
    transcripts = re.findall(r"```\n\$ npresnext learn ((?:check|hint).*?)\n(.*?)```", page, re.DOTALL)
    assert len(transcripts) == 3
    for arguments, told in transcripts:
        printed = run(*arguments.split())[1]
        assert without_numbers(printed) == without_numbers(told)  # which change with the kit's cases


def without_numbers(text):
    """The words at the beginning of each line; of an array, one line."""
    return [line for line in (re.split(r"[\d*=-]", line)[0].strip() for line in text.splitlines()) if line]


def test_the_page_lists_every_exercise():
    page = (ROOT / "docs" / "learn.md").read_text(encoding="utf-8")
    for number, exercise in enumerate(learn.EXERCISES, 1):
        assert f"| {number} | `{exercise.name}` | `{exercise.function}`: " in page
