"""Max pooling against one window at a time, for every array library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F

from tests.support.poolings import poolings, windows_of


def by_hand(x, grad_of, arguments):
    """The maximum of each window, and the gradient sent to the first pixel that has it."""
    found = list(windows_of(x.shape, arguments))
    y = np.full((*x.shape[:2], *(1 + max(place[a] for place, _ in found) for a in range(2))), -np.inf)
    grad, dx = grad_of(y.shape), np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        for place, pixels in found:
            if pixels:
                y[n, c, *place] = max(x[n, c, *pixel] for pixel in pixels)
                first = next(pixel for pixel in pixels if x[n, c, *pixel] == y[n, c, *place])
                dx[n, c, *first] += grad[n, c, *place]
    return y, grad, dx


@settings(max_examples=60)
@given(seed=st.integers(0, 2**16), pooling=poolings())
def test_output_and_gradient_equal_the_definition_ties_included(xp, seed, pooling):
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, shape).astype(float)  # few values: ties everywhere
    y, grad, dx = by_hand(x, lambda shape: rng.integers(-9, 10, shape).astype(float), arguments)
    output = F.max_pool2d(xp.asarray(x), **arguments)
    assert output.shape == y.shape and (nx.to_numpy(output) == y).all()  # onnx#7721, onnxruntime#2518: the size
    got = F.max_pool2d_backward(xp.asarray(grad), xp.asarray(x), output, **arguments)
    assert (nx.to_numpy(got) == dx).all()


def test_rounded_up_one_window_may_be_larger_than_the_image(xp):  # as in PyTorch; rounded down, it is refused
    x, grad = xp.asarray(np.array([[[[1.0, 4.0], [3.0, 2.0]]]])), xp.asarray(np.array([[[[5.0]]]]))
    y = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
    assert nx.to_numpy(y).tolist() == [[[[4.0]]]]
    dx = F.max_pool2d_backward(grad, x, y, 3, stride=2, ceil_mode=True)
    assert nx.to_numpy(dx).tolist() == [[[[0.0, 5.0], [0.0, 0.0]]]]
    with pytest.raises(nx.errors.ShapeError, match="the kernel is larger than the padded image"):
        F.max_pool2d(x, 3, stride=2)


def test_gradient_is_the_central_difference_away_from_ties():
    rng, step = np.random.default_rng(0), 2.0**-10
    x = rng.permutation(2 * 6 * 7).reshape(1, 2, 6, 7).astype(float)  # no two alike
    arguments = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
    output = F.max_pool2d(x, **arguments)
    grad = rng.standard_normal(output.shape)
    dx = F.max_pool2d_backward(grad, x, output, **arguments)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        slope = (F.max_pool2d(up, **arguments) - F.max_pool2d(down, **arguments)) / (2 * step)
        assert dx[index] == pytest.approx((grad * slope).sum(), rel=1e-12, abs=1e-12)


def test_a_tie_goes_to_the_first_maximum():
    x = np.array([[[[1.0, 4.0, 4.0], [4.0, 2.0, 4.0]]]])
    dx = F.max_pool2d_backward(np.array([[[[5.0, 7.0]]]]), x, F.max_pool2d(x, 2, stride=1), 2, stride=1)
    assert dx.tolist() == [[[[0.0, 12.0, 0.0], [0.0, 0.0, 0.0]]]]


def test_nan_wins_and_no_gradient_is_lost(xp):
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 0, 1] = np.nan
    output = F.max_pool2d(xp.asarray(x), 2)
    np.testing.assert_array_equal(nx.to_numpy(output)[0, 0], [[np.nan, 7], [13, 15]])
    dx = F.max_pool2d_backward(xp.asarray(np.array([[[[1.0, 2], [3, 4]]]])), xp.asarray(x), output, 2)
    assert nx.to_numpy(dx).sum() == 10


def test_a_window_without_pixels_is_minus_infinity_and_has_no_gradient():
    """Where PyTorch 2.13 writes outside its buffer: both taps of a dilated kernel miss an image of one row."""
    x = np.ones((1, 1, 1, 3))
    output = F.max_pool2d(x, 2, stride=1, padding=1, dilation=2)
    assert output.tolist() == [[[[-np.inf, -np.inf, -np.inf]]]]
    assert not F.max_pool2d_backward(np.ones_like(output), x, output, 2, stride=1, padding=1, dilation=2).any()


def test_unbatched_and_empty_batches(xp):
    x = np.random.default_rng(0).integers(-9, 10, (2, 5, 6)).astype(float)
    single, batch = F.max_pool2d(xp.asarray(x), 2), F.max_pool2d(xp.asarray(x[None]), 2)
    assert single.shape == (2, 2, 3) and (nx.to_numpy(single) == nx.to_numpy(batch)[0]).all()
    dx = F.max_pool2d_backward(single, xp.asarray(x), single, 2)
    assert (nx.to_numpy(dx) == nx.to_numpy(F.max_pool2d_backward(batch, xp.asarray(x[None]), batch, 2))[0]).all()
    nothing = xp.zeros((0, 2, 5, 6))
    output = F.max_pool2d(nothing, 2)
    assert output.shape == (0, 2, 2, 3) and F.max_pool2d_backward(output, nothing, output, 2).shape == (0, 2, 5, 6)


def test_sixteen_bit_gradients_are_summed_in_float32():  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    for dtype in (np.float16, ml_dtypes.bfloat16):
        x = np.zeros((1, 1, 3, 3), dtype)
        x[0, 0, 1, 1] = 1
        output = F.max_pool2d(x, 3, stride=1, padding=1)
        grad = np.full((1, 1, 3, 3), 2.0**-9, dtype)
        grad[0, 0, 0, 0] = 1  # 1 + 8·2⁻⁹ would stay 1 in bfloat16
        dx = F.max_pool2d_backward(grad, x, output, 3, stride=1, padding=1)
        assert output.dtype == dx.dtype == dtype and float(dx[0, 0, 1, 1]) == 1 + 2**-6


def test_any_memory_layout_gives_what_its_contiguous_copy_gives():
    x = np.broadcast_to(np.random.default_rng(0).standard_normal((6, 1, 7, 3)), (6, 5, 7, 3)).transpose(3, 1, 2, 0)
    x = x[:, ::-2, ::-1]
    output = F.max_pool2d(x, 3, stride=2, padding=1)
    assert (output == F.max_pool2d(x.copy(order="C"), 3, stride=2, padding=1)).all()
    grad = np.random.default_rng(1).standard_normal(output.shape[::-1]).T
    dx = F.max_pool2d_backward(grad, x, output, 3, stride=2, padding=1)
    copied = F.max_pool2d_backward(grad.copy(order="C"), x.copy(order="C"), output, 3, stride=2, padding=1)
    assert (dx == copied).all()


def test_pixels_that_a_large_stride_passes_over_are_not_copied(monkeypatch):
    x, copied, copy = np.ones((1, 1, 300, 300)), [], np.ascontiguousarray
    monkeypatch.setattr(np, "ascontiguousarray", lambda part: copied.append(part.size) or copy(part))
    y = F.max_pool2d(x, 2, stride=100)
    dx = F.max_pool2d_backward(5 * y, x, y, 2, stride=100)
    assert sum(copied) <= 2 * 4 * y.size  # forward and backward, four taps
    assert dx.sum() == 5 * 9 and (dx[:, :, ::100, ::100] == 5).all()


def test_errors_name_the_argument_and_the_rule():
    x = np.ones((1, 2, 4, 4))
    for kwargs, message in (
        ({"kernel_size": 3, "padding": 2}, r"padding must be at most half of the kernel: padding \(2, 2\)"),
        ({"kernel_size": 3, "padding": -1}, "padding must be at least 0, but is -1"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, but is 0"),
        ({"kernel_size": 2, "stride": 0}, "stride must be at least 1, but is 0"),
        ({"kernel_size": 2, "dilation": 0}, "dilation must be at least 1, but is 0"),
        ({"kernel_size": 5}, "the kernel is larger than the padded image"),
        ({"kernel_size": (2, 2, 2)}, "kernel_size must be an integer or a pair"),
    ):
        with pytest.raises(ValueError, match=message):
            F.max_pool2d(x, **kwargs)
    with pytest.raises(ValueError, match=r"x has shape \(4, 4\) with 2 axes: expected \(N, C, H, W\)"):
        F.max_pool2d(np.ones((4, 4)), 2)
    output = F.max_pool2d(x, 2)
    with pytest.raises(ValueError, match=r"grad_output has shape \(1, 2, 4, 4\) but the output .*2, 2\)"):
        F.max_pool2d_backward(x, x, output, 2)
    with pytest.raises(ValueError, match=r"output has shape \(1, 2, 4, 4\) but the output of this pooling"):
        F.max_pool2d_backward(output, x, x, 2)
    with pytest.raises(TypeError, match="x has dtype complex128"):
        F.max_pool2d(x.astype(complex), 2)
    with pytest.raises(TypeError, match="kernel_size must be an integer, but 2.0 is of type float"):
        F.max_pool2d(x, 2.0)


@pytest.mark.oracle
@settings(max_examples=60)
@given(seed=st.integers(0, 2**16), pooling=poolings())
def test_pytorch_agrees_bit_for_bit(seed, pooling):
    torch = pytest.importorskip("torch")
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, shape).astype(float)
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.max_pool2d(tensor, **arguments)
    output = F.max_pool2d(x, **arguments)
    assert output.shape == expected.shape and (output == expected.detach().numpy()).all()
    if np.isfinite(output).all():  # its backward corrupts memory for windows without pixels
        grad = rng.integers(-9, 10, output.shape).astype(float)
        expected.backward(torch.tensor(grad))
        assert (F.max_pool2d_backward(grad, x, output, **arguments) == tensor.grad.numpy()).all()
