"""check_grads by its three methods, on right and wrong backward passes."""

import numpy as np
import pytest

import npresnext as nx
from npresnext.testing import check_grads
from npresnext.testing.derivatives import central_difference


def test_complex_step_confirms_a_holomorphic_function():
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert check_grads(lambda x: np.exp(x) * x, [x], lambda g, x: g * np.exp(x) * (1 + x), method="complex") == 12


def test_complex_step_reaches_through_a_convolution():
    rng = np.random.default_rng(1)
    x, weight = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((6, 2, 2, 2))
    check_grads(
        lambda x, w: nx.conv2d(x, w, groups=2, stride=2, padding=1) ** 2,
        [x, weight],
        lambda g, x, w: nx.conv2d_backward(
            2 * g * nx.conv2d(x, w, groups=2, stride=2, padding=1), x, w, groups=2, stride=2, padding=1
        )[:2],
        method="complex",
    )


def test_central_differences_pass_over_kinks():
    x = np.array([-1.0, 0.0, 2.0])
    assert check_grads(lambda x: np.maximum(x, 0), [x], lambda g, x: g * (x > 0)) == 2


@pytest.mark.parametrize(
    ("slope", "expected"),
    [
        (lambda h: 1 + 5 * h, 1.0),  # smooth, with a strong curvature: the difference shrinks with the step
        (lambda h: 2.0 if h > 0 else -1.0, np.nan),  # a kink: the difference stays
        (lambda h: 3.0 if h > 0 else 3.001, 3.0005),  # a difference of a thousandth is none
    ],
)
def test_the_central_difference_is_the_mean_of_two_slopes_unless_they_stay_apart(slope, expected):
    np.testing.assert_allclose(central_difference(slope, 1.0, 0.0), expected, rtol=1e-12)
    assert central_difference(slope, 1.0, 10.0) == (slope(1) + slope(-1)) / 2, "what noise explains is no kink"


def test_a_failure_names_the_element_and_its_group():
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal((1, 4, 3, 3)), rng.standard_normal((4, 2, 2, 2))

    def wrong(grad, x, weight):
        dx, dw, _ = nx.conv2d_backward(grad, x, weight, groups=2)
        dw[3, 1, 0, 1] += 1
        return dx, dw

    with pytest.raises(AssertionError, match=r"gradient 1 at \(3, 1, 0, 1\) in group 1 is .* 1 of 32 elements differ"):
        check_grads(lambda x, w: nx.conv2d(x, w, groups=2), [x, weight], wrong, method="linear", groups=2)


@pytest.mark.parametrize("method", ["central", "complex", "linear"])
def test_every_method_sees_a_wrong_factor(method):
    with pytest.raises(AssertionError, match="gradient 0"):
        check_grads(lambda x: 3 * x, [np.ones(2)], lambda g, x: 3.001 * g, method=method)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="expected one of complex, linear, central"):
        check_grads(np.sin, [np.ones(2)], np.cos, method="forward")
    with pytest.raises(ValueError, match="backward returned 1 gradients for 2 inputs"):
        check_grads(np.add, [np.ones(2), np.ones(2)], lambda g, x, y: (g,))
    with pytest.raises(AssertionError, match=r"shape \(1,\): expected \(2,\)"):
        check_grads(np.sin, [np.ones(2)], lambda g, x: g[:1])
    with pytest.raises(TypeError, match="inputs must be a tuple or list of arrays, but is of type ndarray"):
        check_grads(np.sin, np.ones(2), lambda g, x: g * np.cos(x))


def test_an_input_without_a_gradient_is_left_out():
    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    assert check_grads(lambda x, y: 2 * x, [x, y], lambda g, x, y: (2 * g, None)) == 2


def test_a_check_that_compares_nothing_fails():
    with pytest.raises(AssertionError, match="no element could be compared"):
        check_grads(lambda x: x * np.nan, [np.ones(2)], lambda g, x: g)
    with pytest.raises(AssertionError, match="no element could be compared"):
        check_grads(lambda x: np.maximum(x, 0), [np.zeros(3)], lambda g, x: g)
    assert check_grads(np.sin, [np.ones((0, 2))], lambda g, x: g) == 0


def test_the_backward_of_a_layer_goes_with_the_call_before_it():
    layer = nx.nn.Conv2d(4, 2, 3, padding=1, groups=2, rng=0, dtype="float64")
    x = np.random.default_rng(3).standard_normal((2, 4, 3, 5))
    elements = x.size + layer.weight.data.size + layer.bias.data.size
    assert check_grads(layer, [x], lambda g, x: layer.backward(g), method="linear") == elements
    assert check_grads(layer, [x], layer.backward) == elements
    assert layer.weight.grad is None, "the gradients that the layer had are left as they were"


def test_a_failure_shows_plain_numbers():
    with pytest.raises(AssertionError, match=r"is -?\d+\.\d+, but the derivative \(central\) is -?\d+\.\d+; 2 of 2"):
        check_grads(np.sin, [np.ones(2)], lambda g, x: g)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_forward_pass_in_few_digits_is_refused_and_not_called_wrong(dtype):
    x = np.linspace(0.1, 2, 40)
    with pytest.raises(ValueError, match=f"f returns {dtype}, too coarse for differences"):
        check_grads(lambda x: np.exp(x.astype(dtype)), [x], lambda g, x: g * np.exp(x.astype(dtype)))


def test_the_parameters_of_a_layer_are_compared_too():
    class Wrong(nx.nn.Conv2d):
        def backward(self, grad_output):
            dx = super().backward(grad_output)
            self.weight.grad *= 7
            return dx

    layer = Wrong(2, 2, 2, rng=0, dtype="float64")
    x = np.random.default_rng(4).standard_normal((1, 2, 3, 3))
    with pytest.raises(AssertionError, match=r"gradient of weight at .* 16 of 16 elements differ"):
        check_grads(layer, [x], lambda g, x: layer.backward(g))
    with pytest.raises(AssertionError, match="gradient of weight"):
        check_grads(lambda x: layer(x), [x], layer.backward)


def test_a_layer_in_float32_is_refused_with_what_to_do():
    layer = nx.nn.Conv2d(2, 2, 2, rng=0)
    with pytest.raises(ValueError, match=r'weight has dtype float32.*layer.to\(dtype="float64"\)'):
        check_grads(layer, [np.ones((1, 2, 3, 3))], layer.backward)


@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_a_small_gradient_is_compared_in_its_own_scale(factor):
    x, small = np.ones(2), np.array([0.5, -2.0])
    f = lambda x, small: x + 1e-7 * small**2  # noqa: E731
    assert check_grads(f, [x, small], lambda g, x, small: (g, 2e-7 * g * small)) == 4
    with pytest.raises(AssertionError, match="gradient 1"):
        check_grads(f, [x, small], lambda g, x, small: (g, factor * 2e-7 * g * small))
