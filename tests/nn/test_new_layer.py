"""A layer that is defined here is traced, summarised, followed by its channels: no list elsewhere names it."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.nn.convolution import group_mask
from npresnext.paper import connectivity


class ChannelShuffle(nn.Module):
    """Exchange the channels of `groups` groups, as ShuffleNet does."""

    def __init__(self, groups):
        self.groups_shuffled = groups

    def forward(self, x):
        return x[:, self.order(x.shape[1])]

    def order(self, channels):
        return np.arange(channels).reshape(self.groups_shuffled, -1).T.reshape(-1)

    def output_shape(self, input_shape):
        return input_shape

    def channel_masks(self, input_shape):
        return [np.eye(input_shape[1], dtype=bool)[self.order(input_shape[1])]]


class GroupedPointwise(nn.Module):
    """A grouped 1x1 convolution by other means, with a second input that is added."""

    kernel_size = (1, 1)

    def __init__(self, channels, groups):
        self.channels, self.groups = channels, groups
        self.weight = nn.Parameter(np.ones((channels, channels // groups), "float32"))

    def forward(self, x, shortcut=None):
        y = nx.conv2d(x, self.weight.data[:, :, None, None], groups=self.groups)
        return y if shortcut is None else y + shortcut

    def output_shape(self, input_shape, shortcut_shape=None):
        return input_shape

    def macs(self, input_shape, shortcut_shape=None):
        N, C, H, W = input_shape
        return N * C * H * W * self.channels // self.groups

    def channel_masks(self, *input_shapes):
        return [group_mask(self.channels, self.channels, self.groups), None][: len(input_shapes)]

    def example_shape(self):
        return 1, self.channels, 4, 4


class Block(nn.Module):
    """Two grouped convolutions, with a shuffle between, and a shortcut."""

    def __init__(self, shuffled=True):
        self.first, self.last = GroupedPointwise(8, 2), GroupedPointwise(8, 2)
        self.middle = ChannelShuffle(2) if shuffled else nn.Identity()

    def forward(self, x):
        return self.last(self.middle(self.first(x)), x)


def test_it_is_traced_and_summarised():
    found = nx.summary(Block(), (2, 8, 5, 3))
    assert [row.type for row in found.layers] == ["GroupedPointwise", "ChannelShuffle", "GroupedPointwise"]
    assert all(row.output_size == (2, 8, 5, 3) for row in found.rows)
    assert found.total_params == 2 * 32 and found.dense_params == 2 * 64
    assert found.total_macs == 2 * (2 * 8 * 15 * 4) and found.dense_macs == 2 * found.total_macs
    assert [row.groups for row in found.layers] == [2, None, 2]


@pytest.mark.parametrize("shuffled", [True, False])
def test_its_channels_are_followed(shuffled):
    block = Block(shuffled)
    found = connectivity(block)  # the shape of the input is the layer's own
    x = np.zeros((8, 8, 4, 4), "float32")
    x[np.arange(8), np.arange(8)] = 1
    measured = (block(x).reshape(8, 8, -1) != 0).any(axis=2).T  # (C_out, C_in)
    np.testing.assert_array_equal(found.matrix, measured)
    assert found.full_after == (2 if shuffled else None)
    assert [(step.path, step.kind) for step in found.steps] == [("first", "1x1, G=2"), ("last", "1x1, G=2")]


def test_a_layer_that_does_not_state_its_channels_is_named_where_they_are_needed():
    class Mixing(nn.Module):
        def forward(self, x):
            return x.sum(axis=1, keepdims=True) + x

        def output_shape(self, input_shape):
            return input_shape

    model = nn.Sequential(nn.Conv2d(4, 4, 1, rng=0), Mixing())
    assert nx.summary(model, (1, 4, 2, 2)).total_params == 20
    with pytest.raises(TypeError, match=r"1: it is not known which channels Mixing connects: give it .* channel_masks"):
        connectivity(model)


@pytest.mark.parametrize(
    "layer, shape, macs",
    [
        (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5), 2 * 6 * 9 * 18),
        (nn.ConvReLU2d(4, 6, 3, groups=2), (2, 4, 5, 5), 2 * 6 * 9 * 18),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5), 6 * 9 * 18),
        (nn.Linear(5, 3), (2, 4, 5), 2 * 4 * 15),
        (nn.BatchNorm2d(4), (2, 4, 5, 5), 0),
        (nn.ReLU(), (2, 4), 0),
        (nn.Sequential(nn.Linear(5, 3)), (2, 5), 0),
    ],
    ids=repr,
)
def test_layers_state_their_multiply_adds(layer, shape, macs):
    assert layer.macs(shape) == macs


def test_a_module_made_of_others_states_no_shape_of_its_own():
    assert nn.Sequential(nn.Linear(5, 3)).output_shape((2, 5)) is None
    assert nn.Linear(5, 3).output_shape((2, 5)) == (2, 3)
