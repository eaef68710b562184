"""The phases cover every product of the definition exactly once, whatever the window."""

from hypothesis import given
from hypothesis import strategies as st

from npresnext import reference
from npresnext.engines.phases import all_input_grad_phases, forward_phase, input_grad_phases
from npresnext.geometry import ConvGeometry


@st.composite
def geometries(draw):
    """One image and one channel: a phase depends on the window alone."""

    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, stride, dilation, padding = pair(1, 4), pair(1, 5), pair(1, 3), (pair(-1, 3), pair(-1, 3))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    sizes = [max(size, r - sum(sides)) for size, r, sides in zip(pair(1, 8), reach, padding)]
    return ConvGeometry.of_conv((1, 1, *sizes), (1, 1, *kernel), stride=stride, padding=padding, dilation=dilation)


def products_of_the_definition(geometry):
    """Every product as (output row and column, kernel row and column, input row and column), in order."""
    window = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
    products = reference.products(geometry.x_shape, geometry.weight_shape, **window)
    return sorted((*output[2:], *tap[2:], *pixel[2:]) for output, tap, pixel in products)


def reads(phases, source_step, source_size):
    """Along one axis: (position of the result, tap, position of the source) for all that lies inside the source."""
    for phase in phases:
        for u in range(phase.count):
            for tap, offset in phase.taps:
                if 0 <= u * source_step + offset < source_size:
                    yield phase.first + u * phase.step, tap, u * source_step + offset


@given(geometries())
def test_the_forward_phase_makes_every_product_once(geometry):
    down, across = (
        list(reads([forward_phase(geometry, axis)], geometry.stride[axis], geometry.x_shape[2 + axis]))
        for axis in (0, 1)
    )
    found = [(p, q, i, j, row, column) for p, i, row in down for q, j, column in across]
    assert sorted(found) == products_of_the_definition(geometry)


@given(geometries())
def test_the_phases_of_the_input_gradient_make_every_product_once(geometry):
    down, across = (
        list(reads(input_grad_phases(geometry, axis), 1, geometry.output_shape[2 + axis])) for axis in (0, 1)
    )
    found = [(p, q, i, j, row, column) for row, i, p in down for column, j, q in across]
    assert sorted(found) == products_of_the_definition(geometry)


@given(geometries(), st.sampled_from([0, 1]))
def test_every_pixel_is_in_one_phase_and_those_left_out_have_no_tap(geometry, axis):
    phases = all_input_grad_phases(geometry, axis)
    pixels = [phase.first + u * phase.step for phase in phases for u in range(phase.count)]
    assert sorted(pixels) == list(range(geometry.x_shape[2 + axis]))
    assert [phase for phase in phases if phase.taps] == input_grad_phases(geometry, axis)


@given(geometries(), st.sampled_from([0, 1]))
def test_lowest_offset_and_span_bound_what_a_position_reads(geometry, axis):
    for phase in [forward_phase(geometry, axis), *all_input_grad_phases(geometry, axis)]:
        offsets = [offset for _, offset in phase.taps_by_offset]
        assert offsets == sorted(offset for _, offset in phase.taps)
        assert [phase.lowest_offset, phase.lowest_offset + phase.span] == (
            [offsets[0], offsets[-1]] if offsets else [0, 0]
        )


def test_a_huge_stride_makes_no_more_phases_than_taps():
    geometry = ConvGeometry.of_conv((1, 1, 10**9, 10**9), (1, 1, 3, 3), stride=10**9 // 2)
    assert len(input_grad_phases(geometry, 0)) == 3
