"""Correlations and tiles, in integers: every product of the definition is made exactly once, from the pixels copied."""

from hypothesis import given
from hypothesis import strategies as st

from npresnext import reference
from npresnext.engines.cpu.correlation import forward_correlations, input_grad_correlations
from npresnext.engines.cpu.tiles import Workload, cut_into_tiles
from npresnext.geometry import ConvGeometry

from tests.support.thresholds import changed_thresholds


@st.composite
def geometries(draw):
    """Any window; few or many output channels, so that products go row by row or not."""

    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, stride, dilation, padding = pair(1, 6), pair(1, 5), pair(1, 5), (pair(-1, 3), pair(-1, 3))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    sizes = [max(size, r - sum(sides)) for size, r, sides in zip(pair(1, 8), reach, padding)]
    outputs = draw(st.sampled_from([1, 200]))
    return ConvGeometry.of_conv(
        (1, 1, *sizes), (outputs, 1, *kernel), stride=stride, padding=padding, dilation=dilation
    )


def reads(correlation, source_shape, outputs, tile_bytes):
    """(result row and column, kernel row and column, source row and column) of each product inside the source."""
    workload = Workload(correlation, 1, 1, 1, outputs, 0, tuple(source_shape), 4)
    rows, columns = ([*range(99)[taps]] for taps in correlation.taps)
    with changed_thresholds(TILE_BYTES=tile_bytes, WIDE_TILE_BYTES=tile_bytes):
        tiles = cut_into_tiles(workload, None, 2, 2**20)
    for tile in tiles:
        held = {}  # row and column in the source, by row and column of the copies, tap row and tap column
        for place, (_, _, source_rows, _, source_columns) in tile.copy_steps:
            if workload.row_by_row:
                (_, copied_rows, tap_column, _, _, copied_columns), tap_row = place, None
            else:
                _, _, tap_row, tap_column, copied_rows, _, copied_columns = place
            for u, row in zip(range(99)[copied_rows], range(99)[source_rows], strict=True):
                for v, column in zip(range(99)[copied_columns], range(99)[source_columns], strict=True):
                    held[tap_row, tap_column, u, v] = row, column
        _, _, result_rows, _, result_columns = tile.place
        for u, p in enumerate(range(99)[result_rows]):
            for v, q in enumerate(range(99)[result_columns]):
                for i, kernel_row in enumerate(rows):
                    read = (None, u * correlation.row_step + i) if workload.row_by_row else (i, u)
                    for j, kernel_column in enumerate(columns):
                        pixel = held.get((read[0], j, read[1], v))
                        if pixel is not None:
                            yield p, q, kernel_row, kernel_column, *pixel


def products_of_the_definition(geometry):
    """The products of the first output channel: output row and column, kernel row and column, input row and column."""
    window = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
    products = reference.products(geometry.x_shape, (1, 1, *geometry.kernel), **window)
    return sorted((*output[2:], *tap[2:], *pixel[2:]) for output, tap, pixel in products)


@given(geometries(), st.sampled_from([1, 500, 10**6]))
def test_the_forward_correlation_makes_every_product_once(geometry, tile_bytes):
    (correlation,) = forward_correlations(geometry)
    found = reads(correlation, geometry.x_shape[2:], geometry.out_channels, tile_bytes)
    assert sorted(found) == products_of_the_definition(geometry)


@given(geometries(), st.sampled_from([1, 500, 10**6]))
def test_the_correlations_of_the_input_gradient_make_every_product_once(geometry, tile_bytes):
    found = [
        (p, q, i, j, row, column)
        for correlation in input_grad_correlations(geometry)
        for row, column, i, j, p, q in reads(correlation, geometry.output_shape[2:], geometry.out_channels, tile_bytes)
    ]
    assert sorted(found) == products_of_the_definition(geometry)


def test_tap_rows_share_the_copies_of_a_row_where_few_channels_share_the_work():
    for channels, copied in ((128, 3 * 58 / 56), (256, 9)):
        geometry = ConvGeometry.of_conv((1, channels, 56, 56), (channels, channels, 3, 3), padding=1)
        (correlation,) = forward_correlations(geometry)
        workload = Workload(correlation, 8, 1, channels, channels, 0, (56, 56), 4)
        pixels = channels * 8 * 56 * 56
        (g, c, n, *rest), *_ = workload.scratch_shapes((1, 8, 56, 56))
        size = g * c * n
        for length in rest:
            size *= length
        assert size == round(copied * pixels)
