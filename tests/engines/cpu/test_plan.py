"""A gather plan makes every product of the definition exactly once, from the pixels that its copies hold."""

from hypothesis import given
from hypothesis import strategies as st

from npresnext import reference
from npresnext.engines.cpu import plan as cpu_plan
from npresnext.engines.cpu.plan import forward_plans, input_grad_plans
from npresnext.geometry import ConvGeometry


@st.composite
def geometries(draw):
    """Any window; few or many output channels, so that both layouts are planned."""

    def pair(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, stride, dilation, padding = pair(1, 6), pair(1, 5), pair(1, 5), (pair(-1, 3), pair(-1, 3))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    sizes = [max(size, r - sum(sides)) for size, r, sides in zip(pair(1, 8), reach, padding)]
    outputs = draw(st.sampled_from([1, 8]))
    return ConvGeometry.of_conv(
        (1, 1, *sizes), (outputs, 1, *kernel), stride=stride, padding=padding, dilation=dilation
    )


def copied_rows(plan, stack, rows):
    """The source row in each row of a copy, for tiles of `rows` rows."""
    return [block.first + r * plan.row_step for block in plan.row_stacks[stack] for r in range(rows + block.extra)]


def reads(plan, source_shape):
    """(result row and column, kernel row and column, source row and column) of each product inside the source."""
    height, width = source_shape
    for matmul in plan.matmuls:
        phase = plan.row_phases[matmul.row_phase]
        for number, kernel_rows in enumerate(matmul.kernel_rows):
            start = plan.starting_row(matmul, plan.row_count) + number * matmul.shift_step
            for stack, i in enumerate(kernel_rows):
                held = copied_rows(plan, stack, plan.row_count)
                assert len(held) == plan.copy_height(plan.row_count)
                for u in range(phase.count):
                    row = held[start + u]
                    for j, offset in zip(plan.kernel_columns, plan.column_offsets):
                        for v in range(plan.column_count):
                            column = v * plan.column_step + offset
                            if 0 <= row < height and 0 <= column < width:
                                place = (
                                    phase.first + u * phase.step,
                                    plan.column_phase.first + v * plan.column_phase.step,
                                )
                                yield *place, i, j, row, column


def products_of_the_definition(geometry):
    """The products of the first output channel: output row and column, kernel row and column, input row and column."""
    window = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
    products = reference.products(geometry.x_shape, (1, 1, *geometry.kernel), **window)
    return sorted((*output[2:], *tap[2:], *pixel[2:]) for output, tap, pixel in products)


@given(geometries())
def test_the_forward_plans_make_every_product_once(geometry):
    found = [read for plan in forward_plans(geometry) for read in reads(plan, geometry.x_shape[2:])]
    assert sorted(found) == products_of_the_definition(geometry)


@given(geometries())
def test_the_plans_of_the_input_gradient_make_every_product_once(geometry):
    found = [
        (p, q, i, j, row, column)
        for plan in input_grad_plans(geometry)
        for row, column, i, j, p, q in reads(plan, geometry.output_shape[2:])
    ]
    assert sorted(found) == products_of_the_definition(geometry)


@given(geometries())
def test_the_layout_with_fewer_copies_and_additions_is_planned(geometry):
    (plan,) = forward_plans(geometry)
    kh, kw = geometry.kernel
    assert plan.copy_count in (kw, kh * kw) and plan.tap_count == kh * kw
    cheaper = kh * kw < kw + 2 * geometry.out_channels * (kh - 1)  # one input channel
    assert plan.product_count == (1 if cheaper else kh)


def test_tap_rows_that_overlap_share_copies_and_one_call_of_matmul():
    geometry = ConvGeometry.of_conv((1, 64, 56, 56), (64, 64, 3, 3), padding=1)
    (plan,) = forward_plans(geometry)
    assert plan.row_stacks == ((cpu_plan.RowBlock(-1, 2),),) and plan.column_offsets == (-1, 0, 1)
    assert plan.matmuls == (cpu_plan.BatchedMatmul(0, ((0,), (1,), (2,)), 0, 0, 1),)
