"""Layers that do several things in one pass: the same numbers as one by one, and nobody's array is overwritten."""

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


class Apart(nn.Module):
    """What a BatchNormReLU2d or a ConvReLU2d does, in layers of their own."""

    def __init__(self, layer):
        plain = nn.BatchNorm2d if isinstance(layer, nn.BatchNorm2d) else nn.Conv2d
        self.layer = copy.deepcopy(layer)
        self.layer.__class__ = plain
        self.relu = nn.ReLU()

    def forward(self, x, shortcut=None):
        self.save_for_backward(shortcut is not None)
        y = self.layer(x)
        return self.relu(y if shortcut is None else nx.functional.add(y, shortcut))

    def backward(self, grad_output):
        (has_shortcut,) = self.pop_saved()
        dsum = self.relu.backward(grad_output)
        dx = self.layer.backward(dsum)
        return (dx, dsum) if has_shortcut else dx


def taken_apart(model):
    """Return a copy of the network with plain layers only."""
    model = copy.deepcopy(model)
    for path, module in list(model.named_modules()):
        if isinstance(module, (nn.BatchNormReLU2d, nn.ConvReLU2d)):
            parent, _, name = path.rpartition(".")
            setattr(dict(model.named_modules())[parent], name, Apart(module).train(module.training))
    return model


def watched(seen):
    """Note every call: the module, what it puts out, and a copy of that."""

    def visit(module, *inputs):
        y = module.forward(*inputs)
        seen.append((module, y, y.copy()))
        return y

    return calls_through(visit)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 3, 33, 33)), rng.normal(size=(3, 5))


@pytest.mark.parametrize("kind", ["training", "evaluation", "fused"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_are_those_of_the_layers_one_by_one(name, kind):
    model = NETWORKS[name]().train(kind == "training")
    model = model.fuse() if kind == "fused" else model
    alone, (x, upstream) = taken_apart(model), inputs()
    assert not any(type(module) in (nn.BatchNormReLU2d, nn.ConvReLU2d) for module in alone.modules())
    for array, correct in zip(step(model, x, upstream), step(alone, x, upstream), strict=True):
        np.testing.assert_allclose(array, correct, rtol=1e-9, atol=1e-9 * np.abs(correct).max())


@pytest.mark.parametrize("has_shortcut", [True, False])
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.BatchNormReLU2d(4, dtype="float64"),
        lambda: nn.BatchNormReLU2d(4, affine=False),
        lambda: nn.ConvReLU2d(4, 4, 3, padding=1, groups=2, rng=0, dtype="float64"),
        lambda: nn.ConvReLU2d(4, 4, 1, bias=False, rng=0, dtype="float64"),
    ],
)
def test_gradients_of_both_inputs_agree_with_central_differences(build, has_shortcut):
    layer, rng = build().to(dtype="float64"), np.random.default_rng(0)
    arrays = list(rng.standard_normal((1 + has_shortcut, 3, 4, 5, 6)))
    upstream = rng.standard_normal((3, 4, 5, 6))
    layer(*arrays)
    gradients = layer.backward(upstream)
    gradients = list(gradients) if has_shortcut else [gradients]
    arrays += [parameter.data for parameter in layer.parameters()]
    gradients += [parameter.grad for parameter in layer.parameters()]
    inputs_of = len(arrays) - len(list(layer.parameters()))
    for array, gradient in zip(arrays, gradients, strict=True):
        direction, before = rng.standard_normal(array.shape), array.copy()
        sides = []
        for sign in (1, -1):
            array[...] = before + sign * 1e-6 * direction
            with nx.no_grad():
                sides.append(float((layer(*arrays[:inputs_of]) * upstream).sum()))
        array[...] = before
        expected = (sides[0] - sides[1]) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("has_shortcut", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNormReLU2d, nn.ConvReLU2d])
def test_they_run_on_any_array_library(kind, has_shortcut):
    xp = pytest.importorskip("array_api_strict")
    from tests.support.strict import to_strict

    build = lambda: kind(4, *([4, 3, 1, 1] if kind is nn.ConvReLU2d else [])).to(dtype="float64")  # noqa: E731
    layer = build()
    twin = build()
    twin.load_state_dict(layer.state_dict())
    arrays = list(np.random.default_rng(1).standard_normal((1 + has_shortcut, 3, 4, 5, 6)))
    y, strict_y = layer(*arrays), to_strict(twin)(*map(xp.asarray, arrays))
    np.testing.assert_allclose(np.asarray(strict_y), y, rtol=1e-11, atol=1e-12)
    upstream = np.random.default_rng(2).standard_normal(y.shape)
    gradients, strict = layer.backward(upstream), twin.backward(xp.asarray(upstream))
    pairs = zip(gradients, strict, strict=True) if has_shortcut else [(gradients, strict)]
    for gradient, other in pairs:
        np.testing.assert_allclose(np.asarray(other), gradient, rtol=1e-11, atol=1e-12)


def test_a_shortcut_that_does_not_fit_is_refused_alike_when_computed_and_when_followed():
    shapes = (2, 4, 5, 6), (2, 4, 5, 1)
    for layer in (nn.BatchNormReLU2d(4), nn.ConvReLU2d(4, 4, 1, rng=0)):
        with pytest.raises(ValueError, match=r"shortcut has shape \(2, 4, 5, 1\)") as computed:
            layer(*(np.ones(shape, "float32") for shape in shapes))
        with pytest.raises(ValueError) as followed:
            layer.output_shape(*shapes)
        assert str(computed.value) == str(followed.value)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_who_watches_sees_every_layer_and_keeps_what_it_saw(name, fused):
    model, (x, upstream) = NETWORKS[name](), inputs()
    model = model.fuse() if fused else model
    seen = []
    with watched(seen):
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
    block = nx.models.fuse(block) if fused else block
    block.backward(block(x))
    np.testing.assert_array_equal(x, given)


class Scaled(nn.Module):
    """A norm of the user's own, three times as large."""

    def __init__(self, norm):
        self.norm = norm

    def forward(self, x):
        return 3 * self.norm(x)


@pytest.mark.parametrize("fused", [False, True])
def test_a_layer_of_the_users_own_is_called(fused):
    x, _ = inputs()
    model = NETWORKS["bottleneck"]().eval()
    expected = model(x)
    model = model.fuse() if fused else model
    model.bn1 = Scaled(model.bn1)
    assert not np.allclose(model(x), expected)
    model.bn1 = model.bn1.norm
    calls = []
    for layer in (model.layer1[0].bn1, model.bn1):
        layer.forward = lambda x, layer=layer: calls.append(layer) or type(layer).forward(layer, x)
    np.testing.assert_allclose(model(x), expected)
    assert calls == [model.bn1, model.layer1[0].bn1]


def test_nothing_is_saved_without_gradients():
    model, (x, _) = NETWORKS["bottleneck"](), inputs()
    for network in (model, model.eval().fuse()):
        with nx.no_grad():
            network(x)
        assert all(module._saved is None for module in network.modules())
