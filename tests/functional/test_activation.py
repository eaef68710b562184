"""ReLU against its definition, for every array library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F
from npresnext.engines.cpu.thresholds import BLOCK_BYTES
from npresnext.functional.activation import relu_


def away_from_zero(seed, shape):
    """Values at least 0.1 from the kink."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 3, shape) * rng.choice([-1.0, 1.0], shape)


def test_relu_is_the_maximum_with_zero_and_keeps_nan(xp):
    x = xp.asarray(np.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan]))
    np.testing.assert_array_equal(nx.to_numpy(F.relu(x)), [0.0, 0.0, 0.0, 0.0, 2.0, np.inf, np.nan])


def test_gradient_at_zero_is_zero(xp):
    output = F.relu(xp.asarray(np.array([-1.0, -0.0, 0.0, 1e-300])))
    dx = F.relu_backward(xp.asarray(np.array([2.0, 3.0, 4.0, 5.0])), output)
    assert nx.to_numpy(dx).tolist() == [0.0, 0.0, 0.0, 5.0]


def test_a_closed_gate_stops_even_an_infinite_gradient(xp):
    dx = F.relu_backward(xp.asarray(np.array([np.inf, np.nan])), xp.asarray(np.zeros(2)))
    assert nx.to_numpy(dx).tolist() == [0.0, 0.0]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), shape=st.lists(st.integers(0, 4), max_size=4))
def test_gradient_is_the_central_difference_away_from_the_kink(seed, shape):
    x, step = away_from_zero(seed, tuple(shape)), 2.0**-10
    grad = np.random.default_rng(seed + 1).standard_normal(x.shape)
    slope = (np.maximum(x + step, 0) - np.maximum(x - step, 0)) / (2 * step)
    np.testing.assert_allclose(F.relu_backward(grad, F.relu(x)), grad * slope, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4"])
@pytest.mark.parametrize("shape", [(2, 3), ()])
def test_dtype_is_kept(dtype, shape):
    x = np.asarray(away_from_zero(0, shape)).astype(dtype).T
    assert type(F.relu(x)) is type(F.add(x, x)) is np.ndarray and F.add(x, x).dtype == dtype
    assert F.relu(x).dtype == dtype and F.relu_backward(x, F.relu(x)).dtype == dtype


def test_any_memory_layout_gives_what_its_contiguous_copy_gives():
    x = np.broadcast_to(away_from_zero(0, (1, 8, 1)), (3, 8, 4))[::-1, ::-2]
    grad = np.random.default_rng(1).standard_normal((4, 4, 3)).T[::-1]
    assert (F.relu(x) == F.relu(x.copy())).all()
    assert (F.relu_backward(grad, F.relu(x)) == F.relu_backward(grad.copy(), F.relu(x.copy()))).all()


def test_operands_are_left_alone():
    x, grad = away_from_zero(0, (3, 4)), away_from_zero(1, (3, 4))
    before, grad_before = x.copy(), grad.copy()
    output = F.relu(x)
    F.relu_backward(grad, output)
    assert (x == before).all() and (grad == grad_before).all() and (output == np.maximum(before, 0)).all()


def test_errors_name_the_argument_and_the_rule():
    with pytest.raises(ValueError, match=r"grad_output has shape \(2,\) but output has \(3,\)"):
        F.relu_backward(np.ones(2), np.ones(3))
    with pytest.raises(TypeError, match="x has dtype int64: expected a real floating dtype"):
        F.relu(np.arange(3))
    with pytest.raises(TypeError, match="x has dtype complex128: expected a real floating dtype"):
        F.relu(np.ones(3, complex))
    with pytest.raises(TypeError, match="grad_output has dtype float32 and output has dtype float64"):
        F.relu_backward(np.ones(2, np.float32), np.ones(2))
    with pytest.raises(TypeError, match="x must be an array"):
        F.relu([1.0, 2.0])


@pytest.mark.oracle
def test_pytorch_agrees_bit_for_bit():
    torch = pytest.importorskip("torch")
    x, grad = np.random.default_rng(0).standard_normal((2, 50)).astype("float32")
    x[::7], x[3] = 0, np.nan
    tx = torch.tensor(x, requires_grad=True)
    y = torch.relu(tx)
    y.backward(torch.tensor(grad))
    np.testing.assert_array_equal(F.relu(x), y.detach().numpy())
    np.testing.assert_array_equal(F.relu_backward(grad, F.relu(x)), tx.grad.numpy())


@pytest.mark.parametrize("size", [1, BLOCK_BYTES // 8, BLOCK_BYTES // 8 + 1, BLOCK_BYTES // 2 + 5])
def test_arrays_of_any_length_are_rectified_to_their_last_element(size):
    x, shortcut = np.random.default_rng(0).standard_normal((2, size))
    np.testing.assert_array_equal(F.relu(x), np.where(x > 0, x, 0))
    expected = np.where(x + shortcut > 0, x + shortcut, 0)
    np.testing.assert_array_equal(relu_(x, shortcut), expected)
