"""Thresholds decide how fast results come, and never whether they are right."""

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext.engines.cpu import thresholds
from npresnext.engines.cpu.correlation import forward_correlations
from npresnext.engines.cpu.tiles import workload_of
from npresnext.geometry import ConvGeometry

from tests.support.convolutions import assert_equals_lesson, geometries
from tests.support.thresholds import changed_thresholds

VALUES = {
    "CHUNK_SIDE": st.sampled_from([1, 512]),
    "PARTIAL_SUM_BYTES": st.sampled_from([1, 2**22]),
    "SINGLE_THREAD": st.sampled_from([1, 10**9]),
    "TILE_BYTES": st.sampled_from([1, 1_000, 20_000, 6 * 2**20]),
    "WIDE_TILE_BYTES": st.sampled_from([1, 1_000, 20_000, 6 * 2**20]),
    "LONG_ROW": st.sampled_from([1, 10, 256]),
    "SMALL_PRODUCT": st.sampled_from([1, 300, 10**6]),
    "PANEL_COLUMNS": st.sampled_from([1, 4, 64]),
    "VECTOR_COLUMNS": st.sampled_from([1, 2, 16]),
    "MAX_PARTS": st.sampled_from([1, 2, 3, 8, 100]),
    "ROWS_PER_PART": st.sampled_from([1, 2, 4]),
    "INNER_SIZE_PER_PART": st.sampled_from([1, 20, 256]),
    "WIDE_TILE_CHANNELS": st.sampled_from([1, 4, 32]),
    "ROW_BY_ROW_CHANNELS": st.sampled_from([1, 4, 192]),
    "SMALL_GRADIENT": st.sampled_from([1, 50, 1200]),
}


@given(
    geometry=geometries(), values=st.fixed_dictionaries(VALUES), orders=st.sampled_from([(True, True), (False, False)])
)
@settings(max_examples=150)
def test_convolutions_equal_the_lesson_with_any_thresholds(geometry, values, orders):
    with changed_thresholds(**values):
        assert_equals_lesson(geometry, outermost=orders)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_both_gradients_from_the_same_copies_equal_the_lesson_in_few_parts(parts):
    geometry = ConvGeometry.of_conv((3, 15, 6, 5), (20, 3, 3, 3), stride=2, padding=1, groups=5)
    with changed_thresholds(MAX_PARTS=parts, SINGLE_THREAD=1):
        assert_equals_lesson(geometry)


@pytest.mark.parametrize("tile_bytes", [1, 2_500, 20_000, 10**6])
@pytest.mark.parametrize("single_thread", [1, 10**9])
@pytest.mark.parametrize("stride", [1, 2])
def test_parts_of_a_batch_as_groups_equal_the_lesson(tile_bytes, single_thread, stride):
    """Six images of rows with 4 or 2 columns; two images are a small product."""
    geometry = ConvGeometry.of_conv((6, 3, 6, 4), (4, 3, 3, 3), stride=stride, padding=1)
    x = np.empty((1, 3, 6, 6, 4), "f")  # (G, C, H, N, W)
    with changed_thresholds(
        SMALL_PRODUCT=2 * 4 * 27 * geometry.out_width,
        PANEL_COLUMNS=geometry.out_width,
        TILE_BYTES=tile_bytes,
        SINGLE_THREAD=single_thread,
        LONG_ROW=1,
    ):
        workload = workload_of(*forward_correlations(geometry), x, None, np.empty((1, 4, 6, 6, 4), "f"))
        assert (workload.groups, workload.batch, workload.shares_weight) == (3, 2, True)
        for outermost in ((True, True), (False, False)):
            assert_equals_lesson(geometry, outermost=outermost)


@pytest.mark.parametrize(
    "batch, channels, width, groups, parts",
    [
        (128, (32, 32), 16, 1, 32),
        (100, (32, 32), 16, 1, 25),
        (97, (32, 32), 16, 1, 1),  # it has no parts
        (6, (32, 32), 16, 1, 1),  # it is a small product
        (128, (32, 32), 16, 2, 1),
        (64, (16, 16), 28, 1, 8),  # 16 images are the fewest with whole panels, and no small product
        (40, (9, 128), 8, 1, 1),  # rows of a part would be shorter than there are channels
    ],
)
def test_a_batch_is_cut_into_equal_parts_of_small_products(batch, channels, width, groups, parts):
    inner, outer = channels
    shapes = (batch, inner * groups, width, width), (outer * groups, inner, 3, 3)
    x, y = (np.empty((groups, count, width, batch, width), "f") for count in channels)
    workload = workload_of(*forward_correlations(ConvGeometry.of_conv(*shapes, padding=1, groups=groups)), x, y, None)
    assert (workload.groups, workload.batch) == (groups * parts, batch // parts)


@pytest.mark.parametrize(
    "batch, channels, width, images",
    [
        (128, 16, 16, 24),  # up to 27 are a small product; every 4 have a whole panel
        (64, 16, 32, 12),
        (64, 16, 7, 32),  # 64 are the fewest with whole panels, and no small product; 48 would leave 16
        (64, 16, 14, 24),
        (64, 16, 28, 12),
        (64, 64, 8, 64),  # only 3 are a small product: too few columns
        (5, 16, 14, 5),
    ],
)
def test_tiles_of_grouped_layers_have_small_products_of_whole_panels_or_vectors(batch, channels, width, images):
    x, y = (np.empty((8, channels, width, batch, width), "f") for _ in range(2))
    shapes = (batch, 8 * channels, width, width), (8 * channels, channels, 3, 3)
    geometry = ConvGeometry.of_conv(*shapes, padding=1, groups=8)
    assert workload_of(*forward_correlations(geometry), x, y, None).images_for_blas(batch) == images


def test_changed_thresholds_are_put_back():
    before = thresholds.TILE_BYTES
    with changed_thresholds(TILE_BYTES=1):
        assert thresholds.TILE_BYTES == 1
    assert thresholds.TILE_BYTES == before


def test_no_module_imports_a_threshold_by_value():
    """A test that changes a threshold would miss it there."""
    modules = sorted(Path(thresholds.__file__).parent.parent.rglob("*.py"))
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[-1] != "thresholds", path


def test_every_threshold_is_used():
    folder = Path(thresholds.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    for name in vars(thresholds):
        if name.isupper():
            assert f"thresholds.{name}" in text, name
