"""Known rights: no false alarm from frameworks and engines, and what PyTorch gets wrong is found for what it is."""

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import check_conv, targets
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.cases import as_supports
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject

SEEDS = range(20)


@pytest.fixture
def torch():
    """PyTorch with one thread: its pool costs more than these small cases do."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def failures(target, dtype, seed, draws, supports=None, sweep=False):
    """The checks that fail over a few drawn cases of a seed."""
    offers = as_supports({**target.supports, **(supports or {})})
    runner = Runner(Subject(target.forward, target.backward, dtype), as_arithmetic(dtype), "direct", offers)
    cases = list(runner.cases(draws, seed))
    for case in cases if sweep else cases[: 2 * draws : 2]:
        runner.try_case(case)
    assert runner.tried
    return {key: row.first.outcome for key, row in runner.rows.items() if row.failed}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_no_false_alarm_from_any_engine_in_20_seeds(engine, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    target = targets.load("npresnext", engine=engine)
    for seed in SEEDS:
        assert failures(target, dtype, seed, 6) == {}


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_no_false_alarm_from_torch_in_20_seeds(torch, dtype):
    for seed in SEEDS:
        assert failures(targets.load("torch"), dtype, seed, 6, {"zero_channels": False}) == {}


@pytest.mark.oracle
def test_no_false_alarm_from_onnxruntime_in_20_seeds():
    pytest.importorskip("onnxruntime")
    for seed in SEEDS:
        assert failures(targets.load("onnxruntime"), "float32", seed, 6) == {}


def correlate(x, weight, bias, *, stride, padding, dilation, groups):
    """SciPy's correlate2d, channel by channel."""
    from scipy.signal import correlate2d

    y = nx.conv2d(x * 0, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    sides = [(max(before, 0), max(after, 0)) for before, after in padding]
    crop = [slice(max(-b, 0), size + b2 if (b2 := min(a, 0)) else None) for (b, a), size in zip(padding, x.shape[2:])]
    x = np.pad(x[..., crop[0], crop[1]], ((0, 0), (0, 0), *sides))
    spread = np.zeros((*weight.shape[:2], *(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:]))), x.dtype)
    spread[..., :: dilation[0], :: dilation[1]] = weight
    ins, outs = weight.shape[1], weight.shape[0] // groups
    for n, o, c in np.ndindex(x.shape[0], weight.shape[0], ins):
        image = x[n, o // outs * ins + c]
        y[n, o] += correlate2d(image, spread[o, c], mode="valid")[:: stride[0], :: stride[1]]
    return y


def test_no_false_alarm_from_scipy():
    pytest.importorskip("scipy")
    for seed in SEEDS:
        assert failures(targets.Target(correlate, None, {}), "float64", seed, 2) == {}


@pytest.mark.oracle
def test_torch_gives_the_wrong_shape_without_input_channels(torch):
    """pytorch#56998: still so in PyTorch 2.13; the definition says that the bias is left."""
    found = failures(targets.load("torch"), "float32", 0, 5, sweep=True)
    assert set(found) == {("shape", "contract")}
    assert "expected" in found["shape", "contract"].message


@pytest.mark.oracle
def test_torch_sums_float16_gradients_in_float16_on_cpus(torch):
    """The forward pass keeps the bound of a float32 accumulator, the backward pass does not; the diagnosis says why."""
    target = targets.load("torch")
    supports = {**target.supports, "zero_channels": False}
    report = check_conv(target.forward, target.backward, dtype="float16", cases=5, supports=supports)
    found = {(finding.property, finding.verdict): finding.diagnosis for finding in report.failures}
    assert found == {(name, "bounded"): "float16 accumulator" for name in ("dx", "dw", "db")}
    declared = {"accumulator": "float16"}
    relaxed = check_conv(
        target.forward, target.backward, dtype="float16", cases=5, supports=supports, arithmetic=declared
    )
    assert relaxed.passed


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("npresnext", d) for d in ("float16", "bfloat16", "float32", "float64")]
    + [("torch", d) for d in ("bfloat16", "float32", "float64")]
    + [("onnxruntime", "float32")],
)
def test_no_false_alarm_in_20_seeds_at_full_size(name, dtype):
    pytest.importorskip(name)
    target = targets.load(name)
    for seed in SEEDS:
        assert failures(target, dtype, seed, 200, {"zero_channels": name != "torch"}, sweep=True) == {}
