"""The four statements of the definition agree, exactly; nothing else may be trusted before they do."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from npresnext import reference
from npresnext.testing.strategies import conv_cases

quick = settings(max_examples=40)


@quick
@given(conv_cases())
def test_array_form_equals_the_loops(case):
    x, weight, bias, grad = case.x(), case.weight(), case.bias(), case.grad_output()
    assert (
        reference.conv2d(x, weight, bias, **case.kwargs) == reference.conv2d_loops(x, weight, bias, **case.kwargs)
    ).all()
    dx = reference.conv2d_input_grad(grad, x.shape, weight, **case.kwargs)
    assert (dx == reference.conv2d_input_grad_loops(grad, x.shape, weight, **case.kwargs)).all()
    dweight = reference.conv2d_weight_grad(grad, x, weight.shape, **case.kwargs)
    assert (dweight == reference.conv2d_weight_grad_loops(grad, x, weight.shape, **case.kwargs)).all()


@quick
@given(conv_cases())
def test_split_and_concatenate_equals_the_loops(case):
    x, weight, bias = case.x(), case.weight(), case.bias()
    assert (
        reference.conv2d_split(x, weight, bias, **case.kwargs) == reference.conv2d_loops(x, weight, bias, **case.kwargs)
    ).all()


@quick
@given(conv_cases())
def test_block_diagonal_weight_equals_the_groups(case):
    x, weight, grad = case.x(), case.weight(), case.grad_output()
    window = {**case.kwargs, "groups": 1}
    dense = reference.block_diagonal_weight(weight, case.groups)
    assert (reference.block_diagonal_part(dense, case.groups) == weight).all()
    assert (reference.conv2d(x, dense, **window) == reference.conv2d_loops(x, weight, **case.kwargs)).all()
    dx = reference.conv2d_input_grad(grad, x.shape, dense, **window)
    assert (dx == reference.conv2d_input_grad_loops(grad, x.shape, weight, **case.kwargs)).all()
    dweight = reference.block_diagonal_part(reference.conv2d_weight_grad(grad, x, dense.shape, **window), case.groups)
    assert (dweight == reference.conv2d_weight_grad_loops(grad, x, weight.shape, **case.kwargs)).all()


def test_a_convolution_worked_by_hand():
    x = np.array([[1, 2, 0], [0, 1, 3], [2, 0, 1]]).reshape(1, 1, 3, 3)
    weight = np.array([[1, 2], [0, -1]]).reshape(1, 1, 2, 2)
    # window (0, 0): 1·1 + 2·2 − 1·1 = 4;  (0, 1): 2·1 + 0·2 − 1·3 = −1;  (1, 0): 0 + 2 − 0 = 2;  (1, 1): 1 + 6 − 1 = 6
    assert reference.conv2d_loops(x, weight)[0, 0].tolist() == [[4, -1], [2, 6]]


def test_the_definition_takes_fractions_and_complex_numbers():
    x = np.array([Fraction(1, 3), Fraction(1, 7)], dtype=object).reshape(1, 2, 1, 1)
    weight = np.array([Fraction(3, 5), Fraction(7, 2)], dtype=object).reshape(1, 2, 1, 1)
    assert reference.conv2d(x, weight).item() == reference.conv2d_loops(x, weight).item() == Fraction(7, 10)
    z = np.array([1 + 2j]).reshape(1, 1, 1, 1)
    assert reference.conv2d_weight_grad_loops(z, z, z.shape).item() == 5  # z times its conjugate
    assert reference.conv2d_weight_grad(z, z, z.shape).item() == 5


def test_the_bias_gradient_sums_what_the_bias_reached():
    rng = np.random.default_rng(0)
    grad = rng.integers(-4, 5, (2, 3, 4, 5))
    assert reference.conv2d_bias_grad(grad).tolist() == [grad[:, c].sum() for c in range(3)]


@pytest.mark.oracle
@settings(max_examples=60)
@given(conv_cases({"negative_padding": False, "zero_channels": False}))
def test_the_definition_equals_pytorch(case):
    torch = pytest.importorskip("torch")
    x, weight = (torch.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in (case.x(), case.weight()))
    (top, bottom), (left, right) = case.padding
    padded = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, weight, None, case.stride, 0, case.dilation, case.groups)
    grad = np.ascontiguousarray(case.grad_output())
    y.backward(torch.from_numpy(grad))
    x, weight, (dx, dweight) = x.detach().numpy(), weight.detach().numpy(), (x.grad.numpy(), weight.grad.numpy())
    assert (y.detach().numpy() == reference.conv2d_loops(x, weight, **case.kwargs)).all()
    assert (dx == reference.conv2d_input_grad_loops(grad, x.shape, weight, **case.kwargs)).all()
    assert (dweight == reference.conv2d_weight_grad_loops(grad, x, weight.shape, **case.kwargs)).all()
