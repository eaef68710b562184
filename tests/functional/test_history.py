"""What went wrong in real frameworks with convolutions: each thread's own setting, held exactly, on every engine."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import reference


def integers(seed, shape, dtype="float32"):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def agree(engine, x, weight, bias=None, *, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """Hold y, dx, dweight and dbias to the loops, for a random upstream gradient; return them."""
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, bias, **window)
        grad = integers(99, y.shape, x.dtype)
        dx, dweight, dbias = nx.conv2d_backward(grad, x, weight, **window)
    assert np.array_equal(y, reference.conv2d(x, weight, bias, **window))
    assert np.array_equal(dx, reference.conv2d_input_grad(grad, x.shape, weight, **window))
    assert np.array_equal(dweight, reference.conv2d_weight_grad(grad, x, weight.shape, **window))
    assert np.array_equal(dbias, grad.sum((0, 2, 3)))
    assert dx.shape == x.shape and dweight.shape == weight.shape
    return y, dx, dweight, dbias


def test_pytorch_19912_grouped_forward_from_4_to_16_channels(engine):
    y, *_ = agree(engine, integers(0, (1, 4, 6, 6)), integers(1, (16, 2, 3, 3)), groups=2)
    one_hot = np.zeros((1, 4, 6, 6), np.float32)
    one_hot[:, 3] = 1
    with nx.use_engine(engine):
        reached = nx.conv2d(one_hot, np.ones((16, 2, 3, 3), np.float32), groups=2).any(axis=(0, 2, 3))
    assert reached.tolist() == [False] * 8 + [True] * 8


def test_pytorch_50042_weight_gradient_of_24_depthwise_channels(engine):
    agree(
        engine,
        integers(0, (2, 24, 9, 9)),
        integers(1, (24, 1, 3, 3)),
        stride=(2, 2),
        padding=((1, 1), (1, 1)),
        groups=24,
    )


def test_pytorch_51430_the_public_weight_gradient_helper_knows_groups(engine):
    x, grad = integers(0, (2, 6, 5, 5)), integers(1, (2, 9, 3, 3))
    with nx.use_engine(engine):
        dweight = nx.conv2d_weight_grad(grad, x, (9, 2, 3, 3), groups=3)
    assert np.array_equal(dweight, reference.conv2d_weight_grad_loops(grad, x, (9, 2, 3, 3), groups=3))


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("stride", [(2, 2), (3, 2), (1, 2)])
def test_mlx_3800_input_gradient_where_groups_meet_strides(engine, groups, stride):
    agree(
        engine,
        integers(0, (2, 6, 8, 7)),
        integers(1, (12, 6 // groups, 3, 3)),
        stride=stride,
        padding=((1, 1), (1, 1)),
        groups=groups,
    )


def test_mlx_1449_and_2184_gradients_have_the_shapes_of_what_they_belong_to(engine):
    agree(engine, integers(0, (1, 4, 7, 9)), integers(1, (8, 2, 3, 2)), stride=(2, 2), dilation=(2, 1), groups=2)


def test_tensorflow_53180_and_50397_grouped_backward_exists_on_a_cpu(engine):
    agree(engine, integers(0, (2, 8, 5, 5)), integers(1, (8, 2, 3, 3)), padding=((1, 1), (1, 1)), groups=4)


def test_pytorch_15297_expanded_operands(engine):
    x = np.broadcast_to(integers(0, (1, 4, 1, 6)), (3, 4, 5, 6))
    weight = np.broadcast_to(integers(1, (1, 2, 3, 3)), (6, 2, 3, 3))
    agree(engine, x, weight, groups=2)
    with nx.use_engine(engine):  # an expanded upstream gradient, as the backward of a sum hands over
        grad = np.broadcast_to(np.float32(2), (3, 6, 3, 4))
        dx, dweight, dbias = nx.conv2d_backward(grad, x, weight, groups=2)
    assert np.array_equal(dweight, reference.conv2d_weight_grad(grad, x, weight.shape, groups=2))
    assert np.array_equal(dx, reference.conv2d_input_grad(grad, x.shape, weight, groups=2))
    assert np.array_equal(dbias, np.full(6, 72))


def test_pytorch_192212_and_180984_sliced_operands(engine):
    agree(engine, integers(0, (4, 8, 9, 12))[::2, 1:5, ::-1, ::2], integers(1, (12, 2, 3, 6))[::2, :, :, ::2], groups=2)


def test_onnxruntime_15050_asymmetric_padding_with_bias(engine):
    agree(
        engine,
        integers(0, (2, 4, 5, 6)),
        integers(1, (6, 2, 3, 3)),
        integers(2, (6,)),
        padding=((0, 2), (1, 0)),
        stride=(2, 1),
        groups=2,
    )


def test_ncnn_1581_groups_between_one_and_the_channels(engine):
    for groups in (2, 4, 8):
        agree(engine, integers(0, (1, 16, 5, 5)), integers(1, (16, 16 // groups, 3, 3)), groups=groups)


def test_onnxruntime_18946_and_pytorch_37505_rounding_stays_within_the_proven_bound(engine):
    """Higham, Accuracy and Stability, section 3.1: |error| <= gamma_L · (|weight| * |x|) in any order of sums."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(s).astype("float32") for s in ((2, 64, 9, 9), (64, 32, 3, 3)))
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, groups=2)
    exact = reference.conv2d(x.astype("float64"), weight.astype("float64"), groups=2)
    magnitude = reference.conv2d(abs(x).astype("float64"), abs(weight).astype("float64"), groups=2)
    length, unit = 32 * 9, 2.0**-24
    assert (abs(y - exact) <= length * unit / (1 - length * unit) * magnitude).all()
    assert (y != exact).any()
