"""Batch norm with shortcut and rectifier: what the three give one after the other, on any library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F
from npresnext.errors import BackendMixError, InvalidTypeError, ShapeError


def draw(seed, *shapes, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def one_after_the_other(grad, x, weight, bias, shortcut, given_):
    """y, mean, var, dx, dweight, dbias and dshortcut by the lesson's operations, one array after the other."""
    with nx.use_engine("im2col"):
        z, mean, var = F.batch_norm(x, weight, bias, **given_)
        y = F.relu(z if shortcut is None else F.add(z, shortcut))
        dsum = F.relu_backward(grad, y)
        return y, mean, var, *F.batch_norm_backward(dsum, x, mean, var, weight, batch_statistics=not given_), dsum


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    training=st.booleans(),
    with_shortcut=st.booleans(),
    centre=st.sampled_from([0, 2, 100]),
)
def test_equal_to_norm_addition_and_rectifier_one_after_the_other(xp, seed, shape, training, with_shortcut, centre):
    shape = (shape[0] + 1, *shape[1:])
    x, shortcut, grad = draw(seed, shape, shape, shape)
    weight, bias, mean, spread = draw(seed + 1, *[shape[1]] * 4)
    x, mean = x + centre, mean + centre
    given_ = {} if training else {"mean": mean, "var": spread**2 + 0.1}
    on_xp = {name: xp.asarray(array) for name, array in given_.items()}
    other = shortcut if with_shortcut else None
    expected = one_after_the_other(grad, x, weight, bias, other, given_)
    x, weight, bias, grad = (xp.asarray(array) for array in (x, weight, bias, grad))
    y, mean, var = F.batch_norm_relu(x, weight, bias, shortcut=None if other is None else xp.asarray(other), **on_xp)
    found = y, mean, var, *F.batch_norm_relu_backward(grad, y, x, mean, var, weight, batch_statistics=training)
    for array, correct in zip(found, expected, strict=True):
        scale = np.abs(correct).max(initial=1)
        np.testing.assert_allclose(nx.to_numpy(array), correct, rtol=1e-9, atol=1e-9 * scale)


def test_the_shortcuts_gradient_is_left_out_where_nobody_asks():
    x, grad = draw(0, (3, 2, 4, 4), (3, 2, 4, 4))
    y, mean, var = F.batch_norm_relu(x)
    *with_it, dshortcut = F.batch_norm_relu_backward(grad, y, x, mean, var)
    *without, nothing = F.batch_norm_relu_backward(grad, y, x, mean, var, needs_shortcut=False)
    assert nothing is None and dshortcut is not None
    for array, expected in zip(without, with_it, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_closed_gate_stops_even_an_infinite_gradient():
    x, shortcut = draw(0, (2, 3, 4), (2, 3, 4))
    y, mean, var = F.batch_norm_relu(x, shortcut=shortcut - 1)
    grad = np.where(y > 0, 1.0, np.inf)
    assert all(np.isfinite(array).all() for array in F.batch_norm_relu_backward(grad, y, x, mean, var))


def test_nan_stays_and_leaves_the_gate_open():
    x, shortcut = draw(0, (2, 1, 4), (2, 1, 4))
    shortcut[0, 0, 0] = np.nan
    y, mean, var = F.batch_norm_relu(x, shortcut=shortcut)
    assert np.isnan(y[0, 0, 0]) and np.isfinite(y).sum() == 7
    dshortcut = F.batch_norm_relu_backward(np.full(x.shape, 5.0), y, x, mean, var)[3]
    assert dshortcut[0, 0, 0] == 5


@pytest.mark.parametrize("layout", ["transposed", "sliced", "reversed"])
def test_any_memory_layout_gives_what_its_contiguous_copy_gives(layout):
    change = {
        "transposed": lambda a: a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        "sliced": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
        "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    }[layout]
    x, shortcut, grad = draw(0, *[(3, 4, 5, 6)] * 3, dtype="float32")
    y, mean, var = F.batch_norm_relu(x, shortcut=shortcut)
    expected = y, *F.batch_norm_relu_backward(grad, y, x, mean, var)
    odd_y, *_ = F.batch_norm_relu(change(x), shortcut=change(shortcut))
    found = odd_y, *F.batch_norm_relu_backward(change(grad), change(y), change(x), mean, var)
    for array, correct in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, correct, rtol=1e-5, atol=1e-5)


def test_arrays_of_the_other_byte_order_give_the_same():
    swapped = [array.astype(array.dtype.newbyteorder()) for array in draw(0, *[(3, 4, 5, 6)] * 3)]
    x, shortcut, grad = swapped
    y, mean, var = F.batch_norm_relu(x, shortcut=shortcut)
    found = y, *F.batch_norm_relu_backward(grad, y, x, mean, var)
    x, shortcut, grad = draw(0, *[(3, 4, 5, 6)] * 3)
    y, mean, var = F.batch_norm_relu(x, shortcut=shortcut)
    for array, expected in zip(found, (y, *F.batch_norm_relu_backward(grad, y, x, mean, var)), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-12)


def test_values_whose_squares_overflow_are_centred():
    """A constant channel of 1e20: in float32 its squares are infinite, and its variance is 0 all the same."""
    x = np.float32(1e20) + np.zeros((4, 2, 3, 3), np.float32)
    y, mean, var = F.batch_norm_relu(x)
    np.testing.assert_array_equal(mean, x[0, :, 0, 0])
    assert not var.any() and not y.any()


def test_operands_are_left_alone():
    operands = draw(0, (3, 4, 5, 6), (4,), (4,), (3, 4, 5, 6), (3, 4, 5, 6))
    copies = [array.copy() for array in operands]
    x, weight, bias, shortcut, grad = operands
    y, mean, var = F.batch_norm_relu(x, weight, bias, shortcut=shortcut)
    kept = y.copy()
    F.batch_norm_relu_backward(grad, y, x, mean, var, weight)
    for array, copy in zip((*operands, y), (*copies, kept), strict=True):
        np.testing.assert_array_equal(array, copy)


def test_an_empty_batch_gives_empty_arrays(xp):
    x = xp.zeros((0, 3, 4, 4))
    y, mean, var = F.batch_norm_relu(x, shortcut=x)
    dx, dweight, dbias, dshortcut = F.batch_norm_relu_backward(y, y, x, mean, var)
    assert y.shape == dx.shape == dshortcut.shape == x.shape
    assert not nx.to_numpy(dweight).any() and not nx.to_numpy(dbias).any()


def test_errors_name_the_argument_and_the_rule():
    x, grad = np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4, 4))
    y, mean, var = F.batch_norm_relu(x)
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3, 4, 4\) but shortcut has shape \(1, 3, 4, 4\)"):
        F.batch_norm_relu(x, shortcut=x[:1])
    with pytest.raises(InvalidTypeError, match="float32"):
        F.batch_norm_relu(x, shortcut=x.astype("float32"))
    with pytest.raises(BackendMixError):
        F.batch_norm_relu(x, shortcut=pytest.importorskip("array_api_strict").asarray(x))
    with pytest.raises(ShapeError, match="output has shape"):
        F.batch_norm_relu_backward(grad, y[:1], x, mean, var)
    with pytest.raises(ShapeError, match="grad_output has shape"):
        F.batch_norm_relu_backward(grad[:1], y, x, mean, var)
