"""Batch norm and max pooling as CUDA kernels, run on the CPU, against the array operations that they stand in for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext import functional as F
from npresnext.engines.cuda import batchnorm as cuda_batchnorm
from npresnext.engines.cuda import engine as cuda_engine

from tests.support.cuda_on_cpu import emulated

SHAPES = [(4, 3, 5, 7), (40, 2, 7, 7), (2, 1, 100, 90), (17, 5)]
ROUNDING = {"float64": 1e-13, "float32": 2e-6, "float16": 2e-3, "bfloat16": 2e-2}


def as_dtype(dtype):
    return pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)


def assert_close(got, expected, rtol):
    for a, b in zip(got, expected):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = a.astype(np.float64), b.astype(np.float64)
        assert np.abs(a - b).max() <= rtol * max(np.abs(b).max(), 1e-6)


@pytest.mark.parametrize("takes", [cuda_batchnorm.is_countable, cuda_engine._has_kernels], ids=["batchnorm", "maxpool"])
def test_kernels_are_for_arrays_that_hold_values_of_a_dtype_they_know(takes):
    assert all(takes(np.ones((2, 3, 4, 4), as_dtype(dtype))) for dtype in ROUNDING)
    assert not any(takes(np.ones(shape)) for shape in [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 4, 0)])
    assert not any(takes(np.ones((2, 3, 4, 4), dtype)) for dtype in ("int32", "complex64", "longdouble"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ROUNDING)
def test_batch_norm_and_its_gradients_are_those_of_the_array_operations(shape, dtype):
    rtol = ROUNDING[dtype]
    rng, dtype = np.random.default_rng(0), as_dtype(dtype)
    x, grad = ((rng.standard_normal(shape) * 2 + 1).astype(dtype) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    expected = F.batch_norm(x, weight, bias)
    y, mean, var = expected
    with emulated():
        assert_close(F.batch_norm(x, weight, bias), expected, rtol)
        assert_close(F.batch_norm(x), F.batch_norm(x.copy()), rtol)
        assert_close(F.batch_norm(x, weight, bias, mean=mean, var=var)[:1], [y], rtol)
    for statistics in (True, False):
        expected = F.batch_norm_backward(grad, x, mean, var, weight, batch_statistics=statistics)
        with emulated():
            got = F.batch_norm_backward(grad, x, mean, var, weight, batch_statistics=statistics)
        assert_close(got, expected, 20 * rtol if dtype == np.float32 else rtol)


@pytest.mark.parametrize("distance", [10_000, 1_000_000])  # the mean itself is rounded, by up to 0.03
def test_the_variance_of_data_far_from_zero_does_not_cancel(distance):
    rng = np.random.default_rng(1)
    exact = distance + rng.standard_normal((30, 2, 20, 20))
    x, grad = exact.astype(np.float32), rng.standard_normal(exact.shape).astype(np.float32)
    with emulated():
        y, mean, var = F.batch_norm(x)
        dx, dweight, _ = F.batch_norm_backward(grad, x, mean, var)
    y64, mean64, var64 = F.batch_norm(x.astype(np.float64))
    dx64, dweight64, _ = F.batch_norm_backward(grad.astype(np.float64), x.astype(np.float64), mean64, var64)
    assert np.abs(var / var64 - 1).max() < 1e-6
    assert np.abs(y - y64).max() < 1e-5
    assert np.abs(dx - dx64).max() < 1e-5 and np.abs(dweight - dweight64).max() < 1e-3


def test_integers_with_a_power_of_two_as_variance_are_exact():
    x = np.array([-2.0, 2.0] * 24).reshape(2, 3, 8).astype(np.float64)  # mean 0, variance 4
    with emulated():
        y, mean, var = F.batch_norm(x, eps=12.0)  # √(4 + 12) = 4
    assert (mean == 0).all() and (var == 4).all() and (y == x / 4).all()


@given(
    size=st.tuples(*[st.integers(1, 9)] * 2),
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    stride=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil_mode=st.booleans(),
    dtype=st.sampled_from(list(ROUNDING)),
    seed=st.integers(0, 99),
    nans=st.booleans(),
)
@settings(max_examples=80)
def test_max_pooling_and_its_gradient_equal_the_array_operations(
    size, kernel, stride, padding, dilation, ceil_mode, dtype, seed, nans
):
    rng, dtype = np.random.default_rng(seed), as_dtype(dtype)
    padding = min(padding, kernel[0] // 2, kernel[1] // 2)
    size = [max(s, dilation * (k - 1) + 1) for s, k in zip(size, kernel)]
    options = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    x = rng.integers(-3, 4, (2, 3, *size)).astype(dtype)  # many ties
    if nans:
        x[rng.random(x.shape) < 0.1] = np.nan
    with np.errstate(invalid="ignore"):  # ml_dtypes below 0.6 warns of a NaN in a maximum
        y = F.max_pool2d(x, kernel, **options)
        grad = rng.integers(-4, 5, y.shape).astype(dtype)
        dx = F.max_pool2d_backward(grad, x, y, kernel, **options)
    with emulated():
        ours = F.max_pool2d(x, kernel, **options)
        assert np.array_equal(ours.astype(float), y.astype(float), equal_nan=True) and ours.dtype == y.dtype
        gradient = F.max_pool2d_backward(grad, x, y, kernel, **options)
    assert (gradient == dx).all() and gradient.dtype == dx.dtype
