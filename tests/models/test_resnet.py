"""The networks: counts, state names, shapes of every stage, gradients, and agreement with PyTorch."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import BackwardError, InvalidValueError
from npresnext.models import BasicBlock, Bottleneck, ResNet
from npresnext.nn.init import Undrawn

from tests.support.paths import GOLDEN
from tests.support.strict import assert_same_on_strict_arrays

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x4d": 44_177_704,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_papers(name):
    model = nx.models.get_model(name, rng=Undrawn())
    assert sum(parameter.data.size for parameter in model.parameters()) == COUNTS[name]


def test_state_of_resnext50_is_torchvisions_key_for_key():
    golden = (GOLDEN / "keys_resnext50_32x4d.txt").read_text().splitlines()
    state = nx.models.resnext50_32x4d(rng=Undrawn()).state_dict()
    assert [f"{name}\t{array.shape}" for name, array in state.items()] == golden
    assert len(golden) == 320


def test_state_of_resnet18_has_122_entries():
    state = nx.models.resnet18(rng=Undrawn()).state_dict()
    assert len(state) == 122
    assert list(state)[:7] == [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
        "layer1.0.conv1.weight",
    ]
    assert list(state)[-2:] == ["fc.weight", "fc.bias"]


def shapes_of(model, x):
    """Run x through and return the output shape of every module, by name."""
    shapes = {}
    for name, module in model.named_modules():

        def recording(*inputs, forward=module.forward, name=name):
            y = forward(*inputs)
            shapes[name] = y.shape
            return y

        module.forward = recording
    with nx.no_grad():
        model(x)
    return shapes


@pytest.mark.parametrize(
    "name, outputs", [("resnet18", (64, 128, 256, 512)), ("resnext50_32x4d", (256, 512, 1024, 2048))]
)
def test_every_stage_halves_the_size_in_its_first_block(name, outputs):  # labml#205
    model = nx.models.get_model(name, rng=0, num_classes=7)
    shapes = shapes_of(model, np.zeros((1, 3, 64, 64), dtype="float32"))
    assert shapes["conv1"] == (1, 64, 32, 32)
    assert shapes["maxpool"] == (1, 64, 16, 16)
    for index, (channels, size) in enumerate(zip(outputs, (16, 8, 4, 2)), 1):
        for position in range(len(getattr(model, f"layer{index}"))):
            assert shapes[f"layer{index}.{position}"] == (1, channels, size, size)
    assert shapes["avgpool"] == (1, outputs[-1], 1, 1)
    assert shapes[""] == (1, 7)


def test_the_stride_of_a_bottleneck_sits_in_its_3x3():
    model = nx.models.resnext50_32x4d(rng=0, num_classes=1)
    for index in range(2, 5):
        first = getattr(model, f"layer{index}")[0]
        assert (first.conv1.stride, first.conv2.stride, first.conv3.stride) == ((1, 1), (2, 2), (1, 1))
        assert first.downsample[0].stride == (2, 2)


def test_projections_stand_where_shapes_change():
    model = ResNet(Bottleneck, [2, 2], num_classes=2, planes=8, stem="cifar", rng=0)
    assert [block.downsample is not None for stage in model.stages for block in stage] == [True, False, True, False]
    model = ResNet(BasicBlock, [2, 2], num_classes=2, planes=8, stem="cifar", rng=0)
    assert [block.downsample is not None for stage in model.stages for block in stage] == [False, False, True, False]


def test_the_cifar_stem_keeps_the_size():
    model = ResNet(Bottleneck, [1, 1, 1], num_classes=10, groups=2, width_per_group=32, planes=8, stem="cifar", rng=0)
    shapes = shapes_of(model, np.zeros((2, 3, 32, 32), dtype="float32"))
    assert [shapes[f"layer{i}"] for i in (1, 2, 3)] == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    assert model.maxpool is None


@pytest.mark.parametrize("size", [8, 28])
def test_resnext_small_takes_digits_and_28x28_images(size):
    model = nx.models.resnext_small(rng=0)
    x = np.random.default_rng(0).standard_normal((3, 1, size, size)).astype("float32")
    logits = model(x)
    assert logits.shape == (3, 10) and logits.dtype == np.float32
    assert model.backward(np.ones_like(logits)).shape == x.shape
    assert all(parameter.grad.shape == parameter.shape for parameter in model.parameters())


def test_resnext_small_is_grouped_everywhere_and_small():
    model = nx.models.resnext_small(rng=0)
    grouped = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert [conv.groups for conv in grouped] == [8, 8, 8]
    assert all(1 < conv.groups < conv.in_channels for conv in grouped)
    assert sum(parameter.data.size for parameter in model.parameters()) < 200_000


def test_an_empty_batch_goes_forward_and_backward():  # detectron2#772, pytorch#12013
    model = nx.models.resnext_small(rng=0)
    logits = model(np.zeros((0, 1, 8, 8), dtype="float32"))
    assert logits.shape == (0, 10)
    assert model.backward(logits).shape == (0, 1, 8, 8)
    assert all((parameter.grad == 0).all() for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_a_network_runs_on_any_array_library(training):
    rng = np.random.default_rng(1)
    x, upstream = rng.standard_normal((2, 1, 8, 8)), rng.standard_normal((2, 10))
    assert_same_on_strict_arrays(
        lambda: nx.models.resnext_small(rng=0, dtype="float64").train(training), x, upstream, rtol=1e-9
    )


def test_the_imagenet_stem_runs_on_any_array_library():
    rng = np.random.default_rng(2)
    x, upstream = rng.standard_normal((2, 3, 17, 17)), rng.standard_normal((2, 5))
    options = {"num_classes": 5, "groups": 2, "width_per_group": 32, "planes": 8, "rng": 0, "dtype": "float64"}
    assert_same_on_strict_arrays(lambda: ResNet(Bottleneck, [1, 1], **options), x, upstream, rtol=1e-9)


def test_a_seed_gives_one_network_whatever_the_dtype():
    one, two, wide = (nx.models.resnext_small(rng=3, dtype=dtype) for dtype in ("float32", "float32", "float64"))
    other = nx.models.resnext_small(rng=4)
    for (name, a), b, c in zip(one.state_dict().items(), two.state_dict().values(), wide.state_dict().values()):
        np.testing.assert_array_equal(a, b, err_msg=name)
        np.testing.assert_array_equal(a, c.astype(a.dtype), err_msg=name)
    assert (one.conv1.weight.data != other.conv1.weight.data).all()


def test_a_second_backward_is_an_error_and_not_a_wrong_number():  # micrograd#102
    model = nx.models.resnext_small(rng=0)
    logits = model(np.zeros((2, 1, 8, 8), dtype="float32"))
    model.backward(logits)
    before = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
    with pytest.raises(BackwardError, match="Linear"):
        model.backward(logits)
    assert all((parameter.grad == before[name]).all() for name, parameter in model.named_parameters())


def test_gradients_add_up_until_zero_grad():
    model = nx.models.resnext_small(rng=0, dtype="float64").eval()
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8))
    upstream = np.random.default_rng(2).standard_normal((2, 10))
    model(x)
    model.backward(upstream)
    once = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
    model(x)
    model.backward(upstream)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.grad, 2 * once[name], err_msg=name)
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_small_network_agree_with_central_differences(training):
    model = ResNet(
        Bottleneck,
        [1, 1],
        num_classes=3,
        in_channels=2,
        groups=2,
        width_per_group=32,
        planes=4,
        stem="cifar",
        rng=0,
        dtype="float64",
    ).train(training)
    rng = np.random.default_rng(5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data[...] = rng.standard_normal(parameter.shape)  # zeros would leave values on ReLU's kink
    x, upstream = rng.standard_normal((3, 2, 6, 6)), rng.standard_normal((3, 3))
    dx = (model(x), model.backward(upstream))[1]

    def loss():
        with nx.no_grad():
            return float((model(x) * upstream).sum())

    checked = [("x", x, dx)] + [(name, p.data, p.grad) for name, p in model.named_parameters()]
    for name, array, gradient in checked:
        direction = rng.standard_normal(array.shape)
        step, kept = 1e-6, array.copy()
        array[...] = kept + step * direction
        above = loss()
        array[...] = kept - step * direction
        below = loss()
        array[...] = kept
        expected = float((gradient * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=2e-5, abs=1e-6), name


def test_zero_init_residual_makes_every_block_its_shortcut():
    for block, last in ((BasicBlock, "bn2"), (Bottleneck, "bn3")):
        model = ResNet(block, [2, 1], num_classes=2, planes=8, stem="cifar", zero_init_residual=True, rng=0)
        for stage in model.stages:
            for unit in stage:
                assert (getattr(unit, last).weight.data == 0).all()
                assert (unit.bn1.weight.data == 1).all()
        unit = model.layer1[1]
        x = np.random.default_rng(0).random((2, unit.conv1.in_channels, 4, 4), dtype="float32")
        np.testing.assert_array_equal(unit(x), x)


def test_the_initialisation_by_group_is_sqrt_groups_larger():
    options = {"num_classes": 2, "groups": 16, "width_per_group": 4, "stem": "cifar", "rng": 0, "dtype": "float64"}
    plain, grouped = (ResNet(Bottleneck, [1], init=init, **options) for init in ("fan_out", "fan_out_per_group"))
    a, b = plain.layer1[0], grouped.layer1[0]
    np.testing.assert_allclose(b.conv2.weight.data, a.conv2.weight.data * 4, rtol=1e-12)
    np.testing.assert_array_equal(a.conv1.weight.data, b.conv1.weight.data)


def test_mistakes_are_named():
    with pytest.raises(InvalidValueError, match=r"stem must be one of imagenet, cifar, but is 'mnist'"):
        ResNet(Bottleneck, [1], stem="mnist")
    with pytest.raises(TypeError, match=r"block must be a class such as BasicBlock or Bottleneck, but is 'basic'"):
        ResNet("basic", [1])
    with pytest.raises(TypeError, match=r"layers must be the blocks of each stage, such as \[3, 4, 6, 3\], but is 50"):
        ResNet(Bottleneck, 50)
    with pytest.raises(InvalidValueError, match=r"layers is empty"):
        ResNet(Bottleneck, [])
    with pytest.raises(InvalidValueError, match=r"layers\[1\] must be at least 1, but is 0"):
        ResNet(Bottleneck, [1, 0], planes=4, num_classes=2)
    with pytest.raises(InvalidValueError, match=r"init must be one of fan_out, fan_out_per_group, but is 'xavier'"):
        ResNet(Bottleneck, [1], init="xavier", planes=4, num_classes=2)
    with pytest.raises(ValueError, match=r"weight has shape \(16, 1, 3, 3\) but x has 3 channels"):
        nx.models.resnext_small(rng=0)(np.zeros((2, 3, 8, 8), dtype="float32"))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(InvalidValueError, match=r"no network 'resnet19': choose one of .*resnet18.*resnext_small"):
        nx.models.get_model("resnet19")
    assert set(COUNTS) < set(nx.models.list_models()) and nx.models.list_models() == sorted(nx.models.list_models())


@pytest.mark.oracle
@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet18", {"bottleneck": False, "layers": [2, 2, 2, 2]}),
        ("resnext50_32x4d", {"bottleneck": True, "layers": [3, 4, 6, 3], "groups": 32, "width_per_group": 4}),
    ],
)
def test_logits_gradients_and_statistics_are_pytorchs(name, options):
    torch = pytest.importorskip("torch")
    from tests.support.oracles import TorchResNet, randomise

    rng = np.random.default_rng(7)
    theirs = randomise(TorchResNet(**options).double(), 0)
    ours = nx.models.get_model(name, dtype="float64")
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x, upstream = rng.standard_normal((2, 3, 64, 64)), rng.standard_normal((2, 1000))
    x_torch = torch.from_numpy(x).requires_grad_()
    logits = theirs(x_torch)
    logits.backward(torch.from_numpy(upstream))

    assert_close(ours(x), logits, "logits")
    assert_close(ours.backward(upstream), x_torch.grad, "x")
    gradients = {key: value.grad for key, value in theirs.named_parameters()}
    assert [key for key, _ in ours.named_parameters()] == list(gradients)
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[key], key)
    for (key, buffer), (their_key, their_buffer) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert key == their_key
        assert_close(buffer, their_buffer, key)
    with nx.no_grad(), torch.no_grad():
        assert_close(ours.eval()(x), theirs.eval()(x_torch), "logits in evaluation")


@pytest.mark.oracle
def test_repr_is_pytorchs_but_for_the_global_pooling():
    pytest.importorskip("torch")
    from tests.support.oracles import TorchResNet, apart

    theirs = repr(TorchResNet(bottleneck=True, layers=[3, 4, 6, 3], groups=32, width_per_group=4))
    ours = apart(repr(nx.models.resnext50_32x4d(rng=0)), stem=True).replace(
        "GlobalAvgPool2d()", "AdaptiveAvgPool2d(output_size=(1, 1))"
    )
    assert ours.replace("Bottleneck(", "TorchBlock(").replace("ResNet(", "TorchResNet(", 1) == theirs


def assert_close(ours, theirs, name):
    """Agree within 1e-10 of the largest value."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= 1e-10 * np.abs(theirs).max(), name
