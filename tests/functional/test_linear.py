"""The fully connected layer: exact on integers, complex step, dtypes, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F


def integers(seed, *shape, dtype=float):
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(dtype)


def by_hand(x, weight, bias):
    """One product after another."""
    y = np.zeros((*x.shape[:-1], len(weight)), dtype=x.dtype)
    for row in np.ndindex(*x.shape[:-1]):
        for o in range(len(weight)):
            y[(*row, o)] = bias[o] + sum(weight[o, i] * x[(*row, i)] for i in range(x.shape[-1]))
    return y


@settings(max_examples=30)
@given(leading=st.lists(st.integers(0, 3), max_size=3), ins=st.integers(0, 4), outs=st.integers(0, 4))
def test_equal_to_the_definition_and_adjoint_on_integers(xp, leading, ins, outs):
    x, weight, bias = integers(0, *leading, ins), integers(1, outs, ins), integers(2, outs)
    grad = integers(3, *leading, outs)
    y = F.linear(xp.asarray(x), xp.asarray(weight), xp.asarray(bias))
    assert y.shape == grad.shape and (nx.to_numpy(y) == by_hand(x, weight, bias)).all()
    grads = F.linear_backward(xp.asarray(grad), xp.asarray(x), xp.asarray(weight))
    dx, dweight, dbias = (nx.to_numpy(g) for g in grads)
    assert dx.shape == x.shape and dweight.shape == weight.shape and dbias.shape == bias.shape
    product = (grad * by_hand(x, weight, np.zeros(outs))).sum()
    assert product == (dx * x).sum() == (dweight * weight).sum()
    assert (dbias == grad.reshape(-1, outs).sum(0)).all() if outs else True
    other = integers(4, outs, ins)  # adjoint in a direction not the weight's
    assert (grad * by_hand(x, other, np.zeros(outs))).sum() == (dweight * other).sum()


def test_gradients_by_complex_step():
    shapes = (3, 4), (2, 4), (2,), (3, 2)
    x, weight, bias, grad = (np.random.default_rng(k).standard_normal(shape) for k, shape in enumerate(shapes))
    dx, dweight, dbias = F.linear_backward(grad, x, weight)
    for k, gradient in enumerate((dx, dweight, dbias)):
        for index in np.ndindex(*gradient.shape):
            args = [a.astype(complex) for a in (x, weight, bias)]
            args[k][index] += 1e-30j
            assert gradient[index] == pytest.approx((grad * F.linear(*args)).sum().imag / 1e-30, rel=1e-13)


def test_complex_gradients_are_conjugate_as_in_pytorch():
    x, weight, grad = (integers(k, *s) + 1j * integers(k + 9, *s) for k, s in enumerate([(3, 4), (2, 4), (3, 2)]))
    dx, dweight, dbias = F.linear_backward(grad, x, weight)
    assert (dx == grad @ weight.conj()).all() and (dweight == grad.T @ x.conj()).all() and (dbias == grad.sum(0)).all()


def test_sixteen_bit_types_sum_in_float32():  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    for dtype, count in ((np.float16, 4096), (ml_dtypes.bfloat16, 512)):
        x, weight, bias = np.ones((1, count), dtype), np.ones((1, count), dtype), np.full(1, -count, dtype)
        assert F.linear(x, weight, bias).tolist() == [[0.0]] and F.linear(x, weight).dtype == dtype
        grads = F.linear_backward(np.ones((count, 1), dtype), np.ones((count, 1), dtype), np.ones((1, 1), dtype))
        assert float(grads[1][0, 0]) == float(grads[2][0]) == count and {g.dtype for g in grads} == {np.dtype(dtype)}


def test_any_memory_layout_gives_what_its_contiguous_copy_gives():
    x = np.broadcast_to(integers(0, 3, 1, 8), (3, 2, 8))[::-1, :, ::-2]
    weight, grad = integers(1, 8, 10).T[::2, ::2], integers(2, 5, 2, 3).T
    assert (F.linear(x, weight) == F.linear(x.copy(), weight.copy())).all()
    copies = F.linear_backward(grad.copy(), x.copy(), weight.copy())
    assert all((ours == copied).all() for ours, copied in zip(F.linear_backward(grad, x, weight), copies))


def test_only_what_is_needed_is_computed():
    x, weight, grad = integers(0, 3, 4), integers(1, 2, 4), integers(2, 3, 2)
    everything = F.linear_backward(grad, x, weight)
    for k in range(3):
        some = F.linear_backward(grad, x, weight, needs=tuple(i == k for i in range(3)))
        assert [g is None for g in some] == [i != k for i in range(3)] and (some[k] == everything[k]).all()


def test_errors_name_the_argument_and_the_rule():
    x, weight = np.ones((3, 4)), np.ones((2, 4))
    for arguments, message in (
        ((np.ones((3, 5)), weight), r"x has shape \(3, 5\) but weight has shape \(2, 4\): .*in_features = 4"),
        ((np.ones(()), weight), r"x has shape \(\) but weight"),
        ((x, np.ones(4)), r"weight has shape \(4,\): expected \(out_features, in_features\)"),
        ((x, weight, np.ones(4)), r"bias has shape \(4,\): expected \(out_features,\) = \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            F.linear(*arguments)
    with pytest.raises(ValueError, match=r"grad_output has shape \(3, 4\) but the output .* \(3, 2\)"):
        F.linear_backward(x, x, weight)
    with pytest.raises(TypeError, match="x has dtype int64"):
        F.linear(np.ones((3, 4), int), weight)
    with pytest.raises(TypeError, match="x has dtype float64 and bias has dtype float32"):
        F.linear(x, weight, np.ones(2, np.float32))
