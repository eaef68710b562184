"""The workspace is bounded, whatever the batch and the size of the image; the columns are never all built."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

import npresnext as nx
from npresnext.engines import CpuEngine
from npresnext.engines.cpu import workspace as cpu_workspace
from npresnext.geometry import ConvGeometry

MEBI = 2**20

MEASURE = """
import tracemalloc
import numpy as np, npresnext as nx
nx.set_num_threads({threads})
x = np.ones({x}, "f")
weight = np.ones({weight}, "f")
window = dict(padding={padding}, groups={groups}, stride={stride})
nx.conv2d(np.ones((1, 2, 2, 2), "f"), np.ones((2, 1, 1, 1), "f"), groups=2)    # imports, nothing else
tracemalloc.start()
y = nx.conv2d(x, weight, **window)
print(tracemalloc.get_traced_memory()[1] - y.nbytes)
grad = y + 1
tracemalloc.reset_peak()
before = tracemalloc.get_traced_memory()[0]
dx, dw, _ = nx.conv2d_backward(grad, x, weight, needs=(True, True, False), **window)
# what the forward pass has retained counts as well, on every thread
print(tracemalloc.get_traced_memory()[1] - x.nbytes - weight.nbytes - y.nbytes - grad.nbytes)
"""

CASES = {
    "grouped, large batch": {"x": (32, 64, 40, 40), "weight": (64, 4, 3, 3), "padding": 1, "groups": 16, "stride": 1},
    "grouped, large image": {"x": (1, 16, 500, 500), "weight": (16, 4, 3, 3), "padding": 1, "groups": 4, "stride": 1},
    "many groups, large image": {
        "x": (1, 128, 300, 300),
        "weight": (128, 4, 3, 3),
        "padding": 1,
        "groups": 32,
        "stride": 1,
    },
    "dense": {"x": (4, 128, 64, 64), "weight": (128, 128, 3, 3), "padding": 1, "groups": 1, "stride": 1},
    "stem": {"x": (4, 3, 300, 300), "weight": (32, 3, 7, 7), "padding": 3, "groups": 1, "stride": 2},
    "pointwise": {"x": (2, 64, 128, 128), "weight": (128, 64, 1, 1), "padding": 0, "groups": 1, "stride": 2},
    "large weight": {"x": (1, 1024, 7, 7), "weight": (1024, 1024, 3, 3), "padding": 1, "groups": 1, "stride": 1},
}

CPU = CpuEngine(least_macs=0)  # takes tiny convolutions too


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_cold_convolution_needs_16_mebibytes_a_thread_and_never_all_columns(name, threads):
    case = {**CASES[name], "threads": threads}
    result = subprocess.run(
        [sys.executable, "-c", MEASURE.format(**case)], capture_output=True, text=True, timeout=100, check=True
    )
    geometry = ConvGeometry.of_conv(
        case["x"], case["weight"], padding=case["padding"], groups=case["groups"], stride=case["stride"]
    )
    columns = 4 * geometry.batch * geometry.in_channels * geometry.kernel[0] * geometry.kernel[1] * geometry.positions
    forward, backward = map(int, result.stdout.split())
    assert forward <= threads * 16 * MEBI
    assert backward <= threads * 16 * MEBI
    if name not in ("pointwise", "large weight"):  # whose columns are small
        assert max(forward, backward) < columns / 2


@pytest.fixture
def limit_put_back():
    before = cpu_workspace.get_workspace_limit()
    yield
    nx.set_workspace_limit(before)


def test_limit_too_small_says_the_least_and_the_least_works(limit_put_back):
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-9, 9, (2, 6, 5, 9)).astype("f"), rng.integers(-9, 9, (8, 3, 3, 3)).astype("f")
    geometry = ConvGeometry.of_conv(x.shape, weight.shape, padding=1, groups=2)
    expected = CPU.conv2d(x, weight, None, geometry)
    nx.set_workspace_limit(100)
    with pytest.raises(nx.errors.InvalidValueError, match="the workspace limit of 100 bytes is too small") as caught:
        CPU.conv2d(x, weight, None, geometry)
    least = int(str(caught.value).partition("needs ")[2].partition(" bytes")[0].replace(",", ""))
    nx.set_workspace_limit(least)
    np.testing.assert_array_equal(CPU.conv2d(x, weight, None, geometry), expected)
    nx.set_workspace_limit(least - 1)
    with pytest.raises(nx.errors.InvalidValueError, match="too small"):
        CPU.conv2d(x, weight, None, geometry)


@pytest.mark.parametrize("bad", [0, -1])
def test_limit_below_one_is_an_error(bad):
    with pytest.raises(ValueError, match="num_bytes must be at least 1"):
        nx.set_workspace_limit(bad)


def test_the_buffer_is_kept_for_the_next_call_and_freed_with_another_limit(limit_put_back):
    first, second = cpu_workspace.scratch_arrays(np.dtype("f"), (3, 4), (5,))
    (again,) = cpu_workspace.scratch_arrays(np.dtype("f"), (2, 2))
    assert np.shares_memory(first, again) and not np.shares_memory(first, second)
    nx.set_workspace_limit(2**19)
    (other,) = cpu_workspace.scratch_arrays(np.dtype("f"), (2, 2))
    assert not np.shares_memory(first, other)


@pytest.mark.parametrize("kernel", [1, 3])
def test_nothing_that_was_convolved_is_kept_alive(kernel):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 64, 40, 40)), rng.standard_normal((64, 64, kernel, kernel))
    grad = rng.standard_normal(nx.conv2d(x, weight).shape)
    results = nx.conv2d(x, weight), *nx.conv2d_backward(grad, x, weight)
    references = [weakref.ref(array) for array in (x, weight, grad, *results)]
    del x, weight, grad, results
    gc.collect()
    assert all(reference() is None for reference in references)
