"""Layers carried out together: the same numbers as one by one, and nobody's array is overwritten."""

import copy

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.functional.conv import conv2d_relu
from npresnext.models import BasicBlock, Bottleneck, ResNet
from npresnext.nn.module import calls_through

NETWORKS = {
    "basic": lambda: ResNet(BasicBlock, [1, 1], planes=8, num_classes=5, rng=0, dtype="float64"),
    "bottleneck": lambda: ResNet(Bottleneck, [2, 1], planes=8, groups=2, num_classes=5, rng=0, dtype="float64"),
}


def step(model, x, upstream):
    """Output, input gradient, and every gradient and buffer after a forward and a backward pass."""
    y = model(x)
    dx = model.backward(upstream)
    return [y, dx, *(parameter.grad for parameter in model.parameters()), *model.buffers()]


def layer_by_layer(seen):
    """Let every call be seen; `seen` collects the modules, what they put out, and a copy of that."""

    def visit(module, *inputs):
        y = module.forward(*inputs)
        seen.append((module, y, y.copy()))
        return y

    return calls_through(visit)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 3, 33, 33)), rng.normal(size=(3, 5))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_are_those_of_the_layers_one_by_one(name, training):
    model = NETWORKS[name]().train(training)
    alone, (x, upstream) = copy.deepcopy(model), inputs()
    with layer_by_layer([]):
        expected = step(alone, x, upstream)
    for array, correct in zip(step(model, x, upstream), expected, strict=True):
        np.testing.assert_allclose(array, correct, rtol=1e-9, atol=1e-9 * np.abs(correct).max())


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_who_watches_sees_every_layer_and_keeps_what_it_saw(name, fused):
    model, (x, upstream) = NETWORKS[name](), inputs()
    model = model.fuse() if fused else model
    seen = []
    with layer_by_layer(seen):
        model(x)
    model.backward(upstream)
    model(x)
    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    assert {id(module) for module, _, _ in seen} >= {id(module) for module in leaves}
    for module, y, at_once in seen:
        np.testing.assert_array_equal(y, at_once, err_msg=repr(module))


def test_a_fused_network_computes_the_same_by_every_engine(engine):
    model, (x, _) = NETWORKS["bottleneck"]().eval(), inputs()
    expected = model(x)
    with nx.use_engine(engine):
        np.testing.assert_allclose(model.fuse()(x), expected, rtol=1e-9)


def test_a_shortcut_of_another_shape_is_refused():
    x, weight = np.ones((1, 2, 3, 3)), np.ones((2, 2, 1, 1))
    with pytest.raises(ValueError, match=r"shortcut has shape \(1, 2, 3, 1\) but the output \(1, 2, 3, 3\)"):
        conv2d_relu(x, weight, shortcut=np.ones((1, 2, 3, 1)))


@pytest.mark.parametrize("fused", [False, True])
def test_the_users_arrays_are_left_alone(fused):
    model, (x, upstream) = NETWORKS["bottleneck"](), inputs()
    model = model.fuse() if fused else model
    state = {name: array.copy() for name, array in model.state_dict().items() if "running" not in name}
    given = x.copy(), upstream.copy()
    first = model(x)
    at_once = first.copy()
    model.backward(upstream)
    with nx.no_grad():
        second = model(x + 1)
    assert not np.array_equal(second, at_once)
    np.testing.assert_array_equal(first, at_once)
    np.testing.assert_array_equal(x, given[0])
    np.testing.assert_array_equal(upstream, given[1])
    for name, array in state.items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(model.state_dict()[name], array)


@pytest.mark.parametrize("fused", [False, True])
def test_a_block_leaves_its_input_alone_even_as_its_own_shortcut(fused):
    block = Bottleneck(16, 4, groups=2, rng=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 16, 6, 6))
    given = x.copy()
    block = nx.models.fuse.fuse(block) if fused else block
    block.backward(block(x))
    np.testing.assert_array_equal(x, given)


class Scaled(nn.ReLU):
    """A rectifier of the user's own."""

    def forward(self, x):
        return 3 * super().forward(x)


class Remembering(nn.Module):
    """A convolution of the user's own that keeps what it put out."""

    def __init__(self, conv):
        self.conv, self.last = conv, None

    def forward(self, x):
        self.last = self.conv(x)
        return self.last


@pytest.mark.parametrize("fused", [False, True])
def test_a_layer_of_the_users_own_is_called(fused):
    x, _ = inputs()
    model = NETWORKS["bottleneck"]().eval()
    expected = model(x)
    model = model.fuse() if fused else model
    model.relu = Scaled()
    assert not np.allclose(model(x), expected)
    model.relu = nn.ReLU()
    calls = []
    for layer in (model.layer1[0].relu1, model.bn1):
        layer.forward = lambda x, layer=layer: calls.append(layer) or type(layer).forward(layer, x)
    np.testing.assert_allclose(model(x), expected)
    assert calls == [model.bn1, model.layer1[0].relu1]


def test_what_a_convolution_of_the_users_own_keeps_is_not_overwritten():
    x, _ = inputs()
    model = NETWORKS["bottleneck"]().eval().fuse()
    block = model.layer1[1]
    block.conv3 = Remembering(block.conv3)
    model(x)
    assert (block.conv3.last < 0).any()


def test_nothing_is_kept_without_gradients():
    model, (x, _) = NETWORKS["bottleneck"](), inputs()
    for network in (model, model.eval().fuse()):
        with nx.no_grad():
            network(x)
        assert all(module._kept is None for module in network.modules())
