"""What the strategies draw is valid, varied, exact where it promises to be, and shrinks to something small."""

import collections
import dataclasses
import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given, settings

import npresnext as nx
from npresnext import reference
from npresnext.errors import NpresnextError
from npresnext.geometry import ConvGeometry
from npresnext.models.blocks import projection
from npresnext.testing import cases, strategies
from npresnext.testing.coverage import kind_pairs
from npresnext.testing.drawn_cases import draw_case
from npresnext.testing.fixed_cases import fixed_cases, sweep
from npresnext.testing.invalid_calls import broken_calls
from npresnext.testing.layouts import LAYOUTS


def drawn(count, seed=0):
    """Cases as check_conv draws them."""
    rng = random.Random(seed)
    return [draw_case(rng.randint) for _ in range(count)]


@given(strategies.conv_cases())
@settings(max_examples=200)
def test_every_case_is_valid_and_every_array_has_its_shape(case):
    geometry = ConvGeometry.of_conv(case.x_shape, case.weight_shape, **case.kwargs)
    assert geometry.output_shape == case.output_shape
    assert case.x().shape == case.x_shape
    assert case.weight().shape == case.weight_shape
    assert case.grad_output().shape == case.output_shape
    assert (case.bias() is None) == (not case.has_bias)
    assert geometry.inner == case.inner["y"]


def test_the_kinds_of_cases_are_well_represented():
    seen = collections.Counter()
    for case in drawn(1000):
        top, bottom, left, right = itertools.chain(*case.padding)
        reach = [d * (k - 1) + 1 for k, d in zip(case.kernel, case.dilation)]
        seen.update(
            {
                "1 < G < C": 1 < case.groups < case.in_channels,
                "depthwise": 1 < case.groups == case.in_channels,
                "dense": case.groups == 1 < case.in_channels,
                "asymmetric": top != bottom or left != right,
                "negative": min(top, bottom, left, right) < 0,
                "over-wide": top >= reach[0] and left >= reach[1],
                "stride over kernel": case.stride[0] > case.kernel[0],
                "dilated": case.dilation[0] > 1 < case.kernel[0],
                "not square": case.kernel[0] != case.kernel[1],
                "1x1": case.kernel == (1, 1),
                "no images": case.batch == 0,
                "no channels": case.in_channels == 0,
                "bias": case.has_bias,
                **{f"{layout} x": case.layouts[0] == layout for layout in LAYOUTS},
            }
        )
    assert seen["1 < G < C"] >= 330
    assert {name: count for name, count in seen.items() if count < 40} == {}


def test_groups_strides_dilations_paddings_and_layouts_meet_in_pairs():
    choices = collections.defaultdict(set)
    for case in drawn(400):
        padding = case.padding
        kinds = {
            "groups": "dense" if case.groups == 1 else "depthwise" if case.groups == case.in_channels else "grouped",
            "stride": case.stride[0],
            "dilation": case.dilation[0],
            "padding": "none" if padding == ((0, 0), (0, 0)) else "crop" if padding[0][0] < 0 else "zeros",
            "layout": case.layouts[0],
        }
        for one, other in itertools.combinations(kinds, 2):
            choices[one, other].add((kinds[one], kinds[other]))
    sizes = {"groups": 3, "stride": 3, "dilation": 3, "padding": 3, "layout": 5}
    for (one, other), met in choices.items():
        assert len(met) == sizes[one] * sizes[other], f"{one} and {other} meet only in {sorted(met)}"


def test_the_sweep_meets_every_pair_of_kinds():
    """Three kinds of groups, three of stride, two of dilation, five of padding, five memory layouts."""
    sizes = {"groups": 3, "stride": 3, "dilation": 2, "padding": 5, "layout": 5}
    met = {pair for case in sweep() for pair in kind_pairs(case)}
    assert len(met) == sum(a * b for a, b in itertools.combinations(sizes.values(), 2)) == 126


def test_every_number_of_groups_from_1_to_32_is_swept():
    swept = list(fixed_cases())
    assert {case.groups for case in swept if case.groups == case.in_channels} >= set(range(1, 33))
    assert {case.groups for case in swept if 1 < case.groups < case.in_channels} >= set(range(2, 33))


@pytest.mark.parametrize("bits", [8, 11, 24])
def test_integer_sums_stay_within_the_significand_in_any_order(bits):
    """The largest partial sum of any order is at most the sum of magnitudes."""
    for case in [*drawn(60, seed=bits), cases.ConvCase(2, 40, 40, 1, (12, 12), (3, 3), has_bias=True, span=8)]:
        x, weight, grad = (abs(make(bits=bits)) for make in (case.x, case.weight, case.grad_output))
        bias = abs(case.bias(bits=bits)) if case.has_bias else None
        sums = [
            reference.conv2d(x, weight, bias, **case.kwargs),
            reference.conv2d_input_grad(grad, case.x_shape, weight, **case.kwargs),
            reference.conv2d_weight_grad(grad, x, case.weight_shape, **case.kwargs),
            reference.conv2d_bias_grad(grad),
        ]
        assert max(total.max(initial=0) for total in sums) <= 2**bits


def test_thinned_integers_still_reach_every_result():
    case = cases.ConvCase(2, 40, 40, 1, (12, 12), (3, 3), span=8)
    assert case.inner["y"] == case.inner["dx"] == 360 > 2**8
    y = reference.conv2d(case.x(bits=8), case.weight(bits=8), **case.kwargs)
    assert np.count_nonzero(y) > 0.8 * y.size


@given(strategies.conv_cases())
def test_a_layout_changes_where_values_lie_and_not_what_they_are(case):
    if "broadcast" not in case.layouts:
        flat = dataclasses.replace(case, layouts=("contiguous",) * 3)
        for name in ("x", "weight", "grad_output"):
            assert (getattr(case, name)() == getattr(flat, name)()).all()


def test_layouts_are_what_their_names_say():
    x = {name: cases.ConvCase(2, 3, size=(2, 2), layouts=(name,) * 3).x() for name in LAYOUTS}
    assert x["contiguous"].strides == (96, 32, 16, 8)
    assert x["transposed"].strides == (96, 8, 48, 24)
    assert x["reversed"].strides == (96, 32, -16, -8)
    assert x["broadcast"].strides[0] == 0
    assert not x["sliced"].flags.c_contiguous and (x["sliced"] == x["contiguous"]).all()
    assert np.isnan(x["sliced"].base).any()


def test_data_depend_on_the_case_alone():
    case = cases.ConvCase(2, 4, 4, 2, seed=7, has_bias=True)
    assert (case.x(real=True) == case.x(real=True)).all()
    assert (case.x(real=True) != dataclasses.replace(case, seed=8).x(real=True)).any()
    assert (case.grad_output()[0, 0, 0] != case.x()[0, 0, 0]).any()


@given(strategies.conv_cases({"padding": False, "dilation": False, "groups": False, "layouts": ["sliced"]}))
def test_what_is_not_supported_is_never_drawn(case):
    assert case.padding == ((0, 0), (0, 0)) and case.dilation == (1, 1) and case.groups == 1
    assert set(case.layouts) <= {"contiguous", "sliced"}


@given(strategies.conv_cases({"asymmetric_padding": False, "negative_padding": False, "empty_batch": False}))
def test_symmetric_padding_stays_symmetric(case):
    (top, bottom), (left, right) = case.padding
    assert top == bottom >= 0 and left == right >= 0 and case.batch > 0


def test_an_unknown_key_of_supports_is_named():
    with pytest.raises(ValueError, match="unknown keys dilaton: expected groups, stride"):
        strategies.conv_cases({"dilaton": False})


@given(strategies.invalid_conv_cases())
@settings(max_examples=100)
def test_every_invalid_case_is_refused(case):
    with pytest.raises(NpresnextError):
        nx.conv2d(*case.operands(), **case.kwargs)


@pytest.mark.parametrize("rule", broken_calls(cases.ConvCase()))
def test_every_rule_is_broken_alone(rule):
    """Whatever the rule names is what our own message complains of."""
    word = {"the": rule.split()[1], "x": "axes"}.get(rule.split()[0], rule.split()[0])
    case = broken_calls(cases.ConvCase(1, 2, 2, has_bias=True, size=(3, 3), kernel=(2, 2)))[rule]
    with pytest.raises(NpresnextError, match=word):
        nx.conv2d(*case.operands(), **case.kwargs)


def test_cases_shrink_to_something_to_compute_by_hand():
    smallest = find(strategies.conv_cases(), lambda case: 1 < case.groups < case.in_channels and case.stride[1] > 1)
    assert np.prod(smallest.x_shape) <= 8 and np.prod(smallest.output_shape) <= 4
    assert smallest.span == 1 and smallest.layouts == ("contiguous",) * 3


@given(strategies.block_cases())
@settings(max_examples=20)
def test_a_drawn_block_can_be_built_and_run(case):
    block, (height, width) = getattr(nx.models, case["block"]), case["size"]
    arguments = {name: case[name] for name in ("inplanes", "planes", "stride", "groups", "width_per_group")}
    outs = block.expansion * case["planes"]
    shortcut = projection(case["inplanes"], outs, case["stride"], rng=0)
    x = np.ones((case["batch"], case["inplanes"], height, width), "float32")
    y = block(**arguments, downsample=shortcut, rng=0).eval()(x)
    assert y.shape == (case["batch"], outs, -(-height // case["stride"]), -(-width // case["stride"]))


def test_strategies_say_what_they_miss_without_hypothesis():
    code = "import sys; sys.modules['hypothesis'] = None; import npresnext.testing as t; t.ConvCase(); t.strategies"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "npresnext.testing.strategies needs hypothesis: pip install 'npresnext[testing]'" in result.stderr


@pytest.mark.parametrize("values", [{}, {"real": True}])
def test_a_smaller_case_has_the_values_of_a_larger_one(values):
    """So a failure that is reduced stays the same failure."""
    large = cases.ConvCase(2, 6, 9, 3, (7, 8), (3, 2), has_bias=True, seed=5)
    small = dataclasses.replace(large, batch=1, in_channels=2, out_channels=4, groups=2, size=(5, 4), kernel=(2, 1))
    kept = {
        "x": (0, [0, 2]),
        "weight": ([0, 1, 3, 4], slice(1)),
        "bias": [0, 1, 3, 4],
        "grad_output": (0, [0, 1, 3, 4]),
    }
    for name, place in kept.items():
        some, every = small.operands(**values)[name], large.operands(**values)[name][place]
        some = some[0] if name in ("x", "grad_output") else some
        rows = every[..., : some.shape[-2], : some.shape[-1]] if some.ndim > 1 else every
        assert np.array_equal(some, rows), name
