"""The public functions of convolution: edges of the definition, dtypes, array libraries, errors."""

import importlib
import re

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings

import npresnext as nx
from npresnext import functional as F
from npresnext import reference
from npresnext.errors import AllocationError
from npresnext.functional.conv import conv2d_relu
from npresnext.testing.strategies import conv_cases, invalid_conv_cases

rng = np.random.default_rng


def test_an_unbatched_image_is_a_batch_of_one(engine):
    x, weight, grad = (rng(k).standard_normal(s) for k, s in enumerate([(4, 5, 6), (6, 2, 3, 2), (6, 3, 5)]))
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, groups=2)
        dx, dweight, _ = nx.conv2d_backward(grad, x, weight, groups=2)
        batched = nx.conv2d_backward(grad[None], x[None], weight, groups=2)
        assert (y == nx.conv2d(x[None], weight, groups=2)[0]).all() and y.shape == (6, 3, 5)
        assert (dx == batched[0][0]).all() and dx.shape == x.shape and (dweight == batched[1]).all()
        alone = nx.conv2d_input_grad(grad[None], (1, *x.shape), weight, groups=2)[0]
        assert (nx.conv2d_input_grad(grad, x.shape, weight, groups=2) == alone).all()
        alone = nx.conv2d_weight_grad(grad[None], x[None], weight.shape, groups=2)
        assert (nx.conv2d_weight_grad(grad, x, weight.shape, groups=2) == alone).all()


def test_an_empty_batch_has_the_right_shapes_and_zero_gradients(engine):  # detectron2#772, pytorch#12013, #63299
    x, weight = np.zeros((0, 4, 5, 5), np.float32), rng(0).standard_normal((6, 2, 3, 3)).astype(np.float32)
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, np.ones(6, np.float32), stride=2, groups=2)
        dx, dweight, dbias = nx.conv2d_backward(np.zeros_like(y), x, weight, stride=2, groups=2)
    assert y.shape == (0, 6, 2, 2) and dx.shape == x.shape
    assert dweight.shape == weight.shape and not dweight.any() and dbias.shape == (6,) and not dbias.any()


@pytest.mark.parametrize("groups", [1, 3])
def test_no_input_channels_give_the_bias(engine, groups):  # pytorch#56998, #101356
    x, weight, bias = np.zeros((2, 0, 4, 4)), np.zeros((6, 0, 3, 3)), np.arange(6.0)
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, bias, groups=groups)
        dx, dweight, _ = nx.conv2d_backward(rng(0).standard_normal(y.shape), x, weight, groups=groups)
    assert y.shape == (2, 6, 2, 2) and (y == bias.reshape(1, 6, 1, 1)).all()
    assert dx.shape == x.shape and dweight.shape == weight.shape


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_an_image_without_pixels_and_with_padding_gives_the_bias(engine, size):
    x, weight, bias = np.zeros((2, 4, *size)), rng(0).standard_normal((6, 2, 3, 3)), np.arange(6.0)
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, bias, padding=2, groups=2)
        dx, dweight, _ = nx.conv2d_backward(rng(1).standard_normal(y.shape), x, weight, padding=2, groups=2)
    assert y.shape == (2, 6, size[0] + 2, size[1] + 2) and (y == bias.reshape(1, 6, 1, 1)).all()
    assert dx.shape == x.shape and not dweight.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("operand", ["x", "weight", "grad_output"])
@pytest.mark.parametrize(
    ("size", "groups", "window"),
    [
        ((3, 3), 3, {"padding": 1}),
        ((3, 2), 8, {"padding": ((0, 2), (1, -1)), "stride": (1, 2)}),
        ((2, 3), 2, {"padding": ((1, 0), (2, 1)), "stride": 2, "dilation": 2}),
        ((1, 1), 8, {}),
    ],
)
def test_what_is_not_finite_stays_in_its_image_and_group_and_leaves_nothing_behind(
    engine, size, groups, window, operand, value
):
    given = {"x": (3, 2 * groups, 9, 8), "weight": (4 * groups, 2, *size)}
    given["grad_output"] = nx.conv2d(*map(np.ones, given.values()), **window, groups=groups).shape
    given = {name: rng(k).integers(-4, 5, shape).astype(float) for k, (name, shape) in enumerate(given.items())}

    def results():
        with np.errstate(all="ignore"), nx.use_engine(engine):
            y = nx.conv2d(given["x"], given["weight"], **window, groups=groups)
            dx, dweight, dbias = nx.conv2d_backward(
                *(given[n] for n in ("grad_output", "x", "weight")), **window, groups=groups
            )
        return {"y": y, "dx": dx, "dweight": dweight, "dbias": dbias}

    before, kept = results(), given[operand].copy()
    image, group = 1, groups - 1  # the last group, and neither the first image nor the last
    spoilt = given[operand] if operand == "weight" else given[operand][image]
    spoilt[group * len(spoilt) // groups :, ..., spoilt.shape[-1] // 2] = value
    for name, after in results().items():
        channels = 0 if name in ("dweight", "dbias") else 1
        share = after.shape[channels] // groups
        others = after.swapaxes(0, channels)[: group * share] == before[name].swapaxes(0, channels)[: group * share]
        assert others.all(), f"{name} of another group"
        if channels and operand != "weight":
            assert (np.delete(after, image, 0) == np.delete(before[name], image, 0)).all(), f"{name} of another image"
    given[operand][...] = kept
    for name, again in results().items():
        assert (again == before[name]).all(), name


def test_same_padding_puts_the_odd_row_at_the_bottom_and_right(engine):
    x, weight = rng(0).integers(-4, 5, (1, 2, 5, 6)).astype(float), rng(1).integers(-4, 5, (2, 1, 4, 2)).astype(float)
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, padding="same", groups=2)
    assert y.shape == x.shape
    assert (y == reference.conv2d(x, weight, padding=((1, 2), (0, 1)), groups=2)).all()


def test_huge_padding_with_a_small_output_allocates_no_padding(engine):
    x, weight = rng(0).integers(-4, 5, (1, 2, 3, 3)).astype(float), np.ones((2, 1, 1, 1))
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, stride=10**9 + 1, padding=10**9, groups=2)
        dx = nx.conv2d_input_grad(y, x.shape, weight, stride=10**9 + 1, padding=10**9, groups=2)
    assert y.shape == (1, 2, 3, 3) and y[0, :, 1, 1].tolist() == x[0, :, 1, 1].tolist()
    assert y.sum() == x[0, :, 1, 1].sum() and dx[0, :, 1, 1].tolist() == x[0, :, 1, 1].tolist()


def test_a_huge_broadcast_image_has_the_right_output(engine):  # tensorflow#47525, pytorch#84488
    x = np.broadcast_to(np.float32(3), (1, 2, 2**20, 2**20))
    with nx.use_engine(engine):
        y = nx.conv2d(x, np.ones((2, 1, 2, 2), np.float32), stride=2**18, groups=2)
    assert y.shape == (1, 2, 4, 4) and (y == 12).all()


def test_an_output_too_large_says_its_shape_and_bytes(engine):
    x, weight = np.zeros((1, 1, 4, 4)), np.ones((1, 1, 1, 1))
    with nx.use_engine(engine), pytest.raises(AllocationError, match=r"of shape \(1, 1, 2\d+, 2\d+\)") as caught:
        nx.conv2d(x, weight, padding=10**12)
    assert isinstance(caught.value, ValueError)
    assert f"{8 * (2 * 10**12 + 4) ** 2:,} bytes" in str(caught.value)


@settings(max_examples=40)
@given(case=conv_cases())
def test_array_api_strict_equals_numpy(case):
    """No NumPy-only call in the lesson or above it: what guards the CUDA path without a GPU."""
    host = case.x(), case.weight(), case.bias(), case.grad_output()
    x, weight, bias, grad = (None if a is None else array_api_strict.asarray(np.ascontiguousarray(a)) for a in host)
    y = nx.conv2d(x, weight, bias, **case.kwargs)
    grads = nx.conv2d_backward(grad, x, weight, **case.kwargs)
    with nx.use_engine("im2col"):
        expected = nx.conv2d(*host[:3], **case.kwargs), *nx.conv2d_backward(host[3], *host[:2], **case.kwargs)
    for got, want in zip((y, *grads), expected):
        assert (nx.to_numpy(got) == want).all() and got.shape == want.shape


@settings(max_examples=40)
@given(case=conv_cases({"bias": False}))
def test_complex_gradients_are_conjugate_as_in_pytorch(engine, case):
    x, weight, grad = (a + 1j * np.flip(a) for a in (case.x(), case.weight(), case.grad_output()))
    with nx.use_engine(engine):
        y = nx.conv2d(x, weight, **case.kwargs)
        dx, dweight, _ = nx.conv2d_backward(grad, x, weight, **case.kwargs)
    assert (y == reference.conv2d(x, weight, **case.kwargs)).all()
    assert (dx == reference.conv2d_input_grad_loops(grad, x.shape, weight, **case.kwargs)).all()
    assert (dweight == reference.conv2d_weight_grad_loops(grad, x, weight.shape, **case.kwargs)).all()
    assert (nx.functional.conv2d_input_grad(grad, x.shape, weight, **case.kwargs) == dx).all()
    assert (nx.functional.conv2d_weight_grad(grad, x, weight.shape, **case.kwargs) == dweight).all()


def test_sixteen_bit_types_sum_in_float32(engine):  # numpy#20305, chainer PR#8458
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    for dtype, count in ((np.float16, 4096), (ml_dtypes.bfloat16, 512)):
        x, weight = np.ones((1, count, 1, 1), dtype), np.ones((1, count, 1, 1), dtype)
        with nx.use_engine(engine):
            y = nx.conv2d(x, weight)  # summed in its own 16 bits it stops growing at 2048 or at 256
            _, dweight, dbias = nx.conv2d_backward(
                np.ones((1, 1, 1, count), dtype), np.ones((1, 1, 1, count), dtype), np.ones((1, 1, 1, 1), dtype)
            )
        assert y.dtype == dweight.dtype == dbias.dtype == dtype
        assert float(y.item()) == float(dweight.item()) == float(dbias.item()) == count


@pytest.mark.parametrize("needs", [True, None, (True, True), np.ones(3, bool)])
def test_needs_that_are_not_three_bools(needs):
    with pytest.raises(TypeError, match="needs must be three bools, for dx, dweight and dbias, but is"):
        nx.conv2d_backward(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)), needs=needs)
    with pytest.raises(TypeError, match="needs must be three bools"):
        nx.functional.linear_backward(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), needs=needs)


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3])
def test_only_the_needed_gradients_are_computed(engine, needs):
    x, weight, grad = (rng(k).standard_normal(s) for k, s in enumerate([(2, 4, 5, 5), (4, 2, 3, 3), (2, 4, 3, 3)]))
    with nx.use_engine(engine):
        every = nx.conv2d_backward(grad, x, weight, groups=2)
        for needed, got, expected in zip(needs, nx.conv2d_backward(grad, x, weight, groups=2, needs=needs), every):
            assert (got is None) is not needed
            assert got is None or np.allclose(got, expected, rtol=1e-13, atol=1e-13)
        single = nx.conv2d_backward(grad[0], x[0], weight, groups=2, needs=needs)
        assert [array is not None for array in single] == list(needs)


@settings(max_examples=60)
@given(case=invalid_conv_cases())
def test_every_broken_rule_is_an_error_of_ours(case):
    x, weight = np.zeros(case.x_shape), np.zeros(case.weight_shape)
    bias = None if case.bias_shape is None else np.zeros(case.bias_shape)
    with pytest.raises(nx.NpresnextError):
        nx.conv2d(x, weight, bias, **case.kwargs)


@pytest.mark.parametrize("backward", [nx.conv2d_backward, F.linear_backward])
@pytest.mark.parametrize("name", ["grad_output", "x", "weight"])
def test_an_operand_of_another_dtype_is_refused_by_name(backward, name):
    shape = (1, 1, 1, 1) if backward is nx.conv2d_backward else (1, 1)
    operands = {operand: np.ones(shape) for operand in ("grad_output", "x", "weight")}
    operands[name] = operands[name].astype("float32")
    with pytest.raises(TypeError, match=f"{name} has dtype float32"):
        backward(**operands)


@pytest.mark.parametrize(
    "window",
    [{}, {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}],
    ids=["plain", "all"],
)
@pytest.mark.parametrize("has_shortcut", [False, True])
def test_a_convolution_with_shortcut_and_rectifier_is_the_three_one_after_the_other(engine, window, has_shortcut):
    x, bias = rng(0).integers(-4, 5, (2, 4, 7, 6)).astype(float), rng(1).integers(-4, 5, 6).astype(float)
    weight = rng(2).integers(-4, 5, (6, 4 // window.get("groups", 1), 3, 2)).astype(float)
    y = reference.conv2d(x, weight, bias, **window)
    shortcut = rng(3).integers(-9, 10, y.shape).astype(float) if has_shortcut else None
    with nx.use_engine(engine):
        found = conv2d_relu(x, weight, bias, shortcut=shortcut, **window)
    assert np.array_equal(found, np.maximum(y if shortcut is None else y + shortcut, 0))


def test_an_array_in_the_place_of_its_shape_is_refused():
    x, weight, grad_output = np.zeros((2, 4, 5, 5)), np.zeros((6, 2, 3, 3)), np.zeros((2, 6, 3, 3))
    for name, call in (
        ("x_shape", lambda: nx.conv2d_input_grad(grad_output, x, weight, groups=2)),
        ("weight_shape", lambda: nx.conv2d_weight_grad(grad_output, x, weight, groups=2)),
        ("x_shape", lambda: nx.col2im(nx.im2col(x, 3), x, 3)),
        ("x_shape", lambda: nx.functional.avg_pool2d_backward(x, x, 1)),
        ("x_shape", lambda: nx.functional.global_avg_pool2d_backward(x, x)),
    ):
        with pytest.raises(TypeError, match=f"{name} must be a sequence of integers, but is of type ndarray"):
            call()


def test_gradients_of_the_wrong_shape_are_refused():
    x, weight = np.zeros((2, 4, 5, 5)), np.zeros((6, 2, 3, 3))
    message = re.escape("grad_output has shape (2, 6, 5, 5) but the output of this convolution has shape (2, 6, 3, 3)")
    for call in (
        lambda g: nx.conv2d_backward(g, x, weight, groups=2),
        lambda g: nx.conv2d_input_grad(g, x.shape, weight, groups=2),
        lambda g: nx.conv2d_weight_grad(g, x, weight.shape, groups=2),
    ):
        with pytest.raises(ValueError, match=message):
            call(np.zeros((2, 6, 5, 5)))
    with pytest.raises(ValueError, match=re.escape("bias has shape (4,): expected (C_out,) = (6,)")):
        nx.conv2d(x, weight, np.zeros(4), groups=2)


@settings(max_examples=40)
@given(case=conv_cases())
def test_im2col_and_col2im_are_transposes(case):
    """<columns, im2col(x)> = <col2im(columns), x>, exactly."""
    window = {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}
    x = np.array(case.x())
    columns = nx.im2col(x, case.kernel, **window)
    other = rng(case.seed).integers(-5, 6, columns.shape).astype(float)
    image = nx.col2im(other, x.shape, case.kernel, **window)
    assert (other * columns).sum() == (image * x).sum()


def test_im2col_orders_rows_by_channel_then_tap():
    x = rng(0).standard_normal((2, 3, 5, 6))
    columns = nx.im2col(x, (2, 3), stride=(2, 1), padding=1)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    ow = 6
    for c, i, j, p, q in np.ndindex(3, 2, 3, 3, ow):
        assert (columns[:, (c * 2 + i) * 3 + j, p * ow + q] == padded[:, c, 2 * p + i, q + j]).all()


def test_columns_of_the_wrong_shape_are_refused():
    message = re.escape("columns has shape (1, 4, 5) but x_shape (1, 1, 3, 3) has (N, C·kh·kw, oh·ow) = (1, 4, 4)")
    with pytest.raises(ValueError, match=message):
        nx.col2im(np.zeros((1, 4, 5)), (1, 1, 3, 3), 2)


def test_an_unknown_engine_says_what_there_is():
    with pytest.raises(ValueError, match="engine must be one of im2col"), nx.use_engine("winograd"):
        pass


def test_the_functions_of_functional_are_those_of_its_modules():
    for name in F.__all__:
        function = getattr(F, name)
        module = importlib.import_module(function.__module__)
        assert getattr(module, name) is function
    assert nx.functional.conv2d is nx.functional.conv.conv2d is nx.conv2d
