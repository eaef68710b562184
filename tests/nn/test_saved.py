"""An array that is changed in place between the forward and the backward pass: refused, or without effect."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.data.digits import load_digits
from npresnext.errors import BackwardError
from npresnext.nn import saved

LAYERS = {
    "Conv2d": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2, rng=0),
    "ConvReLU2d": lambda: nn.ConvReLU2d(4, 4, 3, padding=1, rng=0),
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "BatchNorm2d, not affine": lambda: nn.BatchNorm2d(4, affine=False),
    "BatchNorm2d, evaluation": lambda: nn.BatchNorm2d(4).eval(),
    "BatchNormReLU2d": lambda: nn.BatchNormReLU2d(4),
    "ReLU": lambda: nn.ReLU(),
    "Identity": lambda: nn.Identity(),
    "MaxPool2d": lambda: nn.MaxPool2d(3, stride=1, padding=1),
    "AvgPool2d": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "GlobalAvgPool2d": lambda: nn.GlobalAvgPool2d(),
    "Flatten": lambda: nn.Flatten(),
    "Linear": lambda: nn.Linear(6, 6, rng=0),
}


def add_one(array):
    array += 1


def double(array):
    array *= 2


def refill(array):
    array[...] = np.random.default_rng(9).normal(size=array.shape)


def first_half(array):
    array[: len(array) // 2] = -1


LAYOUTS = {
    "one run of memory": lambda x: x,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every second column": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
}


def gradients(layer, x, dy, change=lambda x, y: None):
    """The gradients of input and parameters, with ``change(x, y)`` after the forward pass."""
    layer.zero_grad()
    y = layer(x)
    change(x, y)
    dx = layer.backward(dy.reshape(y.shape) if dy.size == y.size else dy[:, :, :1, :1])
    return [dx, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", [add_one, double, refill, first_half])
@pytest.mark.parametrize("place", ["input", "output"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_changed_array_is_named_or_has_no_effect(name, place, change, layout):
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(2, 6, 4, 5, 6)).astype("float32")
    layer = LAYERS[name]()
    expected = gradients(layer, x.copy(), dy)
    x = LAYOUTS[layout](x.copy())
    try:
        found = gradients(layer, x, dy, lambda x, y: change(x if place == "input" else y))
    except BackwardError as error:
        assert str(error).startswith(f"the {place} that {type(layer).__name__}(")
        assert layer._saved is None
        assert (name, place) not in [("ReLU", "input"), ("Conv2d", "output"), ("Linear", "output")]
    else:
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["Conv2d", "ConvReLU2d", "BatchNorm2d", "BatchNormReLU2d", "Linear"])
def test_a_step_of_the_optimiser_before_the_backward_pass_is_refused(name):
    layer = LAYERS[name]()
    optimiser = nn.SGD(layer.parameters(), lr=0.1)
    x, dy = np.random.default_rng(2).normal(size=(2, 6, 4, 5, 6)).astype("float32")
    gradients(layer, x, dy)
    y = layer(x)
    optimiser.step()
    with pytest.raises(BackwardError, match="the weight that .* was changed in place"):
        layer.backward(dy.reshape(y.shape))


def test_a_state_loaded_before_the_backward_pass_leaves_the_gradient_that_of_the_forward_pass():
    layer, other = nn.Linear(6, 5, rng=0), nn.Linear(6, 5, rng=1)
    x, dy = np.ones((3, 6), "float32"), np.random.default_rng(3).normal(size=(3, 5)).astype("float32")
    (expected, *_) = gradients(layer, x, dy)
    (found, *_) = gradients(layer, x, dy, lambda x, y: layer.load_state_dict(other.state_dict()))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch", [1, 2, 8, 32])
@pytest.mark.parametrize("change", [double, "the next batch"])
def test_a_buffer_of_pictures_that_are_mostly_black(batch, change):
    images = load_digits()[1].images
    layer = nn.Conv2d(images.shape[1], 2, 3, rng=0)
    for start in range(0, len(images) - 2 * batch, batch):
        buffer = images[start : start + batch].astype("float32")
        y = layer(buffer)
        if callable(change):
            change(buffer)
        else:
            buffer[...] = images[start + batch : start + 2 * batch]
        with pytest.raises(BackwardError, match="the input that Conv2d"):
            layer.backward(y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (63,), (64,), (2, 3, 7, 9), (8, 16, 16), (2, 64, 56, 56)])
def test_a_sample_is_short_and_finds_a_change_of_the_whole_array(shape, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    array = np.random.default_rng(4).normal(size=shape).astype(dtype)
    before = saved._sample(array)
    assert len(before) / array.itemsize in range(min(array.size, 40), 2 * saved.SAMPLES + 1)
    assert saved._sample(array) == before and saved._sample(array + 1) != before or not array.size


def test_nan_and_negative_zero_are_compared_by_their_bits():
    layer = nn.ReLU()
    layer(np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(layer.backward(np.array([2.0, 3.0])), [2.0, 3.0])
    y = layer(np.array([0.0, 1.0]))
    y[0] = -0.0
    with pytest.raises(BackwardError, match="output"):
        layer.backward(y)


def test_the_names_of_values():
    class Twice(nn.Module):
        def forward(self, x):
            self.save_for_backward(x, 7, x + 1, [x], last=x + 2)
            return x

        def backward(self, grad_output):
            return self.pop_saved()

    layer, x = Twice(), np.zeros(3)
    layer(x)
    assert [np.ndim(value) for value in layer.backward(x)] == [1, 0, 1, 2, 1]
    for position, name in [(0, "array 1"), (2, "array 3"), (4, "last")]:
        layer(x)
        add_one(layer._saved.values[position])
        with pytest.raises(BackwardError, match=rf"^the {name} that Twice\(\) saved was changed in place"):
            layer.backward(x)


def test_nothing_is_sampled_without_saving_nor_on_other_libraries(monkeypatch):
    strict = pytest.importorskip("array_api_strict")
    assert saved._sample(strict.ones(3)) is None
    monkeypatch.setattr(saved, "_sample", lambda value: pytest.fail("sampled"))
    with nx.no_grad():
        nn.Conv2d(1, 1, 1)(np.ones((1, 1, 2, 2), "float32"))


@pytest.mark.parametrize("name", ["resnet18", "resnext_small", "resnext50_32x4d"])
def test_the_operations_of_a_network_that_overwrite_arrays_overwrite_nothing_saved(name, monkeypatch):
    monkeypatch.setattr(saved, "SAMPLES", 10**9)  # every value is compared
    network = getattr(nx.models, name)(num_classes=10, rng=0)
    channels = network.conv1.in_channels
    x = np.random.default_rng(5).normal(size=(4, channels, 64, 64)).astype("float32")
    criterion, optimiser = nn.CrossEntropyLoss(), nn.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        criterion(network(x), np.array([1, 2, 3, 4]))
        network.backward(criterion.backward())
        optimiser.step()
    network.eval()
    network(x)
    network.backward(np.random.default_rng(6).normal(size=(4, 10)).astype("float32"))
