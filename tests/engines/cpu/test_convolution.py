"""The fast engine computes what the lesson computes, whatever the geometry, the tiles and the threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext.engines.cpu import thresholds
from npresnext.engines.cpu.threads import get_num_threads
from npresnext.engines.cpu.workspace import get_workspace_limit
from npresnext.geometry import ConvGeometry

from tests.support.convolutions import CPU, LESSON, assert_equals_lesson, everything, geometries, operands


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    """Tiny examples go through tiles and threads as large ones do; settings are put back."""
    monkeypatch.setattr(thresholds, "SINGLE_THREAD", 0)
    threads, limit = get_num_threads(), get_workspace_limit()
    yield
    nx.set_num_threads(threads)
    nx.set_workspace_limit(limit)


@given(geometry=geometries(), seed=st.integers(0, 99), threads=st.sampled_from([1, 2, 5]))
@settings(max_examples=150)
def test_every_geometry_equals_the_lesson(geometry, seed, threads):
    nx.set_num_threads(threads)
    assert_equals_lesson(geometry, seed)


def assert_equals_lesson_in_tiles(geometry, factor):
    """Compare with the workspace limit at a multiple of the least that the geometry needs."""
    limit = 1
    while True:
        nx.set_workspace_limit(limit)
        try:
            return assert_equals_lesson(geometry)
        except nx.errors.InvalidValueError as error:
            needed = str(error).partition("needs ")[2].partition(" bytes")[0]
            limit = factor * int(needed.replace(",", ""))


@given(geometry=geometries(), factor=st.sampled_from([1, 2, 4, 16, 64]), threads=st.sampled_from([1, 2, 5]))
@settings(max_examples=60)
def test_tiles_down_to_a_single_pixel_equal_the_lesson(geometry, factor, threads):
    nx.set_num_threads(threads)
    assert_equals_lesson_in_tiles(geometry, factor)


TILED = {
    "the image as it lies": ConvGeometry.of_conv((2, 6, 5, 4), (4, 3, 1, 1), groups=2),
    "taps too far apart to share rows": ConvGeometry.of_conv(
        (2, 8, 3, 4), (8, 4, 2, 2), stride=2, dilation=7, padding=7, groups=2
    ),
    "a row phase that ends before the other": ConvGeometry.of_conv(
        (2, 16, 9, 30), (16, 1, 3, 3), stride=2, padding=1, groups=16
    ),
}


@pytest.mark.parametrize("factor", [1, 2, 4, 10, 30])
@pytest.mark.parametrize("name", TILED)
def test_what_is_seldom_drawn_equals_the_lesson(name, factor):
    assert_equals_lesson(TILED[name])
    assert_equals_lesson_in_tiles(TILED[name], factor)


PADDING_ALONE = {
    "some taps, many groups": ConvGeometry.of_conv((2, 16, 1, 9), (16, 2, 3, 3), stride=(3, 1), padding=1, groups=8),
    "some taps, few groups": ConvGeometry.of_conv((2, 16, 1, 9), (16, 8, 3, 3), stride=(3, 1), padding=1, groups=2),
    "all taps": ConvGeometry.of_conv((2, 4, 1, 9), (4, 2, 1, 3), stride=(3, 1), padding=1, groups=2),
}


@pytest.mark.parametrize("name", PADDING_ALONE)
def test_taps_that_meet_padding_alone_have_zero_gradients_whatever_the_memory_held(name, monkeypatch):
    geometry = PADDING_ALONE[name]
    x, weight, _, grad = operands(geometry, 0)
    expected = LESSON.conv2d_input_and_weight_grad(grad, x, weight, geometry)
    assert not expected[1][:, :, 0].any() and expected[1].any() == (name != "all taps")
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 77, dtype))
    for array, result in zip(CPU.conv2d_input_and_weight_grad(grad, x, weight, geometry), expected, strict=True):
        np.testing.assert_array_equal(array, result)
    np.testing.assert_array_equal(CPU.conv2d_weight_grad(grad, x, geometry), expected[1])


# so few positions, and so many channels, that the images of a tile lie side by side in one matmul
SHORT_MAPS = {
    "3x3": ConvGeometry.of_conv((5, 96, 7, 7), (96, 96, 3, 3), padding=1),
    "strided": ConvGeometry.of_conv((7, 160, 8, 9), (160, 160, 3, 3), stride=2, padding=1),
    "asymmetric, dilated, grouped": ConvGeometry.of_conv(
        (3, 192, 6, 7), (256, 96, 3, 2), padding=((0, 2), (3, 1)), dilation=(2, 3), groups=2
    ),
    "one image": ConvGeometry.of_conv((1, 160, 7, 7), (160, 160, 3, 3), padding=1),
    "1x1": ConvGeometry.of_conv((6, 160, 7, 7), (160, 160, 1, 1)),
}


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", SHORT_MAPS)
def test_images_side_by_side_equal_the_lesson(name, threads):
    nx.set_num_threads(threads)
    assert_equals_lesson(SHORT_MAPS[name])
    for limit in (1_000_000, 3_000_000):
        nx.set_workspace_limit(limit)
        assert_equals_lesson(SHORT_MAPS[name])


@pytest.mark.parametrize("groups", [1, 8])
def test_a_weight_larger_than_the_workspace(groups):
    """wide_resnet50_2 has 1024 to 1024 channels: 38 MB, where the workspace has 14 MiB."""
    nx.set_workspace_limit(100_000)
    channels = 64 * groups
    assert_equals_lesson(ConvGeometry.of_conv((2, channels, 4, 3), (channels, 64, 3, 3), padding=1, groups=groups))


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every other column of a larger array": lambda a: np.repeat(a, 2, axis=3)[..., ::2],
    "reversed": lambda a: a[..., ::-1, ::-1].copy()[..., ::-1, ::-1],
    "a slice of channels": lambda a: np.concatenate([a, a], axis=1)[:, : a.shape[1]],
    "misaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 1)])
def test_every_layout_equals_its_contiguous_copy(layout, kernel):
    geometry = ConvGeometry.of_conv((3, 18, 6, 5), (27, 2, *kernel), padding=kernel[0] // 2, groups=9)
    dense = ConvGeometry.of_conv((3, 18, 6, 5), (27, 18, *kernel), stride=1, padding=kernel[0] // 2)
    strided = ConvGeometry.of_conv((3, 18, 6, 5), (27, 2, *kernel), stride=2, padding=kernel[0] // 2, groups=9)
    for each in (geometry, dense, strided):
        x, weight, bias, grad = operands(each, 0)
        expected = everything(LESSON, x, weight, bias, grad, each)
        change = LAYOUTS[layout]
        found = everything(CPU, change(x), change(weight), bias, change(grad), each)
        for array, correct in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, correct)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_other_byte_order_equals_the_machines_own(stride):
    """Also where views have been kept for a convolution of the same shapes."""
    geometry = ConvGeometry.of_conv((3, 18, 6, 5), (27, 2, 3, 3), stride=stride, padding=1, groups=9)
    arrays = operands(geometry, 0)
    own = everything(CPU, *arrays, geometry)
    other = everything(CPU, *(array.astype(array.dtype.newbyteorder()) for array in arrays), geometry)
    for array, expected in zip(other, own, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_broadcast_operands():
    geometry = ConvGeometry.of_conv((3, 16, 6, 5), (16, 2, 3, 3), padding=1, groups=8)
    x, weight, bias, grad = operands(geometry, 0)
    x, grad = np.broadcast_to(x[:1, :1], x.shape), np.broadcast_to(grad[:1, :, :1, :1], grad.shape)
    found = everything(CPU, x, weight, bias, grad, geometry)
    for array, correct in zip(found, everything(LESSON, x, weight, bias, grad, geometry), strict=True):
        np.testing.assert_array_equal(array, correct)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128", "longdouble"])
def test_every_dtype_is_handled_or_handed_to_the_lesson(dtype):
    assert_equals_lesson(ConvGeometry.of_conv((2, 16, 6, 5), (16, 2, 3, 3), padding=1, groups=8), dtype=dtype)


def test_huge_padding_and_huge_images_need_nothing_huge():
    far = 10**9
    x, weight = np.ones((1, 2, 3, 3), "f"), np.ones((2, 2, 3, 3), "f")
    y = nx.conv2d(x, weight, padding=far, stride=far)
    assert y.shape == (1, 2, 3, 3)
    assert y[0, 0, 1, 1] == y.sum() / 2 == 9 * 2  # only this window, of each filter, touches the image
    x = np.broadcast_to(np.float32(1), (1, 2, far, far))
    assert (nx.conv2d(x, weight, stride=far // 2) == 18).all()
    dw = nx.conv2d_weight_grad(np.ones((1, 2, 2, 2), "f"), x, weight.shape, stride=far // 2)
    assert (dw == 4).all()


@pytest.mark.parametrize(
    "window",
    [
        {"padding": ((0, -1), (0, 0))},
        {"padding": ((1, -1), (0, 0))},
        {"padding": ((0, 0), (1, -1))},
        {"padding": ((0, 0), (-1, 1))},
        {"padding": ((0, 2), (0, 0)), "stride": (2, 1)},
        {"padding": ((0, 0), (0, 3)), "stride": (1, 2)},
    ],
    ids=str,
)
def test_a_1x1_convolution_that_is_not_the_image_as_it_lies(window):
    """Cropped, moved, or strided with as many outputs as there are pixels."""
    assert_equals_lesson(ConvGeometry.of_conv((2, 3, 3, 4), (2, 3, 1, 1), **window))
