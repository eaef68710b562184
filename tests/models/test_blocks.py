"""The residual blocks: their shapes, gradients, shortcuts, and what a group may see."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import BackwardError, InvalidValueError, ModuleError, ShapeError
from npresnext.models import BasicBlock, Bottleneck
from npresnext.models.blocks import projection

from tests.support.strict import assert_same_on_strict_arrays

BLOCKS = {
    "basic": lambda **o: BasicBlock(8, 8, **o),
    "basic, grouped": lambda **o: BasicBlock(8, 8, groups=4, **o),
    "basic, projected": lambda **o: BasicBlock(8, 12, 2, projection(8, 12, 2, **o), groups=2, **o),
    "bottleneck": lambda **o: Bottleneck(16, 4, **o),
    "bottleneck, grouped": lambda **o: Bottleneck(16, 4, groups=4, width_per_group=32, **o),
    "bottleneck, projected": lambda **o: Bottleneck(
        6, 4, 2, projection(6, 16, 2, **o), groups=2, width_per_group=32, **o
    ),
}


def build(name, dtype="float64"):
    """Make a block whose norms are not at their special starting values."""
    block = BLOCKS[name](rng=0, dtype=dtype)
    rng = np.random.default_rng(1)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[...] = rng.uniform(0.5, 1.5, module.num_features)
            module.bias.data[...] = rng.standard_normal(module.num_features)
            module.running_mean[...] = rng.standard_normal(module.num_features)
            module.running_var[...] = rng.uniform(0.5, 1.5, module.num_features)
    return block


def images(block, batch=3, size=5):
    return np.random.default_rng(2).standard_normal((batch, block.conv1.in_channels, size, size))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_agree_with_central_differences(name, training):
    block = build(name).train(training)
    rng = np.random.default_rng(3)
    x = images(block)
    y = block(x)
    upstream = rng.standard_normal(y.shape)
    dx = block.backward(upstream)

    def loss():
        with nx.no_grad():
            return float((block(x) * upstream).sum())

    for key, array, gradient in [("x", x, dx)] + [(key, p.data, p.grad) for key, p in block.named_parameters()]:
        direction, kept, step = rng.standard_normal(array.shape), array.copy(), 1e-6
        array[...] = kept + step * direction
        above = loss()
        array[...] = kept - step * direction
        below = loss()
        array[...] = kept
        expected = float((gradient * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-6), key


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_run_on_any_array_library(name):
    y = build(name)(images(build(name)))
    upstream = np.random.default_rng(4).standard_normal(y.shape)
    assert_same_on_strict_arrays(lambda: build(name), images(build(name)), upstream, rtol=1e-10)


@pytest.mark.oracle
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    from tests.support.oracles import TorchBlock, apart

    block = build(name)
    branch = [
        (conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.groups)
        for conv in block.children()
        if isinstance(conv, nn.Conv2d)
    ]
    theirs = TorchBlock(block.conv1.in_channels, branch, block.downsample is not None).double()
    theirs.load_state_dict({key: torch.from_numpy(np.asarray(array)) for key, array in block.state_dict().items()})
    x = images(block)
    x_torch = torch.from_numpy(x).requires_grad_()
    y, y_torch = block(x), theirs(x_torch)
    upstream = np.random.default_rng(5).standard_normal(y.shape)
    y_torch.backward(torch.from_numpy(upstream))
    np.testing.assert_allclose(y, y_torch.detach().numpy(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(block.backward(upstream), x_torch.grad.numpy(), rtol=1e-10, atol=1e-11)
    for (key, ours), (their_key, tensor) in zip(block.named_parameters(), theirs.named_parameters(), strict=True):
        assert key == their_key
        np.testing.assert_allclose(ours.grad, tensor.grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=key)
    assert apart(repr(block)) == repr(theirs).replace("TorchBlock", type(block).__name__)


@pytest.mark.parametrize("groups, width_per_group, width", [(1, 64, 64), (32, 4, 128), (8, 14, 112), (1, 128, 128)])
def test_the_width_of_a_bottleneck_is_the_papers(groups, width_per_group, width):
    block = Bottleneck(256, 64, groups=groups, width_per_group=width_per_group, rng=0)
    assert block.conv2.weight.shape == (width, width // groups, 3, 3)
    assert block.conv3.weight.shape == (256, width, 1, 1)


@pytest.mark.parametrize(
    "groups, width, count", [(1, 64, 69_632), (2, 40, 69_760), (4, 24, 69_888), (8, 14, 71_456), (32, 4, 70_144)]
)
def test_blocks_of_equal_complexity_count_as_in_table_2(groups, width, count):
    block = Bottleneck(256, 64, groups=groups, width_per_group=width, rng=0)
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    assert sum(conv.weight.data.size for conv in convolutions) == count


def test_only_the_second_convolution_of_a_basic_block_is_grouped():
    block = BasicBlock(8, 8, groups=4, rng=0)
    assert (block.conv1.groups, block.conv2.groups) == (1, 4)
    assert block.conv1.weight.shape == (8, 8, 3, 3) and block.conv2.weight.shape == (8, 2, 3, 3)


def test_a_gradient_stays_in_its_group_within_the_grouped_convolution_and_not_beyond():
    block = build("bottleneck, grouped")
    x = images(block)
    block(x)
    grad = np.zeros((3, 8, 5, 5))
    grad[:, 2:4] = np.random.default_rng(6).standard_normal((3, 2, 5, 5))  # group 1 of 4
    inside = block.conv2.backward(grad)
    assert (inside[:, [0, 1, 4, 5, 6, 7]] == 0).all() and (inside[:, 2:4] != 0).any()
    assert (block.conv2.weight.grad[[0, 1, 4, 5, 6, 7]] == 0).all()
    mixed = block.conv1.backward(inside)  # the 1x1 before it sees every channel
    assert (np.abs(mixed).max(axis=(0, 2, 3)) > 0).all()


def test_the_shortcut_carries_the_gradient_past_a_branch_of_zeros():
    block = build("bottleneck")
    block.bn3.weight.data[...] = block.bn3.bias.data[...] = 0
    x = np.abs(images(block))
    y = block(x)
    upstream = np.random.default_rng(7).standard_normal(y.shape)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(block.backward(upstream), upstream)


def test_the_upstream_gradient_is_left_untouched():
    for name in BLOCKS:
        block = build(name)
        y = block(images(block))
        upstream = np.random.default_rng(8).standard_normal(y.shape)
        before = upstream.copy()
        block.backward(upstream)
        np.testing.assert_array_equal(upstream, before)


def test_mistakes_are_named():
    with pytest.raises(InvalidValueError, match="width_per_group must be 64 in a BasicBlock.*but is 4"):
        BasicBlock(64, 64, width_per_group=4)
    with pytest.raises(ShapeError, match="groups=3 must divide C_in=8"):
        BasicBlock(8, 8, groups=3)
    with pytest.raises(InvalidValueError, match=r"width int\(planes·width_per_group/64\)·groups is 0 for planes=4"):
        Bottleneck(16, 4, groups=4, width_per_group=4)
    with pytest.raises(TypeError, match="width_per_group must be a number, but '4' is of type str"):
        Bottleneck(16, 4, groups=4, width_per_group="4")
    with pytest.raises(InvalidValueError, match="groups must be at least 1, but is 0"):
        Bottleneck(16, 4, groups=0)
    with pytest.raises(ShapeError, match="a shortcut between different shapes needs a projection"):
        BasicBlock(8, 12, rng=0)(np.zeros((2, 8, 4, 4), dtype="float32"))
    shared = projection(8, 8, 1, rng=0)
    with pytest.raises(ModuleError, match="second place"):
        nn.Sequential(BasicBlock(8, 8, 1, shared, rng=0), BasicBlock(8, 8, 1, shared, rng=0))
    block = BasicBlock(8, 8, rng=0)
    with pytest.raises(BackwardError, match=r"BatchNormReLU2d\(8, .*\).backward\(\) without a forward pass"):
        block.backward(np.zeros((2, 8, 4, 4), dtype="float32"))
