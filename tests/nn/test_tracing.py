"""Shapes that are only followed agree with shapes that are computed, and following changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import nn
from npresnext.errors import InvalidTypeError, ModuleError
from npresnext.models import BasicBlock, Bottleneck, ResNet, resnext_small
from npresnext.nn.module import calls_through
from npresnext.nn.tracing import trace
from npresnext.paper.forms import FormC


def computed_shapes(model, x):
    """Run the network on numbers and note the shapes that go into and out of every call."""
    shapes = []

    def note(module, *inputs):
        shapes.append(entry := [module, inputs[0].shape])
        output = module.forward(*inputs)
        entry.append(output.shape)
        return output

    with nn.no_grad(), calls_through(note):
        model(x)
    return [tuple(entry) for entry in shapes]


def traced_shapes(model, shape):
    return [(call.module, call.input_shape, call.output_shape) for call in trace(model, shape).calls]


@st.composite
def layers_in_a_row(draw):
    """A sequence of layers that fits an image of three channels."""
    row, channels = [], 3
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "norm", "relu", "max", "avg", "global"]))
        if kind == "conv":
            groups = draw(st.sampled_from([g for g in (1, 3, channels) if channels % g == 0]))
            out_channels = groups * draw(st.integers(1, 3))
            row.append(
                nn.Conv2d(
                    channels,
                    out_channels,
                    draw(st.sampled_from([1, 3, (2, 3)])),
                    draw(st.integers(1, 2)),
                    padding=draw(st.sampled_from([3, (2, 4)])),
                    dilation=draw(st.integers(1, 2)),
                    groups=groups,
                    rng=0,
                )
            )
            channels = out_channels
        elif kind == "norm":
            row.append(nn.BatchNorm2d(channels))
        elif kind == "relu":
            row.append(nn.ReLU())
        elif kind == "global":
            row.append(nn.GlobalAvgPool2d())
        else:
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            row.append(pool(2, stride=draw(st.integers(1, 3)), padding=1, ceil_mode=draw(st.booleans())))
    return nn.Sequential(*row)


@settings(max_examples=60)
@given(layers_in_a_row(), st.integers(0, 2), st.integers(1, 9), st.integers(1, 9))
def test_followed_shapes_are_the_computed_ones(model, batch, height, width):
    x = np.ones((batch, 3, height, width), "float32")
    model.eval()
    assert traced_shapes(model, x.shape) == computed_shapes(model, x)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (resnext_small(rng=0), (2, 1, 8, 8)),
        (ResNet(BasicBlock, [1, 2], planes=8, num_classes=5, groups=2, rng=0), (1, 3, 33, 47)),
        (ResNet(Bottleneck, [1, 2], planes=8, num_classes=5, groups=2, width_per_group=32, rng=0), (1, 3, 32, 40)),
        (nn.Sequential(nn.Conv2d(3, 4, 3, rng=0), nn.Flatten(), nn.Linear(64, 2, rng=0)), (2, 3, 6, 6)),
        (nn.Sequential(nn.Flatten(0, 1), nn.Linear(5, 7, rng=0)), (2, 3, 5)),
    ],
)
def test_networks_are_followed_call_by_call(model, shape):
    assert traced_shapes(model, shape) == computed_shapes(model, np.ones(shape, "float32"))


def test_following_a_network_leaves_it_as_it_was():
    model = resnext_small(rng=0)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    trace(model, (2, 1, 8, 8))
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert all(module._saved is None for module in model.modules())


def test_a_huge_image_is_followed_in_no_time():
    found = trace(nn.Conv2d(3, 8, 3, padding=1, rng=0), (10**9, 3, 10**9, 10**9))
    assert found.output.shape == (10**9, 8, 10**9, 10**9)


def test_a_residual_block_is_seen_as_a_sum_of_two_paths():
    block = Bottleneck(16, 4, rng=0)
    last = trace(block, (1, 16, 4, 4)).output
    branch, shortcut = last.inputs
    assert (last.path, branch.path, shortcut.op) == ("bn3", "conv3", "input")
    total = trace(FormC(16, 4, rng=0), (1, 16, 4, 4)).output.inputs[0]
    assert [repr(symbol) for symbol in (last, total)] == [
        "Symbol(bn3, shape=(1, 16, 4, 4), dtype=float32)",
        "Symbol(add, shape=(1, 16, 4, 4), dtype=float32)",
    ]


def test_numbers_and_smaller_maps_between_layers_keep_the_shape():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return 2.0 * x + self.relu(x)[:, :, :1, :1]

    doubled, corner = (total := trace(Scaled(), (2, 3, 4, 4), dtype="float32").output).inputs
    assert (total.shape, doubled.shape, corner.shape) == ((2, 3, 4, 4), (2, 3, 4, 4), (2, 3, 1, 1))
    assert (doubled.op, doubled.detail, doubled.dtype) == ("multiply", 2.0, "float32")


def test_a_misfit_names_the_layer():
    with pytest.raises(ValueError, match=r"conv1: weight has shape \(16, 1, 3, 3\) but x has 3 channels"):
        trace(resnext_small(rng=0), (1, 3, 8, 8))


def test_a_size_in_the_place_of_a_shape_is_named():
    with pytest.raises(TypeError, match="input_shape must be a sequence of integers.*but is of type int"):
        trace(resnext_small(rng=0), 224)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Flatten(2, 5), (4, 1)),
        (nn.Flatten(2, 1), (2, 3, 4)),
        (nn.Flatten(), ()),
        (nn.GlobalAvgPool2d(), (2, 3)),
        (nn.GlobalAvgPool2d(), (2, 3, 0, 1)),
        (nn.BatchNorm2d(3), (1, 2, 4, 4)),
        (nn.BatchNorm2d(3), (3, 4)),
        (nn.Linear(3, 2, dtype="float64"), ()),
        (nn.Linear(3, 2, dtype="float64"), (3, 2)),
    ],
    ids=str,
)
def test_what_the_forward_pass_refuses_is_refused(layer, shape):
    with pytest.raises(ValueError) as computed:
        layer(np.ones(shape))
    with pytest.raises(ValueError) as followed:
        trace(layer, shape)
    assert str(followed.value) == f"{type(layer).__name__}: {computed.value}"


def test_a_layer_of_ones_own_says_what_comes_out_of_it():
    class Halves(nn.Module):
        def forward(self, x):
            raise AssertionError("nothing is to be computed")

    with pytest.raises(TypeError, match="Halves puts out is not known: give it a method output_shape"):
        trace(nn.Sequential(Halves()), (1, 4, 2, 2))
    Halves.output_shape = lambda self, shape: (shape[0], shape[1] // 2, *shape[2:])
    assert trace(nn.Sequential(Halves()), (1, 4, 2, 2)).output.shape == (1, 2, 2, 2)


def test_the_visitor_is_gone_after_an_error():
    with pytest.raises(ValueError):
        trace(nn.Linear(3, 2, rng=0), (1, 4))
    assert nn.ReLU()(np.ones(2)).shape == (2,)


class Own(nn.Module):
    """A module made of a layer, and of whatever `compute(layer, x)` does."""

    def __init__(self, compute):
        self.layer = nn.Conv2d(3, 3, 3, padding=1, bias=False, rng=0)
        self.compute = compute

    def forward(self, x):
        return self.compute(self.layer, x)


@pytest.mark.parametrize(
    "compute",
    [
        lambda layer, x: nx.functional.relu(layer(x)),
        lambda layer, x: layer(x) - x,
        lambda layer, x: np.maximum(layer(x), 0),
        lambda layer, x: layer(x).mean(),
        lambda layer, x: [layer(x)],
    ],
    ids=["functional", "difference", "ufunc", "method", "list"],
)
def test_mathematics_that_shapes_cannot_follow_is_named_with_the_module(compute):
    with pytest.raises(TypeError, match=r"^1: the forward of Own cannot be followed .* output_shape\(input_shape\)$"):
        trace(nn.Sequential(nn.ReLU(), Own(compute)), (2, 3, 8, 8))
    assert nx.summary(Own(lambda layer, x: 2 * layer(x) + x), (2, 3, 8, 8)).rows[0].output_size == (2, 3, 8, 8)


def test_arrays_beside_symbols_take_part_in_the_shape():
    scale = np.ones((3, 1, 1), "float32")
    for compute in (lambda layer, x: scale * layer(x), lambda layer, x: layer(x) * scale):
        assert trace(Own(compute), (2, 3, 8, 8)).output.shape == (2, 3, 8, 8)
    widened = trace(Own(lambda layer, x: layer(x) + np.ones((5, 1, 1, 8, 8))), (2, 3, 8, 8))
    assert widened.output.shape == (5, 2, 3, 8, 8)


class Branches(nn.Module):
    """Two convolutions side by side, joined by a function of NumPy."""

    def __init__(self, join):
        self.one, self.two, self.norm = nn.Conv2d(3, 2, 1, rng=0), nn.Conv2d(3, 4, 1, rng=1), nn.BatchNorm2d(6)
        self.join = join

    def forward(self, x):
        return self.norm(self.join([self.one(x), self.two(x)]))


@pytest.mark.parametrize(
    "join", [lambda parts: np.concatenate(parts, axis=1), lambda parts: np.concat(parts, 1), lambda p: np.concat(p, -3)]
)
def test_concatenation_by_numpy_is_followed(join):
    network = Branches(join)
    network(np.ones((2, 3, 4, 4), "float32"))
    assert nn.trace(network, (2, 3, 4, 4)).output.shape == (2, 6, 4, 4)
    with pytest.raises(ModuleError, match="norm follows no convolution .* comes from concat"):
        nx.models.fuse(network)


def test_concatenation_without_an_axis_joins_the_batches_as_in_numpy():
    class Twice(nn.Module):
        def __init__(self):
            self.relu = nn.ReLU()

        def forward(self, x):
            return np.concatenate([x, self.relu(x)])

    assert nn.trace(Twice(), (2, 3, 4, 4)).output.shape == Twice()(np.ones((2, 3, 4, 4))).shape == (4, 3, 4, 4)


@pytest.mark.parametrize(
    "join", [lambda parts: np.stack(parts), lambda parts: np.asarray(parts[0]), lambda parts: np.pad(parts[0], 1)]
)
def test_other_functions_of_numpy_are_refused_by_the_name_of_the_module(join):
    with pytest.raises(InvalidTypeError, match="the forward of Branches cannot be followed without numbers"):
        nn.trace(Branches(join), (2, 3, 4, 4))
