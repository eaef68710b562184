"""Networks recognised from names and shapes, loaded, and held to PyTorch's accuracy; variants refused."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import models
from npresnext.errors import StateDictError
from npresnext.models import BasicBlock, Bottleneck, ResNet, from_state
from npresnext.models.recognition import recognise
from npresnext.nn.init import Undrawn


def shapes_of(model):
    return {name: tuple(array.shape) for name, array in model.state_dict().items()}


RECOGNISED = {
    "resnet18": (BasicBlock, [2, 2, 2, 2], 1, 64),
    "resnet34": (BasicBlock, [3, 4, 6, 3], 1, 64),
    "resnet50": (Bottleneck, [3, 4, 6, 3], 1, 64),
    "resnet101": (Bottleneck, [3, 4, 23, 3], 1, 64),
    "resnet152": (Bottleneck, [3, 8, 36, 3], 1, 64),
    "resnext50_32x4d": (Bottleneck, [3, 4, 6, 3], 32, 4),
    "resnext101_32x4d": (Bottleneck, [3, 4, 23, 3], 32, 4),
    "resnext101_32x8d": (Bottleneck, [3, 4, 23, 3], 32, 8),
    "resnext101_64x4d": (Bottleneck, [3, 4, 23, 3], 64, 4),
    "wide_resnet50_2": (Bottleneck, [3, 4, 6, 3], 1, 128),
    "wide_resnet101_2": (Bottleneck, [3, 4, 23, 3], 1, 128),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_family_depth_groups_width_and_classes_are_read_off_names_and_shapes(name):
    options = recognise(shapes_of(models.get_model(name, num_classes=21, in_channels=4, rng=Undrawn())))
    seen = options["block"], options["layers"], options["groups"], options["width_per_group"]
    assert seen == RECOGNISED[name]
    assert (options["num_classes"], options["in_channels"], options["stem"]) == (21, 4, "imagenet")


@pytest.mark.parametrize(
    "options",
    [
        {"block": BasicBlock, "layers": [1, 2], "planes": 16, "stem": "cifar", "groups": 4},
        {"block": Bottleneck, "layers": [1], "planes": 8, "stem": "cifar"},
        {"block": Bottleneck, "layers": [2, 1, 1], "planes": 16, "stem": "cifar", "groups": 2, "width_per_group": 40},
        {"block": Bottleneck, "layers": [1, 1], "planes": 48, "stem": "imagenet", "groups": 3, "width_per_group": 7},
    ],
)
def test_any_resnet_comes_back_with_the_same_logits(options):
    model = ResNet(**options, num_classes=5, in_channels=2, rng=0).eval()
    x = np.random.default_rng(1).standard_normal((2, 2, 16, 16)).astype("float32")
    back = from_state(model.state_dict())
    assert not back.training and shapes_of(back) == shapes_of(model)
    assert np.array_equal(back(x), model(x))


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".pth"])
def test_a_network_goes_through_every_format_and_comes_back(tmp_path, ending):
    pytest.importorskip("safetensors")
    model = models.resnext_small(num_classes=3, rng=0).eval()
    nx.io.save(tmp_path / f"net{ending}", {f"module.{k}": v for k, v in model.state_dict().items()})
    back = from_state(tmp_path / f"net{ending}", strip_prefix="module.")
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype("float32")
    assert np.array_equal(back(x), model(x))


def test_the_state_keeps_its_dtype_unless_another_is_asked_for():
    state = models.resnext_small(rng=0, dtype="float64").state_dict()
    assert from_state(state).fc.weight.data.dtype == np.float64
    assert from_state(state, dtype="float32").fc.weight.data.dtype == np.float32


def test_states_from_before_batches_were_counted_load():
    state = models.resnext_small(rng=0).state_dict()
    old = {name: array for name, array in state.items() if not name.endswith("num_batches_tracked")}
    assert int(from_state(old).bn1.num_batches_tracked) == 0


@pytest.mark.parametrize(
    "name, reason",
    [
        ("conv1.0.weight", "deep stem"),
        ("layer1.0.se.fc1.weight", r"squeeze-and-excitation \(SE\) \(layer1.0.se.fc1.weight\)"),
        ("layer1.0.se_module.fc1.weight", "SE"),
        ("layer2.0.aa.filt", "anti-aliasing"),
        ("maxpool.1.filt", "anti-aliasing"),
        ("layer1.0.downsample.2.weight", "ResNet-D"),
        ("layer1.0.conv1.scale", "quantised"),
        ("layer1.0.conv1.bias", "biases"),
        ("stages.0.blocks.0.conv1.weight", "a family that is no ResNet"),
    ],
)
def test_variants_are_refused_with_the_reason(name, reason):
    state = models.resnext_small(rng=0).state_dict() | {name: np.zeros(1)}
    with pytest.raises(StateDictError, match=f"variant.*{reason}"):
        from_state(state)


def test_a_block_of_a_number_that_python_does_not_read_is_unexpected():
    name = f"layer1.{'9' * 5000}.conv1.weight"
    with pytest.raises(StateDictError, match=f"unexpected {name}"):
        from_state(models.resnext_small(rng=0).state_dict() | {name: np.zeros(1)})


def test_what_is_no_resnet_is_refused_with_what_was_seen():
    with pytest.raises(StateDictError, match=r"conv1.weight.* missing.*it has 1 array: encoder0.w \(2,\)"):
        from_state({"encoder0.w": np.zeros(2)})
    with pytest.raises(StateDictError, match="it has 0 arrays: none"):
        from_state({})
    prefixed = {f"module.{name}": array for name, array in models.resnext_small(rng=0).state_dict().items()}
    with pytest.raises(StateDictError, match="every name begins with 'module.', which strip_prefix removes"):
        from_state(prefixed)


def test_every_missing_strange_and_misshapen_array_is_listed_at_once():
    state = models.resnext_small(rng=0).state_dict()
    del state["layer2.0.bn1.bias"], state["layer3.0.conv3.weight"]
    state["layer1.0.conv1.weight"] = np.zeros((3, 3, 1, 1), "float32")
    state["head.weight"] = np.zeros(1)
    with pytest.raises(StateDictError) as caught:
        from_state(state)
    for part in (
        "missing layer2.0.bn1.bias",
        "missing layer3.0.conv3.weight",
        "unexpected head.weight",
        "layer1.0.conv1.weight has shape (3, 3, 1, 1), expected (32, 16, 1, 1)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"conv1.weight": (16, 1, 5, 5)}, "kernel of 5x5"),
        ({"layer1.0.conv2.weight": (32, 5, 3, 3)}, "32 in groups of 5"),
        ({"conv1.weight": (0, 1, 3, 3), "fc.weight": (10, 0)}, "conv1 has 0 filters"),
        ({"layer5.0.conv1.weight": (1, 1, 1, 1)}, "gaps"),
        ({"layer1.3.conv1.weight": (1, 1, 1, 1)}, "gaps: layer1 has the blocks 0, 3"),
        ({"layer4.0.conv1.weight": (1, 1, 1, 1)}, "4 stages of Bottleneck from 16 planes on end with 512"),
        ({"fc.weight": (10,)}, "fc.weight missing or of another number of axes"),
    ],
)
def test_shapes_that_fit_no_resnet_are_refused(change, message):
    state = models.resnext_small(rng=0).state_dict()
    with pytest.raises(StateDictError, match=message):
        from_state(state | {name: np.zeros(shape) for name, shape in change.items()})


@pytest.mark.oracle
def test_resnext50_of_pytorch_is_as_accurate_here_as_there_in_every_format(tmp_path):
    """Error of the logits against float64: at most 4 times that of PyTorch's own float32 run."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from tests.support import oracles

    theirs = oracles.randomise(oracles.TorchResNet(True, [3, 4, 6, 3], groups=32, width_per_group=4), 0).eval()
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    # every name, a corner of each array: a hundred megabytes in five formats would be slow to write
    corners = {name: value[:5].clone() if value.ndim else value for name, value in theirs.state_dict().items()}
    (tmp_path / "corners").mkdir()
    torch.save(corners, tmp_path / "corners" / "zip.pth")
    torch.save(corners, tmp_path / "corners" / "stream.pth", _use_new_zipfile_serialization=False)
    for ending in (".npz", ".safetensors", ".pt"):
        nx.io.save(tmp_path / "corners" / f"ours{ending}", corners)
    for path in (tmp_path / "corners").iterdir():
        state = nx.io.load(path)
        assert len(state) == 320 and set(state) == set(corners)
        assert all(np.array_equal(array, corners[name].numpy()) for name, array in state.items())
    ours = from_state(tmp_path / "whole.pth")
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype("float32")
    with torch.no_grad(), nx.no_grad():
        single = theirs(torch.from_numpy(x)).numpy()
        exact = theirs.double()(torch.from_numpy(x).double()).numpy()
        logits = ours(x)
    error, torch_error = np.abs(logits - exact).max(), np.abs(single - exact).max()
    assert 0 < torch_error and error <= 4 * torch_error, (error, torch_error)
