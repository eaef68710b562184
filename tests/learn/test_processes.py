"""A student's file in a process of its own: whatever it does, one clear answer."""

import json
import os
import subprocess
import sys

import pytest

from npresnext.errors import InvalidValueError, NpresnextError
from npresnext.learn import Answer, calls, find_exercise, loading, processes
from npresnext.learn.calls import Outcome, guarded
from npresnext.learn.checking import check_function
from npresnext.learn.processes import check_file

IM2COL = find_exercise("im2col")
HEAD = "def im2col(x, kernel, stride, padding, dilation):\n"
RIGHT = "from npresnext import im2col as right\n" + HEAD
CALL = "    return right(x, kernel, stride=stride, padding=padding, dilation=dilation)\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="04_im2col.py"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# --- in this process: what a file can be, and what a function can do -----------------------------------------------


def load(path):
    return loading.load_function(path, IM2COL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def im2col(x:\n", "is not valid Python: line 1: '(' was never closed: def im2col(x:"),
        (b"\0\0", "is not valid Python: source code"),
        (b"x = '\xff'", "is not valid Python: "),
        ("x = 1\ny = npp.zeros(3)\n", "cannot be imported: it raises NameError: name 'npp' is not defined, at line 2"),
        ("import sys\nsys.exit(3)\n", "cannot be imported: it ends the program"),
        ("raise KeyError\n", "cannot be imported: it raises KeyError"),
        ("", "has no function 'im2col': it should define im2col(x, kernel, stride, padding, dilation)"),
        ("def im2cols(): pass\n", "has no function 'im2col'; did you mean 'im2cols'?"),
        ("im2col = 3\n", "defines im2col as a value of type int: expected a function"),
        ("x = 1\n" * 200_000, "is larger than 1,000,000 bytes"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value[:30],
)
def test_a_file_without_the_function_is_told_why(write, text, told):
    path = write(text)
    answer = load(path)
    assert isinstance(answer, Answer) and not answer.passed and answer.points == 0
    assert answer.headline.startswith(f"04_im2col.py {told}")
    assert "\n" not in answer.headline


def test_a_file_that_loops_when_imported_is_stopped(write, monkeypatch):
    monkeypatch.setattr(loading, "SECONDS_TO_IMPORT", 0.2)
    answer = load(write("print('here')\nwhile True:\n    pass\n"))
    assert "cannot be imported: it does not return within 0.2 seconds" in answer.headline
    assert answer.printed == "here"


def test_the_main_part_of_a_file_does_not_run(write):
    assert callable(load(write(f'{RIGHT}{CALL}if __name__ == "__main__":\n    raise SystemExit\n')))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("pass", "returns None (is a `return` missing?): expected a NumPy array (N, C·kh·kw, oh·ow), in 83 of 83"),
        ("return [1]", "returns a list: expected a NumPy array"),
        ("return x + 1j", "returns an array of dtype complex128: expected float64"),
        ("return x.astype(object)", "returns an array of dtype object"),
        ("return x[0, 99]", "raises IndexError: index 99 is out of bounds"),
        ("return im2col(x, kernel, stride, padding, dilation)", "raises RecursionError"),
        ("return np.ones(10**14)", "raises MemoryError: Unable to allocate"),
        ("raise Terrible", "raises Terrible, in 83 of 83 cases"),
        ("yield x", "returns a generator: expected a NumPy array"),
        ("x += 1; return x", "changes its argument x: copy it before you write into it"),
        ("import sys; sys.exit(3)", "ends the program, as sys.exit does: use return"),
        ("return x", "is wrong in 83 of 83 cases"),
    ],
    ids=lambda value: value[:20],
)
def test_a_function_that_breaks_the_rules_is_told_which(write, body, told):
    head = "import numpy as np\n\nclass Terrible(BaseException):\n    def __str__(self):\n        1 / 0\n\n"
    answer = check_function(IM2COL, load(write(f"{head}{HEAD}    {body}\n")), 3)
    assert answer.headline.startswith(f"im2col {told}") and answer.points == 0
    assert "x = np.array(" in answer.text()


def test_the_line_that_raised_is_shown(write):
    answer = check_function(IM2COL, load(write(f"{HEAD}    return helper(x)\n\ndef helper(x):\n    return x[99]\n")), 3)
    assert answer.details[-1] == "  line 5: return x[99]"


@pytest.mark.parametrize("body", ["while True: pass", "try:\n        while True: pass\n    except Exception: pass"])
def test_a_call_that_never_ends_is_stopped(write, monkeypatch, body):
    function = load(write(f"{HEAD}    {body}\n"))
    outcome = Outcome(None)
    guarded(lambda: function(0, 0, 0, 0, 0), outcome, 0.2)
    assert outcome.kind == "hangs" and "does a loop never end?" in outcome.problem


def test_other_parameters_are_told():
    answer = check_function(IM2COL, lambda x, kernel: x, 0)
    assert answer.headline == (
        "im2col has the parameters (x, kernel): expected im2col(x, kernel, stride, padding, dilation)"
    )


def test_what_is_printed_is_kept_in_part(capfd):
    def im2col(x, kernel, stride, padding, dilation):
        print("first")
        print("spam " * 100_000)
        return x

    answer = check_function(IM2COL, im2col, 1)
    assert answer.printed.startswith("first\nspam spam") and answer.printed.endswith("more characters)")
    assert len(answer.text()) < 2000
    assert capfd.readouterr() == ("", "")


def test_an_integer_is_an_integer():
    windows = find_exercise("windows")
    told = check_function(windows, lambda size, kernel, stride: (size - kernel) / stride + 1, 1).headline
    assert "returns the float " in told and "expected an int (`//` divides integers" in told
    assert "returns a bool: expected an int" in check_function(windows, lambda *sizes: True, 1).headline
    assert check_function(windows, lambda s, k, t: calls.np.int64((s - k) // t + 1), 1).passed


def test_several_results_are_counted():
    exercise = find_exercise("grouped_backward")
    told = check_function(exercise, lambda *arguments: arguments[0], 1).headline
    assert "returns an array of shape" in told and "expected 3 arrays, dx, dw, db" in told
    assert "returns 2 values: expected 3 arrays" in check_function(exercise, lambda *a: (a[0], a[1]), 1).headline


def test_a_result_that_depends_on_earlier_calls_is_told():
    right, seen = find_exercise("windows").right, []

    def count_windows(size, kernel, stride):
        seen.append(size)
        return right({"size": size, "kernel": kernel, "stride": stride})["windows"] + (len(seen) == 1)

    answer = check_function(find_exercise("windows"), count_windows, 1)
    assert "right when it was repeated" in answer.text() and not answer.mistakes


# --- in a process of its own ---------------------------------------------------------------------------------------


def test_a_right_file_passes(write):
    answer = check_file(write(RIGHT + CALL), IM2COL, seed=5)
    assert answer.passed and answer.seed == 5 and answer.solution == IM2COL.solution


@pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import os\n    os._exit(3)", "im2col ends Python (exit code 3): use return (seed 1)"),
        ("import ctypes\n    ctypes.string_at(0)", "im2col crashes the process (SIGSEGV) (seed 1)"),
        (
            "import signal, time\n    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n    time.sleep(60)",
            "im2col does not end within 4 seconds: does a loop never end? (seed 1)",
        ),
    ],
    ids=["exits", "crashes", "hangs"],
)
def test_a_file_that_ends_its_process_is_told(write, body, told):
    answer = check_file(write(f"{HEAD}    {body}\n"), IM2COL, seed=1, time_limit=4 if "sleep" in body else 60)
    assert answer.headline == told
    assert answer.details[0] == "In this call:" and "im2col(x, kernel=" in answer.text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux alone")
def test_memory_threads_and_output_are_kept_in_bounds(write, capfd):
    text = (
        "import os, threading, time, numpy as np\n"
        "threading.Thread(target=time.sleep, args=[600]).start()\n"
        f"{HEAD}    os.write(1, b'noise' * 1000)\n    os.write(2, b'noise' * 1000)\n    return np.ones(2**28)\n"
    )
    answer = check_file(write(text), IM2COL, seed=1, memory_limit=500)
    assert answer.headline.startswith("im2col raises MemoryError: Unable to allocate 2.00 GiB")
    assert capfd.readouterr() == ("", "")


def test_a_check_that_cannot_begin_is_an_error(write, monkeypatch):
    monkeypatch.setattr(processes, "environment", lambda: {**os.environ, "PYTHONPATH": "", "PYTHONHOME": "nowhere"})
    with pytest.raises(NpresnextError, match="the check could not begin: "):
        check_file(write(RIGHT + CALL), IM2COL)


def test_messages_that_are_not_ours_are_passed_over():
    lines = ["no JSON", json.dumps([1]), json.dumps({"calling": 3}), json.dumps({"answer": {"unknown": 1}})]
    good = json.dumps({"answer": {"exercise": "im2col", "passed": True, "headline": "right"}})
    program = f"print({chr(10).join([*lines, good])!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    messages = processes.Messages(process)
    assert messages.wait(60) and messages.answer.passed
    process.communicate()


def test_a_file_that_is_none_is_an_error(tmp_path):
    with pytest.raises(InvalidValueError, match="there is no file"):
        check_file(tmp_path / "04_im2col.py", IM2COL)
    with pytest.raises(InvalidValueError, match="is a directory"):
        check_file(tmp_path, IM2COL)
