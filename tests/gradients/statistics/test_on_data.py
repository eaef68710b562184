"""Statistics of groups on data, against their definitions: one example, one group, one class at a time."""

import copy
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import models, nn
from npresnext.errors import BackwardError, InvalidTypeError, InvalidValueError, ShapeError
from npresnext.geometry import ConvGeometry
from npresnext.gradients import STATISTIC_COLUMNS, STATISTICS, group_statistics, open_rows, read_rows
from npresnext.gradients.statistics import effective_rank, gradient_sums, linear_cka, mean_cosine, signal_to_noise
from npresnext.gradients.statistics.features import Moments, group_cka, group_effective_rank
from npresnext.gradients.statistics.noise import example_gradients
from npresnext.gradients.statistics.recording import record

from tests.support.strict import STRICT, to_strict

GROUPS, LAYER = 4, "layer1.0.conv2"


def network(seed=0, dtype="float64"):
    """A ResNeXt of one block per stage, with running statistics as after training."""
    rng = np.random.default_rng(seed)
    model = models.ResNet(
        models.Bottleneck,
        [1, 1],
        num_classes=3,
        in_channels=1,
        groups=GROUPS,
        width_per_group=32,
        planes=8,
        stem="cifar",
        rng=seed,
        dtype=dtype,
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = rng.normal(size=module.num_features).astype(dtype)
            module.running_var = rng.uniform(0.5, 2, size=module.num_features).astype(dtype)
    return model


def images(seed=1, count=10, dtype="float64"):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 1, 8, 8)).astype(dtype), rng.permutation(np.arange(count) % 3)


def column(rows, name, layer=LAYER):
    return np.array([row[name] for row in rows if row["layer"] == layer])


def loss_of(model, x, target):
    with nn.no_grad():
        return float(nn.CrossEntropyLoss()(model.eval()(x), target))


def gradients_of_examples(model, x, target):
    """The weight gradient of LAYER for each example, from a pass of its own: (N, G, m)."""
    conv, grads = nx.gradients.conv_layers(model.eval())[LAYER], []
    for image, label in zip(x, target):
        model.zero_grad()
        criterion = nn.CrossEntropyLoss()
        criterion(model(image[None]), np.array([label]))
        model.backward(criterion.backward())
        grads.append(conv.weight.grad.reshape(GROUPS, -1))
    return np.array(grads)


def features_of(model, x):
    """What follows LAYER reads, by group: (G, n, C/G)."""
    block = model.eval().layer1[0]
    y = model.bn1(model.conv1(x))
    y = block.bn2(block.conv2(block.bn1(block.conv1(y))))
    return y.transpose(1, 0, 2, 3).reshape(GROUPS, y.shape[1] // GROUPS, -1).transpose(0, 2, 1)


def test_every_grouped_convolution_has_a_row_for_each_group(tmp_path):
    x, target = images()
    rows = group_statistics(network(), x, target, step=3, epoch=1)
    assert [(row["layer"], row["conv_group"]) for row in rows] == [
        (layer, group) for layer in (LAYER, "layer2.0.conv2") for group in range(GROUPS)
    ]
    assert all(tuple(row) == STATISTIC_COLUMNS and (row["step"], row["epoch"]) == (3, 1) for row in rows)
    with open_rows(str(tmp_path / "groups.csv"), STATISTIC_COLUMNS) as file:
        file.write(rows)
    assert read_rows(tmp_path / "groups.csv") == rows


def test_gradients_against_a_loop_over_examples():
    model, (x, target) = network(), images()
    rows = group_statistics(model, x, target, statistics=["l2", "snr", "class_cosine"], batch_size=4)
    grads = gradients_of_examples(model, x, target)  # (N, G, m)
    mean = grads.mean(axis=0)
    assert column(rows, "l2") == pytest.approx(np.linalg.norm(mean, axis=1), rel=1e-9)
    assert np.sum(column(rows, "l2") ** 2) == pytest.approx(np.sum(mean**2), rel=1e-9)  # of the whole layer
    for group in range(GROUPS):
        own = grads[:, group]
        noise = np.trace(np.cov(own.T))
        expected = (np.sum(own.mean(axis=0) ** 2) - noise / len(x)) / noise
        assert column(rows, "snr")[group] == pytest.approx(expected, rel=1e-9)
        assert signal_to_noise(own) == pytest.approx(expected, rel=1e-9)
        of_classes = [own[target == label].mean(axis=0) for label in range(3)]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(of_classes, 2)]
        assert column(rows, "class_cosine")[group] == pytest.approx(np.mean(cosines), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    examples=st.integers(1, 4),
    groups=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, ((1, 0), (2, 1))]),
)
def test_gradients_of_examples_are_those_of_single_convolutions(seed, examples, groups, stride, dilation, padding):
    rng = np.random.default_rng(seed)
    x, weight_shape = rng.normal(size=(examples, 2 * groups, 6, 7)), (3 * groups, 2, 3, 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    geometry = ConvGeometry.of_conv(x.shape, weight_shape, **options)
    grad = rng.normal(size=geometry.output_shape)
    found = example_gradients(grad, x, geometry)
    for each, own_grad, image in zip(found, grad, x, strict=True):
        expected = nx.conv2d_weight_grad(own_grad[None], image[None], weight_shape, **options)
        np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-12)


def test_the_signal_to_noise_ratio_is_unbiased():
    rng, signal = np.random.default_rng(2), 0.3
    found = [signal_to_noise(rng.normal(size=(20, 50)) + signal) for _ in range(400)]
    assert np.mean(found) == pytest.approx(signal**2, abs=0.005)
    assert signal_to_noise(np.ones((3, 2))) == math.inf and math.isnan(signal_to_noise(np.zeros((3, 2))))


def test_features_against_their_definitions():
    model, (x, target) = network(), images()
    rows = group_statistics(model, x, target, statistics=["cka", "effective_rank", "dead"], batch_size=3)
    features = features_of(model, x)  # (G, n, C/G)
    for group in range(GROUPS):
        others = [linear_cka(features[group], features[other]) for other in range(GROUPS) if other != group]
        assert column(rows, "cka")[group] == pytest.approx(np.mean(others), rel=1e-9)
        assert column(rows, "effective_rank")[group] == pytest.approx(effective_rank(features[group]), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), p=st.integers(1, 4), q=st.integers(1, 4), scale=st.sampled_from([1e-3, 1.0, 1e5]))
def test_similarity_lies_between_0_and_1_and_ignores_rotation_scale_and_shift(seed, p, q, scale):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, p)), rng.normal(size=(9, q))
    rotation, _ = np.linalg.qr(rng.normal(size=(p, p)))
    found = linear_cka(x, y)
    assert 0 <= found <= 1 and linear_cka(y, x) == pytest.approx(found, rel=1e-12)
    assert linear_cka(scale * x @ rotation + 3, y) == pytest.approx(found, rel=1e-6)
    assert linear_cka(x, scale * x @ rotation) == pytest.approx(1, rel=1e-12)
    gram = (x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T, (y - y.mean(axis=0)) @ (y - y.mean(axis=0)).T
    hsic = [np.sum(a * b) for a, b in (gram, gram[:1] * 2, gram[1:] * 2)]
    assert found == pytest.approx(hsic[0] / math.sqrt(hsic[1] * hsic[2]), rel=1e-9)  # its definition by kernels


def test_similarity_of_constant_features_is_unknown():
    assert math.isnan(linear_cka(np.ones((3, 2)), np.eye(3)))
    similarity = group_cka(np.diag([1.0, 0.0]), 2)
    assert similarity[0, 0] == 1 and np.isnan(similarity[[0, 1, 1], [1, 0, 1]]).all()


def test_effective_rank_of_known_matrices():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(50, 5))
    samples, _ = np.linalg.qr(samples - samples.mean(axis=0))  # five orthogonal directions with mean 0
    assert effective_rank(samples) == pytest.approx(5, rel=1e-12)
    assert effective_rank(samples * [1, 1, 0, 0, 0]) == pytest.approx(2, rel=1e-12)
    assert effective_rank(rng.normal(size=(50, 1)) @ rng.normal(size=(1, 5))) == pytest.approx(1, rel=1e-6)
    shares = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])
    entropy = -np.sum(shares * np.log(shares))
    assert effective_rank(7 * samples * shares + 3) == pytest.approx(math.exp(entropy), rel=1e-9)
    assert math.isnan(effective_rank(np.ones((4, 3)))) and np.isnan(group_effective_rank(np.zeros((2, 2)), 2)).all()


def test_moments_of_channels_with_a_large_mean_are_exact():
    values = np.random.default_rng(0).normal(size=(6, 3, 4, 5)) + 1e6
    moments = Moments(3)
    for piece in (values[:1], values[1:1], values[1:]):
        moments.add(piece)
    np.testing.assert_allclose(moments.covariance(), np.cov(values.swapaxes(0, 1).reshape(3, -1), ddof=0), rtol=1e-7)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 5))
def test_mean_cosine_is_the_mean_over_pairs(seed, count):
    vectors = np.random.default_rng(seed).normal(size=(count, 2, 3))
    vectors[0, 0] = 0  # is left out
    for part, there in ((0, vectors[1:, 0]), (1, vectors[:, 1])):
        pairs = list(itertools.combinations(there, 2))
        expected = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]) if pairs else math.nan
        assert mean_cosine(vectors)[part] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_group_is_knocked_out_as_if_its_weights_were_0():
    model, (x, target) = network(), images()
    found = column(group_statistics(model, x, target, statistics=["knockout"], batch_size=3), "knockout")
    whole = loss_of(model, x, target)
    for group in range(GROUPS):
        by_hand = copy.deepcopy(model)
        weight = by_hand.layer1[0].conv2.weight.data
        weight.reshape(GROUPS, -1)[group] = 0
        assert found[group] == pytest.approx(loss_of(by_hand, x, target) - whole, abs=1e-12)
    assert np.abs(found).min() > 1e-6


def test_dead_and_saturated_channels():
    model, (x, target) = network(), images()
    bias = model.layer1[0].bn2.bias.data  # 16 channels in 4 groups
    bias[[4, 5, 12]] = -1000
    bias[[7, 13, 14]] = 1000
    rows = group_statistics(model, x, target, statistics=["dead", "saturated"], batch_size=3)
    features = features_of(model, x)  # (G, n, C/G)
    assert column(rows, "dead").tolist() == np.mean(np.all(features == 0, axis=1), axis=1).tolist()
    assert column(rows, "saturated").tolist() == np.mean(np.all(features > 0, axis=1), axis=1).tolist()
    assert column(rows, "dead")[1] == 0.5 and column(rows, "saturated")[3] == 0.5


def test_permuted_groups_have_permuted_rows():
    model, (x, target) = network(), images()
    order = np.array([2, 0, 3, 1])
    permuted = copy.deepcopy(model)
    block = permuted.layer1[0]
    channels = (4 * order[:, None] + np.arange(4)).ravel()
    for array in (block.conv1.weight.data, block.conv2.weight.data):
        array[...] = array[channels]
    for norm in (block.bn1, block.bn2):
        for array in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            array[...] = array[channels]
    block.conv3.weight.data[...] = block.conv3.weight.data[:, channels]
    rows, other = group_statistics(model, x, target), group_statistics(permuted, x, target)
    for name in STATISTICS:
        assert column(other, name) == pytest.approx(column(rows, name)[order], rel=1e-6, abs=1e-12)
        assert column(other, name, "layer2.0.conv2") == pytest.approx(column(rows, name, "layer2.0.conv2"), rel=1e-6)


def test_the_scale_of_a_weight_in_front_of_batch_norm_changes_its_norm_alone():
    model, (x, target) = network(), images()
    scaled, scale = copy.deepcopy(model), 8.0
    block = scaled.layer1[0]
    block.conv2.weight.data *= scale
    block.bn2.running_mean *= scale
    block.bn2.running_var *= scale**2
    block.bn2.eps *= scale**2
    rows, other = group_statistics(model, x, target), group_statistics(scaled, x, target)
    assert column(other, "l2") == pytest.approx(column(rows, "l2") / scale, rel=1e-9)
    for name in set(STATISTICS) - {"l2"}:
        assert column(other, name) == pytest.approx(column(rows, name), rel=1e-6, abs=1e-12)


def test_memory_bounds_change_no_number(monkeypatch):
    model, (x, target) = network(), images()
    expected = group_statistics(model, x, target, batch_size=10)
    monkeypatch.setattr(gradient_sums, "BYTES_AT_ONCE", 1)
    for row, other in zip(expected, group_statistics(model, x, target, batch_size=3), strict=True):
        for name in STATISTICS:
            assert other[name] == pytest.approx(row[name], rel=1e-6, abs=1e-12)


def test_arrays_of_another_library_give_the_same_numbers():
    x, target = images()
    expected = group_statistics(network(), x, target)
    rows = group_statistics(to_strict(network()), STRICT.asarray(x), target)
    for row, other in zip(expected, rows, strict=True):
        for name in STATISTICS:
            assert other[name] == pytest.approx(row[name], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("target", [np.zeros(10, int), np.full(10, 99)])
def test_the_network_is_afterwards_what_it_was(target):
    model, (x, _) = network(), images()
    model.train()
    model.layer2.eval()
    model.fc.weight.grad = np.ones_like(model.fc.weight.data)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    if target[0] == 99:  # no such class: the error comes in the middle
        with pytest.raises(InvalidValueError):
            group_statistics(model, x, target)
    else:
        rows = group_statistics(model, x, target)
        assert np.isnan(column(rows, "class_cosine")).all()  # of one class
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    assert model.training and model.layer1[0].bn2.training and not model.layer2[0].bn2.training
    grads = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert grads == {"fc.weight"} and not any("backward" in vars(module) for module in model.modules())


def test_layers_are_followed_up_to_an_addition():
    model, (x, target) = network(), images()
    names = ["conv1", LAYER, "layer1.0.conv3", "layer1.0.downsample.0"]
    convs = {name: conv for name, conv in nx.gradients.conv_layers(model).items() if name in names}
    _, found = record(model.eval(), convs, x)
    assert {name: recorded.rectified for name, recorded in found.items()} == {
        "conv1": True,
        LAYER: True,
        "layer1.0.conv3": False,  # bn3 takes the shortcut as well
        "layer1.0.downsample.0": False,  # a batch norm, and then bn3
    }
    rows = group_statistics(model, x, target, layers=["conv1", "layer1.0.conv3"], statistics=["dead", "cka"])
    assert [math.isnan(row["dead"]) for row in rows] == [False, True] and math.isnan(rows[0]["cka"])


class TwoBranches(nn.Module):
    """A network that leaves one of its convolutions out."""

    def __init__(self):
        self.used, self.unused = nn.Conv2d(1, 4, 3, groups=1, rng=0), nn.Conv2d(4, 4, 3, groups=2, rng=0)

    def forward(self, x):
        return self.used(x)[:, :, 0, 0]


X, TARGET = images(count=4, dtype="float32")
NET = network(dtype="float32")
UNTRACKED = nn.Sequential(
    nn.Conv2d(1, 4, 3, groups=1), nn.BatchNorm2d(4, track_running_stats=False), nn.Conv2d(4, 4, 3, groups=2)
)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (InvalidValueError, "conv2 has outputs that are not finite", lambda: group_statistics(NET, X * np.nan, TARGET)),
        (InvalidTypeError, "model is of type int", lambda: group_statistics(3, X, TARGET)),
        (InvalidTypeError, "statistics must be", lambda: group_statistics(NET, X, TARGET, statistics="snr")),
        (InvalidValueError, "names rms: expected l2", lambda: group_statistics(NET, X, TARGET, statistics=["rms"])),
        (InvalidValueError, "statistics names none", lambda: group_statistics(NET, X, TARGET, statistics=[])),
        (InvalidTypeError, "layers must be a collection", lambda: group_statistics(NET, X, TARGET, layers="conv1")),
        (InvalidValueError, "layers names conv9", lambda: group_statistics(NET, X, TARGET, layers=["conv9"])),
        (InvalidValueError, "no grouped convolution", lambda: group_statistics(nn.Conv2d(1, 2, 3), X, TARGET)),
        (InvalidValueError, "no running statistics", lambda: group_statistics(UNTRACKED, X, TARGET)),
        (InvalidTypeError, "before it was fused", lambda: group_statistics(NET.fuse(), X, TARGET)),
        (ShapeError, "expected .N, C, H, W. and .N,.", lambda: group_statistics(NET, X[:3], TARGET)),
        (InvalidTypeError, "target must be integers", lambda: group_statistics(NET, X, TARGET * 1.0)),
        (InvalidValueError, "1 example: expected two", lambda: group_statistics(NET, X[:1], TARGET[:1])),
        (InvalidValueError, "batch_size must be at least 1", lambda: group_statistics(NET, X, TARGET, batch_size=0)),
        (BackwardError, "unused was not called", lambda: group_statistics(TwoBranches(), X, TARGET)),
    ],
)
def test_bad_input_is_refused_with_a_reason(error, message, call):
    with pytest.raises(error, match=message):
        call()
