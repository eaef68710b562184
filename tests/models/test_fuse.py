"""A fused network computes what the network computes in evaluation, and takes nothing from it."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import ModuleError
from npresnext.models import BasicBlock, Bottleneck, ResNet
from npresnext.models.fuse import fuse


def trained_looking(model, seed=0):
    """Give every norm statistics and weights that differ from where they start."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size, dtype = module.num_features, module.running_mean.dtype
            module.running_mean = rng.normal(size=size).astype(dtype)
            module.running_var = rng.uniform(0.5, 2, size).astype(dtype)
            module.weight.data = rng.uniform(0.5, 2, size).astype(dtype)
            module.bias.data = rng.normal(size=size).astype(dtype)
    return model.eval()


@pytest.mark.parametrize("block, groups, stem", [(Bottleneck, 4, "cifar"), (BasicBlock, 1, "imagenet")])
def test_fused_network_equals_the_network_in_evaluation(block, groups, stem):
    width = 8 if block is Bottleneck else 64
    shape = {"num_classes": 5, "groups": groups, "width_per_group": width, "stem": stem}
    model = trained_looking(ResNet(block, [2, 1], **shape, rng=0, dtype="float64"))
    x = np.random.default_rng(1).normal(size=(2, 3, 17, 16))
    fused = model.fuse()
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-9)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert not fused.training


def test_model_is_untouched_and_shares_nothing():
    model = trained_looking(ResNet(Bottleneck, [1], planes=8, groups=2, width_per_group=8, stem="cifar", rng=0)).train()
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype("float32")
    y = model(x)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    fused = model.fuse()
    for array in fused.state_dict().values():
        array += 1
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert model.training
    assert model.backward(y).shape == x.shape  # what forward kept is still there
    with pytest.raises(nx.errors.BackwardError):
        fused.backward(y)


def test_bias_of_a_convolution_goes_through_the_norm():
    layers = nn.Sequential(nn.Conv2d(2, 3, 1, rng=0, dtype="float64"), nn.BatchNorm2d(3, dtype="float64"))
    trained_looking(layers)
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 3))
    np.testing.assert_allclose(fuse(layers)(x), layers(x), rtol=1e-12)


@pytest.mark.parametrize("options", [{"affine": False}, {"bias": False}], ids=str)
def test_a_norm_without_weight_or_bias_is_folded(options):
    norm = nn.BatchNorm2d(3, dtype="float64", **options)
    norm.running_mean, norm.running_var = np.array([1.0, -2.0, 0.5]), np.array([0.5, 2.0, 1.0])
    if norm.weight is not None:
        norm.weight.data = np.array([0.5, 1.5, 2.0])
    layers = nn.Sequential(nn.Conv2d(2, 3, 1, rng=0, dtype="float64"), norm).eval()
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 3))
    np.testing.assert_allclose(fuse(layers)(x), layers(x), rtol=1e-12)


@pytest.mark.parametrize(
    "layers, reason",
    [
        ((nn.ReLU(), nn.BatchNorm2d(3)), "1 follows no convolution of 3 channels"),
        ((nn.Conv2d(2, 3, 1, rng=0), nn.BatchNorm2d(3, track_running_stats=False)), "1 has no running statistics"),
    ],
)
def test_what_cannot_be_folded_is_an_error(layers, reason):
    with pytest.raises(ModuleError, match=reason):
        fuse(nn.Sequential(*layers))
