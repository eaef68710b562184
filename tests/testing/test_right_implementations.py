"""Known rights: no false alarm from frameworks and engines, and what PyTorch gets wrong is found for what it is."""

import contextlib
import importlib.util
import subprocess
import sys

import pytest

import npresnext as nx
from npresnext import reference
from npresnext.engines import CpuEngine
from npresnext.testing import ConvCase, adapters, check_conv
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject
from npresnext.testing.supports import as_supports

from tests.support.cuda_on_cpu import emulated

SEEDS = range(20)
EVERY = ("float16", "bfloat16", "float32", "float64")

# who is right -> in which dtypes; the emulated CUDA engine and the plain loops take some ten times as long
RIGHTS = {
    "definition": ("float16", "float32", "float64"),
    "im2col": EVERY,
    "cpu": EVERY,
    "cuda": EVERY,
    "scipy": ("float32", "float64"),
    "torch": EVERY,
    "onnxruntime": ("float16", "float32"),
}
SLOW = {"definition", "cuda", "scipy"}
CASES = [
    pytest.param(name, dtype, marks=[pytest.mark.oracle] if name in ("torch", "onnxruntime") else [])
    for name, dtypes in RIGHTS.items()
    for dtype in dtypes
]


@contextlib.contextmanager
def right(name, dtype):
    """Provide the callables of a right convolution, and what they do not offer."""
    if name == "definition":
        yield adapters.Target(reference.conv2d, definition_backward, {})
    elif name == "scipy":
        pytest.importorskip("scipy")
        from tests.support import correlations

        yield adapters.Target(correlations.forward, correlations.backward, {})
    elif name == "torch":
        with one_thread(pytest.importorskip("torch")):
            target = adapters.load("torch")
            forward = target.forward
            supports = {**target.supports, "zero_channels": False}  # see the expected findings
            if dtype == "bfloat16":  # padding: see below; weights in channels-last memory: see docs/verify.md
                plain = lambda x, weight, bias, **window: forward(x, weight.copy(), bias, **window)  # noqa: E731
                target = target._replace(forward=plain)
                supports |= {"padding": False}
            yield target._replace(supports=supports)
    elif name == "onnxruntime":
        pytest.importorskip("onnxruntime")
        yield adapters.load("onnxruntime")
    else:
        with emulated() if name == "cuda" else nx.use_engine(CpuEngine(least_macs=0) if name == "cpu" else name):
            yield adapters.Target(nx.conv2d, nx.conv2d_backward, {})


def definition_backward(grad, x, weight, **window):
    dx = reference.conv2d_input_grad(grad, x.shape, weight, **window)
    return dx, reference.conv2d_weight_grad(grad, x, weight.shape, **window), reference.conv2d_bias_grad(grad)


@contextlib.contextmanager
def one_thread(torch):
    """Hold PyTorch at one thread: its pool costs more than these small cases do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def false_alarms(name, dtype, draws, part=slice(None)):
    """Try so many drawn cases of each seed and the fixed ones, or a part of them; return the checks that fail."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    # the definition takes every dtype as it comes: float16 is summed in float16, as PyTorch's gradients are
    arithmetic = {"accumulator": dtype} if name == "definition" or (name, dtype) == ("torch", "float16") else None
    with right(name, dtype) as target:
        declared, offers = as_arithmetic(dtype, arithmetic), as_supports(target.supports)
        runner = Runner(Subject(target.forward, target.backward, declared, supports=offers))
        for seed in SEEDS:
            for case in list(runner.cases(draws, seed))[part]:
                runner.try_case(case)
    assert runner.report.cases >= draws * len(SEEDS)
    return {key for key, row in runner.report.checks.items() if row.failed}


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_no_false_alarm_in_20_seeds(name, dtype):
    draws = 1 if name in SLOW else 4
    assert false_alarms(name, dtype, draws, slice(0, 2 * draws, 2)) == set()  # drawn ones and fixed ones take turns


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_no_false_alarm_in_20_seeds_at_full_size(name, dtype):
    assert false_alarms(name, dtype, 20 if name in SLOW else 200) == set()


@pytest.fixture
def torch():
    with one_thread(pytest.importorskip("torch")):
        yield adapters.load("torch")


def expected_findings(target, dtype, **options):
    """Return the property and verdict of each finding in PyTorch, with the finding."""
    report = check_conv(target.forward, target.backward, dtype=dtype, cases=5, **options)
    return {(finding.property, finding.verdict): finding for finding in report.failures}


@pytest.mark.oracle
def test_torch_gives_the_wrong_shape_without_input_channels(torch):
    """pytorch#56998: still so in PyTorch 2.13; the definition says that the bias is left."""
    found = expected_findings(torch, "float32", supports=torch.supports)
    # with a result of the wrong shape, the backward pass cannot take dy
    assert set(found) == {("shape", "contract"), ("returns", "contract")}
    assert all(finding.case.in_channels == 0 for finding in found.values())
    finding = found["shape", "contract"]
    assert finding.case.in_channels == 0 and "expected" in finding.message
    assert not expected_findings(torch, "float32", supports={**torch.supports, "zero_channels": False})


@pytest.mark.oracle
def test_torch_sums_float16_gradients_in_float16_where_onednn_has_no_float16(torch):
    """The forward pass keeps the bound of a float32 accumulator; the backward pass does so on some CPUs only.

    Where oneDNN computes in float16 (AVX512-FP16, as on a Xeon of the fourth generation) it serves the backward, and
    the gradients are summed in float32. Elsewhere (an EPYC, or ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16) PyTorch's own
    backward sums in float16, and the diagnosis says so.
    """
    library = pytest.importorskip("torch")
    supports = {**torch.supports, "zero_channels": False}
    found = expected_findings(torch, "float16", supports=supports)
    wrong = () if library.ops.mkldnn._is_mkldnn_fp16_supported() else ("dx", "dw", "db")
    assert {key: finding.diagnosis for key, finding in found.items()} == {
        (name, "bounded"): "float16 accumulator" for name in wrong
    }
    assert not expected_findings(torch, "float16", supports=supports, arithmetic={"accumulator": "float16"})


@pytest.mark.oracle
def test_torch_leaves_bfloat16_weight_gradients_of_taps_over_padding_unwritten_and_is_right_otherwise(torch):
    """Where a tap reads padding alone, its gradient is what lay in memory: NaN, if that is what lay there."""
    library = pytest.importorskip("torch")
    if not library.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN computes no bfloat16 on this processor")

    def backward(*operands, **window):
        left = [library.full((size,), float("nan"), dtype=library.bfloat16) for size in range(16, 4096, 16)]
        del left
        return torch.backward(*operands, **window)

    case = ConvCase(3, 16, 24, 1, (3, 2), (1, 3), (1, 3), ((0, 0), (1, 1)))  # the first tap never meets the image
    runner = Runner(Subject(None, backward, as_arithmetic("bfloat16")))
    for _ in range(30):
        runner.try_case(case)
    # what lay there is a right zero in some processes, so that a finding cannot be asked for
    failed = {key: row.first for key, row in runner.report.checks.items() if row.failed}
    assert not {finding.result for finding in failed.values()} & {"dx", "db"}, failed


JAX_WITH_BIAS = """
from npresnext.testing import ConvCase, adapters
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject

for dtype in ("float16", "bfloat16"):
    runner = Runner(Subject(adapters.load("jax").forward, None, as_arithmetic(dtype)))
    for seed in range(3):
        runner.try_case(ConvCase(4, 4, 6, 2, (8, 8), (3, 3), has_bias=True, seed=seed))
    assert runner.report.passed, runner.report
"""


@pytest.mark.oracle
def test_the_target_jax_adds_the_bias_before_it_rounds():
    """In a process of its own, since importing JAX draws from NumPy's global generator."""
    if not all(importlib.util.find_spec(name) for name in ("jax", "ml_dtypes")):
        pytest.skip("needs jax and ml_dtypes")
    done = subprocess.run([sys.executable, "-c", JAX_WITH_BIAS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
