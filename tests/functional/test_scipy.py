"""SciPy as a second oracle: its correlations, grouped, strided and dilated, and both gradients, on small integers."""

import numpy as np
import pytest
from hypothesis import given, settings

import npresnext as nx
from npresnext import reference
from npresnext.testing.strategies import conv_cases

pytest.importorskip("scipy")
from tests.support import correlations


def assert_equals_scipy(forward, backward, case):
    x, weight, bias, grad = case.x(), case.weight(), case.bias(), case.grad_output()
    found = forward(x, weight, bias, **case.kwargs), *backward(grad, x, weight, **case.kwargs)
    expected = (
        correlations.forward(x, weight, bias, **case.kwargs),
        *correlations.backward(grad, x, weight, **case.kwargs),
    )
    for name, got, right in zip(("y", "dx", "dw", "db"), found, expected):
        np.testing.assert_array_equal(got, right, err_msg=name, strict=True)


@settings(max_examples=100)
@given(case=conv_cases())
def test_every_engine_equals_scipy(engine, case):
    with nx.use_engine(engine):
        assert_equals_scipy(nx.conv2d, nx.conv2d_backward, case)


@settings(max_examples=50)
@given(case=conv_cases())
def test_the_definition_equals_scipy(case):
    """Two oracles that share no line agree."""

    def backward(grad, x, weight, **window):
        dx = reference.conv2d_input_grad(grad, x.shape, weight, **window)
        return dx, reference.conv2d_weight_grad(grad, x, weight.shape, **window), reference.conv2d_bias_grad(grad)

    assert_equals_scipy(reference.conv2d, backward, case)
