"""Three tiers, one truth: every operation by the lesson and by every engine equals its definition.

Integers are compared exactly; other numbers within a few roundings of float64.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import definitions
from npresnext import functional as F

from tests.support.poolings import poolings

some = settings(max_examples=40)
seeds = st.integers(0, 2**16)


def integers(rng, *shape):
    return rng.integers(-9, 10, shape).astype("float64")


def assert_close(got, expected, scale=1.0):
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11 * scale)


@given(seed=seeds, shape=st.lists(st.integers(0, 4), max_size=4))
@some
def test_rectifier(engine, seed, shape):
    rng = np.random.default_rng(seed)
    x, grad = np.asarray(integers(rng, *shape)), np.asarray(integers(rng, *shape))
    with nx.use_engine(engine):
        y = F.relu(x)
        dx = F.relu_backward(grad, y)
    assert np.array_equal(y, definitions.relu(x))
    assert np.array_equal(dx, definitions.relu_backward(grad, x))


@given(seed=seeds, sizes=st.tuples(*[st.integers(0, 5)] * 3))
@some
def test_linear(engine, seed, sizes):
    rng = np.random.default_rng(seed)
    M, inputs, outputs = sizes
    x, weight, bias = integers(rng, M, inputs), integers(rng, outputs, inputs), integers(rng, outputs)
    grad = integers(rng, M, outputs)
    with nx.use_engine(engine):
        y = F.linear(x, weight, bias)
        gradients = F.linear_backward(grad, x, weight)
    assert np.array_equal(y, definitions.linear(x, weight, bias))
    for got, expected in zip(gradients, definitions.linear_backward(grad, x, weight), strict=True):
        assert np.array_equal(got, expected)


def window_of(arguments):
    """The arguments of a pooling, by the names of the definitions."""
    names = {"kernel_size": "kernel"}
    window = {names.get(name, name): value for name, value in arguments.items()}
    return window | {"stride": window["stride"] or window["kernel"]}


@given(seed=seeds, pooling=poolings())
@some
def test_max_pooling_with_ties(engine, seed, pooling):
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, shape).astype("float64")  # three values, so that maxima are tied
    with nx.use_engine(engine):
        y = F.max_pool2d(x, **arguments)
        grad = integers(rng, *y.shape)
        dx = F.max_pool2d_backward(grad, x, y, **arguments)
    assert np.array_equal(y, definitions.max_pool2d(x, **window_of(arguments)))
    assert np.array_equal(dx, definitions.max_pool2d_backward(grad, x, **window_of(arguments)))


@given(seed=seeds, pooling=poolings(dilated=False))
@some
def test_average_pooling(engine, seed, pooling):
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    x = integers(rng, *shape)
    with nx.use_engine(engine):
        y = F.avg_pool2d(x, **arguments, count_include_pad=False)
        grad = integers(rng, *y.shape)
        dx = F.avg_pool2d_backward(grad, shape, **arguments, count_include_pad=False)
    assert_close(y, definitions.avg_pool2d(x, **window_of(arguments)))
    assert_close(dx, definitions.avg_pool2d_backward(grad, shape, **window_of(arguments)), scale=9)


@given(seed=seeds, shape=st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)))
@some
def test_batch_norm(engine, seed, shape):
    rng = np.random.default_rng(seed)
    x, grad = rng.standard_normal(shape) + 3, rng.standard_normal(shape)
    weight, bias = rng.standard_normal(shape[1]), rng.standard_normal(shape[1])
    with nx.use_engine(engine):
        y, mean, var = F.batch_norm(x, weight, bias, eps=0.1)
        gradients = F.batch_norm_backward(grad, x, mean, var, weight, eps=0.1)
    for got, expected in zip((y, mean, var), definitions.batch_norm(x, weight, bias, 0.1), strict=True):
        assert_close(got, expected)
    for got, expected in zip(gradients, definitions.batch_norm_backward(grad, x, weight, 0.1), strict=True):
        assert_close(got, expected, scale=10)


@given(seed=seeds, M=st.integers(1, 4), C=st.integers(1, 5))
@some
def test_cross_entropy(engine, seed, M, C):
    rng = np.random.default_rng(seed)
    logits, target, grad = 3 * rng.standard_normal((M, C)), rng.integers(0, C, M), rng.standard_normal(M)
    with nx.use_engine(engine):
        loss = F.cross_entropy(logits, target, reduction="none")
        dlogits = F.cross_entropy_backward(grad, logits, target, reduction="none")
    assert_close(loss, definitions.cross_entropy(logits, target))
    assert_close(dlogits, definitions.cross_entropy_backward(grad, logits, target))
