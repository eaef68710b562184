"""A training step asks nothing of the device and sends nothing to it, shown on a library whose arrays cannot be read.

The device is played by array_api_strict: inside ``no_traffic()`` its arrays refuse to become a number, a truth value
or a NumPy array, which on a GPU would wait for all that is under way, and nothing of the host becomes an array.
"""

import contextlib
from unittest import mock

import array_api_strict as xp
import numpy as np
import pytest

import npresnext as nx
from npresnext import data, models, nn
from npresnext.errors import NonFiniteLossError
from npresnext.training import Trainer, schedules

from tests.support.strict import to_strict

Array = type(xp.zeros(()))
READING = ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__", "__dlpack__", "__buffer__")


class HostTraffic(AssertionError):
    pass


@contextlib.contextmanager
def no_traffic():
    def refuse(self, *args, **kwargs):
        raise HostTraffic("an array of the device is read")

    asarray = xp.asarray

    def asarray_of_the_device(values, **kwargs):
        if not isinstance(values, Array):
            raise HostTraffic(f"{type(values).__name__} is sent to the device")
        return asarray(values, **kwargs)

    with contextlib.ExitStack() as stack:
        for name in READING:
            stack.enter_context(mock.patch.object(Array, name, refuse, create=True))
        stack.enter_context(mock.patch.object(xp, "asarray", asarray_of_the_device))
        yield


def trainer_on_the_device(**momentum):
    images, _ = data.load_digits()
    model = to_strict(models.resnext_small(rng=0))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__dict__.update(momentum)
    optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    return Trainer(model, optimizer, images, batch_size=4, schedule=schedules.constant(0.1))


def batch():
    rng = np.random.default_rng(0)
    return xp.asarray(rng.standard_normal((4, 1, 8, 8)).astype(np.float32)), xp.asarray(rng.integers(0, 10, 4))


@pytest.mark.parametrize("read", [float, bool, int, np.asarray, lambda a: [0, 1][a]])
def test_the_guard_sees_an_array_that_is_read(read):
    number = xp.ones((), dtype=xp.int64)
    with no_traffic(), pytest.raises(HostTraffic):
        read(number)


def test_the_guard_sees_what_is_sent_to_the_device():
    with no_traffic(), pytest.raises(HostTraffic):
        xp.asarray(1.0)


@pytest.mark.parametrize("momentum", [{}, {"momentum": None}], ids=["default", "average of all batches"])
def test_a_training_step_reads_nothing_from_the_device_and_sends_nothing_there(momentum):
    trainer, (x, target) = trainer_on_the_device(**momentum), batch()
    trainer.learn(x, target)  # the first step makes the momentum buffers
    before = nx.to_numpy(trainer.model.fc.weight.data).copy()
    with no_traffic():
        trainer.learn(x, target)
    assert (nx.to_numpy(trainer.model.fc.weight.data) != before).any()


LAYERS = {
    "grouped convolution": (nn.Conv2d(4, 6, 3, stride=2, padding=((1, 0), (2, 1)), dilation=2, groups=2, rng=0), 4),
    "convolution without bias": (nn.Conv2d(4, 4, 1, bias=False, rng=0), 4),
    "average pooling": (nn.AvgPool2d(3, stride=2, padding=1), 4),
    "average pooling, padding not counted": (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), 4),
    "average pooling, rounded up": (nn.AvgPool2d(2, stride=3, ceil_mode=True), 4),
    "max pooling": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 4),
    "global average pooling": (nn.GlobalAvgPool2d(), 4),
    "batch norm": (nn.BatchNorm2d(4), 4),
    "batch norm, evaluated": (nn.BatchNorm2d(4).eval(), 4),
    "rectifier": (nn.ReLU(), 4),
    "flatten and linear": (nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 3, rng=0)), 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_no_layer_reads_or_sends_anything(name):
    layer, channels = LAYERS[name]
    to_strict(layer)
    rng = np.random.default_rng(0)
    x = xp.asarray(rng.standard_normal((3, channels, 8, 8)).astype(np.float32))
    grad = xp.asarray(rng.standard_normal(layer(x).shape).astype(np.float32))
    with no_traffic():
        layer(x)
        layer.backward(grad)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"reduction": "none"},
        {"reduction": "sum", "ignore_index": 2},
        {"weight": xp.asarray([1.0, 2.0, 0.5], dtype=xp.float32)},
    ],
    ids=lambda options: ", ".join(options) or "default",
)
def test_no_loss_reads_or_sends_anything(options):
    rng = np.random.default_rng(0)
    logits, target = xp.asarray(rng.standard_normal((4, 3)).astype(np.float32)), xp.asarray(rng.integers(0, 3, 4))
    criterion = nn.CrossEntropyLoss(**options)
    grad = xp.ones(4, dtype=xp.float32) if options.get("reduction") == "none" else None
    with no_traffic():
        criterion(logits, target)
        criterion.backward(grad)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "dampening": 0.1}, {"weight_decay": 1e-4}], ids=str)
def test_no_optimizer_reads_or_sends_anything(settings):
    parameter = nn.Parameter(xp.ones(3, dtype=xp.float32))
    optimizer = nn.SGD([parameter], lr=0.1, **settings)
    with no_traffic():
        for _ in range(3):
            parameter.grad = parameter.data * 2
            optimizer.step()


def test_a_loss_that_is_not_finite_is_noticed_when_the_meter_is_read():
    trainer, (x, target) = trainer_on_the_device(), batch()
    with no_traffic():
        trainer.learn(x * float("nan"), target)
    with pytest.raises(NonFiniteLossError, match="at step 0"):
        trainer.meter.read()


def test_evaluation_reads_nothing_from_the_device():
    trainer, (x, target) = trainer_on_the_device(), batch()
    trainer.model.eval()
    with no_traffic(), nn.no_grad():
        trainer.meter.add(0, trainer.criterion(trainer.model(x), target), trainer.model(x), target)
