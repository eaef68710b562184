"""The paper's forms are one function: forward, input gradient and every weight gradient, carried over."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext import nn
from npresnext.models import BasicBlock, Bottleneck, ResNet
from npresnext.models.blocks import projection
from npresnext.nn.init import Undrawn
from npresnext.nn.tracing import trace
from npresnext.paper import network_counts
from npresnext.paper.convert import convert_state
from npresnext.paper.forms import DepthTwo, FormA, FormB, FormC, WideBlock

from tests.support.strict import assert_same_on_strict_arrays, to_strict

FORMS = {"a": FormA, "b": FormB, "c": FormC}


@st.composite
def cases(draw):
    """Arguments of a block, an image, and a generator of numbers."""
    stride = draw(st.integers(1, 2))
    planes = draw(st.integers(1, 2))
    projects = stride == 2 or draw(st.booleans())
    return {
        "cardinality": draw(st.integers(1, 5)),
        "planes": planes,
        "stride": stride,
        "inplanes": draw(st.integers(1, 5)) if projects else 4 * planes,
        "projects": projects,
        "width": draw(st.sampled_from([64, 128, 192])),
        "shape": (draw(st.integers(2, 3)), draw(st.integers(1, 5)), draw(st.integers(2, 5))),
        "rng": np.random.default_rng(draw(st.integers(0, 2**32))),
    }


def build(form, case, norm):
    shortcut = projection(case["inplanes"], 4 * case["planes"], case["stride"], dtype="float64")
    if not norm:
        shortcut = nn.Sequential(shortcut[0])
    return FORMS[form](
        case["inplanes"],
        case["planes"],
        case["stride"],
        shortcut if case["projects"] else None,
        case["cardinality"],
        case["width"],
        norm=norm,
        dtype="float64",
    )


def image(case):
    batch, height, width = case["shape"]
    return case["rng"].integers(-3, 4, (batch, case["inplanes"], height, width)).astype("float64")


def randomise(block, rng):
    """Give every array of a block's state random numbers: integers for weights, variances above zero."""
    state = {}
    for name, array in block.state_dict().items():
        if "running_var" in name:
            state[name] = rng.uniform(0.5, 2, array.shape)
        elif "bn" in name or "downsample.1" in name:
            state[name] = rng.normal(size=array.shape) if array.dtype == "float64" else array
        else:
            state[name] = rng.integers(-3, 4, array.shape).astype("float64")
    block.load_state_dict(state)


def run(block, x, grad_output):
    """Return output, input gradient, parameter gradients and state after one forward and backward pass."""
    y = block(x)
    dx = block.backward(grad_output)
    return y, dx, {name: parameter.grad for name, parameter in block.named_parameters()}, block.state_dict()


def assert_same(got, expected, exact):
    assert list(got) and sorted(got) == sorted(expected)
    largest = max(np.abs(array).max(initial=0) for array in expected.values())
    for name in expected:
        if exact:
            np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
        else:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-9, atol=1e-9 * largest, err_msg=name)


def hold_equal(case, source, target, norm, training):
    first, second = build(source, case, norm), build(target, case, norm)
    randomise(first, case["rng"])
    second.load_state_dict(convert_state(first.state_dict(), source, target, case["cardinality"]))
    first.train(training), second.train(training)
    x = image(case)
    grad_output = case["rng"].integers(-3, 4, trace(first, x.shape).output.shape).astype("float64")
    y, dx, grads, state = run(first, x, grad_output)
    y2, dx2, grads2, state2 = run(second, x, grad_output)
    back = [convert_state(arrays, target, source, case["cardinality"]) for arrays in (grads2, state2)]
    assert_same({"y": y2, "dx": dx2}, {"y": y, "dx": dx}, exact=not norm)
    assert_same(back[0], grads, exact=not norm)
    assert_same(back[1], state, exact=not norm)


@settings(max_examples=25)
@given(cases(), st.permutations("abc"))
def test_without_norm_the_forms_are_equal_to_the_last_bit_on_integers(case, forms):
    hold_equal(case, forms[0], forms[1], norm=False, training=True)


@settings(max_examples=25)
@given(cases(), st.permutations("abc"), st.booleans())
def test_with_norm_the_forms_are_equal_in_training_and_in_evaluation(case, forms, training):
    hold_equal(case, forms[0], forms[1], norm=True, training=training)


@settings(max_examples=10)
@given(cases())
def test_form_c_is_the_bottleneck(case):
    form = build("c", case, norm=True)
    randomise(form, case["rng"])
    shortcut = projection(case["inplanes"], 4 * case["planes"], case["stride"], dtype="float64")
    block = Bottleneck(
        case["inplanes"],
        case["planes"],
        case["stride"],
        shortcut if case["projects"] else None,
        case["cardinality"],
        case["width"],
        dtype="float64",
    )
    block.load_state_dict(form.state_dict())
    x = image(case)
    grad_output = case["rng"].normal(size=trace(form, x.shape).output.shape)
    for got, expected in zip(run(form, x, grad_output)[2:], run(block, x, grad_output)[2:]):
        assert_same(got, expected, exact=True)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 2**32))
def test_in_depth_two_the_sum_of_paths_is_a_plain_wide_dense_block(cardinality, width, channels, norm, seed):
    rng = np.random.default_rng(seed)
    paths = DepthTwo(channels, width, cardinality, norm=norm, dtype="float64")
    wide = WideBlock(channels, cardinality * width, norm=norm, dtype="float64")
    assert [m.groups for m in wide.modules() if isinstance(m, nn.Conv2d)] == [1, 1]
    randomise(paths, rng)
    wide.load_state_dict(convert_state(paths.state_dict(), "depth two", "wide", cardinality))
    x, grad_output = rng.integers(-3, 4, (2, 2, channels, 4, 3)).astype("float64")
    y, dx, grads, _ = run(paths, x, grad_output)
    y2, dx2, grads2, _ = run(wide, x, grad_output)
    assert_same({"y": y2, "dx": dx2}, {"y": y, "dx": dx}, exact=not norm)
    assert_same(convert_state(grads2, "wide", "depth two", cardinality), grads, exact=not norm)


def test_a_grouped_second_convolution_of_a_basic_block_is_no_such_sum():
    """One path's output channels come from that path alone, where a sum would mix them (the caveat of BasicBlock)."""
    block = BasicBlock(4, 4, groups=2, rng=0, dtype="float64")
    paths = DepthTwo(4, 2, 2, dtype="float64")
    assert sum(p.data.size for p in block.parameters()) < sum(p.data.size for p in paths.parameters())
    assert block.conv2.weight.shape == (4, 2, 3, 3)
    assert [path[-1].weight.shape for path in paths.paths] == [(4, 2, 3, 3)] * 2


def test_form_a_normalises_after_the_sum_and_before_the_shortcut():
    last = trace(FormA(16, 4, groups=2), (1, 16, 4, 4)).output
    (total,) = last.inputs
    branch, shortcut = total.inputs
    assert (total.op, shortcut.op, branch.path) == ("add", "input", "bn3")
    (aggregation,) = branch.inputs
    assert aggregation.op == "add"
    assert [path.path for path in aggregation.inputs] == ["paths.0.conv3", "paths.1.conv3"]


def test_a_whole_network_is_carried_to_form_a():
    options = {"planes": 8, "num_classes": 3, "groups": 4, "width_per_group": 16, "stem": "cifar", "dtype": "float64"}
    network, paths = ResNet(Bottleneck, [1, 2], rng=0, **options), ResNet(FormA, [1, 2], rng=1, **options)
    paths.load_state_dict(convert_state(network.state_dict(), "c", "a", 4))
    rng = np.random.default_rng(0)
    x, grad_output = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(2, 3))
    for got, expected in zip(run(paths, x, grad_output), run(network, x, grad_output)):
        if isinstance(got, dict):
            assert_same(convert_state(got, "a", "c", 4), expected, exact=False)
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_forms_and_their_states_run_on_any_array_library(form):
    build_one = lambda: FORMS[form](6, 2, 2, projection(6, 8, 2, rng=0), 3, 64, rng=0).to(dtype="float64")  # noqa: E731
    x, upstream = np.random.default_rng(0).normal(size=(2, 6, 5, 4)), np.random.default_rng(1).normal(size=(2, 8, 3, 2))
    assert_same_on_strict_arrays(build_one, x, upstream, rtol=1e-10)
    state = to_strict(build_one()).state_dict()
    for other in FORMS:
        carried = convert_state(convert_state(state, form, other, 3), other, form, 3)
        assert all((np.asarray(carried[name]) == np.asarray(array)).all() for name, array in state.items())


def test_carrying_round_moves_every_number_back_to_its_place():
    state = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0).state_dict()
    round_trip = convert_state(convert_state(convert_state(state, "c", "b", 4), "b", "a", 4), "a", "c", 4)
    assert_same(round_trip, state, exact=True)
    numbers = [
        np.sort(np.concatenate([a.ravel() for n, a in s.items() if n.endswith("conv2.weight")]))
        for s in (state, convert_state(state, "c", "a", 4))
    ]
    np.testing.assert_array_equal(*numbers)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize(("cardinality", "width"), [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)])
def test_every_row_of_table_2_can_be_built(depth, cardinality, width):
    layers = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}[depth]
    model = ResNet(Bottleneck, layers, groups=cardinality, width_per_group=width, rng=Undrawn())
    assert sum(p.data.size for p in model.parameters()) == network_counts(depth, cardinality, width).parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("c", "d", 4), "target must be one of 'a', 'b', 'c', 'depth two', 'wide', but is 'd'"),
        (("c", "wide", 4), "form 'c' cannot be converted to 'wide'"),
        (("c", "a", 3), r"conv1.weight has shape \(8, 16, 1, 1\): axis 0 is not divisible by 3 paths"),
        (("c", "a", 0), "cardinality must be at least 1"),
    ],
)
def test_what_cannot_be_carried_is_refused(arguments, message):
    state = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0).state_dict()
    with pytest.raises(ValueError, match=message):
        convert_state(state, *arguments)


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"groups": 0}, ValueError, "groups must be at least 1, but is 0"),
        ({"groups": "4"}, TypeError, "groups must be an integer, but '4'"),
        ({"groups": 4, "width_per_group": 4}, ValueError, "the width .* is 0 for planes=4"),
    ],
)
@pytest.mark.parametrize("form", [Bottleneck, FormA, FormB, FormC])
def test_no_path_and_no_width_are_refused_in_every_form(form, options, error, words):
    with pytest.raises(error, match=words):
        form(16, 4, **options)


@pytest.mark.parametrize("form", [Bottleneck, FormA, FormB, FormC])
def test_by_default_a_block_has_one_path(form):
    by_default, one = form(16, 4, rng=0).state_dict(), form(16, 4, 1, None, 1, 64, rng=0).state_dict()
    assert_same(by_default, one, exact=True)


@pytest.mark.parametrize("sizes", [(8, 4, 0), (8, 0, 2)])
def test_a_block_of_depth_two_has_paths_and_these_have_a_width(sizes):
    with pytest.raises(ValueError, match="must be at least 1, but is 0"):
        DepthTwo(*sizes)


def test_a_state_with_other_paths_is_refused():
    with pytest.raises(ValueError, match=r"conv1.weight comes in the paths \[0, 1\]: expected 3 paths"):
        convert_state(FormA(16, 4, groups=2, rng=0).state_dict(), "a", "c", 3)
