"""Batch norm: a slow definition, complex step, PyTorch's conventions, accuracy far from zero, layouts, errors."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F
from npresnext.functional.batchnorm import running_statistics_

SHAPES = st.tuples(st.integers(2, 4), st.integers(1, 3)).flatmap(
    lambda nc: st.lists(st.integers(1, 4), max_size=2).map(lambda tail: (*nc, *tail))
)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def over(channels, x):
    """Statistics, one a channel, shaped to go over x (N, C, ...)."""
    return channels.reshape(1, -1, *[1] * (x.ndim - 2))


def by_hand(x, weight, bias, mean=None, var=None, eps=1e-5):
    """The formula, one channel after the other; any dtype, complex for derivatives included."""
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c]
        m = values.sum() / values.size if mean is None else mean[c]
        v = ((values - m) ** 2).sum() / values.size if var is None else var[c]
        y[:, c] = weight[c] * (values - m) / np.sqrt(v + eps) + bias[c]
    return y


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), shape=SHAPES, training=st.booleans())
def test_equal_to_the_definition(xp, seed, shape, training):
    x, weight, bias, mean, spread = draw(seed, shape, *[shape[1]] * 4)
    given_ = {} if training else {"mean": mean, "var": spread**2 + 0.1}
    on_xp = {name: xp.asarray(array) for name, array in given_.items()}
    y, used_mean, used_var = F.batch_norm(xp.asarray(x), xp.asarray(weight), xp.asarray(bias), eps=1e-3, **on_xp)
    np.testing.assert_allclose(nx.to_numpy(y), by_hand(x, weight, bias, eps=1e-3, **given_), rtol=1e-10, atol=1e-10)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(nx.to_numpy(used_mean), given_.get("mean", x.mean(axes)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(nx.to_numpy(used_var), given_.get("var", x.var(axes)), rtol=1e-12, atol=1e-12)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), shape=SHAPES, training=st.booleans())
def test_gradients_by_complex_step(xp, seed, shape, training):
    """Batch norm is holomorphic: the imaginary part of a tiny imaginary step is the derivative, without rounding."""
    x, grad, weight, bias, mean, spread = draw(seed, shape, shape, *[shape[1]] * 4)
    given_ = {} if training else {"mean": mean, "var": spread**2 + 0.1}
    _, mean, var = F.batch_norm(x, weight, bias, eps=1e-2, **given_)
    grads = F.batch_norm_backward(
        *(xp.asarray(a) for a in (grad, x, mean, var, weight)), eps=1e-2, batch_statistics=training
    )
    for k, gradient in enumerate(nx.to_numpy(g) for g in grads):
        expected = np.empty_like(gradient)
        for index in np.ndindex(*gradient.shape):
            args = [a.astype(complex) for a in (x, weight, bias)]
            args[k][index] += 1e-30j
            expected[index] = (grad * by_hand(*args, eps=1e-2, **given_)).sum().imag / 1e-30
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9)


def test_without_weight_and_bias_they_are_one_and_zero():
    x, grad = draw(0, (3, 2, 4), (3, 2, 4))
    y, mean, var = F.batch_norm(x)
    assert (y == F.batch_norm(x, np.ones(2), np.zeros(2))[0]).all()
    for bare, full in zip(
        F.batch_norm_backward(grad, x, mean, var), F.batch_norm_backward(grad, x, mean, var, np.ones(2))
    ):
        assert (bare == full).all()


@pytest.mark.parametrize("centre", [0, 1e4, -3e6, pytest.param(np.array([[[0]], [[1e4]], [[-2]]]), id="one channel")])
def test_float32_data_far_from_zero_comes_out_right(engine, centre):
    """At 1e4 the ulp of a float32 mean is 1e-3 and of a mean of squares 8: only centred sums can give deviation 1."""
    x = (draw(0, (8, 3, 16, 16))[0] + centre).astype("float32")
    grad = draw(1, x.shape)[0].astype("float32")
    exact = x.astype(float)
    with nx.use_engine(engine):
        y, mean, var = F.batch_norm(x)
        dx, dweight, dbias = F.batch_norm_backward(grad, x, mean, var)
    want = by_hand(exact, np.ones(3), np.zeros(3))
    assert y.dtype == mean.dtype == var.dtype == "float32"
    np.testing.assert_allclose(y, want, atol=2e-6 * abs(want).max())
    np.testing.assert_allclose(var, exact.var((0, 2, 3)), rtol=2e-6)
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-7, atol=1e-7)
    x64 = F.batch_norm(exact)
    for got, right in zip((dx, dweight, dbias), F.batch_norm_backward(grad.astype(float), exact, *x64[1:])):
        np.testing.assert_allclose(got, right, atol=5e-6 * abs(right).max())


def test_a_library_without_vecdot_such_as_cupy_gives_the_same(monkeypatch):
    x, grad, weight, bias = draw(0, (2, 3, 4, 5), (2, 3, 4, 5), 3, 3)
    y, mean, var = F.batch_norm(x, weight, bias)
    expected = y, mean, var, *F.batch_norm_backward(grad, x, mean, var, weight)
    monkeypatch.delattr(array_api_strict, "vecdot")
    x, grad, weight, bias = map(array_api_strict.asarray, (x, grad, weight, bias))
    y, mean, var = F.batch_norm(x, weight, bias)
    for got, want in zip((y, mean, var, *F.batch_norm_backward(grad, x, mean, var, weight)), expected, strict=True):
        np.testing.assert_allclose(nx.to_numpy(got), want, rtol=1e-12, atol=1e-12)


def test_running_statistics_take_the_unbiased_variance(xp):
    x = draw(0, (4, 3, 5))[0]
    _, mean, var = F.batch_norm(xp.asarray(x))
    old = xp.asarray(np.array([1.0, 2.0, 3.0]))
    new_mean, new_var = F.running_statistics(old, old, mean, var, 20, 0.25)
    keep = np.array([0.75, 1.5, 2.25])
    np.testing.assert_allclose(nx.to_numpy(new_mean), keep + 0.25 * x.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(nx.to_numpy(new_var), keep + 0.25 * x.var((0, 2), ddof=1), rtol=1e-12)
    assert nx.to_numpy(old).tolist() == [1, 2, 3]


def test_momentum_one_over_k_is_the_average_over_all_batches():
    batches, running = draw(0, *[(3, 2, 4)] * 5), (np.zeros(2), np.ones(2))
    for k, x in enumerate(batches, 1):
        running = F.running_statistics(*running, *F.batch_norm(x)[1:], 12, 1 / k)
    np.testing.assert_allclose(running[0], np.mean([x.mean((0, 2)) for x in batches], 0), rtol=1e-12)
    np.testing.assert_allclose(running[1], np.mean([x.var((0, 2), ddof=1) for x in batches], 0), rtol=1e-12)


def test_an_empty_batch_changes_nothing(xp):
    x, weight = xp.zeros((0, 3, 2, 2)), xp.ones((3,))
    y, mean, var = F.batch_norm(x, weight, weight)
    dx, dweight, dbias = F.batch_norm_backward(x, x, mean, var, weight)
    assert y.shape == dx.shape == (0, 3, 2, 2) and not nx.to_numpy(dweight).any() and not nx.to_numpy(dbias).any()
    new_mean, new_var = F.running_statistics(2 * weight, weight, mean, var, 0, 0.1)
    assert nx.to_numpy(new_mean).tolist() == [2, 2, 2] and nx.to_numpy(new_var).tolist() == [1, 1, 1]
    running_statistics_(new_mean, new_var, mean, var, 0, 0.1)
    assert nx.to_numpy(new_mean).tolist() == [2, 2, 2] and nx.to_numpy(new_var).tolist() == [1, 1, 1]
    assert F.batch_norm(x, mean=weight, var=weight)[0].shape == (0, 3, 2, 2)


def test_a_given_variance_that_is_nan_spoils_its_own_channel_alone():
    x = draw(0, (2, 2, 3))[0]
    y, _, _ = F.batch_norm(x, mean=np.zeros(2), var=np.array([1.0, np.nan]))
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1]).all()


def test_sixteen_bit_types_are_computed_in_float32():  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    x, grad = draw(0, (8, 2, 16, 16), (8, 2, 16, 16))
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x16, grad16, ones = (x + 50).astype(dtype), grad.astype(dtype), np.ones(2, dtype)
        y, mean, var = F.batch_norm(x16, ones)
        grads = F.batch_norm_backward(grad16, x16, mean, var, ones)
        assert y.dtype == dtype and mean.dtype == var.dtype == "float32"
        assert {g.dtype for g in grads} == {np.dtype(dtype)}
        with nx.use_engine("im2col"):  # the lesson is what computes the 16-bit types
            wide = F.batch_norm(x16.astype("float32"), np.ones(2, "float32"))
        assert (y == wide[0].astype(dtype)).all() and (mean == wide[1]).all() and (var == wide[2]).all()
        running = F.running_statistics(ones, ones, mean, var, 2048, 0.1)
        assert {array.dtype for array in running} == {np.dtype(dtype)}
        assert F.batch_norm(x16, mean=running[0], var=running[1])[0].dtype == dtype


def test_sixteen_bit_statistics_count_as_their_values_in_float32():
    x, mean, var = draw(0, (2, 3, 4), 3, 3)
    x, mean, var = x.astype("float16"), mean.astype("float16"), (1e-4 * var**2).astype("float16")
    wide = {"mean": mean.astype("float32"), "var": var.astype("float32")}
    y, used_mean, used_var = F.batch_norm(x, mean=mean, var=var)
    np.testing.assert_array_equal(y, F.batch_norm(x, **wide)[0])
    assert used_mean.dtype == used_var.dtype == np.float32
    grads = F.batch_norm_backward(x / 64, x, mean, var, batch_statistics=False)
    for got, want in zip(grads, F.batch_norm_backward(x / 64, x, **wide, batch_statistics=False)):
        np.testing.assert_array_equal(got, want)


def test_pytorch_175189_any_memory_layout_gives_what_its_contiguous_copy_gives():
    whole, other = draw(0, (4, 6, 5, 8), (8, 5, 3, 4))
    x = np.moveaxis(whole, -1, 1)[:, ::-2, :3]  # channels last, every other, backwards
    sliced = other.transpose(3, 0, 2, 1)[:, ::2]
    weight = np.broadcast_to(np.float64(2.5), (4,))
    y, mean, var = F.batch_norm(x, weight)
    for ours, copied in zip((y, mean, var), F.batch_norm(x.copy(order="C"), weight.copy())):
        np.testing.assert_allclose(ours, copied, rtol=1e-12, atol=1e-12)
    for grad in (sliced, np.broadcast_to(sliced[:, :1, :, :1], x.shape)):
        grads = F.batch_norm_backward(grad, x, mean, var, weight)
        copies = F.batch_norm_backward(grad.copy(order="C"), x.copy(order="C"), mean, var, weight.copy())
        for ours, copied in zip(grads, copies):
            np.testing.assert_allclose(ours, copied, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ["im2col", "cpu"])
def test_the_byte_order_is_kept_so_that_the_backward_takes_what_the_forward_gave(engine):
    x, grad, shortcut = draw(0, *[(4, 3, 2)] * 3)
    with nx.use_engine(engine):
        expected = F.batch_norm_relu(x, shortcut=shortcut)
        swapped = F.batch_norm_relu(x.astype(">f8"), shortcut=shortcut.astype(">f8"))
        gradients = F.batch_norm_relu_backward(grad, expected[0], x, *expected[1:])
        again = F.batch_norm_relu_backward(grad.astype(">f8"), swapped[0], x.astype(">f8"), *swapped[1:])
    for one, other in zip((*expected, *gradients), (*swapped, *again)):
        assert other.dtype == ">f8"
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-13)


def test_operands_are_left_alone():
    x, grad, weight, bias = draw(0, (3, 2, 4), (3, 2, 4), 2, 2)
    before = [a.copy() for a in (x, grad, weight, bias)]
    _, mean, var = F.batch_norm(x, weight, bias)
    F.batch_norm(x, weight, bias, mean=mean, var=var)
    F.batch_norm_backward(grad, x, mean, var, weight)
    F.batch_norm_backward(grad, x, mean, var, weight, batch_statistics=False)
    assert all((a == b).all() for a, b in zip((x, grad, weight, bias), before))


def test_a_constant_channel_has_gradient_zero():
    x = np.full((2, 1, 3), 7.0)
    y, mean, var = F.batch_norm(x)
    assert not y.any() and var == 0
    grad = np.arange(6.0).reshape(x.shape)
    dx, dweight, _ = F.batch_norm_backward(grad, x, mean, var)
    np.testing.assert_allclose(dx, (grad - grad.mean()) / np.sqrt(1e-5))
    assert dweight == 0


def test_errors_name_the_argument_and_the_rule():
    x, ones, single = np.ones((2, 3, 4)), np.ones(3), np.ones((1, 3, 1, 1))
    x32, ones32, strict = x.astype("float32"), ones.astype("float32"), array_api_strict.ones(3)
    for call, message in (
        (lambda: F.batch_norm(single), r"Expected more than 1 value per channel when training, .*\(1, 3, 1, 1\)"),
        (lambda: F.batch_norm(np.ones(3)), r"x has shape \(3,\): expected \(N, C, ...\)"),
        (lambda: F.batch_norm(x, np.ones(4)), r"weight has shape \(4,\): expected \(C,\) = \(3,\)"),
        (lambda: F.batch_norm(x, ones, np.ones((3, 1))), r"bias has shape \(3, 1\): expected \(C,\) = \(3,\)"),
        (lambda: F.batch_norm(x, mean=ones), "mean and var must be given both"),
        (lambda: F.batch_norm(x, mean=ones, var=np.ones(2)), r"var has shape \(2,\)"),
        (lambda: F.batch_norm(x, eps=0), "eps must be above 0, but is 0"),
        (lambda: F.batch_norm_backward(x[:1], x, ones, ones), r"grad_output has shape \(1, 3, 4\) but x has shape"),
        (lambda: F.batch_norm_backward(x, x, np.ones(2), ones), r"mean has shape \(2,\)"),
        (lambda: F.running_statistics(ones, ones, ones, np.ones(1), 4, 0.1), r"var has shape \(1,\) but running_mean"),
        (lambda: F.running_statistics(ones, ones, ones, ones, 1, 0.1), "count is 1: a single value per channel has no"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in (
        (lambda: F.batch_norm(x.astype(complex)), "x has dtype complex128"),
        (lambda: F.batch_norm(x, ones32), "x has dtype float64 and weight has dtype float32"),
        (lambda: F.batch_norm(x, mean=ones, var=ones32), "var has dtype float32 but x has dtype float64"),
        (lambda: F.batch_norm(x, strict), "x is an array of numpy and weight one of array_api_strict"),
        (lambda: F.batch_norm_backward(x32, x, ones, ones), "grad_output has dtype float32 and x has dtype float64"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


@pytest.mark.parametrize("name", ["running_mean", "running_var", "mean", "var"])
def test_running_statistics_of_another_library_are_refused(name):
    arrays = dict.fromkeys(["running_mean", "running_var", "mean", "var"], np.ones(3))
    with pytest.raises(TypeError, match=f"{name} (is an array|one) of array_api_strict"):
        F.running_statistics(**arrays | {name: array_api_strict.ones(3)}, count=4, momentum=0.1)


def test_one_value_per_channel_is_fine_in_evaluation():
    y, *_ = F.batch_norm(np.full((1, 2, 1, 1), 3.0), mean=np.ones(2), var=np.full(2, 4.0), eps=1e-300)
    assert y.tolist() == [[[[1.0]], [[1.0]]]]


@pytest.mark.oracle
@pytest.mark.parametrize("training", [True, False])
def test_pytorch_agrees(training):
    torch = pytest.importorskip("torch")
    x, grad, weight, bias, mean, spread = draw(0, (4, 3, 5, 6), (4, 3, 5, 6), *[3] * 4)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, weight, bias)]
    running = torch.tensor(mean), torch.tensor(spread**2)
    expected = torch.nn.functional.batch_norm(tensors[0], *running, *tensors[1:], training, 0.3, 1e-3)
    expected.backward(torch.tensor(grad))
    given_ = {} if training else {"mean": mean, "var": spread**2}
    y, used_mean, used_var = F.batch_norm(x, weight, bias, eps=1e-3, **given_)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    grads = F.batch_norm_backward(grad, x, used_mean, used_var, weight, eps=1e-3, batch_statistics=training)
    for ours, tensor in zip(grads, tensors):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-11, atol=1e-11)
    if training:
        for ours, theirs in zip(F.running_statistics(mean, spread**2, used_mean, used_var, 120, 0.3), running):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
