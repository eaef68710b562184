"""check_conv: what it says of right and wrong convolutions, and that nothing a callable does breaks it."""

import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest

import npresnext as nx
from npresnext import reference
from npresnext.testing import ConvCase, assert_conv, check_conv
from npresnext.testing.causes import Failure, group_by_cause
from npresnext.testing.findings import Finding
from npresnext.testing.invalid_calls import broken_calls
from npresnext.testing.supports import SUPPORTS

from tests.support.paths import ROOT

FEW = {"cases": 20}
RULES = broken_calls(ConvCase())


def failing(report):
    return {(finding.property, finding.verdict) for finding in report.failures}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_engine_is_right_in_every_dtype(engine, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    with nx.use_engine(engine):
        assert_conv(nx.conv2d, nx.conv2d_backward, dtype=dtype, **FEW)


def test_a_backward_alone_is_judged_too():
    report = check_conv(None, nx.conv2d_backward, **FEW)
    assert report.passed and ("dw", "exact") in report.checks and ("y", "exact") not in report.checks


def test_channels_last_moves_the_channels_of_every_array_last():
    seen = []

    def forward(x, weight, bias, **window):
        seen.append((x.shape[3], weight.shape[3] * window["groups"]))
        y = nx.conv2d(x.transpose(0, 3, 1, 2), weight.transpose(0, 3, 1, 2), bias, **window)
        return y.transpose(0, 2, 3, 1)

    assert check_conv(forward, layout="NHWC", supports={"invalid_calls": False}, **FEW).passed
    assert all(of_x == of_weight for of_x, of_weight in seen)


def test_what_is_not_supported_is_left_out_and_said_so():
    def forward(x, weight, bias, *, stride, padding, dilation, groups):
        assert groups == 1 and dilation == (1, 1) and bias is None and x.size and x.flags.c_contiguous
        return nx.conv2d(x, weight, stride=stride, padding=padding)

    names = ("groups", "dilation", "bias", "empty_batch", "zero_channels", "layouts")
    report = check_conv(forward, supports=dict.fromkeys(names, False), **FEW)
    assert report.passed
    assert [line.split()[0] for line in report.left_out] == [key for key in SUPPORTS if key in names]


def test_every_key_of_supports_is_documented():
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    assert [key for key in SUPPORTS if f"`{key}`" not in page] == []


def test_a_dtype_that_is_not_supported_is_not_tried():
    report = check_conv(nx.conv2d, dtype="float16", supports={"dtypes": ["float32"]})
    assert report.cases == 0 and "Nothing was tried: dtype float16" in str(report)


def raising(x, weight, bias, **window):
    raise RuntimeError("no such kernel\nat all")


def writing(x, weight, bias, **window):
    y = nx.conv2d(x, weight, bias, **window)
    weight *= 2
    return y


CONTRACTS = {
    "returns": raising,
    "result type": lambda x, weight, bias, **window: nx.conv2d(x, weight, bias, **window).tolist(),
    "shape": lambda x, weight, bias, **window: nx.conv2d(x, weight, bias, **window)[..., None],
    "dtype": lambda x, weight, bias, **window: nx.conv2d(x, weight, bias, **window).astype("float64"),
    "finite": lambda x, weight, bias, **window: nx.conv2d(x, weight, bias, **window) * np.float32("nan"),
    "inputs untouched": writing,
}


@pytest.mark.parametrize("part", CONTRACTS)
def test_a_broken_contract_is_a_finding(part):
    report = check_conv(CONTRACTS[part], supports={"layouts": False, "empty_batch": False}, cases=5)
    assert (part, "contract") in failing(report) and not report.passed
    (finding,) = [finding for finding in report.failures if finding.property == part]
    with pytest.raises((AssertionError, RuntimeError)):
        exec(finding.reproduction, {"forward": CONTRACTS[part]})
    assert len(finding.reproduction.splitlines()) <= 10


@pytest.mark.parametrize("returned", [None, (), (None, None, None), (1, 2, 3), "dx", np.zeros(3)])
def test_a_backward_that_returns_nonsense_is_a_finding(returned):
    report = check_conv(None, lambda *operands, **window: returned, cases=2)
    assert failing(report) == {("result type", "contract")}


def test_an_exception_without_a_text_is_a_finding():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def forward(*operands, **window):
        raise Mute

    (finding,) = check_conv(forward, cases=2).failures
    assert finding.property == "returns" and "Mute" in finding.message


@pytest.mark.parametrize("stop", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_stops_a_call_is_told_with_the_case(stop):
    """Control-C, and the time limit of pytest-timeout, pass through."""

    def forward(*operands, **window):
        raise stop

    with pytest.raises(stop) as stopped:
        check_conv(forward, cases=2)
    assert stopped.value.__notes__[0].startswith("during forward of ConvCase(batch=")


def test_watch_is_called_before_each_case_with_what_was_found():
    heard = []

    def watch(where, case, report):
        heard.append((where, case.groups, len(report.failures)))

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return y + 1 if heard[-1][1] == 5 else y

    assert not check_conv(forward, watch=watch, supports={"invalid_calls": False}, **FEW).passed
    first = [groups for _, groups, _ in heard].index(5)
    assert heard[0] == ("case 1", heard[0][1], 0) and heard[first][2] == 0 < heard[first + 1][2]
    assert heard[-1][0].startswith("the search for the smallest case of ")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_an_error_state_that_raises_for_underflow_changes_no_verdict(dtype):
    with np.errstate(all="raise"):
        assert check_conv(nx.conv2d, nx.conv2d_backward, dtype=dtype, **FEW).passed


def test_what_a_mask_hides_is_judged():
    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return np.ma.masked_array(y + 1, np.ones(y.shape, bool))

    assert ("y", "exact") in failing(check_conv(forward, **FEW))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_results_beyond_all_bounds_raise_no_warning(dtype):
    def forward(*operands, **window):
        return np.full_like(nx.conv2d(*operands, **window), np.finfo(dtype).max)

    assert not check_conv(forward, dtype=dtype, **FEW).passed


def test_results_are_no_wider_than_their_dtype_whatever_is_declared():
    def forward(x, weight, bias, **window):
        wide = [None if a is None else a.astype("float64") for a in (x, weight, bias)]
        return nx.conv2d(*wide, **window).astype(x.dtype)

    assert check_conv(forward, arithmetic=dict.fromkeys(("input", "accumulator", "output"), "float64"), **FEW).passed


def test_a_backward_that_uses_the_operands_of_the_forward_before_it_is_found():
    saved = []

    def forward(x, weight, bias, **window):
        saved[:] = x, weight
        return nx.conv2d(x, weight, bias, **window)

    def backward(grad_output, x, weight, **window):
        return nx.conv2d_backward(grad_output, *saved, **window)

    assert {("dx", "bounded"), ("dw", "bounded")} <= failing(check_conv(forward, backward, **FEW))


def test_a_fault_that_only_a_property_meets_is_diagnosed_where_it_is():
    """No dense case has 18 channels, but the block-diagonal one of 6 groups of 3 has."""

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return y + 1 if weight.shape[1] == 18 else y

    (finding,) = check_conv(forward).failures
    assert (finding.property, finding.diagnosis) == ("block-diagonal", "not explained by rounding")


def test_leaving_the_process_is_a_finding():
    assert failing(check_conv(lambda *operands, **window: exit(3), cases=2)) == {("returns", "contract")}


def last_column(x, weight, bias, **window):
    y = nx.conv2d(x, weight, bias, **window)
    if window["groups"] > 1 and window["stride"][1] > 1:
        y[..., -1] += 1
    return y


def test_a_failure_shrinks_to_something_to_compute_by_hand_and_reproduces_without_the_kit():
    report = check_conv(last_column, supports={"empty_batch": False}, **FEW)
    assert ("y", "exact") in failing(report)
    for finding in report.failures:
        assert np.prod(finding.case.x_shape) <= 4 and finding.case.groups == 2
        lines = finding.reproduction.splitlines()
        assert len(lines) <= 10 and not any("npresnext.testing" in line for line in lines)
        with pytest.raises(AssertionError):
            exec(finding.reproduction, {"forward": last_column})
        right = finding.reproduction.replace(f"from {__name__} import last_column", "from npresnext import conv2d")
        exec(right.replace("last_column(", "conv2d("), {})


def test_columns_beyond_those_of_small_images_are_tried():
    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        y[..., 16 * max(1, y.shape[3] // 16) :] = 0  # a row's rest, after blocks of 16
        return y

    assert failing(check_conv(forward, **FEW)) >= {("y", "exact"), ("y", "bounded")}


def test_images_beyond_those_of_small_batches_are_tried():
    def eight_at_a_time(*operands, **window):
        y = nx.conv2d(*operands, **window)
        y[8:] = 0  # the rest after a batch of 8 is forgotten
        return y

    assert not check_conv(eight_at_a_time, None).passed


def test_a_failure_is_told_by_its_own_result():
    """The bias gradient is further off than y, but it is not what the failure of y is about."""

    def forward(x, weight, bias, **window):
        return nx.conv2d(x, weight, bias, **window) * np.float32(1 + 2.0**-20)

    def backward(grad_output, x, weight, **window):
        dx, dw, db = nx.conv2d_backward(grad_output, x, weight, **window)
        return dx, dw, db + 1

    report = check_conv(forward, backward, **FEW)
    told = {finding.property: finding for finding in report.failures if finding.verdict == "bounded"}
    assert set(told) == {"y", "db"}
    for name, finding in told.items():
        assert finding.result == name and finding.message.startswith(f"{name}[") and f"{name}[" in finding.reproduction


def test_no_smaller_case_is_tried_that_has_what_is_left_out():
    def forward(x, weight, bias, **window):
        for taps, step, sides in zip(weight.shape[2:], window["dilation"], window["padding"]):
            assert sides[0] == sides[1] <= (taps - 1) * step, "asymmetric, or windows of padding alone"
        y = nx.conv2d(x, weight, bias, **window)
        return y + 1 if window["groups"] > 1 and window["padding"][0][0] else y

    names = ("asymmetric_padding", "negative_padding", "wide_padding")
    calls = []
    report = check_conv(
        lambda *operands, **window: calls.append(window) or forward(*operands, **window),
        supports={**dict.fromkeys(names, False), "invalid_calls": False},
        **FEW,
    )
    assert ("y", "exact") in failing(report) and ("returns", "contract") not in failing(report)
    assert all(top == bottom for window in calls for top, bottom in window["padding"])
    assert all(finding.case.padding == ((1, 1), (0, 0)) for finding in report.failures)


@pytest.mark.parametrize("seed", range(3))
def test_a_missing_part_of_a_sum_is_not_called_a_narrow_accumulator(seed):
    def backward(grad_output, x, weight, **window):
        dx, dw, _ = nx.conv2d_backward(grad_output, x, weight, **window)
        return dx, dw, grad_output[:1].sum((0, 2, 3))

    report = check_conv(None, backward, seed=seed, **FEW)
    assert ("permutation", "exact") in failing(report)
    assert {finding.diagnosis for finding in report.failures} == {"not explained by rounding"}


def test_a_fault_that_a_second_call_does_not_show_is_told_as_one():
    memory = np.zeros(2**16, "float32")

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        memory[: y.size] = y.ravel()
        return memory[: y.size].reshape(y.shape)  # which the next call overwrites

    report = check_conv(forward, **FEW)
    assert not report.passed
    for finding in report.failures:
        assert finding.diagnosis == "right when called again: the result depends on earlier calls, or on chance"


def test_what_an_earlier_call_with_other_shapes_left_is_told_as_that():
    """Called again at once, the kernel makes the same mistake again: its buffer has not changed."""
    buffer = np.zeros(1000, "float32")

    def with_stale_padding(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        if max(map(max, window["padding"])) > 0 and y.size:
            y.flat[0] += buffer[10]
        buffer[: x.size] = x.ravel()[:1000]
        return y

    report = check_conv(with_stale_padding, **FEW)
    assert report.mistakes == ["gives another result when it is called again"] and len(report.causes) == 1
    finding = report.causes[0].shown_by.finding
    assert finding.conditions.startswith("fails only with padding")
    assert finding.reproduction.endswith("\n# These lines may pass: the result depends on earlier calls, or on chance.")


def test_conditions_hold_in_the_smallest_case():
    def seven_columns(x, weight, bias, **window):
        return nx.conv2d(x, np.where(np.arange(weight.shape[3]) < 7, weight, 0), bias, **window)

    found = check_conv(seven_columns, cases=0).causes[0].shown_by.finding
    assert found.case.kernel == (1, 8)  # all cases that are tried have more than 8 rows as well
    assert found.conditions.startswith("fails only with more than 4 kernel columns: in ")


def test_a_number_keeps_its_remainder_on_the_way_to_the_smallest_case():
    def odd_batches(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return y + (len(x) % 4 == 3)

    found = check_conv(odd_batches, cases=0, only=ConvCase(batch=263)).failures[0]
    assert found.case.batch == 3


def test_the_fault_that_shows_in_most_cases_comes_first():
    """Values can be compared only where the wrong shape happens to be the right one."""

    def channels_last(x, weight, bias, **window):
        return nx.conv2d(x, weight, bias, **window).transpose(0, 2, 3, 1)

    shape, values = check_conv(channels_last, **FEW).causes
    assert (shape.title, values.title) == ("y has the wrong shape", "y is wrong")
    finding = Finding("finite", "contract", np.inf, result="y", mistake="does not write every value of its result")
    few, many = Failure(replace(finding, property="y", verdict="exact"), 1, 144), Failure(finding, 233, 377)
    (cause,) = group_by_cause([few, many])
    assert cause.shown_by is many


def test_a_narrow_accumulator_that_no_bound_can_follow_is_judged_without_a_warning():
    pytest.importorskip("ml_dtypes")
    narrow = {"dtype": "bfloat16", "arithmetic": {"accumulator": "bfloat16"}}
    assert check_conv(nx.conv2d, nx.conv2d_backward, **narrow, **FEW).passed


def test_the_report_tells_people_and_programs_the_same():
    report = check_conv(last_column, **FEW)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["passed"] is False and len(told["failures"]) == len(report.failures)
    text = " ".join(report.to_text(verbose=True).split())
    for finding in report.failures:
        assert f"{finding.property} ({finding.verdict}) " in text
    assert [cause["title"] for cause in told["causes"]] == ["y is wrong"]
    assert told["failures"][0]["arrays"]["got"] != told["failures"][0]["arrays"]["expected"]
    with pytest.raises(AssertionError, match="checks? fail"):
        assert_conv(last_column, **FEW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"dtype": "int32"},
            "dtype is 'int32': expected one of float16, bfloat16, float32, float64, complex64, complex128",
        ),
        ({"algorithm": "wino"}, "algorithm is 'wino': expected one of direct, winograd, fft"),
        ({"layout": "CHWN"}, "layout is 'CHWN': expected one of NCHW, NHWC"),
        ({"supports": {"group": False}}, "supports has unknown keys group: expected groups"),
        ({"supports": {"layouts": ["strided"]}}, "expected names out of contiguous, transposed"),
        ({"arithmetic": {"inputs": "tf32"}}, r"arithmetic has unknown keys \['inputs'\]"),
        ({"arithmetic": {"input": "fp8"}}, r'arithmetic\["input"\] is \'fp8\': expected one of float64'),
        ({"supports": {"dtypes": False}}, r'supports\["dtypes"\] is False: expected names of dtypes'),
        ({"supports": {"dtypes": "float32"}}, r"is 'float32': expected names of dtypes"),
        ({"algorithm": "fft", "arithmetic": {"accumulator": "tf32"}}, "fft has no useful bound in tf32"),
        ({"arithmetic": {"bias": "late"}}, "is 'late': expected 'before rounding' or 'after rounding'"),
        ({"cases": -1}, "cases must be at least 0"),
        ({"supports": {"only": 3}}, r'supports\["only"\] is 3: expected a function of a ConvCase'),
        ({"supports": {"backward": {"dtypes": []}}}, r'supports\["backward"\] has unknown keys dtypes'),
    ],
)
def test_arguments_that_make_no_sense_raise(options, message):
    with pytest.raises(ValueError, match=message):
        check_conv(nx.conv2d, **options)


def test_nothing_to_check_and_what_is_not_callable_raise():
    with pytest.raises(ValueError, match="both None"):
        check_conv(None)
    with pytest.raises(TypeError, match="backward must be callable, but is of type int"):
        check_conv(nx.conv2d, 3)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x, weight, stride, padding: 0, "it has no parameter for bias. Wrap it: def forward"),
        (lambda x, weight, bias, s, p: 0, "nothing is passed for s, p. Wrap it"),
        (
            lambda image, *, filters, stride=1: 0,
            "no parameter for weight, bias; nothing is passed for filters. Wrap it",
        ),
    ],
)
def test_a_function_with_another_signature_is_told_how_to_be_wrapped(forward, message):
    with pytest.raises(TypeError, match=f"forward is <lambda>.*{message}"):
        check_conv(forward)


def test_what_a_function_does_to_its_process_changes_no_verdict():
    """It sets NumPy's error state and the random state, prints, keeps its operands, and returns in two processes."""
    kept = []

    def forward(x, weight, bias, **window):
        np.seterr(all="raise")
        np.random.seed(0)
        random.seed(0)
        print("some output")
        kept.append((x, weight, bias))
        if len(kept) == 5:
            os.fork()
        return nx.conv2d(x, weight, bias, **window)

    before, state = (np.geterr(), os.getpid()), np.random.get_state()
    report = check_conv(forward, cases=0)
    np.random.set_state(state)
    assert report.passed and (np.geterr(), os.getpid()) == before


def test_a_view_of_an_operand_is_judged_by_its_values():
    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        return x[:, :1].reshape(y.shape) if y.shape == x[:, :1].shape else y

    report = check_conv(forward, **FEW)
    assert ("y", "exact") in failing(report) and ("inputs untouched", "contract") not in failing(report)


def test_steps_of_zero_and_every_other_broken_rule_are_tried():
    seen = []

    def forward(x, weight, bias, **window):
        seen.append(window)
        return nx.conv2d(x, weight, bias, **window)

    report = check_conv(forward, cases=1)
    assert any(0 in window["stride"] for window in seen) and any(0 in window["dilation"] for window in seen)
    assert report.checks["refuses wrong calls", "advisory"].tried == len(RULES) and not report.advisories
    seen.clear()
    check_conv(forward, cases=1, supports={"invalid_calls": False})
    assert not any(0 in window["stride"] + window["dilation"] for window in seen)


def test_what_refuses_nothing_is_advised_and_passes():
    def forgiving(x, weight, bias, **window):
        try:
            return nx.conv2d(x, weight, bias, **window)
        except ValueError:
            return x

    report = check_conv(forgiving, cases=1)
    assert report.passed and len(report.advisories) == len(RULES)
    assert "no error from a call that breaks the rule: stride is at least 1" in str(report)


def test_the_definition_raises_for_a_stride_of_zero():
    with pytest.raises(ValueError, match="must not be zero"):
        reference.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1)), stride=(0, 1))


def test_what_a_callable_has_no_parameter_for_is_not_asked_and_listed():
    def homework(x, weight, bias, *, stride, padding):
        return nx.conv2d(x, weight, bias, stride=stride, padding=padding)

    report = check_conv(homework, **FEW)
    assert report.passed and not report.advisories
    assert report.left_out == ["groups (forward has no such parameter)", "dilation (forward has no such parameter)"]

    def wrong_homework(x, weight, bias, *, stride, padding):
        return homework(x, weight, bias, stride=stride, padding=padding) + 1

    wrong = check_conv(wrong_homework, **FEW)
    assert "dilation=" not in wrong.failures[0].reproduction


@pytest.mark.parametrize("key", ["unequal_stride", "unequal_padding", "unequal_dilation", "non_square_kernel"])
def test_both_axes_are_alike_where_unequal_ones_are_not_supported(key):
    seen = []

    def forward(x, weight, bias, **window):
        seen.append({**window, "kernel": weight.shape[2:]})
        return nx.conv2d(x, weight, bias, **window)

    name = {"non_square_kernel": "kernel"}.get(key, key.removeprefix("unequal_"))
    assert check_conv(forward, supports={key: False, "wide_padding": False, "invalid_calls": False}, **FEW).passed
    assert all(window[name][0] == window[name][1] for window in seen)
    assert any(window["stride"] != (1, 1) for window in seen) and any(window["padding"][0][0] for window in seen)


def test_what_is_not_implemented_is_left_out_and_counted():
    def backward(grad_output, x, weight, **window):
        if window["groups"] > 1:
            raise NotImplementedError("no groups")
        return nx.conv2d_backward(grad_output, x, weight, **window)

    report = check_conv(nx.conv2d, backward, **FEW)
    assert report.passed and 0 < report.checks["dx", "exact"].tried < report.checks["y", "exact"].tried == report.cases
    (line,) = report.left_out
    skipped = report.cases - report.checks["dx", "exact"].tried
    assert line == f"{skipped} cases of backward, such as one in which backward raised NotImplementedError: no groups"


def test_what_one_direction_does_not_support_is_left_out_of_that_direction_alone():
    seen = set()

    def backward(grad_output, x, weight, **window):
        assert window["groups"] == 1, "called in a case that it does not support"
        seen.add("backward")
        return nx.conv2d_backward(grad_output, x, weight, **window)

    def forward(x, weight, bias, **window):
        seen.add(window["groups"])
        return nx.conv2d(x, weight, bias, **window)

    report = check_conv(forward, backward, supports={"backward": {"groups": False}}, **FEW)
    assert report.passed and seen >= {1, 2, "backward"} and report.left_out == ["groups of backward"]
    assert report.checks["dx", "exact"].tried < report.checks["y", "exact"].tried


def test_a_function_of_the_case_says_what_is_supported():
    def depthwise_or_dense(case):
        return case.groups in (1, case.in_channels)

    def forward(x, weight, bias, **window):
        assert window["groups"] in (1, x.shape[1])
        return nx.conv2d(x, weight, bias, **window) + (window["groups"] > 1)

    report = check_conv(forward, supports={"only": depthwise_or_dense, "invalid_calls": False}, **FEW)
    assert [cause.title for cause in report.causes] == ["y is wrong"]
    assert report.failures[0].case.groups == report.failures[0].case.in_channels == 2


def test_a_broken_part_of_the_contract_hides_nothing_else():
    """A backward that raises, and a forward of another dtype: the values of the forward are compared all the same."""

    def forward(x, weight, bias, **window):
        return nx.conv2d(x, weight, bias, **window).astype("float64") + 1

    def backward(grad_output, x, weight, **window):
        raise RuntimeError("no gradient")

    report = check_conv(forward, backward, supports={"empty_batch": False}, **FEW)
    assert failing(report) >= {("y", "exact"), ("y", "bounded"), ("dtype", "contract"), ("returns", "contract")}
    assert report.checks["y", "exact"].tried == report.cases
    titles = {cause.title for cause in report.causes}
    assert titles == {"y is wrong", "backward raises an error", "y has the wrong dtype"}


def test_the_report_of_one_fault_fits_a_screen_and_is_one_block():
    report = check_conv(nx.conv2d, wrong_where_grouped_and_strided, **FEW)
    lines = str(report).splitlines()
    assert len(lines) <= 25
    assert lines[2].startswith("1. dx is wrong: ") and not any(line.startswith("2. ") for line in lines)
    assert any(": got " in line and "| expected " in line for line in lines)
    assert "coverage" not in str(report) and "coverage" in report.to_text(verbose=True)


def wrong_where_grouped_and_strided(grad_output, x, weight, **window):
    dx, dw, db = nx.conv2d_backward(grad_output, x, weight, **window)
    return dx + (window["groups"] > 1 and max(window["stride"]) > 1), dw, db


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_bias_added_after_rounding_is_named_and_may_be_declared(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, None, **window)
        return y if bias is None else y + bias.reshape(1, -1, 1, 1)

    (finding,) = check_conv(forward, dtype=dtype, **FEW).failures
    assert finding.diagnosis == "bias added after the sum was rounded, and rounded again"
    assert check_conv(forward, dtype=dtype, arithmetic={"bias": "after rounding"}, **FEW).passed


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_memory_that_was_never_written_is_named(dtype):
    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        written = np.empty(y.shape, y.dtype)
        written[..., :1] = y[..., :1]
        return written

    report = check_conv(forward, dtype=dtype, supports={"empty_batch": False}, cases=5)
    (cause,) = report.causes
    assert {one.finding.diagnosis for one in cause.failures} == {"memory that was never written"}


def test_what_is_implemented_for_no_case_fails():
    def forward(*operands, **window):
        raise NotImplementedError

    report = check_conv(forward, cases=2)
    assert failing(report) == {("returns", "contract")} and "in every case" in report.failures[0].message


def test_the_last_line_of_an_exception_is_shown_too():
    (finding,) = check_conv(raising, cases=2).failures
    assert finding.message == "forward raised RuntimeError: no such kernel ... at all"


def test_a_notebook_shows_the_verdict_and_unfolds_a_failure():
    right = check_conv(nx.conv2d, cases=2)._repr_html_()
    assert right.startswith("<details><summary>Convolution in float32") and "holds in" in right
    wrong = check_conv(lambda *args, **window: nx.conv2d(*args, **window) + 1, cases=2)._repr_html_()
    assert (
        wrong.startswith("<details open>") and "y is wrong" in wrong and "&lt;lambda&gt;" not in wrong.split("<pre>")[0]
    )
