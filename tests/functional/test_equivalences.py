"""What a grouped convolution is equal to, over every engine, exactly on integers."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import reference
from npresnext.testing import ConvCase
from npresnext.testing.fixed_cases import fixed_cases
from npresnext.testing.strategies import conv_cases

some = settings(max_examples=60)
GRADS = ("dx", "dweight", "dbias")


def equal(got, expected):
    """Same shape and, with zeros of either sign alike, the same numbers."""
    return got.shape == expected.shape and bool((got == expected).all())


def run(case, engine, dtype="float64"):
    """Return y, dx, dweight, dbias of a case by an engine."""
    x, weight, bias, grad = case.x(dtype), case.weight(dtype), case.bias(dtype), case.grad_output(dtype)
    with nx.use_engine(engine):
        return nx.conv2d(x, weight, bias, **case.kwargs), *nx.conv2d_backward(grad, x, weight, **case.kwargs)


def defined(case, dtype="float64"):
    """Return y, dx, dweight, dbias of a case by the definition."""
    x, weight, grad = case.x(dtype), case.weight(dtype), case.grad_output(dtype)
    return (
        reference.conv2d(x, weight, case.bias(dtype), **case.kwargs),
        reference.conv2d_input_grad(grad, x.shape, weight, **case.kwargs),
        reference.conv2d_weight_grad(grad, x, weight.shape, **case.kwargs),
        reference.conv2d_bias_grad(grad),
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(case=conv_cases())
def test_every_engine_equals_the_definition(engine, dtype, case):
    for name, got, expected in zip(("y", *GRADS), run(case, engine, dtype), defined(case, dtype)):
        assert equal(got, expected), name
        assert got.dtype == dtype


# 50 to 64 terms in every sum
LONG = [
    ConvCase(1, 64, 64, 1, (8, 8), (1, 1)),
    ConvCase(2, 12, 12, 2, (5, 10), (3, 3), (1, 2), ((1, 1), (1, 0))),
    ConvCase(4, 16, 16, 16, (7, 9), (8, 8), (1, 1), ((2, 2), (1, 1))),
]


@pytest.mark.parametrize("case", LONG, ids=lambda case: f"G={case.groups}")
def test_float16_is_summed_in_float32(engine, case):
    """Integers whose sums need more than 11 bits: exact in float32 and rounded once, in float16 at every step."""
    rng = np.random.default_rng(case.groups)

    def whole(low, high, shape):
        return rng.integers(low, high, shape).astype("float16")

    x, weight = whole(16, 31, case.x_shape), whole(16, 31, case.weight_shape)
    small, ones, grad = whole(1, 3, case.x_shape), whole(1, 3, case.weight_shape), whole(201, 401, case.output_shape)
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, **case.kwargs)
        gradients = nx.conv2d_backward(grad, small, ones, **case.kwargs)
    x, weight, small, ones, grad = (a.astype("float64") for a in (x, weight, small, ones, grad))
    expected = (
        reference.conv2d(x, weight, **case.kwargs),
        reference.conv2d_input_grad(grad, x.shape, ones, **case.kwargs),
        reference.conv2d_weight_grad(grad, small, weight.shape, **case.kwargs),
        reference.conv2d_bias_grad(grad),
    )
    for name, got, exact in zip(("y", *GRADS), (y, *gradients), expected):
        assert got.dtype == np.float16 and 4096 < exact.max() < 65504, name
        assert equal(got, exact.astype("float16")), name


@some
@given(case=conv_cases())
def test_grouped_equals_independent_dense_convolutions(engine, case):
    y, dx, dweight, _ = run(case, engine)
    x, weight, grad = case.x(), case.weight(), case.grad_output()
    window = {**case.kwargs, "groups": 1}
    parts = list(zip(*(np.split(a, case.groups, axis) for a, axis in ((x, 1), (weight, 0), (grad, 1)))))
    with nx.use_engine(engine):
        ys = [nx.conv2d(part, filters, **window) for part, filters, _ in parts]
        grads = [nx.conv2d_backward(upstream, part, filters, **window) for part, filters, upstream in parts]
    bias = 0 if case.bias() is None else case.bias().reshape(1, -1, 1, 1)
    assert equal(y, np.concatenate(ys, 1) + bias)
    assert equal(dx, np.concatenate([g[0] for g in grads], 1))
    assert equal(dweight, np.concatenate([g[1] for g in grads], 0))


@some
@given(case=conv_cases())
def test_grouped_equals_one_dense_convolution_with_a_block_diagonal_weight(engine, case):
    y, dx, dweight, _ = run(case, engine)
    dense = reference.block_diagonal_weight(case.weight(), case.groups)
    window = {**case.kwargs, "groups": 1}
    with nx.use_engine(engine):
        assert equal(y, nx.conv2d(case.x(), dense, case.bias(), **window))
        dense_dx, dense_dweight, _ = nx.conv2d_backward(case.grad_output(), case.x(), dense, **window)
    assert equal(dx, dense_dx)
    assert equal(dweight, reference.block_diagonal_part(dense_dweight, case.groups))


def inner(a, b):
    """The inner product of integer arrays in Python integers, exact whatever the size."""
    return sum(int(p) * int(q) for p, q in zip(a.ravel().tolist(), b.ravel().tolist()))


@some
@given(case=conv_cases({"bias": False}))
def test_adjoint_identities(engine, case):
    """<g, conv(x, w)> = <dx, x> = <dw, w>: the forward pass and both gradients are one trilinear form.

    pytorch#51430: the public helpers are held as well as conv2d_backward.
    """
    y, dx, dweight, _ = run(case, engine)
    x, weight, grad = case.x(), case.weight(), case.grad_output()
    with nx.use_engine(engine):
        assert equal(nx.conv2d_input_grad(grad, x.shape, weight, **case.kwargs), dx)
        assert equal(nx.conv2d_weight_grad(grad, x, weight.shape, **case.kwargs), dweight)
    assert inner(grad, y) == inner(dx, x) == inner(dweight, weight)


@some
@given(case=conv_cases({"bias": False}), factor=st.integers(-3, 3))
def test_linear_in_x_and_in_weight(engine, case, factor):
    x, weight = case.x(), case.weight()
    other_x, other_weight = np.flip(x, (0, 2)), np.flip(weight, (1, 3))
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, **case.kwargs)
        assert equal(
            nx.conv2d(x + factor * other_x, weight, **case.kwargs),
            y + factor * nx.conv2d(other_x, weight, **case.kwargs),
        )
        assert equal(
            nx.conv2d(x, weight + factor * other_weight, **case.kwargs),
            y + factor * nx.conv2d(x, other_weight, **case.kwargs),
        )


def outs_of(case, g):
    """The output channels of group g."""
    return slice(g * case.out_channels // case.groups, (g + 1) * case.out_channels // case.groups)


def ins_of(case, g):
    """The input channels of group g."""
    return slice(g * case.in_channels // case.groups, (g + 1) * case.in_channels // case.groups)


@some
@given(case=conv_cases({"zero_channels": False}), data=st.data())
def test_a_one_hot_input_reaches_exactly_the_outputs_of_its_group(engine, case, data):
    """pytorch#19912: with ones as weight, C_out/G channels change and no others."""
    channel = data.draw(st.integers(0, case.in_channels - 1))
    g = channel * case.groups // case.in_channels
    x = np.zeros(case.x_shape)
    x[:, channel] = 1
    with nx.use_engine(engine):
        y = nx.conv2d(x, np.ones(case.weight_shape), **case.kwargs)
    reached = y.any(axis=(0, 2, 3))
    inside = np.zeros(case.out_channels, bool)
    inside[outs_of(case, g)] = True
    assert not reached[~inside].any()
    if reference.conv2d(x, np.ones(case.weight_shape), **case.kwargs).any():  # some window sees a pixel
        assert reached[inside].all() and inside.sum() == case.out_channels // case.groups


@some
@given(case=conv_cases({"zero_channels": False}), data=st.data())
def test_group_gradients_ignore_other_groups(engine, case, data):
    """dW and dx of a group depend on the x, weight and grad_output of that group alone."""
    g = data.draw(st.integers(0, case.groups - 1))
    _, dx, dweight, _ = run(case, engine)
    x, weight, grad = (np.array(a) for a in (case.x(), case.weight(), case.grad_output()))
    other_outs = np.delete(np.arange(case.out_channels), outs_of(case, g))
    other_ins = np.delete(np.arange(case.in_channels), ins_of(case, g))
    x[:, other_ins] += 5
    weight[other_outs] -= 7
    grad[:, other_outs] *= 3
    with nx.use_engine(engine):
        new_dx, new_dweight, _ = nx.conv2d_backward(grad, x, weight, **case.kwargs)
    assert equal(new_dweight[outs_of(case, g)], dweight[outs_of(case, g)])
    assert equal(new_dx[:, ins_of(case, g)], dx[:, ins_of(case, g)])


@some
@given(case=conv_cases(), data=st.data())
def test_permuting_groups_permutes_the_results(engine, case, data):
    order = data.draw(st.permutations(range(case.groups)))
    ins = np.concatenate([np.r_[ins_of(case, g)] for g in order]).astype(int)
    outs = np.concatenate([np.r_[outs_of(case, g)] for g in order]).astype(int)
    y, dx, dweight, dbias = run(case, engine)
    x, weight, grad = case.x()[:, ins], case.weight()[outs], case.grad_output()[:, outs]
    bias = None if case.bias() is None else case.bias()[outs]
    with nx.use_engine(engine):
        assert equal(nx.conv2d(x, weight, bias, **case.kwargs), y[:, outs])
        new_dx, new_dweight, new_dbias = nx.conv2d_backward(grad, x, weight, **case.kwargs)
    assert equal(new_dx, dx[:, ins]) and equal(new_dweight, dweight[outs]) and equal(new_dbias, dbias[outs])


@some
@given(case=conv_cases(), rows=st.integers(0, 3), columns=st.integers(0, 3))
def test_padding_moves_the_image(engine, case, rows, columns):
    """Translation: zeros written into the image are the same as zeros asked for by padding."""
    (top, bottom), (left, right) = case.padding
    shifted = np.pad(case.x(), ((0, 0), (0, 0), (rows, 0), (0, columns)))
    window = {**case.kwargs, "padding": ((top - rows, bottom), (left, right - columns))}
    with nx.use_engine(engine):
        y = nx.conv2d(case.x(), case.weight(), **case.kwargs)
        assert equal(nx.conv2d(shifted, case.weight(), **window), y)


@some
@given(case=conv_cases({"padding": False}))
def test_a_stride_of_pixels_moves_the_output_by_one(engine, case):
    x = case.x()
    taller = np.concatenate([np.ones((*x.shape[:2], case.stride[0], x.shape[3])), x], axis=2)
    with nx.use_engine(engine):
        y = nx.conv2d(x, case.weight(), **case.kwargs)
        assert equal(nx.conv2d(taller, case.weight(), **case.kwargs)[:, :, 1:], y)


@some
@given(case=conv_cases())
def test_any_memory_layout_equals_its_contiguous_copy(engine, case):
    """pytorch#15297, #192212, #180984: expanded, sliced, reversed and channels-last operands."""
    x, weight, grad = (np.ascontiguousarray(a) for a in (case.x(), case.weight(), case.grad_output()))
    before = [a.copy() for a in (x, weight, grad)]
    with nx.use_engine(engine):
        plain = nx.conv2d(x, weight, case.bias(), **case.kwargs), *nx.conv2d_backward(grad, x, weight, **case.kwargs)
    for got, expected in zip(run(case, engine), plain):
        assert equal(got, expected)
    assert all(equal(a, b) for a, b in zip((x, weight, grad), before)), "an operand was changed"


@pytest.mark.parametrize("case", list(fixed_cases()), ids=lambda case: f"G={case.groups},C={case.in_channels}")
def test_every_number_of_groups_from_1_to_32_and_sizes_beyond_small_ones(engine, case):
    """pytorch#50042: the weight gradient was wrong only for G = C = 24 with stride 2 and padding 1."""
    for name, got, expected in zip(("y", *GRADS), run(case, engine, "float32"), defined(case, "float32")):
        assert equal(got, expected), name


def test_the_draws_cover_every_pair_of_parameters():
    """Pairs of groups, stride, dilation and padding meet in the draws (mlx#3800 hid where groups met strides)."""
    pairs, drawn = Counter(), Counter()

    def kinds(case):
        (top, bottom), (left, right) = case.padding
        sides = (top, bottom, left, right)
        yield "groups", "dense" if case.groups == 1 else "depthwise" if case.groups == case.in_channels else "grouped"
        yield "stride", "1" if case.stride == (1, 1) else "even" if case.stride[0] == case.stride[1] else "uneven"
        yield "dilation", "1" if case.dilation == (1, 1) else "more"
        yield (
            "padding",
            (
                "none"
                if not any(sides)
                else "negative"
                if min(sides) < 0
                else "symmetric"
                if top == bottom and left == right
                else "asymmetric"
            ),
        )

    @settings(max_examples=600, database=None, derandomize=True)  # by chance a pair may be missing from 600
    @given(conv_cases())
    def draw(case):
        found = list(kinds(case))
        drawn.update(found)
        pairs.update(combinations(found, 2))

    draw()
    every = {(a, b) for a, b in combinations(sorted(drawn), 2) if a[0] != b[0]}
    seen = {tuple(sorted(pair)) for pair, count in pairs.items() if count >= 2}
    assert len(drawn) == 12
    assert every == seen
