"""Average pooling against one window at a time, for every array library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import functional as F

from tests.support.poolings import poolings, windows_of


def matrix_of(shape, arguments, count_include_pad):
    """The pooling of one map as a dense matrix (oh·ow, H·W), written window by window."""
    H, W = shape[2:]
    kernel, padding = arguments["kernel_size"], arguments["padding"]
    stride, rows = arguments["stride"] or kernel, {}
    for place, pixels in windows_of(shape, arguments):
        first = [o * s - p for o, s, p in zip(place, stride, padding)]
        inside = 1  # pixels and padding, not what ceil adds
        for start, k, size, p in zip(first, kernel, (H, W), padding):
            inside *= min(start + k, size + p) - start
        row = np.zeros((H, W))
        for pixel in pixels:
            row[pixel] = 1 / (inside if count_include_pad else len(pixels))
        rows[place] = row.ravel()
    oh, ow = (1 + max(place[a] for place in rows) for a in range(2))
    return np.array([rows[p, q] for p in range(oh) for q in range(ow)]), oh, ow


@settings(max_examples=60)
@given(seed=st.integers(0, 2**16), pooling=poolings(dilated=False), count_include_pad=st.booleans())
def test_output_and_gradient_equal_the_definition(xp, seed, pooling, count_include_pad):
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    matrix, oh, ow = matrix_of(shape, arguments, count_include_pad)
    x, grad = rng.standard_normal(shape), rng.standard_normal((*shape[:2], oh, ow))
    arguments = {**arguments, "count_include_pad": count_include_pad}
    y = F.avg_pool2d(xp.asarray(x), **arguments)
    assert y.shape == grad.shape  # onnx#7721, onnxruntime#2518: the output size is the number of windows
    expected = x.reshape(*shape[:2], 1, shape[2] * shape[3]) @ matrix.T
    np.testing.assert_allclose(nx.to_numpy(y), expected.reshape(grad.shape), rtol=1e-12, atol=1e-12)
    dx = F.avg_pool2d_backward(xp.asarray(grad), shape, **arguments)
    expected = grad.reshape(*shape[:2], 1, oh * ow) @ matrix
    np.testing.assert_allclose(nx.to_numpy(dx), expected.reshape(shape), rtol=1e-12, atol=1e-12)


def test_gradients_by_complex_step():
    x, arguments = np.random.default_rng(0).standard_normal((1, 2, 4, 5)), {"kernel_size": 3, "stride": 2, "padding": 1}
    for forward, backward in (
        (lambda x: F.avg_pool2d(x, **arguments), lambda g: F.avg_pool2d_backward(g, x.shape, **arguments)),
        (F.global_avg_pool2d, lambda g: F.global_avg_pool2d_backward(g, x.shape)),
    ):
        grad = np.random.default_rng(1).standard_normal(forward(x).shape)
        dx = backward(grad)
        for index in np.ndindex(*x.shape):
            stepped = x.astype(complex)
            stepped[index] += 1e-30j
            assert dx[index] == pytest.approx((grad * forward(stepped)).sum().imag / 1e-30, rel=1e-12)


def test_global_average_is_the_mean_of_each_map_and_spreads_its_gradient(xp):
    rng = np.random.default_rng(0)
    x, grad = rng.integers(-9, 10, (2, 3, 4, 2)).astype(float), rng.integers(-9, 10, (2, 3, 1, 1)).astype(float)
    y = nx.to_numpy(F.global_avg_pool2d(xp.asarray(x)))
    assert y.shape == (2, 3, 1, 1) and (y[:, :, 0, 0] == x.sum((2, 3)) / 8).all()
    dx = nx.to_numpy(F.global_avg_pool2d_backward(xp.asarray(grad), x.shape))
    assert dx.shape == x.shape and (dx == grad / 8).all()
    dx[0, 0, 0, 0] = 99  # an array of its own, no broadcast view
    assert dx[0, 0, 0, 1] == grad[0, 0, 0, 0] / 8


def test_unbatched_and_empty_batches(xp):
    x = np.random.default_rng(0).standard_normal((2, 5, 6))
    for forward, backward in (
        (lambda x: F.avg_pool2d(x, 2), lambda g, shape: F.avg_pool2d_backward(g, shape, 2)),
        (F.global_avg_pool2d, F.global_avg_pool2d_backward),
    ):
        single, batch = forward(xp.asarray(x)), forward(xp.asarray(x[None]))
        assert (nx.to_numpy(single) == nx.to_numpy(batch)[0]).all() and len(single.shape) == 3
        dx, in_batch = backward(single, x.shape), backward(batch, x[None].shape)
        assert dx.shape == x.shape and (nx.to_numpy(dx) == nx.to_numpy(in_batch)[0]).all()
        nothing = forward(xp.zeros((0, 2, 5, 6)))
        assert nothing.shape == (0, *single.shape) and backward(nothing, (0, 2, 5, 6)).shape == (0, 2, 5, 6)


def test_complex_images_are_averaged_part_by_part():
    real, imaginary = np.random.default_rng(0).standard_normal((2, 1, 2, 4, 4))
    for pool in (
        F.global_avg_pool2d,
        lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
        lambda grad: F.global_avg_pool2d_backward(grad[:, :, :1, :1], (1, 2, 3, 5)),
        lambda grad: F.avg_pool2d_backward(grad, (1, 2, 8, 7), 3, stride=2, padding=1),
    ):
        np.testing.assert_allclose(pool(real + 1j * imaginary), pool(real) + 1j * pool(imaginary), rtol=1e-14)


def test_sixteen_bit_types_sum_in_float32():  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    for dtype, size in ((np.float16, 64), (ml_dtypes.bfloat16, 32)):
        x = np.ones((1, 1, size, size), dtype)
        for y in (F.global_avg_pool2d(x), F.avg_pool2d(x, size)):
            assert y.dtype == dtype and y.shape == (1, 1, 1, 1) and float(y[0, 0, 0, 0]) == 1
        dx = F.avg_pool2d_backward(np.ones((1, 1, 1, 1), dtype), x.shape, size)
        assert dx.dtype == F.global_avg_pool2d_backward(np.ones((1, 1, 1, 1), dtype), x.shape).dtype == dtype


def test_the_gradient_of_a_map_of_more_pixels_than_float16_counts_is_not_lost():
    for dtype in (np.float16, np.float32):
        dx = F.global_avg_pool2d_backward(np.full((1, 1, 1, 1), 96, dtype), (1, 1, 256, 512))
        assert dx.dtype == dtype and (dx == 96 / 2**17).all()


def test_any_memory_layout_gives_what_its_contiguous_copy_gives():
    x = np.broadcast_to(np.random.default_rng(0).standard_normal((6, 1, 7, 3)), (6, 5, 7, 3)).transpose(3, 1, 2, 0)
    x = x[:, ::-2, ::-1]
    y, copy = F.avg_pool2d(x, 3, stride=2, padding=1), x.copy(order="C")
    assert (y == F.avg_pool2d(copy, 3, stride=2, padding=1)).all()
    np.testing.assert_allclose(F.global_avg_pool2d(x), F.global_avg_pool2d(copy), rtol=1e-13)
    grad = np.random.default_rng(1).standard_normal(y.shape[::-1]).T
    dx = F.avg_pool2d_backward(grad, x.shape, 3, stride=2, padding=1)
    assert (dx == F.avg_pool2d_backward(grad.copy(order="C"), x.shape, 3, stride=2, padding=1)).all()


def test_errors_name_the_argument_and_the_rule():
    x = np.ones((1, 2, 4, 4))
    for call, message in (
        (lambda: F.avg_pool2d(x, 2, padding=2), "padding must be at most half of the kernel"),
        (lambda: F.avg_pool2d(x, 5), "the kernel is larger than the padded image"),
        (lambda: F.avg_pool2d_backward(x, x.shape, 2), r"grad_output has shape \(1, 2, 4, 4\) but the output"),
        (lambda: F.global_avg_pool2d(np.ones((2, 3))), r"x has shape \(2, 3\) with 2 axes"),
        (lambda: F.global_avg_pool2d(np.ones((1, 2, 0, 3))), "the average of no pixels does not exist"),
        (lambda: F.global_avg_pool2d_backward(x, x.shape), r"grad_output has shape .* output has shape \(1, 2, 1, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="x has dtype int64: expected a floating or complex dtype"):
        F.avg_pool2d(np.ones((1, 2, 4, 4), int), 2)


@pytest.mark.oracle
@settings(max_examples=60)
@given(seed=st.integers(0, 2**16), pooling=poolings(dilated=False), count_include_pad=st.booleans())
def test_pytorch_agrees(seed, pooling, count_include_pad):
    torch = pytest.importorskip("torch")
    shape, arguments = pooling
    rng = np.random.default_rng(seed)
    x, arguments = rng.standard_normal(shape), {**arguments, "count_include_pad": count_include_pad}
    tensor = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.avg_pool2d(tensor, **arguments)
    y = F.avg_pool2d(x, **arguments)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-13, atol=1e-13)
    grad = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(grad))
    np.testing.assert_allclose(F.avg_pool2d_backward(grad, shape, **arguments), tensor.grad.numpy(), atol=1e-13)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 7), st.integers(1, 7)),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_average_of_whole_maps_does_not_depend_on_the_order_of_memory(seed, shape, dtype):
    x = np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)
    outermost = np.ascontiguousarray(x.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
    expected = x.sum(axis=(2, 3), keepdims=True) / (shape[2] * shape[3])  # the sums are exact
    for images in (x, outermost):
        y = F.global_avg_pool2d(images)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected.astype(dtype))
