"""A fused network computes what the network computes in evaluation, and takes nothing from it."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import ModuleError
from npresnext.models import BasicBlock, Bottleneck, ResNet, fuse


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


class OtherNorm(nn.BatchNorm2d):
    """May compute anything."""


@pytest.mark.parametrize(
    "layers, reason",
    [
        ((nn.ReLU(), nn.BatchNorm2d(3)), "1 follows no convolution of 3 channels"),
        ((nn.Conv2d(2, 3, 1, rng=0), nn.BatchNorm2d(3, track_running_stats=False)), "1 has no running statistics"),
        (
            (nn.Conv2d(2, 3, 1, rng=0), type("OtherNorm", (nn.BatchNorm2d,), {})(3)),
            "1 is a OtherNorm: only BatchNorm2d",
        ),
    ],
)
def test_what_cannot_be_folded_is_an_error(layers, reason):
    with pytest.raises(ModuleError, match=reason):
        fuse(nn.Sequential(*layers))


class Network(nn.Module):
    """A network of the layers `parts`, whose forward is ``compute(self, x)``."""

    def __init__(self, compute, **parts):
        self.compute = compute
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.compute(self, x)


def norm(kind=nn.BatchNorm2d):
    return trained_looking(kind(4, dtype="float64"))


def conv():
    return nn.Conv2d(4, 4, 3, padding=1, rng=0, dtype="float64")


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.BatchNormReLU2d])
def test_what_follows_what_is_read_off_the_forward_pass_and_not_off_the_names(kind):
    model = Network(lambda m, x: m.last(m.conv2(m.bn2(m.conv1(x)))), last=norm(kind), bn2=norm(), conv1=conv())
    model.conv2 = conv()
    folded = fuse(model.eval())
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-9, atol=1e-12)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


REFUSED = {
    "pre-activation": (
        lambda: Network(lambda m, x: x + m.conv1(m.relu(m.bn1(x))), bn1=norm(), relu=nn.ReLU(), conv1=conv()),
        "bn1 follows no convolution of 4 channels to be folded into: its input comes from input",
    ),
    "a sum between": (
        lambda: Network(lambda m, x: m.bn2(m.conv1(x) + x), conv1=conv(), bn2=norm()),
        "bn2 follows no convolution .* comes from add",
    ),
    "a rectifier between": (
        lambda: Network(lambda m, x: m.bn1(m.relu(m.conv1(x))), conv1=conv(), relu=nn.ReLU(), bn1=norm()),
        r"bn1 follows no convolution .* comes from relu \(ReLU\)",
    ),
    "a convolution that rectifies": (
        lambda: nn.Sequential(nn.ConvReLU2d(4, 4, 1, rng=0, dtype="float64"), norm()),
        r"1 follows no convolution .* comes from 0 \(ConvReLU2d\)",
    ),
    "a convolution called twice": (
        lambda: Network(lambda m, x: m.bn1(m.conv1(m.conv1(x))), conv1=conv(), bn1=norm()),
        "bn1 cannot be folded into conv1, which is called 2 times",
    ),
    "a norm called twice": (
        lambda: Network(lambda m, x: m.bn1(m.conv1(x)) + m.bn1(m.conv2(x)), conv1=conv(), conv2=conv(), bn1=norm()),
        "bn1 is called 2 times in a forward pass: expected once",
    ),
    "a norm that is not called": (
        lambda: Network(lambda m, x: m.conv1(x), conv1=conv(), bn1=norm()),
        "bn1 is called 0 times in a forward pass: expected once",
    ),
    "an output that goes elsewhere too": (
        lambda: Network(lambda m, x: m.bn1(y := m.conv1(x)) + y, conv1=conv(), bn1=norm()),
        "bn1 cannot be folded into conv1, whose output goes elsewhere too",
    ),
    "an output that is its own shortcut": (
        lambda: Network(lambda m, x: m.bn1(y := m.conv1(x), y), conv1=conv(), bn1=norm(nn.BatchNormReLU2d)),
        "bn1 cannot be folded into conv1, whose output goes elsewhere too",
    ),
    "a norm alone": (norm, "BatchNorm2d follows no convolution"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_norm_that_follows_no_convolution_of_its_own_is_refused_by_name(name):
    build, reason = REFUSED[name]
    with pytest.raises(ModuleError, match=reason):
        fuse(build())


def test_a_folded_network_that_computes_something_else_is_not_handed_out():
    layers = nn.Sequential(conv(), norm())
    layers[0].forward = lambda x: np.abs(nn.Conv2d.forward(layers[0], x))  # which shapes do not show
    with pytest.raises(ModuleError, match="the folded network differs from the network on a random input: by "):
        fuse(layers)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_dtype_passes_the_check_on_a_random_input(dtype):
    pytest.importorskip("ml_dtypes")
    model = nx.models.resnext_small(rng=0, weights="digits").to(dtype=dtype)
    assert next(model.fuse().parameters()).data.dtype == next(model.parameters()).data.dtype


def test_a_network_on_another_array_library_is_folded_there():
    pytest.importorskip("array_api_strict")
    from tests.support.strict import STRICT, to_strict

    model = trained_looking(nn.Sequential(conv(), nn.BatchNormReLU2d(4, dtype="float64")))
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
    expected = model(x)
    np.testing.assert_allclose(np.asarray(fuse(to_strict(model))(STRICT.asarray(x))), expected, rtol=1e-9, atol=1e-12)


def test_the_size_of_the_input_can_be_given_where_the_network_takes_one_size_alone():
    head = [nn.Flatten(), nn.Linear(4 * 25, 3, rng=0, dtype="float64")]
    model = nn.Sequential(conv(), norm(), *head).eval()
    with pytest.raises(ValueError, match="3: x has shape"):
        fuse(model)
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 5))
    np.testing.assert_allclose(fuse(model, (1, 4, 5, 5))(x), model(x), rtol=1e-9)


def test_what_is_no_network_is_named():
    with pytest.raises(TypeError, match="model must be a Module, but is of type str"):
        fuse("x")
    with pytest.raises(TypeError, match="the forward of Network cannot be followed"):
        fuse(Network(lambda m, x: m.bn1(np.maximum(m.conv1(x), 0)), conv1=conv(), bn1=norm()))


def test_a_network_without_norms_is_copied():
    layers = nn.Sequential(nn.ReLU(), conv())
    folded = fuse(layers)
    np.testing.assert_array_equal(folded[1].weight.data, layers[1].weight.data)
    assert not np.shares_memory(folded[1].weight.data, layers[1].weight.data) and not folded.training
