"""The command line: exit codes that mean something, and mistakes in one line."""

import configparser
import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

import npresnext
from npresnext import cli
from npresnext.errors import ConfigurationError, InvalidValueError, NonFiniteLossError, OutputExistsError

from tests.support.paths import ROOT


def one_line_on_stderr(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    return captured.err


@pytest.mark.parametrize("argv", [["no-such-command"], ["info", "--no-such-option"], ["info", "stray"]])
def test_a_mistake_is_one_line_and_exit_code_2(argv, capsys):
    assert cli.main(argv) == 2
    assert one_line_on_stderr(capsys).startswith("npresnext: error: ")


def test_an_unknown_command_is_told_which_there_are(capsys):
    cli.main(["trian"])
    line = one_line_on_stderr(capsys)
    assert all(name in line for name in cli.COMMANDS)


@pytest.mark.parametrize("typed, meant", [("summry", "summary"), ("gradnorm", "gradnorms"), ("clasify", "classify")])
def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(typed, meant, capsys):
    assert cli.main([typed]) == 2
    assert f"there is no command '{typed}' (did you mean '{meant}'?)" in one_line_on_stderr(capsys)


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["cardinality", "--layer", "64", "96", "--groups", "5"], "cardinality"),
        (["summary", "resnet18", "stray"], "summary"),
        (["gradnorms", "draw", "a.csv", "-o", "a.png", "--steps", "3"], "gradnorms draw"),
        (["info", "--no-such-option"], "info"),
    ],
)
def test_an_argument_that_a_command_does_not_know_points_to_its_own_help(argv, command, capsys):
    assert cli.main(argv) == 2
    line = one_line_on_stderr(capsys)
    assert "unrecognized arguments: " in line and line.endswith(f"(see npresnext {command} --help)\n")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnext_small", [1, 1, 8, 8]), ("resnext29_8x64d", [1, 3, 32, 32]), ("resnet18", [1, 3, 224, 224])],
)
def test_a_summary_is_for_an_image_of_the_networks_own_size(name, shape, capsys):
    assert cli.main(["summary", name, "--depth", "1", "--columns", "input_size"]) == 0
    assert str(shape) in capsys.readouterr().out.splitlines()[2]


def test_no_command_shows_the_help_and_is_a_mistake(capsys):
    assert cli.main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_teaches_by_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"\n  npresnext {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "raised, code, line",
    [
        (NonFiniteLossError("loss is nan at step 3"), 1, "npresnext: error: loss is nan at step 3\n"),
        (InvalidValueError("two\n  lines"), 2, "npresnext: error: two lines\n"),
        (
            OutputExistsError("a.csv"),
            2,
            "npresnext: error: a.csv exists already: choose another name, or pass --force\n",
        ),
        (
            ConfigurationError("batch_size", 0, "at least 1"),
            2,
            "npresnext: error: argument --batch-size: must be at least 1, but is 0\n",
        ),
        (
            ConfigurationError("data_dir", None, "a folder"),
            2,
            "npresnext: error: argument --data-dir is missing: it must be a folder\n",
        ),
        (FileNotFoundError(2, "No such file", "a.npz"), 2, "npresnext: error: a.npz: No such file\n"),
        (OSError(28, "No space left on device"), 1, "npresnext: error: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "npresnext: interrupted\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(raised, code, line, capsys, monkeypatch):
    def run(args):
        raise raised

    monkeypatch.setattr("npresnext.commands.info.run", run)
    assert cli.main(["info"]) == code
    assert one_line_on_stderr(capsys) == line


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_a_character_gets_a_question_mark(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "npresnext", "summary", "resnext_small", "--depth", "1"],
        env=environment,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"") and b"\n??Conv2d (conv1): 1-1 " in done.stdout


def test_the_c_locale_gets_question_marks_too():
    """There Python lets standard output carry odd file names, which is no help against other characters."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    argv = [sys.executable, "-m", "npresnext", "summary", "resnext_small", "--depth", "1"]
    done = subprocess.run(argv, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and b"\n??Conv2d (conv1): 1-1 " in done.stdout


def test_help_imports_no_more_than_the_package_itself():
    code = (
        "import sys, npresnext; from npresnext.cli import main; before = {*sys.modules}\n"
        "try: main(['--help'])\nfinally: print(sorted({name.split('.')[1] for name in {*sys.modules} - before "
        "if name.startswith('npresnext.')}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "['_support', 'commands']\n")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes files")
def test_a_closed_standard_output_costs_no_traceback():
    done = subprocess.run(f"{sys.executable} -m npresnext info >&-", shell=True, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_training_without_a_standard_error_runs_to_its_end():
    command = "-m npresnext train --epochs 1 --limit 64 2>&-"
    done = subprocess.run(f"{sys.executable} {command}", shell=True, stdout=subprocess.PIPE)
    assert (done.returncode, b"test accuracy" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments, argument",
    [(["train", "--save", ""], "save"), (["cardinality", "--plot", ""], "plot"), (["gradnorms", "-o", ""], "output")],
)
def test_an_empty_text_is_no_file_name(arguments, argument, capsys):
    assert cli.main(arguments) == 2
    assert one_line_on_stderr(capsys) == f"npresnext: error: argument {argument}: the value is an empty text\n"


def test_info_names_the_versions_the_backend_and_the_digits(capsys):
    assert cli.main(["info"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"Python", "BLAS", "CUDA", "digits"} <= shown.keys()
    found = {name: shown[name].strip() for name in ("npresnext", "NumPy", "backend", "hypothesis")}
    assert found == {
        "npresnext": npresnext.__version__,
        "NumPy": importlib.metadata.version("numpy"),
        "backend": "numpy",
        "hypothesis": importlib.metadata.version("hypothesis"),
    }


def test_info_names_what_every_extra_brings(capsys, monkeypatch):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    brought = setup["options.extras_require"]
    extras = re.search(r"\[(.*)\]", brought["all"])[1].split(",")
    cli.main(["info"])
    shown = capsys.readouterr().out
    packages = [re.match(r"\w+", brought[extra])[0] for extra in extras]
    assert all(f"\n{package} " in shown for package in packages)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version(name if name == "numpy" else "absent"))
    cli.main(["info"])
    shown = capsys.readouterr().out
    for package, extra in zip(packages, extras):
        assert re.search(rf"\n{package} +not installed: pip install 'npresnext\[{extra}\]'", shown)


def test_the_package_runs_as_a_module_and_a_reader_that_leaves_costs_no_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "npresnext", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (cli.READER_GONE, b"")
