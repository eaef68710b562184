"""Exported graphs run by onnxruntime: every layer within a proven bound, networks as accurate as here."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import models, nn
from npresnext.errors import InvalidTypeError, InvalidValueError
from npresnext.paper.forms import FormB
from npresnext.testing import check_conv

onnx = pytest.importorskip("onnx")


@pytest.fixture
def run(tmp_path):
    """Export a network for images of the shape of x, check the file, run it on x."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(model, x):
        path = tmp_path / "net.onnx"
        nx.onnx.export(model, path, x.shape, overwrite=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(["logits"], {"images": x})[0]

    return run


def gamma(n, unit=2.0**-24):
    """Higham's constant: the relative error of a float32 sum of n products, whatever the order."""
    return n * unit / (1 - n * unit)


def absolute(layer):
    """The same layer in float64 with the absolute values of its parameters, to weigh errors with."""
    layer = layer.to(dtype="float64")
    for parameter in layer.parameters():
        parameter.data = np.abs(parameter.data)
    return layer


CONVOLUTIONS = [
    {"in_channels": 4, "out_channels": 6, "kernel_size": 3},
    {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "stride": 2, "padding": 1},
    {"in_channels": 6, "out_channels": 6, "kernel_size": (3, 2), "groups": 6, "dilation": (2, 1), "padding": (2, 0)},
    {"in_channels": 4, "out_channels": 8, "kernel_size": 1, "groups": 4, "stride": (1, 3), "bias": False},
    {"in_channels": 4, "out_channels": 4, "kernel_size": (4, 3), "groups": 2, "padding": "same"},
    {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": ((0, 2), (1, 3)), "groups": 2},
]


@pytest.mark.oracle
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_exported_convolution_has_the_layers_shape_and_values(run, options):
    layer = nn.Conv2d(**options, rng=0)
    x = np.random.default_rng(1).standard_normal((3, options["in_channels"], 9, 8)).astype("float32")
    assert np.allclose(run(layer, x), layer(x), atol=1e-5)


@pytest.mark.oracle
def test_exported_convolution_passes_the_conformance_kit(run):
    """Exact on integers, within the proven bound on floats, for drawn cases and the fixed sweeps."""

    def exported(x, weight, bias, **window):
        channels = x.shape[1], weight.shape[0], weight.shape[2:]
        layer = nn.Conv2d(*channels, **window, bias=bias is not None)
        layer.weight.data = weight
        if bias is not None:
            layer.bias.data = bias
        return run(layer, np.ascontiguousarray(x))

    offers = {"negative_padding": False, "zero_channels": False, "empty_batch": False, "invalid_calls": False}
    report = check_conv(exported, cases=40, supports=offers | {"layouts": False})
    assert report.passed, str(report)


@pytest.mark.oracle
@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((2, 3), dilation=(2, 1)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ],
    ids=repr,
)
def test_what_only_selects_is_exact(run, layer):
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype("float32")
    assert np.array_equal(run(layer, x), layer(x))


@pytest.mark.oracle
@pytest.mark.parametrize(
    "layer, length",
    [
        (nn.AvgPool2d(2), 4),
        (nn.AvgPool2d(3, 2, padding=1), 9),
        (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), 9),
        (nn.GlobalAvgPool2d(), 64),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5, rng=0)), 193),
    ],
)
def test_sums_keep_the_bound(run, layer, length):
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype("float32")
    got = run(layer, x)
    exact = layer.to(dtype="float64")(x.astype(float))
    assert (np.abs(got - exact) <= gamma(length + 2) * absolute(layer)(np.abs(x).astype(float))).all()


@pytest.mark.oracle
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_uses_the_running_statistics(run, affine):
    rng, layer = np.random.default_rng(0), nn.BatchNorm2d(3, eps=1e-3, affine=affine)
    layer.running_mean, layer.running_var = rng.standard_normal(3).astype("f4"), rng.uniform(0.5, 2, 3).astype("f4")
    if affine:
        layer.weight.data, layer.bias.data = (rng.standard_normal(3).astype("f4") for _ in range(2))
    x = rng.standard_normal((2, 3, 4, 4)).astype("float32")
    got, wide = run(layer, x), layer.eval().to(dtype="float64")
    exact = wide(x.astype(float))
    scale = (np.abs(wide.weight.data) if affine else 1) / np.sqrt(wide.running_var + 1e-3)
    shift = np.abs(wide.running_mean) * scale + (np.abs(wide.bias.data) if affine else 0)
    weighed = np.abs(x) * np.reshape(scale, (-1, 1, 1)) + np.reshape(shift, (-1, 1, 1))
    assert (np.abs(got - exact) <= gamma(8) * weighed).all()


def settled(model, x):
    """Give the norms statistics of the images and weights other than 1 and 0."""
    rng = np.random.default_rng(0)
    with nx.no_grad():
        model.train()(x)
    for parameter in model.parameters():
        if parameter.data.ndim == 1:
            parameter.data += rng.uniform(-0.2, 0.2, parameter.shape).astype("float32")
    return model.eval()


@pytest.mark.oracle
@pytest.mark.parametrize(
    "model, shape",
    [
        (lambda: models.resnext_small(rng=0), (3, 1, 28, 28)),
        (lambda: models.resnet18(rng=0, num_classes=10), (2, 3, 64, 64)),
        (lambda: models.resnext50_32x4d(rng=0, num_classes=10), (2, 3, 64, 64)),
    ],
)
def test_networks_are_as_accurate_here_as_in_onnxruntime(run, model, shape):
    """Error against float64: at most 4 times onnxruntime's own in float32; and the graph is the same function."""
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    model = settled(model(), x)
    with nx.no_grad():
        theirs, ours = run(model, x), model(x)
        exact = model.to(dtype="float64")(x.astype(float))
    error, their_error = np.abs(ours - exact).max(), np.abs(theirs - exact).max()
    assert 0 < their_error < 1e-4 * np.abs(exact).max()
    assert error <= 4 * their_error, (error, their_error)


@pytest.mark.oracle
def test_the_batch_is_free_and_the_opset_stated(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = models.resnext_small(rng=0).eval()
    nx.onnx.export(model, tmp_path / "net.onnx", (1, 1, 8, 8))
    proto = onnx.load(tmp_path / "net.onnx")
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", nx.onnx.OPSET)] == [("", 17)]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for count in (0, 1, 7):
        x = np.random.default_rng(1).standard_normal((count, 1, 8, 8)).astype("float32")
        logits = session.run(None, {"images": x})[0]
        assert logits.shape == (count, 10) and np.allclose(logits, model(x), atol=1e-5)


def test_weights_keep_their_state_names_and_the_network_is_untouched(tmp_path):
    model = models.resnext_small(rng=0)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    nx.onnx.export(model, tmp_path / "net.onnx", (1, 1, 8, 8))
    assert model.training and all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    initializers = onnx.load(tmp_path / "net.onnx").graph.initializer
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in initializers}
    assert set(stored) == {name for name in before if not name.endswith("num_batches_tracked")}
    assert all(np.array_equal(array, before[name]) for name, array in stored.items())


def test_a_fused_network_is_exported_without_batch_norm(run, tmp_path):
    x = np.random.default_rng(1).standard_normal((2, 1, 8, 8)).astype("float32")
    model = settled(models.resnext_small(rng=0), x)
    assert np.allclose(run(model.fuse(), x), model(x), atol=1e-4)
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}


def test_a_block_with_a_sum_is_exported(run):
    block = models.Bottleneck(8, 2, groups=2, rng=0).eval()
    x = np.random.default_rng(1).standard_normal((2, 8, 5, 5)).astype("float32")
    assert np.allclose(run(block, x), block(x), atol=1e-5)


@pytest.mark.oracle
def test_paths_side_by_side_are_exported(run):
    block = FormB(8, 2, groups=2, width_per_group=32, rng=0).eval()
    x = np.random.default_rng(1).standard_normal((2, 8, 5, 5)).astype("float32")
    assert np.allclose(run(block, x), block(x), atol=1e-5)


class Twice(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 1, 3, padding=1, rng=0)

    def forward(self, x):
        return self.conv(self.conv(x))


@pytest.mark.oracle
def test_the_weights_of_a_layer_that_is_called_twice_are_there_once(run, tmp_path):
    model, x = Twice(), np.random.default_rng(1).standard_normal((2, 1, 5, 5)).astype("float32")
    assert np.allclose(run(model, x), model(x), atol=1e-5)
    names = [each.name for each in onnx.load(tmp_path / "net.onnx").graph.initializer]
    assert names == ["conv.weight", "conv.bias"]


class Foreign(nn.Module):
    def output_shape(self, shape):
        return shape


class Corner(nn.Module):
    def __init__(self):
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x)[:, :, 0, 0]


class Stacked(nn.Module):
    """Two batches in one: the graph could not leave N open."""

    def __init__(self):
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(x)
        return y.__array_namespace__().concat([y, y], axis=0)


class Doubled(nn.Module):
    def __init__(self):
        self.relu = nn.ReLU()

    def forward(self, x):
        return 2 * self.relu(x)


@pytest.mark.parametrize(
    "model, error, message",
    [
        (nn.Conv2d(1, 1, 3, padding=-1), InvalidValueError, r"padding=\(-1, -1\): ONNX has no padding below 0"),
        (
            nn.Sequential(nn.MaxPool2d(2, 9, 1, 9)),
            InvalidValueError,
            "0 has padding=1 and dilation=9: windows read no",
        ),
        (nn.Sequential(nn.BatchNorm2d(1, eps=1e-60)), InvalidValueError, "0 has eps=1e-60: ONNX stores it in float32"),
        (Stacked(), InvalidTypeError, r"'concat' \(0\) .* no counterpart"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), InvalidValueError, "0 has no running stat"),
        (nn.Linear(8, 2), InvalidValueError, r"Gemm takes \(N, features\)"),
        (nn.Flatten(2), InvalidValueError, "start_dim=2 and end_dim=-1 .* two axes"),
        (nn.Flatten(0), InvalidValueError, "start_dim=0 and end_dim=-1 .* two axes"),
        (nn.Flatten(1, 2), InvalidValueError, "start_dim=1 and end_dim=2 .* two axes"),
        (Doubled(), InvalidTypeError, "'multiply' .* no counterpart"),
        (nn.Sequential(Foreign()), InvalidTypeError, "0 is a Foreign, which has no counterpart"),
        (Corner(), InvalidTypeError, "'index' .* no counterpart"),
        (nn.Conv2d(2, 1, 3), InvalidValueError, "x has 1 channel and"),
        (np.ones, InvalidTypeError, "model must be a Module, but is of type"),
        (nn.Conv2d(1, 1, 3, dtype="bfloat16"), InvalidValueError, "opset 17 .*Conv.* type.*bfloat16"),
    ],
)
def test_what_onnx_cannot_express_is_refused_and_nothing_written(tmp_path, model, error, message):
    with pytest.raises(error, match=message):
        nx.onnx.export(model, tmp_path / "net.onnx", (1, 1, 8, 8))
    assert not list(tmp_path.iterdir())


def test_a_single_image_is_refused(tmp_path):
    with pytest.raises(InvalidValueError, match=r"0 is fed with \(1, 8, 8\): .* takes batches"):
        nx.onnx.export(nn.Sequential(nn.Conv2d(1, 1, 3)), tmp_path / "net.onnx", (1, 8, 8))


def test_an_existing_file_stays_unless_asked(tmp_path):
    (tmp_path / "net.onnx").write_text("mine")
    with pytest.raises(InvalidValueError, match="exists already"):
        nx.onnx.export(nn.ReLU(), tmp_path / "net.onnx", (1, 1, 8, 8))
    assert (tmp_path / "net.onnx").read_text() == "mine"


class Tripled(nn.ReLU):
    """A rectifier of the user's own: the operator of ONNX computes something else."""

    def forward(self, x):
        return 3 * super().forward(x)


def test_a_class_of_the_users_own_is_not_exported_as_the_class_it_inherits_from(tmp_path):
    with pytest.raises(InvalidTypeError, match="0 is a Tripled, which has no counterpart in the ONNX export"):
        nx.onnx.export(nn.Sequential(Tripled()), tmp_path / "net.onnx", (1, 1, 8, 8))


@pytest.mark.oracle
@pytest.mark.parametrize("has_shortcut", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_layers_of_two_inputs_are_exported_as_the_nodes_that_they_combine(run, tmp_path, fused, has_shortcut):
    x = np.random.default_rng(1).standard_normal((2, 8, 5, 5)).astype("float32")
    if has_shortcut:
        block = settled(models.Bottleneck(8, 2, groups=2, rng=0), x)
    else:
        block = settled(nn.Sequential(nn.Conv2d(8, 4, 3, rng=0), nn.BatchNormReLU2d(4)), x)
    assert np.allclose(run(models.fuse(block) if fused else block, x), block(x), atol=1e-5)
    operators = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    expected = ["Conv", "Relu"] if fused else ["Conv", "BatchNormalization", "Relu"]
    last = expected[:-1] + ["Add", "Relu"]
    assert operators == (expected * 2 + last if has_shortcut else expected) + ["Identity"]
