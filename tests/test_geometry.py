"""Sizes, forms of arguments, and the messages of every rule."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npresnext.errors import InvalidTypeError, InvalidValueError, NpresnextError, ShapeError
from npresnext.geometry import ConvGeometry, WindowGeometry, as_padding, conv2d_parameter_count, output_size
from npresnext.reference import count_windows, products
from npresnext.testing.strategies import conv_cases

from tests.support.poolings import poolings, windows_of

small = st.integers(1, 6)


@given(small, small, small, st.integers(-3, 9), st.integers(-3, 9), st.integers(0, 20))
def test_output_size_counts_the_windows_one_by_one(kernel, stride, dilation, before, after, spare):
    size = max(0, dilation * (kernel - 1) + 1 + spare - before - after)  # onnx#7721, onnxruntime#2518
    counted = count_windows(size, kernel, stride, (before, after), dilation)
    assert output_size(size, kernel, stride, (before, after), dilation) == counted >= 1


def test_by_default_windows_move_by_one_pixel_without_padding():
    assert output_size(5, 3) == 3


@given(poolings())
def test_the_size_of_a_pooling_counts_its_windows_one_by_one(pooling):
    shape, arguments = pooling
    lasts = [max(place[axis] for place, _ in windows_of(shape, arguments)) for axis in range(2)]
    assert WindowGeometry.of_pool(shape, **arguments).pooled_shape == (*shape[:2], lasts[0] + 1, lasts[1] + 1)


def test_by_default_the_windows_of_a_pooling_touch_and_are_not_padded():
    assert WindowGeometry.of_pool((1, 2, 7, 9), (2, 3)) == WindowGeometry.of((1, 2, 7, 9), (2, 3), stride=(2, 3))


@given(conv_cases())
def test_geometry_agrees_with_the_definition(case):
    geometry = ConvGeometry.of_conv(case.x_shape, case.weight_shape, **case.kwargs)
    assert geometry.output_shape == case.output_shape
    assert (geometry.x_shape, geometry.weight_shape, geometry.inner) == (
        case.x_shape,
        case.weight_shape,
        case.inner["y"],
    )
    if case.padding == ((0, 0), (0, 0)):
        assert geometry.macs == sum(1 for _ in products(case.x_shape, case.weight_shape, **case.kwargs))


@given(conv_cases())
def test_taps_read_every_pixel_that_the_windows_read_and_no_other(case):
    geometry = ConvGeometry.of_conv(case.x_shape, case.weight_shape, **case.kwargs)
    pixels = np.arange(case.size[0] * case.size[1]).reshape(case.size)
    windows = np.arange(geometry.positions).reshape(geometry.out_height, geometry.out_width)
    read = {
        (int(window), i, j, int(pixel))
        for i, j, at_windows, at_pixels in geometry.taps()
        for window, pixel in zip(windows[at_windows].ravel(), pixels[at_pixels].ravel())
    }
    one_channel = (1, 1, *case.size), (1, 1, *case.kernel)
    expected = {
        (int(windows[a[2:]]), *b[2:], int(pixels[c[2:]]))
        for a, b, c in products(*one_channel, **{**case.kwargs, "groups": 1})
    }
    assert read == expected


@pytest.mark.parametrize(
    ("given_form", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, -4)), ((1, 2), (3, -4))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((3, 3), (1, 2))),
        (np.int64(1), ((1, 1), (1, 1))),
    ],
)
def test_every_form_of_padding(given_form, expected):
    assert as_padding(given_form, (4, 4), (1, 1), (2, 1)) == expected


def test_sizes_are_python_integers_of_any_size():
    huge = 2**40  # tensorflow#47525, pytorch#84488: index arithmetic beyond 32 bits
    geometry = ConvGeometry.of_conv((1, 2, huge, huge), (2, 1, 3, 3), stride=2**38, groups=2, padding=2**41)
    assert geometry.output_shape == (1, 2, 20, 20)
    assert ConvGeometry.of_conv((huge, 4, huge, huge), (8, 4, 1, 1)).macs == 32 * huge**3


@given(st.integers(1, 8), st.integers(0, 6), st.integers(0, 6), small, small, st.booleans())
def test_parameter_formula(groups, per_group_in, per_group_out, kh, kw, bias):
    C_in, C_out = groups * per_group_in, groups * per_group_out
    count = conv2d_parameter_count(C_in, C_out, (kh, kw), groups=groups, bias=bias)
    weight = np.empty((C_out, C_in // groups, kh, kw))
    assert count == weight.size + (C_out if bias else 0)
    assert count - (C_out if bias else 0) == C_in * C_out * kh * kw // groups


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 4, 3), "in_channels must be at least 0"),
        ((4, -1, 3), "out_channels must be at least 0"),
        ((4, 4, (3, 0)), "kernel_size[1] must be at least 1"),
        ((4, 4, 3, 0), "groups must be at least 1"),
        ((4, 6, 3, 4), "groups=4 must divide C_out=6"),
    ],
)
def test_parameters_of_an_impossible_convolution_are_not_counted(arguments, message):
    in_channels, out_channels, kernel_size, groups = (*arguments, 1)[:4]
    with pytest.raises(ValueError, match=re.escape(message)):
        conv2d_parameter_count(in_channels, out_channels, kernel_size, groups=groups)


X, W = (1, 4, 5, 5), (6, 2, 3, 3)
MISTAKES = [
    (
        dict(weight_shape=(4, 2, 3, 3), x_shape=(1, 2, 5, 5), groups=2),
        ShapeError,
        "weight has shape (4, 2, 3, 3) but x has 2 channels and groups=2: "
        "expected (C_out, C_in/groups, kh, kw) = (4, 1, 3, 3)",
    ),
    (dict(x_shape=(4, 5)), ShapeError, "x has shape (4, 5) with 2 axes: expected (N, C_in, H, W)"),
    (dict(weight_shape=(6, 2, 3)), ShapeError, "expected (C_out, C_in/groups, kh, kw)"),
    (dict(groups=3), ShapeError, "groups=3 must divide C_in=4"),
    (dict(weight_shape=(5, 2, 3, 3)), ShapeError, "groups=2 must divide C_out=5"),
    (dict(groups=0), InvalidValueError, "groups must be at least 1, but is 0"),
    (dict(groups=2.0), InvalidTypeError, "groups must be an integer, but 2.0 is of type float"),
    (dict(groups=True), InvalidTypeError, "groups must be an integer, but True is of type bool"),
    (dict(stride=0), InvalidValueError, "stride must be at least 1, but is 0"),
    (dict(stride=(1, 0)), InvalidValueError, "stride[1] must be at least 1, but is 0"),
    (dict(stride=(1, 2, 3)), InvalidValueError, "stride must be an integer or a pair, but (1, 2, 3) has 3 entries"),
    (dict(dilation=-1), InvalidValueError, "dilation must be at least 1, but is -1"),
    (dict(padding="full"), InvalidValueError, 'padding must be "same", "valid" or integers, but is \'full\''),
    (dict(padding="same", stride=2), InvalidValueError, 'padding="same" needs stride 1, but stride is (2, 2)'),
    (dict(padding=((1, 2), 3)), InvalidValueError, "two pairs ((top, bottom), (left, right))"),
    (dict(padding=(1, 1, 1, 1)), InvalidValueError, "two pairs ((top, bottom), (left, right)), but is (1, 1, 1, 1)"),
    (dict(padding=((1, 1), (1, 1, 1))), InvalidValueError, "two pairs ((top, bottom), (left, right))"),
    (dict(x_shape=5), InvalidTypeError, "x_shape must be a sequence of integers, but is of type int"),
    (dict(x_shape=(4, 4, 5, 5.0)), InvalidTypeError, "x_shape[3] must be an integer, but 5.0 is of type float"),
    (dict(padding=0.5), InvalidTypeError, "padding must be an integer"),
    (dict(weight_shape=(6, 2, 0, 3)), ShapeError, "the kernel must be at least 1x1"),
    # tinygrad#7549, pytorch#17247: both sizes are named
    (
        dict(weight_shape=(6, 2, 9, 3), padding=1, dilation=(1, 4)),
        ShapeError,
        "kernel 9x3 with dilation (1, 4) reaches over 9x9 pixels, but x of 5x5 with padding ((1, 1), (1, 1)) has 7x7",
    ),
    (dict(padding=-2), ShapeError, "the kernel is larger than the padded image"),
    (dict(weight_shape=(6, 2, 6, 3)), ShapeError, "reaches over 6x3 pixels, but x of 5x5"),
    (dict(weight_shape=(6, 2, 3, 6)), ShapeError, "reaches over 3x6 pixels, but x of 5x5"),
]


@pytest.mark.parametrize(("change", "error", "message"), MISTAKES, ids=[text[:40] for _, _, text in MISTAKES])
def test_each_broken_rule_has_its_message(change, error, message):
    arguments = {"x_shape": X, "weight_shape": W, "groups": 2, **change}
    with pytest.raises(error, match=re.escape(message)) as caught:
        ConvGeometry.of_conv(arguments.pop("x_shape"), arguments.pop("weight_shape"), **arguments)
    assert isinstance(caught.value, NpresnextError)
    assert isinstance(caught.value, TypeError if error is InvalidTypeError else ValueError)


def test_the_shape_of_the_columns_of_a_window():
    window = WindowGeometry.of((2, 3, 5, 6), (2, 3), stride=(1, 2))
    assert window.columns_shape == (2, 18, 8)
    assert WindowGeometry.of((2, 3, 5, 6), (2, 3)).columns_shape == (2, 18, 16)
    with pytest.raises(InvalidValueError, match="kernel_size must be at least 1"):
        WindowGeometry.of((2, 3, 5, 6), 0)


def test_arguments_are_checked_as_strictly_after_a_call_with_equal_ones():
    shapes = (1, 2, 5, 5), (2, 2, 3, 3)
    ConvGeometry.of_conv(*shapes, stride=1, padding=(1, 1))
    for wrong in ({"stride": True}, {"stride": 1.0}, {"padding": (1.0, 1)}, {"padding": (True, 1)}):
        with pytest.raises(TypeError):
            ConvGeometry.of_conv(*shapes, **{"stride": 1, "padding": (1, 1), **wrong})
    assert ConvGeometry.of_conv(*shapes, stride=[1, 1]) == ConvGeometry.of_conv(*shapes)
