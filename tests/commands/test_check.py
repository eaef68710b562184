"""npresnext check: exit codes, a process of its own, and what the target does to it."""

import importlib.util
import json
import re
import subprocess
import sys
from types import ModuleType

import pytest

from npresnext.errors import MissingExtraError
from npresnext.testing import adapters
from npresnext.testing.supports import SUPPORTS

from tests.support.paths import ROOT

RIGHT = """
import npresnext as nx

def forward(x, weight, bias, **window):
    return nx.conv2d(x, weight, bias, **window)

def backward(grad_output, x, weight, **window):
    return nx.conv2d_backward(grad_output, x, weight, **window)
"""

WRONG = (
    RIGHT
    + """
import os, signal, time

def flipped(x, weight, bias, **window):
    print("noise on standard output")
    return nx.conv2d(x, weight[..., ::-1, ::-1], bias, **window)

def interrupted(x, weight, bias, **window):
    os.kill(os.getpid(), signal.SIGINT)                   # as the terminal does to the whole group
    return nx.conv2d(x, weight, bias, **window)

def hangs(x, weight, bias, **window):
    time.sleep(60)

def dies_when_small(x, weight, bias, **window):
    if (x.shape, weight.shape) == ((1, 2, 1, 1), (2, 1, 1, 1)):
        os._exit(7)
    y = nx.conv2d(x, weight, bias, **window)
    return y + 1 if window["groups"] == 2 else y

def crashes(x, weight, bias, **window):
    import ctypes
    return ctypes.string_at(0) if len(x) == 2 else nx.conv2d(x, weight, bias, **window)

def wrong_and_dies_later(x, weight, bias, **window):
    if len(x) == 3:
        os._exit(7)
    if window["groups"] > 1:
        raise ValueError("no groups")
    return nx.conv2d(x, weight, bias, **window) + 1

def wrong_without_channels(x, weight, bias, **window):
    return nx.conv2d(x, weight, bias, **window) + (x.shape[1] == 0)

def hangs_later(x, weight, bias, **window):
    return time.sleep(60) if len(x) == 3 else nx.conv2d(x, weight, bias, **window)

def onnx_style(x, weight, bias, *, strides, pads, dilations, group):
    top, left, bottom, right = pads
    padding = ((top, bottom), (left, right))
    return nx.conv2d(x, weight, bias, stride=strides, padding=padding, dilation=dilations, groups=group)

def torch_style(x, weight, bias, stride, padding, dilation, groups):
    import torch
    return torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)

def rolled(x, weight, bias, stride, padding, dilation, groups):
    return torch_style(x, weight, bias, stride, padding, dilation, groups).roll(1, 1)

def homework(x, weight, bias, stride, padding, groups):
    if min(map(min, padding)) < 0:
        raise ValueError("negative padding")
    return nx.conv2d(x, weight, bias, stride=stride, padding=padding, groups=groups)

number = 3
"""
)


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernel.py").write_text(WRONG)
    (folder / "broken.py").write_text("1 / 0")
    (folder / "leaving.py").write_text("raise SystemExit(3)")

    def run(*arguments, timeout=120):
        command = [sys.executable, "-m", "npresnext", "check", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)

    return run


def test_a_right_convolution_ends_with_0(check):
    done = check("kernel:forward", "--backward", "kernel:backward", "--cases", "5")
    assert done.returncode == 0, done.stderr
    assert "holds in" in done.stdout and "adjoint" in done.stdout


def test_a_wrong_one_ends_with_1_and_json_says_why(check):
    done = check("kernel:flipped", "--cases", "5", "--format", "json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["passed"] is False and told["failures"][0]["reproduction"].count("\n") < 10
    assert "from kernel import flipped\n" in told["failures"][0]["reproduction"]


def test_the_formats_and_a_baseline(check, tmp_path):
    options = "kernel:wrong_without_channels", "--cases", "2", "--without", "layouts", "--budget", "60"
    page = check(*options, "--format", "html")
    assert page.returncode == 1 and page.stdout.startswith("<!doctype html>")
    annotated = check(*options, "--format", "github")
    assert annotated.returncode == 1 and annotated.stdout.startswith("::error title=npresnext%3A y is wrong in ")
    (tmp_path / "known.json").write_text('{"zero_channels": "issue 7"}')
    known = check(*options, "--baseline", str(tmp_path / "known.json"))
    assert known.returncode == 0 and "known: zero_channels (issue 7) fails in " in known.stdout


def test_one_case_alone(check):
    done = check("kernel:wrong_without_channels", "--case", "ConvCase(in_channels=0)")
    assert done.returncode == 1 and "1 of 1 cases" in done.stdout
    done = check("kernel:wrong_without_channels", "--case", "nonsense")
    assert done.returncode == 2 and "expected a line such as ConvCase" in done.stderr


def test_a_hang_is_a_finding(check):
    done = check("kernel:hangs", "--time-limit", "6")
    assert done.returncode == 1 and "no end after 6 seconds, during case 1" in done.stdout


def test_the_help_shows_the_signature_and_every_key_of_without(check):
    told = " ".join(check("--help").stdout.split())
    assert "forward(x, weight, bias, *, stride, padding, dilation, groups) -> y" in told
    assert ", ".join(key for key, all_of_it in SUPPORTS.items() if all_of_it is not None) in told


def test_a_homework_without_dilation_and_negative_padding_passes(check):
    done = check("kernel:homework", "--cases", "5", "--without", "negative_padding")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: dilation (forward has no such parameter)\n" in done.stdout


def test_ctrl_c_is_left_to_the_command_and_not_said_twice(check):
    done = check("kernel:interrupted", "--cases", "0")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hang_is_told_with_the_number_of_its_case(check):
    done = check("kernel:hangs_later", "--time-limit", "6")
    number = done.stdout.split("during case ")[1].splitlines()[0]
    assert int(number) > 1 and f"first in case {number}\n" in done.stdout and f"in {number} cases" in done.stdout


def test_a_crash_is_told_by_its_signal_with_the_line_of_the_target(check):
    done = check("kernel:crashes", "--cases", "5")
    assert done.returncode == 1 and "the process died of SIGSEGV, during case " in done.stdout
    assert "in the call of forward\n" in done.stdout
    assert " in crashes\n" in done.stderr
    assert done.stderr.count("Segmentation fault") == 1  # the others are on the way to the smallest case


def test_what_was_found_before_a_death_is_told(check):
    done = check("kernel:wrong_and_dies_later")
    assert done.returncode == 1 and "y is wrong: " in done.stdout and " expected " in done.stdout
    assert (
        "forward raised ValueError: no groups" in done.stdout
        and "the process does not survive forward: " in done.stdout
    )
    number = done.stdout.split("exit code 7, during case ")[1].splitlines()[0]
    assert f"first in case {number}\n" in done.stdout
    assert int(re.search(r" in (\d+) cases", done.stdout)[1]) > int(number)


def test_a_death_on_the_way_to_the_smallest_case_is_told_as_that(check):
    done = check("kernel:dies_when_small", "--cases", "5")
    assert done.returncode == 1
    assert "exit code 7, during the search for the smallest case of y (exact)" in done.stdout
    assert "x (1, 2, 1, 1), weight (2, 1, 1, 1), " in done.stdout


@pytest.mark.oracle
def test_the_torch_convention_hands_over_tensors_and_asks_autograd(check):
    pytest.importorskip("torch")
    options = "--convention", "torch", "--device", "cpu", "--cases", "5", "--without", "zero_channels"
    done = check("kernel:torch_style", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    done = check("kernel:rolled", *options)
    assert done.returncode == 1 and "dx is wrong" in done.stdout, done.stdout + done.stderr


def test_the_onnx_convention(check):
    done = check("kernel:onnx_style", "--convention", "onnx", "--cases", "5", "--without", "zero_channels")
    assert done.returncode == 0 and "left out: negative_padding" in done.stdout


@pytest.mark.slow
@pytest.mark.oracle
def test_jax_holds(check):
    """Each new shape is compiled, which takes most of a second."""
    if importlib.util.find_spec("jax") is None:  # its import draws from NumPy's global generator
        pytest.skip("needs jax")
    few = ("groups", "stride", "dilation", "padding", "layouts", "empty_batch", "zero_channels")
    done = check("jax", "--cases", "2", "--without", *few, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernel:nothing"], "kernel:nothing cannot be imported: AttributeError"),
        (["kernel.py:forward"], "(did you mean kernel:forward?)"),
        (["no_such_module:conv"], "no_such_module:conv cannot be imported: ModuleNotFoundError"),
        (["broken:conv"], "broken:conv cannot be imported: ZeroDivisionError"),
        (["leaving:conv"], "leaving:conv cannot be imported: SystemExit: 3"),
        (["kernel:forward", "--time-limit", "inf"], "--time-limit must be above 0 and at most 1000000, but is inf"),
        (["kernel:forward", "--device", "cuda"], "device is 'cuda', but only tensors of the torch convention"),
        (["kernel:forward", "--engine", "cpu"], "only the target npresnext has a backend and an engine"),
        (["kernel:number"], "kernel:number is of type int: expected a function"),
        (["caffe"], "litert, npresnext or package.module:function"),
        (["torch", "--backward", "kernel:backward"], "only a function in the convention npresnext takes one"),
        (["kernel:forward", "--convention", "tf"], "convention is 'tf': expected one of npresnext, torch, onnx"),
        (["kernel:forward", "--dtype", "int8"], "dtype is 'int8'"),
        (["kernel:forward", "--without", "speed"], "supports has unknown keys speed"),
        (["kernel:forward", "--arithmetic", "tf32"], "expected KEY=FORMAT"),
        (["kernel:forward", "--budget", "0"], "budget must be above 0 seconds"),
        (["kernel:forward", "--baseline", "kernel.py"], "kernel.py is not a JSON file"),
        (["npresnext", "--engine", "warp"], "engine must be one of"),
    ],
)
def test_a_mistake_is_one_line_and_2(check, arguments, message):
    done = check(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("target", "convention", "missing"),
    [
        ("torch", "npresnext", "torch"),
        ("jax", "npresnext", "jax"),
        ("onnxruntime", "npresnext", "onnxruntime"),
        ("onnxruntime", "npresnext", "onnx"),
        ("operator:add", "torch", "torch"),
    ],
)
def test_a_framework_that_is_missing_is_named_as_pip_knows_it(target, convention, missing, monkeypatch):
    for name in ("onnx", "onnx.parser", "onnxruntime", missing):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, missing, None)
    for name in ("pytorch", "jax_xla", "onnx_runtime"):  # which another test may have imported, with what is missing
        monkeypatch.delitem(sys.modules, f"npresnext.testing.adapters.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=f"needs {missing}: pip install {missing}$"):
        adapters.load(target, convention=convention)


@pytest.mark.oracle
def test_a_device_that_is_not_there_is_a_mistake(check):
    pytest.importorskip("torch")
    done = check("torch", "--device", "nowhere")
    assert done.returncode == 2 and "device is 'nowhere': " in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_page_shows_what_the_command_says(tmp_path):
    """docs/verify.md: its kernel, the lines of its report in their order, and its ten lines, which fail."""
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    kernel, told = page.split("`kernel.py`:\n\n```python\n")[1].split("```")[0:3:2]
    (tmp_path / "kernel.py").write_text(kernel)
    command = [sys.executable, "-m", "npresnext", "check", "kernel:forward", "--backward", "kernel:backward"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1

    def sure(report):
        """The lines of a report without how near rounding came to its bounds, which is the processor's own."""
        return [re.sub(r"((bounded|statistical) .*?) +\S+$", r"\1", line) for line in report.splitlines() if line]

    lines = iter(sure(done.stdout))
    for line in sure(told):
        assert line in lines, f"not there, or not in this order: {line}"
