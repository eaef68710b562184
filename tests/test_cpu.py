"""The fast engine computes what the lesson computes, whatever the geometry, the tiles and the threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext.engines import cpu, cpu_sweep, im2col
from npresnext.engines.cpu_threads import get_num_threads
from npresnext.engines.cpu_workspace import get_workspace_limit
from npresnext.geometry import ConvGeometry


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    """Tiny examples go through tiles and threads as large ones do; settings are put back."""
    monkeypatch.setattr(cpu_sweep, "SINGLE", 0)
    threads, limit = get_num_threads(), get_workspace_limit()
    yield
    nx.set_num_threads(threads)
    nx.set_workspace_limit(limit)


@st.composite
def geometries(draw):
    """Any geometry that has an output, with groups from one to many and every asymmetry."""
    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    groups = draw(st.sampled_from([1, 2, 3, 8, 9]))
    inputs, outputs = draw(st.sampled_from([(1, 1), (2, 3), (4, 1), (3, 4), (17, 16)]))
    sizes, kernel, stride, dilation = pair(1, 9), pair(1, 4), pair(1, 3), pair(1, 3)
    padding = (pair(-1, 3), pair(-1, 3))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    sizes = [max(size, r - sum(sides)) for size, r, sides in zip(sizes, reach, padding)]
    shape = (draw(st.integers(1, 4)), groups * inputs, *sizes)
    return ConvGeometry.of_conv(
        shape, (groups * outputs, inputs, *kernel), stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def integers(rng, shape, dtype="float32"):
    return rng.integers(-9, 10, shape).astype(dtype)


def operands(geometry, seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    shapes = (geometry.x_shape, geometry.weight_shape, (geometry.out_channels,), geometry.output_shape)
    return [integers(rng, shape, dtype) for shape in shapes]


def everything(engine, x, weight, bias, grad, geometry):
    """All that an engine computes; both ways to the gradients."""
    results = [
        engine.forward(x, weight, bias, geometry),
        engine.input_grad(grad, weight, geometry),
        engine.weight_grad(grad, x, geometry),
    ]
    if engine is cpu:
        return results + list(engine.gradients(grad, x, weight, geometry))
    return results + results[1:]


def assert_equals_lesson(geometry, seed=0, dtype="float32"):
    x, weight, bias, grad = operands(geometry, seed, dtype)
    found = everything(cpu, x, weight, bias, grad, geometry)
    for array, expected in zip(found, everything(im2col, x, weight, bias, grad, geometry), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype


@given(geometry=geometries(), seed=st.integers(0, 99))
@settings(max_examples=150)
def test_every_geometry_equals_the_lesson(geometry, seed):
    assert_equals_lesson(geometry, seed)


@given(geometry=geometries(), limit=st.sampled_from([30_000, 60_000, 200_000]))
@settings(max_examples=100)
def test_tiny_tiles_equal_the_lesson(geometry, limit):
    nx.set_workspace_limit(limit)
    assert_equals_lesson(geometry)
