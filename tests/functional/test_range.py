"""Values of any size: batch norm is right for every finite input, and no underflow of ordinary data is an error."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import functional as F
from npresnext import nn
from npresnext.errors import InvalidValueError

LARGEST_EXPONENT = {"bfloat16": 127, "float32": 127, ">f4": 127, "float64": 1023}


def exact(x, grad, eps=1e-5):
    """y, dx, dweight, mean and var of batch norm in long double, whose exponents reach 16383."""
    x, grad = x.astype("longdouble"), grad.astype("longdouble")
    axes = (0, 2, 3)
    mean = x.mean(axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(var + eps)
    normalised = (x - mean) * inverse
    projected = grad - grad.mean(axes, keepdims=True) - normalised * (grad * normalised).mean(axes, keepdims=True)
    return normalised, projected * inverse, (grad * normalised).sum(axes), mean.ravel(), var.ravel()


def assert_close(got, want, tolerance, smallest):
    """Per channel, relative to its largest value; what is below `smallest` has fewer digits."""
    for channel in range(got.shape[1] if got.ndim > 1 else len(got)):
        index = (slice(None), channel) if got.ndim > 1 else channel
        right = want[index]
        error = np.abs(np.asarray(got[index]).astype("longdouble") - right).max()
        assert error <= tolerance * max(np.abs(right).max(), smallest), (channel, error)


@pytest.mark.skipif(np.finfo("longdouble").maxexp < 4096, reason="long double is no wider than float64 here")
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize("dtype", LARGEST_EXPONENT)
@pytest.mark.parametrize("centre", [0, 1])
def test_batch_norm_of_values_of_every_size(engine, dtype, centre):
    limit = LARGEST_EXPONENT[dtype]
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(0)
    base = rng.uniform(-0.5, 0.5, size=(4, 3, 5, 6)) + centre * np.array([0.4, 0, 0])[:, None, None]
    grad = rng.normal(size=base.shape).astype(kind)
    tolerance = {"bfloat16": 2e-2, "float32": 1e-5, ">f4": 1e-5, "float64": 1e-13}[dtype]
    wide = np.finfo("float32" if dtype == "bfloat16" else dtype)
    for exponent in [*range(-limit, limit + 1, max(limit // 40, 1)), limit // 2, limit // 2 + 1, limit]:
        x = np.ldexp(base, np.array([exponent, 0, exponent])[:, None, None]).astype(kind)
        with nx.use_engine(engine):
            y, mean, var = F.batch_norm(x)
            dx, dweight, dbias = F.batch_norm_backward(grad, x, mean, var)
            rectified, *_ = F.batch_norm_relu(x)
            dx_relu, *_ = F.batch_norm_relu_backward(grad, np.ones_like(x), x, mean, var)
        right_y, right_dx, right_dweight, right_mean, right_var = exact(x, grad)
        assert_close(y, right_y, tolerance, 0)
        assert_close(rectified, np.maximum(right_y, 0), tolerance, 0)
        assert_close(dx, right_dx, tolerance, wide.tiny / wide.eps)
        assert_close(dx_relu, right_dx, tolerance, wide.tiny / wide.eps)
        assert_close(dweight, right_dweight, 10 * tolerance, 1)
        representable = right_var < wide.max
        assert np.isinf(var[~representable]).all()
        assert_close(var[representable], right_var[representable], tolerance, wide.tiny / wide.eps)
        assert np.isfinite(mean).all() and np.isfinite(dbias).all()


def test_a_channel_of_equal_large_values_is_normalised_to_zero(engine):
    x = np.full((4, 2, 8, 8), 3e38, "float32")
    with nx.use_engine(engine), np.errstate(all="ignore"):
        y, mean, var = F.batch_norm(x)
    assert (y == 0).all() and (mean == np.float32(3e38)).all() and (var == 0).all()


def test_a_channel_with_infinity_or_nan_is_nan_and_the_others_are_right():
    x = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype("float32")
    x[:, 3] *= 1e25
    expected = F.batch_norm(x[:, 2:])[0]
    x[0, 0, 0, 0], x[0, 1, 0, 0] = np.inf, np.nan
    with np.errstate(all="ignore"):
        y, _, _ = F.batch_norm(x)
    assert np.isnan(y[:, :2]).all()
    np.testing.assert_allclose(y[:, 2:], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(2), nn.BatchNormReLU2d(2)])
def test_a_running_variance_that_has_overflowed_is_refused_in_evaluation(layer):
    x = 1e25 * np.random.default_rng(1).normal(size=(4, 2, 3, 3)).astype("float32")
    y = layer(x)
    assert np.isfinite(layer.backward(y)).all() and np.isinf(layer.running_var).all()
    with pytest.raises(InvalidValueError, match=r"var\[0\] is infinite: expected finite variances"):
        layer.eval()(x)


def network_step(dtype):
    network = nx.models.resnext_small(rng=0, dtype=dtype)
    criterion, optimiser = nn.CrossEntropyLoss(), nn.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    images = np.random.default_rng(2).normal(size=(8, 1, 8, 8)).astype(dtype)
    for _ in range(2):
        optimiser.zero_grad()
        criterion(network(images), np.arange(8))
        network.backward(criterion.backward())
        optimiser.step()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_step_under_errstate_raise(engine, dtype):
    with nx.use_engine(engine), np.errstate(all="raise"):
        network_step(dtype)


@pytest.mark.parametrize("scale", [1e-3, 1, 30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_operation_under_errstate_raise(engine, dtype, scale):
    rng = np.random.default_rng(3)

    def draw(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(dtype)

    x, grad, weight, channels = draw(4, 8, 10, 10, scale=scale), draw(4, 8, 10, 10), draw(8, 4, 3, 3), draw(8)
    with nx.use_engine(engine), np.errstate(all="raise"):
        F.conv2d(x, weight, channels, padding=1, groups=2)
        F.conv2d_backward(grad, x, weight, padding=1, groups=2)
        for shortcut in (None, x):
            y, mean, var = F.batch_norm_relu(x, channels, channels, shortcut=shortcut)
            for of_batch in (True, False):
                F.batch_norm_relu_backward(grad, y, x, mean, var, channels, batch_statistics=of_batch)
                F.batch_norm_backward(grad, x, mean, var, channels, batch_statistics=of_batch)
        F.batch_norm(x, channels, channels)
        F.batch_norm(x, channels, channels, mean=mean, var=var)
        F.relu_backward(grad, F.relu(x))
        F.add(x, grad)
        window = {"kernel_size": 3, "stride": 2, "padding": 1}
        pooled = F.max_pool2d(x, **window)
        F.max_pool2d_backward(pooled, x, pooled, **window)
        F.avg_pool2d(x, **window)
        F.avg_pool2d_backward(pooled, x.shape, **window)
        F.global_avg_pool2d_backward(F.global_avg_pool2d(x), x.shape)
        F.linear(x[:, :, 0, 0], channels[None])
        F.linear_backward(draw(4, 1), x[:, :, 0, 0], channels[None])
        for logits in (x[:, :, 0, 0], 100 * x[:, :, 0, 0]):
            for smoothing in (0.0, 0.1):
                F.cross_entropy(logits, np.arange(4), label_smoothing=smoothing)
                F.cross_entropy_backward(None, logits, np.arange(4), label_smoothing=smoothing)


def test_statistics_and_momenta_that_vanish_under_errstate_raise():
    norm, linear = nn.BatchNorm2d(1), nn.Linear(1, 1, rng=0)
    optimiser = nn.SGD(linear.parameters(), lr=0.1, momentum=0.9)
    x = np.zeros((2, 1, 2, 2), "float32")
    with np.errstate(all="raise"):
        linear(np.ones((1, 1), "float32"))
        linear.backward(np.ones((1, 1), "float32"))
        for _ in range(1200):  # 0.9^1200 is 1e-55
            norm(x)
            optimiser.step()
            for parameter in linear.parameters():
                parameter.grad = np.zeros_like(parameter.data)
    assert norm.running_var < 1e-38


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_eps_that_rounds_to_zero_is_refused(engine, dtype):
    x = np.ones((4, 2), dtype)
    with nx.use_engine(engine):
        for eps in (1e-300, 1e-46):
            if dtype == "float64":
                assert (F.batch_norm(x, eps=eps)[0] == 0).all()
            else:
                with pytest.raises(
                    InvalidValueError, match=r"eps is .*, which is 0 in float32: expected at least 1.4e-45"
                ):
                    F.batch_norm(x, eps=eps)
        assert (F.batch_norm(x, eps=1e-45)[0] == 0).all()
