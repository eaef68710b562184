"""Who reaches whom by the masks is who reaches whom in the measured Jacobian."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext import nn
from npresnext.backend import array_module
from npresnext.cli import main
from npresnext.models import BasicBlock, Bottleneck, get_model, resnext_small
from npresnext.models.blocks import projection
from npresnext.nn.init import Undrawn
from npresnext.paper import connectivity, draw_connectivity, group_mask
from npresnext.paper.cardinality import valid_groups
from npresnext.paper.forms import FormA, FormB, FormC


def make_positive(model):
    """Give every weight a positive value, so that nothing cancels and no rectifier cuts off; norms do nothing."""
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        if len(parameter.shape) > 1:
            parameter.data = rng.uniform(0.5, 1, parameter.shape)
        elif name.endswith("bias"):
            parameter.data = np.zeros(parameter.shape)
    return model.to(dtype="float64").eval()


def probed_forward(model, channels, size=4):
    """Put ones into one input channel at a time and note which output channels answer."""
    x = np.zeros((channels, channels, size, size))
    x[np.arange(channels), np.arange(channels)] = 1
    with nn.no_grad():
        y = model(x)
    return (y.reshape(channels, y.shape[1], -1) != 0).any(axis=2).T


def probed_backward(model, channels, size=4):
    """Send a gradient into one output channel at a time and note which input channels it reaches."""
    y = model(np.ones((1, channels, size, size)))
    rows = []
    for channel in range(y.shape[1]):
        grad_output = np.zeros(model(np.ones((1, channels, size, size))).shape)
        grad_output[:, channel] = 1
        rows.append((model.backward(grad_output) != 0).any(axis=(0, *range(2, 4))))
    return np.array(rows)


@st.composite
def chains(draw):
    """Convolutions in a row with any valid groups, some of them 1x1, with norms and rectifiers between."""
    channels, layers = draw(st.integers(1, 12)), []
    for _ in range(draw(st.integers(1, 4))):
        out_channels = draw(st.integers(1, 12))
        groups = draw(st.sampled_from(valid_groups(channels, out_channels)))
        kernel = draw(st.sampled_from([1, 3]))
        layers.append(nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, groups=groups, rng=0))
        layers += [nn.BatchNorm2d(out_channels), nn.ReLU()] if draw(st.booleans()) else []
        channels = out_channels
    return make_positive(nn.Sequential(*layers))


@settings(max_examples=40)
@given(chains())
def test_the_masks_product_is_the_pattern_of_the_jacobian(chain):
    found = connectivity(chain).matrix
    channels = chain[0].in_channels
    np.testing.assert_array_equal(found, probed_forward(chain, channels))
    np.testing.assert_array_equal(found, probed_backward(chain, channels))


BLOCKS = {
    "bottleneck": lambda: Bottleneck(16, 4, groups=4, width_per_group=32, rng=0),
    "strided bottleneck": lambda: Bottleneck(6, 4, 2, projection(6, 16, 2, rng=0), 4, 32, rng=0),
    "basic block": lambda: BasicBlock(8, 8, groups=4, rng=0),
    "form a": lambda: FormA(16, 4, groups=4, width_per_group=32, rng=0),
    "form b": lambda: FormB(16, 4, groups=4, width_per_group=32, rng=0),
    "form c": lambda: FormC(16, 4, groups=4, width_per_group=32, norm=False, rng=0),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_agree_with_their_measured_jacobian(name):
    block = make_positive(BLOCKS[name]())
    channels = next(m.in_channels for m in block.modules() if isinstance(m, nn.Conv2d))
    found = connectivity(block).matrix
    np.testing.assert_array_equal(found, probed_forward(block, channels))
    np.testing.assert_array_equal(found, probed_backward(block, channels))


def test_a_shortcut_alone_reaches_its_own_channel():
    """Grouped convolutions around a shortcut: the identity lies inside the blocks, so the groups stay apart."""
    block = FormC(16, 4, groups=4, width_per_group=16, norm=False, rng=0)
    for name in ("conv1", "conv3"):
        old = getattr(block, name)
        setattr(block, name, nn.Conv2d(old.in_channels, old.out_channels, 1, groups=4, rng=0))
    found = connectivity(make_positive(block))
    np.testing.assert_array_equal(found.matrix, group_mask(16, 16, 4))
    np.testing.assert_array_equal(found.matrix, probed_forward(block, 16))
    assert found.full_after is None


def test_a_norm_with_a_shortcut_is_followed_from_its_branch():
    block = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0)
    np.testing.assert_array_equal(connectivity(block, start="bn3").matrix, np.eye(16, dtype=bool))


def test_a_folded_network_connects_in_the_same_steps():
    model = resnext_small(rng=0).eval()
    steps, folded = connectivity(model).steps, connectivity(model.fuse()).steps
    assert sorted((step.order, step.kind) for step in folded) == sorted((step.order, step.kind) for step in steps)


def test_a_shortcut_adds_what_the_branch_does_not_reach():
    class Crossed(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(6, 6, 1, groups=3, rng=0)

        def forward(self, x):
            return self.conv(x)[:, ::-1] + x

    found = connectivity(make_positive(Crossed())).matrix
    np.testing.assert_array_equal(found, group_mask(6, 6, 3)[::-1] | np.eye(6, dtype=bool))
    np.testing.assert_array_equal(found, probed_forward(make_positive(Crossed()), 6))


def test_without_the_1x1_the_block_is_the_one_whose_1x1_are_as_grouped_as_can_be():
    block = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0)
    left_out = connectivity(block, pointwise=False)
    for name in ("conv1", "conv3"):
        old = getattr(block, name)
        groups = math.gcd(old.in_channels, old.out_channels)
        setattr(block, name, nn.Conv2d(old.in_channels, old.out_channels, 1, groups=groups, bias=False, rng=0))
    np.testing.assert_array_equal(left_out.matrix, probed_forward(make_positive(block), 16))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_the_mask_is_where_the_block_diagonal_weight_is(groups, inputs, outputs):
    mask = group_mask(groups * inputs, groups * outputs, groups)
    np.testing.assert_array_equal(mask, np.kron(np.eye(groups), np.ones((outputs, inputs))) == 1)


@given(st.sampled_from([2, 3, 4]), st.integers(1, 5))
def test_a_tower_of_equal_groups_never_connects_them(groups, depth):
    tower = [nn.Conv2d(12, 12, 3, padding=1, groups=groups, rng=0) for _ in range(depth)]
    found = connectivity(tower)
    np.testing.assert_array_equal(found.matrix, group_mask(12, 12, groups))
    assert found.full_after is None
    mixed = connectivity([tower[0], nn.Conv2d(12, 12, 1, rng=0), *tower[1:]])
    assert mixed.full_after == 2 and mixed.matrix.all()


def test_groups_that_cross_each_other_connect_all():
    """2 groups of 3 and then 3 groups of 2: the middle pair takes from both."""
    found = connectivity([nn.Conv2d(6, 6, 3, groups=2, rng=0), nn.Conv2d(6, 6, 3, groups=3, rng=0)])
    assert found.full_after is None
    assert [list(np.flatnonzero(row)) for row in found.matrix[::2]] == [[0, 1, 2], [0, 1, 2, 3, 4, 5], [3, 4, 5]]


def test_in_resnext50_the_next_1x1_connects_all_groups_and_without_it_only_the_classifier_does():
    model = get_model("resnext50_32x4d", rng=Undrawn())
    found = connectivity(model, start="layer1.0.conv2")
    assert found.full_after == 2
    assert [(step.path, step.reach.mean()) for step in found.steps[:2]] == [
        ("layer1.0.conv2", 1 / 32),
        ("layer1.0.conv3", 1.0),
    ]
    alone = connectivity(model, start="layer1.0.conv2", pointwise=False)
    assert {step.reach.mean() for step in alone.steps[:-1]} == {1 / 32}
    assert [step.kind for step in found.steps[:2]] + [found.steps[-1].kind] == ["3x3, G=32", "1x1, G=1", "linear"]
    assert alone.steps[-1].path == "fc" and alone.steps[-1].order == alone.full_after == 48


def test_every_logit_depends_on_every_image_channel():
    model = resnext_small(in_channels=3, rng=0)
    assert connectivity(model).matrix.shape == (10, 3) and connectivity(model).matrix.all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: connectivity(nn.Conv2d(4, 4, 1), start="conv9"), ValueError, "start must be the name of a layer"),
        (
            lambda: connectivity([nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)], start="conv9"),
            ValueError,
            "such as 0, 2, but is 'conv9'",
        ),
        (lambda: connectivity(nn.ReLU()), ValueError, "give input_shape"),
        (lambda: group_mask(4, 6, 3), ValueError, "groups=3 must divide C_in=4"),
        (lambda: group_mask(4, 4, 0), ValueError, "groups must be at least 1"),
        (lambda: connectivity("resnet50"), TypeError, "model must be a Module or modules in a row, .* type str"),
        (lambda: connectivity([nn.Conv2d(4, 4, 1), nn.Flatten(2)]), TypeError, "which channels Flatten connects"),
    ],
)
def test_mistakes_get_one_clear_message(call, error, message):
    with pytest.raises(error, match=message):
        call()


class Stacked(nn.Module):
    """Joins a map with itself along the height, where channels of the two halves cannot be told apart."""

    def __init__(self):
        self.conv = nn.Conv2d(4, 4, 1, rng=0)

    def forward(self, x):
        y = self.conv(x)
        return array_module(y=y).concat((y, y), axis=2)


def test_an_operation_that_is_not_known_is_named():
    with pytest.raises(TypeError, match="it is not known which channels concat connects"):
        connectivity(Stacked(), input_shape=(1, 4, 2, 2))


def test_a_fused_network_connects_as_before():
    model = resnext_small(rng=0).eval()
    np.testing.assert_array_equal(connectivity(model.fuse()).matrix, connectivity(model).matrix)


def test_a_linear_layer_alone_connects_all():
    found = connectivity(nn.Linear(3, 2, rng=0))
    assert found.matrix.shape == (2, 3) and found.full_after == 1


def test_a_norm_in_front_says_how_many_channels_go_in():
    found = connectivity([nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2, rng=0)])
    np.testing.assert_array_equal(found.matrix, group_mask(4, 6, 2))


def test_flattened_maps_repeat_their_channel():
    found = connectivity([nn.Conv2d(4, 4, 1, groups=2, rng=0), nn.Flatten()], input_shape=(1, 4, 2, 3))
    np.testing.assert_array_equal(found.matrix, np.repeat(group_mask(4, 4, 2), 6, axis=0))


def run(capsys, *argv):
    code = main(["connectivity", *map(str, argv)])
    return code, capsys.readouterr()


def test_the_command_starts_where_groups_show_and_says_so(capsys):
    code, shown = run(capsys, "resnext50_32x4d")
    lines = shown.out.splitlines()
    assert code == 0 and lines[0].startswith("start: the 128 channels that go into layer1.0.conv2, the first grouped")
    assert lines[4].split() == ["layer1.0.conv2", "3x3,", "G=32", "1", "3.125%", "3.125%", "3.125%"]
    assert lines[-2].endswith("with the 1x1: 2")


@pytest.mark.parametrize(
    ("argv", "first_line"),
    [
        (
            ["resnext_small", "--part", "layer1.0"],
            "start: the 16 channels of the input",
        ),  # 8 groups show in 16 channels
        (["resnet18"], "start: the 3 channels of the input"),  # without groups
        (["resnext_small", "--start", "conv1"], "start: the 1 channel that goes into conv1"),
        (["resnext_small", "--part", "layer1.0.conv2"], "start: the 32 channels of the input"),
    ],
)
def test_elsewhere_the_command_starts_where_it_is_asked_to(capsys, argv, first_line):
    code, shown = run(capsys, *argv)
    assert code == 0 and shown.out.splitlines()[0] == first_line


def test_a_part_without_such_a_layer_is_refused_by_the_picture(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    code, shown = run(capsys, "resnext_small", "--part", "layer1.0.bn1", "--plot", tmp_path / "a.png")
    assert code == 2 and "0 layers to draw: choose a part with 1 to 12 layers that mix channels" in shown.err


def panels(figure):
    return [axes.images[0].get_array() for axes in figure.axes]


def test_a_picture_shows_the_masks_in_the_colours_of_the_groups():
    pytest.importorskip("matplotlib")
    block = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0)
    figure = draw_connectivity(block, start="conv2")
    expected = [
        step.reach
        for pointwise in (True, False)
        for step in connectivity(block, start="conv2", pointwise=pointwise).steps
    ]
    assert [ax.get_title().split("\n")[:2] for ax in figure.axes] == [
        ["conv2", "3x3, G=4"],
        ["conv3", "1x1, G=1"],
        ["conv2", "3x3, G=4"],
        ["conv3", "left out"],
    ]
    for picture, mask in zip(panels(figure), expected):
        np.testing.assert_array_equal(picture[..., 3] == 1, mask)
        colours = [tuple(picture[0, column, :3]) for column in range(8)]
        assert [len(set(colours[first : first + 2])) for first in range(0, 8, 2)] == [1] * 4 and len(set(colours)) == 4
    assert figure.get_supxlabel() == "channel at the start,\ncoloured by the 4 groups of conv2"


def test_a_layer_alone_is_drawn_once_and_has_a_name():
    pytest.importorskip("matplotlib")
    figure = draw_connectivity(nn.Conv2d(8, 4, 3, groups=2, rng=0))
    (picture,) = panels(figure)
    np.testing.assert_array_equal(picture[..., 3] == 1, group_mask(8, 4, 2))
    assert figure.axes[0].get_title() == "Conv2d\n3x3, G=2\n50% reached"
    assert len(panels(draw_connectivity(nn.Linear(3, 1, rng=0)))) == 1


def test_an_input_shape_is_for_drawing_as_for_computing():
    pytest.importorskip("matplotlib")
    layers = [nn.Conv2d(4, 4, 1, groups=2, rng=0), nn.Flatten(), nn.Linear(24, 3, rng=0)]
    with pytest.raises(ValueError, match="Linear|in_features"):
        draw_connectivity(layers)
    figure = draw_connectivity(layers, input_shape=(1, 4, 2, 3))
    assert panels(figure)[1].shape == (3, 4, 4)


def test_a_notebook_shows_a_table_that_explains_itself():
    found = connectivity(Bottleneck(16, 4, groups=4, width_per_group=32, rng=0), start="conv2")
    html = found._repr_html_()
    assert html.startswith(
        "<p>From 8 channels that go into conv2 to 16 output channels: after 2 layers, every channel "
    )
    assert "<details open><summary>2 layers</summary>" in html and "Connects: the share of pairs" in html
    assert '<th style="text-align:right">Reached</th>' in html and "color" not in html
    assert repr(found).splitlines()[4].split() == ["conv2", "3x3,", "G=4", "1", "25%", "25%"]
    alone = connectivity([nn.Conv2d(1, 1, 3, rng=0)])
    assert repr(alone).startswith(
        "From 1 channel of the input to 1 output channel: after 1 layer, every channel reaches"
    )


def test_the_command_shows_both_and_draws(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "reach.png"
    part = ["connectivity", "resnext_small", "--part", "layer1.0"]
    assert main([*part, "--start", "conv2", "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith("with the 1x1: 2") and lines[-1].endswith("without the 1x1: none")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(part) == 0
    assert capsys.readouterr().out.splitlines()[-2].endswith("with the 1x1: 1")
    assert main(["connectivity", "resnext_small", "--part", "layer7"]) == 2
    advice = capsys.readouterr().err
    assert "such as conv1, " in advice and ", layer1.0, " in advice and "layer1.0.conv1" not in advice
    assert main(["connectivity", "resnext50_32x4d", "--plot", str(tmp_path / "all.png")]) == 2
    assert "choose a part" in capsys.readouterr().err and not (tmp_path / "all.png").exists()
