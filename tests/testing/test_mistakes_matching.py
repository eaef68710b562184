"""Every mistake is named as itself, pairs as pairs, right kernels are never accused, and other bugs get conditions."""

import itertools
import random
from functools import cache

import numpy as np
import pytest

import npresnext as nx
from npresnext import reference
from npresnext.engines import CpuEngine
from npresnext.testing import adapters, check_conv, mistakes
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.explanation import explain_failures
from npresnext.testing.mistakes import matching
from npresnext.testing.mistakes.matching import IntegerCase, Matcher, Observation
from npresnext.testing.preparation import make_runner
from npresnext.testing.runner import Runner
from npresnext.testing.subject import AXES, Subject
from npresnext.testing.supports import as_supports
from npresnext.testing.trial import Trial

from tests.support.mutants import kernels


@cache
def cases(count, supports=()):
    subject = Subject(nx.conv2d, nx.conv2d_backward, as_arithmetic("float32"), supports=as_supports(dict(supports)))
    return list(itertools.islice(Runner(subject).cases(200, seed=7), count))


def matcher(forward, backward, count=60, supports=(), layout="NCHW"):
    offered = as_supports(dict(supports))
    subject = Subject(forward, backward, as_arithmetic("float32"), axes=AXES[layout], supports=offered)
    found = Matcher(subject)
    with np.errstate(all="ignore"):
        for case in cases(count, supports):
            found.note(Trial(subject, case, real=False))
    return found


@pytest.fixture(autouse=True)
def without_a_clock(monkeypatch):
    """A busy machine finds as much as an idle one."""
    for limit in ("SECONDS_TO_PAIR", "SECONDS_TO_TELL_APART"):
        monkeypatch.setattr(matching, limit, 60)


@cache
def integer_cases(count):
    subject = Subject(nx.conv2d, nx.conv2d_backward, as_arithmetic("float32"))
    return [IntegerCase(subject, case) for case in cases(count)]


def returned(made, name, asked):
    """What a kernel with these mistakes returns; 1000 is what lay in its memory."""
    wrong = np.nan_to_num(mistakes.result_of(made, name, asked.call), nan=1000).astype("float32")
    same = wrong.shape == asked.right(name).shape and np.array_equal(wrong, asked.right(name))
    return Observation(asked, (name,), {}) if same else Observation(asked, (), {name: wrong})


def named(made, name, count):
    """What is said of a result of a kernel with these mistakes."""
    forward, backward = kernels(*(mistake.name for mistake in made))
    found = Matcher(Subject(forward, backward, as_arithmetic("float32")))
    with np.errstate(all="ignore"):
        found.observations += [returned(made, name, asked) for asked in integer_cases(count)]
    return found.identify(name)


def misnamed(entries, count):
    """What is said of each result that is not named as it should be."""
    said = [(name, mistake, named((mistake,), name, count)) for mistake in entries for name in mistake.results]
    return [
        (name, mistake.name, str(known) or known.conditions)
        for name, mistake, known in said
        if (known.failing or count > 100) and (known.name != mistake.name or known.alternatives)
    ]


@pytest.mark.parametrize("part", range(4))
def test_every_mistake_is_named_as_itself(part):
    assert misnamed(mistakes.MISTAKES[part::8], 40) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_every_mistake_is_named_as_itself_in_all_cases(part):
    assert misnamed(mistakes.MISTAKES[part::12], 400) == []


def test_the_sentence_counts_failing_and_passing_cases():
    report = check_conv(*kernels("forgets to rotate the kernel"), cases=10)
    assert report.mistakes == ["forgets to rotate the kernel"]
    for finding in report.failures:
        assert finding.mistake == "forgets to rotate the kernel" and finding.conditions == ""
        assert finding.evidence.startswith("dx is what a kernel computes that forgets to rotate the kernel: ")
    tried = report.failures[0].evidence.split(": ")[1]
    failing, passing = (int(part.split()[0]) for part in tried.split(", "))
    assert tried == f"{failing} of {failing} failing cases, {passing} of {passing} passing ones"
    assert report.checks["dx", "exact"].failed == failing
    assert report.checks["dx", "exact"].tried == failing + passing


def test_channels_last_is_matched_as_channels_first_is():
    for name in (
        "ignores the dilation",
        "rotates the kernel",
        "uses the first image only",
        "leaves out the last image",
    ):
        forward, backward = kernels(name)

        def last(array):
            return array if array is None or array.ndim != 4 else np.ascontiguousarray(array.transpose(0, 2, 3, 1))

        def first(array):
            return array if array is None or array.ndim != 4 else array.transpose(0, 3, 1, 2)

        found = matcher(
            lambda x, w, b, forward=forward, **k: last(forward(first(x), first(w), b, **k)),
            lambda g, x, w, backward=backward, **k: tuple(map(last, backward(first(g), first(x), first(w), **k))),
            layout="NHWC",
        )
        for result in mistakes.find(name).results:
            assert found.identify(result).name == name, result


def test_what_cannot_be_told_apart_is_said_with_the_argument_that_would_decide():
    supports = (("groups", False),)
    known = matcher(*kernels("reads the weight as (C_in/G, C_out, kh, kw)"), 60, supports).identify("y")
    both = {known.name, *known.alternatives}
    assert both == {
        "reads the weight as (C_in/G, C_out, kh, kw)",
        "exchanges input and output channels of the weight inside each group",
    }
    assert known.decided_by == "groups" and "(groups would tell them apart)" in str(known)


PAIRS = [
    ("rotates the kernel", "adds the bias twice", "y"),
    ("ignores the dilation", "forgets the bias", "y"),
    ("ignores the dilation", "exchanges vertical and horizontal stride", "y"),
    ("reads the weight as (kh, kw, C_in/G, C_out)", "leaves the last row zero", "y"),
    ("forgets to rotate the kernel", "adds the gradient twice", "dx"),
    ("forgets to rotate the kernel", "puts no zeros between the upstream gradients", "dx"),
    ("rotates the weight gradient", "averages over the batch", "dw"),
    ("uses the first image only", "writes dw of the first group for every group", "dw"),
    ("leaves out the last image", "adds the gradient twice", "db"),
]


@pytest.mark.parametrize(("one", "other", "result"), PAIRS)
def test_two_mistakes_are_named_as_a_pair(one, other, result):
    known = matcher(*kernels(one, other), 60).identify(result)
    named = [{mistake.name for mistake in known.made}]
    assert {one, other} in named or f"{one} and {other}" in known.alternatives, str(known)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_drawn_pairs_are_named_as_pairs_or_as_what_gives_the_same(seed):
    rng = random.Random(seed)
    result = rng.choice(mistakes.RESULTS)
    entries = [mistake for mistake in mistakes.MISTAKES if result in mistake.results and not mistake.compute]
    made = tuple(rng.sample(entries, 2))
    known = named(made, result, 150)
    assert known.made or known.failing < matching.LEAST_FAILING_CASES_FOR_A_PAIR, (made, known.conditions)


def definition_backward(grad, x, weight, **window):
    dx = reference.conv2d_input_grad(grad, x.shape, weight, **window)
    return dx, reference.conv2d_weight_grad(grad, x, weight.shape, **window), reference.conv2d_bias_grad(grad)


@pytest.mark.parametrize("style", ["definition", "im2col", "cpu", pytest.param("torch", marks=pytest.mark.oracle)])
def test_a_right_kernel_is_never_accused(style):
    supports = ()
    forward, backward = nx.conv2d, nx.conv2d_backward
    if style == "definition":
        forward, backward = reference.conv2d, definition_backward
    elif style == "torch":
        pytest.importorskip("torch")
        target = adapters.load("torch")
        forward, backward = target.forward, target.backward
        supports = (("layouts", tuple(target.supports["layouts"])), ("wide_padding", False), ("zero_channels", False))
    engine = CpuEngine(least_macs=0) if style == "cpu" else "im2col"
    with nx.use_engine(engine):
        found = matcher(forward, backward, 200 if style != "definition" else 120, supports)
        for result in (*mistakes.RESULTS, "forward", "backward"):
            known = found.identify(result)
            assert (known.name, known.conditions, known.failing) == ("", "", 0)


def random_wrong_kernel(seed):
    """A kernel that is wrong by numbers that no mistake explains, under two conditions."""
    rng = random.Random(seed)
    conditions = {
        "groups > 1": lambda x, w, k: k["groups"] > 1,
        "stride > 1": lambda x, w, k: max(k["stride"]) > 1,
        "dilation > 1": lambda x, w, k: max(k["dilation"]) > 1,
        "padding": lambda x, w, k: any(map(any, k["padding"])),
    }
    chosen = rng.sample(sorted(conditions), 2)
    spoil = np.random.default_rng(seed)

    def forward(x, weight, bias, **window):
        y = nx.conv2d(x, weight, bias, **window)
        if all(conditions[name](x, weight, window) for name in chosen):
            y = y + np.resize(spoil_with, y.size).reshape(y.shape)
        return y

    spoil_with = spoil.integers(1, 9, 1001).astype("float32")
    return forward, chosen


@pytest.mark.parametrize("seed", range(5))
def test_a_random_wrong_kernel_gets_its_conditions_and_no_name(seed):
    forward, chosen = random_wrong_kernel(seed)
    known = matcher(forward, None, 150).identify("y")
    assert known.name == "" and str(known) == ""
    told = known.conditions.removeprefix("fails only with ").split(":")[0].split(", ")
    assert set(told) == set(chosen), known.conditions


def test_a_mistake_made_under_a_condition_is_told_with_it():
    def backward(grad_output, x, weight, **window):
        dx, dw, db = nx.conv2d_backward(grad_output, x, weight, **window)
        if window["groups"] > 1 and max(window["stride"]) > 1:
            dx = np.concatenate(np.split(dx, window["groups"], axis=1)[::-1], axis=1)
        return dx, dw, db

    known = matcher(None, backward, 150).identify("dx")
    assert known.name == "" and known.conditions.startswith("fails only with groups > 1, stride > 1: in ")
    assert known.conditions.endswith("; there dx is what a kernel computes that reverses the groups of the input")


def homework(x, weight, bias, *, stride, padding):
    """Loops over windows, as students write them."""
    (top, bottom), (left, right) = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    kh, kw = weight.shape[2:]
    oh, ow = (padded.shape[2] - kh) // stride[0] + 1, (padded.shape[3] - kw) // stride[1] + 1
    y = np.zeros((len(x), len(weight), oh, ow), x.dtype)
    for p, q in np.ndindex(oh, ow):
        window = padded[:, :, p * stride[0] :, q * stride[1] :][:, :, :kh, :kw]
        y[:, :, p, q] = np.einsum("ncij,ocij->no", window, weight)
    return y if bias is None else y + bias[:, None, None]


def homework_backward(grad_output, x, weight, *, stride, padding):
    (top, _), (left, _) = padding
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    kh, kw = weight.shape[2:]
    dx, dw = np.zeros_like(padded), np.zeros_like(weight)
    for p, q in np.ndindex(grad_output.shape[2:]):
        rows, columns = slice(p * stride[0], p * stride[0] + kh), slice(q * stride[1], q * stride[1] + kw)
        dx[:, :, rows, columns] += np.einsum("no,ocij->ncij", grad_output[:, :, p, q], weight)
        dw += np.einsum("no,ncij->ocij", grad_output[:, :, p, q], padded[:, :, rows, columns])
    return dx[:, :, top : top + x.shape[2], left : left + x.shape[3]], dw, grad_output.sum((0, 2, 3))


def mean_of_products(x, weight, bias, *, stride, padding):
    y = homework(x, weight, None, stride=stride, padding=padding) / np.float32(weight[0].size)
    return y if bias is None else y + bias[:, None, None]


def mean_of_the_batch(grad_output, x, weight, *, stride, padding):
    dx, dw, db = homework_backward(grad_output, x, weight, stride=stride, padding=padding)
    return dx, dw / np.float32(len(x)), db


def mean_of_positions(grad_output, x, weight, *, stride, padding):
    dx, dw, _ = homework_backward(grad_output, x, weight, stride=stride, padding=padding)
    return dx, dw, grad_output.mean((0, 2, 3))


def wrong_border(grad_output, x, weight, *, stride, padding):
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    dx, dw, db = homework_backward(grad_output, padded, weight, stride=stride, padding=((0, 0), (0, 0)))
    return dx[:, :, : x.shape[2], : x.shape[3]], dw, db


@pytest.mark.filterwarnings("ignore:(Mean of empty slice|invalid value|divide by zero)")
@pytest.mark.parametrize(
    ("forward", "backward", "name"),
    [
        (mean_of_products, None, "averages over all products"),
        (None, mean_of_the_batch, "averages over the batch"),
        (None, mean_of_positions, "averages over images and output positions"),
        (None, wrong_border, "ignores the padding"),
    ],
)
def test_the_report_of_a_wrong_homework_fits_a_screen_and_names_the_mistake(forward, backward, name):
    """An average over no image, or no channel, is NaN in NumPy."""
    small = {"only": lambda case: max(*case.x_shape, *case.output_shape) < 9, "negative_padding": False}
    report = check_conv(forward, backward, supports=small, cases=10)
    assert report.mistakes == [name]
    lines = str(report).splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 130
    assert lines[3].startswith("   mistake: ") and not any("advisory:" in line for line in lines)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param(mistakes.MISTAKES[30::40], id="five"),
        *(pytest.param(mistakes.MISTAKES[i::6], id=f"part {i}", marks=pytest.mark.slow) for i in range(6)),
    ],
)
def test_the_report_of_one_mistake_has_20_lines(entries):
    """In the first of its results, as far as the first sixty cases show it."""
    for mistake in entries:
        name = mistake.results[0]
        forward, backward = kernels(mistake.name)

        def gradients(grad_output, x, weight, name=name, backward=backward, **window):
            right = nx.conv2d_backward(grad_output, x, weight, **window)
            wrong = backward(grad_output, x, weight, **window)
            return tuple(wrong[i] if one == name else right[i] for i, one in enumerate(("dx", "dw", "db")))

        runner = make_runner(forward, None) if name == "y" else make_runner(None, gradients)
        for case in itertools.islice(runner.cases(30, seed=1), 60):
            runner.try_case(case)
        explain_failures(runner)
        lines = str(runner.report).splitlines()
        assert len(lines) <= 20, runner.report.to_text()
        if not runner.report.passed:
            assert lines[2].startswith(f"1. {name} ") and lines[3].startswith("   mistake: "), runner.report.to_text()
            assert any(line.startswith("   case: ConvCase(") for line in lines) and "     import numpy as np" in lines


def test_exceptions_have_conditions_too():
    def forward(x, weight, bias, **window):
        if not len(x) and window["groups"] > 1:
            raise RuntimeError("invalid batch size")
        return nx.conv2d(x, weight, bias, **window)

    report = check_conv(forward, cases=60)
    (finding,) = report.failures
    assert finding.property == "returns" and finding.mistake == ""
    assert "fails only with an empty batch, groups > 1" in finding.conditions


def test_a_kernel_that_raises_in_every_case_or_returns_no_arrays_is_not_named():
    def nothing(*operands, **window):
        return None

    def error(*operands, **window):
        raise ValueError

    for forward in (nothing, error, lambda x, w, b, **k: nx.conv2d(x, w, b, **k).tolist()):
        assert matcher(forward, None, 20).identify("y").name == ""
