"""The memory order of the engine, and 1x1 convolutions as one matmul: equal to the lesson, in either order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F
from npresnext.engines.cpu import layout, pointwise
from npresnext.geometry import ConvGeometry

from tests.support.convolutions import (
    CPU,
    LESSON,
    assert_equals_lesson,
    channels_outermost,
    everything,
    geometries,
    operands,
)
from tests.support.thresholds import changed_thresholds


def in_order(images, outermost):
    return channels_outermost(images) if outermost else images


@given(geometry=geometries(), seed=st.integers(0, 99), orders=st.tuples(st.booleans(), st.booleans()))
@settings(max_examples=150)
def test_convolutions_of_either_order_equal_the_lesson(geometry, seed, orders):
    assert_equals_lesson(geometry, seed, outermost=orders)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    outputs=st.integers(1, 20),
    seed=st.integers(0, 99),
    single_thread=st.sampled_from([0, 10**9]),
    partial=st.sampled_from([0, 10**9]),
    chunk_side=st.sampled_from([1, 3, 512]),
)
@settings(max_examples=100)
def test_pointwise_convolutions_equal_the_lesson(shape, outputs, seed, single_thread, partial, chunk_side):
    geometry = ConvGeometry.of_conv(shape, (outputs, shape[1], 1, 1))
    x, weight, bias, grad = operands(geometry, seed)
    x, grad = channels_outermost(x), channels_outermost(grad)
    assert pointwise.applies(geometry, x, grad)
    others = {"BLAS_SINGLE_THREAD": 1, "BLAS_SINGLE_THREAD_VECTOR": 1, "CHUNK_SIDE": chunk_side}
    with changed_thresholds(SINGLE_THREAD=single_thread, PARTIAL_SUM_BYTES=partial, **others):
        found = everything(CPU, x, weight, bias, grad, geometry)
    for array, expected in zip(found, everything(LESSON, x, weight, bias, grad, geometry), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "window", [{"stride": 2}, {"padding": 1}, {"padding": -1}, {"groups": 2}], ids=lambda window: next(iter(window))
)
def test_pointwise_leaves_every_other_window_alone(window):
    geometry = ConvGeometry.of_conv((2, 4, 5, 5), (4, 4 // window.get("groups", 1), 1, 1), **window)
    x = channels_outermost(np.zeros(geometry.x_shape, "float32"))
    assert not pointwise.applies(geometry, x)


def test_results_have_their_channels_outermost_and_behave_as_any_array(tmp_path):
    x = np.random.default_rng(0).standard_normal((3, 8, 6, 5)).astype("float32")
    weight = np.ones((4, 2, 3, 3), "float32")
    with nx.use_engine(CPU):
        y = nx.conv2d(x, weight, padding=1, groups=4)
    assert y.shape == (3, 4, 6, 5) and layout.has_channels_outermost(y)
    usual = np.ascontiguousarray(y)
    np.testing.assert_array_equal(y.reshape(3, -1), usual.reshape(3, -1))
    np.testing.assert_array_equal(np.from_dlpack(y), usual)
    nx.io.save(tmp_path / "y.npz", {"y": y})
    np.testing.assert_array_equal(nx.io.load(tmp_path / "y.npz")["y"], usual)


@pytest.mark.parametrize("orders", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_any_mixture_of_orders_gives_the_same_numbers(orders):
    rng = np.random.default_rng(1)
    x, grad, shortcut = (rng.integers(-9, 10, (3, 4, 5, 6)).astype("float64") for _ in range(3))
    usual = mixed = None
    for mixture in ((0, 0, 0), orders):
        a, g, s = (in_order(array, order) for array, order in zip((x, grad, shortcut), mixture, strict=True))
        y, mean, var = F.batch_norm_relu(a, shortcut=s)
        found = [y, mean, var, *F.batch_norm_relu_backward(g, y, a, mean, var)]
        found += [F.relu(a), F.relu_backward(g, F.relu(a)), F.add(a, s)]
        pooled = F.max_pool2d(a, 2)
        found += [pooled, F.max_pool2d_backward(pooled, a, pooled, 2)]
        usual, mixed = (found, None) if usual is None else (usual, found)
    for one, other in zip(usual, mixed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
