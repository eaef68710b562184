"""ReLU against its definition."""

import numpy as np
import pytest

from npresnext import functional as F


def test_relu_is_the_maximum_with_zero_and_keeps_nan():
    x = np.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan])
    np.testing.assert_array_equal(F.relu(x), [0.0, 0.0, 0.0, 0.0, 2.0, np.inf, np.nan])


def test_gradient_at_zero_is_zero():
    output = F.relu(np.array([-1.0, -0.0, 0.0, 1e-300]))
    np.testing.assert_array_equal(F.relu_backward(np.array([2.0, 3.0, 4.0, 5.0]), output), [0.0, 0.0, 0.0, 5.0])


def test_a_closed_gate_stops_even_an_infinite_gradient():
    assert F.relu_backward(np.array([np.inf, np.nan]), np.zeros(2)).tolist() == [0.0, 0.0]


def test_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"grad_output has shape \(2,\) but output has \(3,\)"):
        F.relu_backward(np.ones(2), np.ones(3))
