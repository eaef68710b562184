"""Targets by name: what is translated, what a reproduction prints, and what is said where a framework is missing."""

import subprocess
import sys
from functools import partial
from importlib import metadata

import numpy as np
import pytest

from npresnext.commands.check import TARGETS, read_only_with
from npresnext.errors import MissingExtraError
from npresnext.testing import ConvCase, check_conv, targets
from npresnext.testing.adapters import loading, windows
from npresnext.testing.adapters.onnx_text import with_constants, with_inputs
from npresnext.testing.adapters.written_call import written_call
from npresnext.testing.outcomes import COMMON
from npresnext.testing.supports import combine_supports, has_feature, offers

PADDING = ((1, 2), (3, 4))  # top, bottom, left, right
WINDOW = {"stride": (1, 2), "padding": PADDING, "dilation": (2, 1), "groups": 1}


@pytest.mark.parametrize(
    ("write", "written"),
    [
        (windows.by_end, (1, 3, 2, 4)),
        (windows.by_axis, (1, 2, 3, 4)),
        (windows.last_axis_first, (3, 4, 1, 2)),
        (windows.both_ends, ([1, 3], [2, 4])),
        (windows.one_for_both_ends, (1, 3)),
        (windows.of_all_axes_channels_last, ((0, 0), (1, 2), (3, 4), (0, 0))),
        (windows.of_all_axes_channels_first, ((0, 0), (0, 0), (1, 2), (3, 4))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_side_of_the_padding_has_its_place(write, written):
    assert write(PADDING) == written


def test_the_parser_names_every_target():
    assert TARGETS == targets.NAMES == tuple(loading.FRAMEWORKS)


def framework_conv(x, weight, bias, *, padding, groups, dtype):
    """Not a convolution, but every kind of statement that a reproduction writes down."""
    if groups == 1:
        total = np.pad(x, padding).sum(dtype=getattr(np, dtype))
    else:
        total = np.zeros((), dtype)
    return total if bias is None else total + bias[0]


@pytest.mark.parametrize("bias", [None, np.array([5.0], "float32")], ids=["no bias", "bias"])
def test_the_lines_compute_what_the_function_does(bias):
    call = written_call("forward", framework_conv, (), windows.with_padding(windows.of_all_axes_channels_first))
    operands = {"x": np.ones((1, 1, 2, 2), "float32"), "weight": np.ones((1, 1, 1, 1), "float32"), "bias": bias}
    lines = call.write_lines(operands, **WINDOW)
    space = {"np": np, **operands}
    exec("\n".join(lines), space)
    assert space["y"] == call(*operands.values(), **WINDOW) == (4 if bias is None else 9)
    assert lines[0] == "total = np.pad(x, ((0, 0), (0, 0), (1, 2), (3, 4))).sum(dtype=np.float32)"
    assert lines[1] == ("y = total" if bias is None else "y = total + bias[0]") and len(lines) == 2


def test_a_model_in_the_language_of_onnx_has_constants_or_inputs():
    operands = {"x": np.ones((1, 2, 3, 4), "float64"), "weight": np.ones((2, 2, 1, 1), "float64"), "bias": None}
    node = "y = Conv <strides = [1, 2], pads = [1, 3, 2, 4], dilations = [2, 1], group = 1> (x, weight)"
    assert (
        "conv (double[1, 2, 3, 4] x) => (double[N, O, P, Q] y) { " + node in with_constants(operands, **WINDOW)["text"]
    )
    assert "(double[N, C, H, W] x, double[O, I, K, L] weight) =>" in with_inputs(operands, **WINDOW)["text"]


def test_a_framework_that_is_missing_is_one_line_and_exit_code_2():
    missing = next(name for name in ("mxnet", "tinygrad", "ncnn") if not loading.is_installed(name))
    done = subprocess.run(
        [sys.executable, "-m", "npresnext", "check", missing], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == f"npresnext: error: the target {missing} needs {missing}: pip install {missing}\n"


def test_a_framework_that_is_too_old_is_named_with_both_versions(monkeypatch):
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"keras": ["keras"]})
    monkeypatch.setattr(metadata, "version", lambda name: "2.15.0")
    message = "the target keras needs keras 3.0 or later, but 2.15.0 is installed: pip install --upgrade keras"
    with pytest.raises(MissingExtraError, match=message):
        targets.load("keras")


def test_the_kit_needs_no_layers():
    """What nx.nn is made of needs NumPy 2; the kit alone runs on 1.23, which some frameworks need."""
    lines = (
        "import sys, npresnext.testing as testing; testing.check_conv; print([m for m in sys.modules if '.nn' in m])"
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_kit_needs_no_names_of_numpy_2():
    lines = """
import sys
import numpy as np, numpy.random, numpy.linalg  # before NumPy's own names are hidden from it
np.byte_bounds = np.lib.array_utils.byte_bounds  # where NumPy 1 has it
sys.modules["numpy.lib.array_utils"] = None
for name in "astype concat isdtype matrix_transpose permute_dims pow unstack vecdot".split():
    if hasattr(np, name):
        delattr(np, name)
from npresnext import reference, testing
print(testing.check_conv(reference.conv2d, cases=0).passed)
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_both_functions_under_only_must_hold():
    dense = {"only": lambda case: case.groups == 1, "groups": False}
    chosen = combine_supports(dense, read_only_with(["empty_batch"]))
    assert chosen["empty_batch"] is True and chosen["groups"] is False
    supports = {"forward": None, "backward": None, **chosen}
    assert offers(supports, "forward", ConvCase(batch=0))
    assert not offers(supports, "forward", ConvCase())
    assert not offers(supports, "forward", ConvCase(batch=0, in_channels=2, groups=2))
    assert combine_supports({}, {})["only"] is None
    with pytest.raises(ValueError, match="--only-with is speed"):
        read_only_with(["speed"])


def wrong_without_images(x, weight, bias, **window):
    target = targets.load("npresnext")
    y = target.forward(x, weight, bias, **window)
    if window["stride"] != (1, 1) and window["dilation"] != (1, 1):
        raise NotImplementedError("no stride together with dilation")
    return y if len(x) else y[..., :0]


def test_outcomes_are_counted_by_feature_and_edges_by_themselves():
    counts = check_conv(wrong_without_images, cases=60).outcomes
    assert counts["empty batch", "y", "outside"] and not counts["empty batch", "y", "exact"]
    assert counts["stride with dilation", "y", "refuses"] and not counts["stride with dilation", "y", "exact"]
    assert counts[COMMON, "y", "exact"] > 50 and not counts[COMMON, "y", "outside"]
    only = check_conv(wrong_without_images, cases=40, supports={"only": partial(has_feature, "empty_batch")})
    assert {feature for feature, _, _ in only.outcomes} == {"empty batch"}
    assert not only.passed


def test_what_ran_is_in_the_report():
    done = subprocess.run(
        [sys.executable, "-m", "npresnext", "check", "npresnext", "--cases", "0", "--budget", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"\nran: npresnext on NumPy {np.__version__}, backend numpy, engine cpu, threads: " in done.stdout
