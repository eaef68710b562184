"""Initial weights: their spread, their seeds, and what they say of √G."""

import math

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import AllocationError, InvalidTypeError, InvalidValueError
from npresnext.nn import init


@pytest.mark.parametrize("groups", [1, 4, 32])
def test_fan_out_ignores_groups_and_the_other_does_not(groups):
    shape = (128, 128 // groups, 3, 3)
    plain = init.kaiming_normal(shape, groups=groups, rng=0, dtype="float64")
    fair = init.kaiming_normal(shape, init="fan_out_per_group", groups=groups, rng=0, dtype="float64")
    assert plain.std() == pytest.approx(math.sqrt(2 / (128 * 9)), rel=0.03)
    assert fair.std() == pytest.approx(math.sqrt(2 / (128 / groups * 9)), rel=0.03)
    np.testing.assert_allclose(fair, plain * math.sqrt(groups), rtol=1e-12)


@pytest.mark.parametrize("kind, kept", [("fan_out", False), ("fan_out_per_group", True)])
def test_only_the_fan_of_a_group_keeps_the_size_of_gradients(kind, kept):
    rng = np.random.default_rng(0)
    weight = init.kaiming_normal((64, 4, 3, 3), init=kind, groups=16, rng=rng, dtype="float64")
    grad = rng.standard_normal((4, 64, 16, 16))
    dx = nx.conv2d_input_grad(grad, (4, 64, 16, 16), weight, padding=1, groups=16)
    gain = dx[:, :, 1:-1, 1:-1].var() / grad.var()  # 2 makes up for what ReLU takes
    assert gain == pytest.approx(2 if kept else 2 / 16, rel=0.1)


def test_default_weights_are_uniform_up_to_pytorchs_bound():
    weight = init.uniform_fan_in((64, 4, 3, 3), 36, rng=0, dtype="float64")
    assert np.abs(weight).max() <= 1 / 6
    assert weight.std() == pytest.approx(1 / 6 / math.sqrt(3), rel=0.03)
    assert (init.uniform_fan_in((4, 0, 3, 3), 0, rng=0)).shape == (4, 0, 3, 3)
    assert (init.uniform_fan_in((4,), 0, rng=0) == 0).all()


@pytest.mark.oracle
def test_spreads_are_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    conv, linear = torch.nn.Conv2d(64, 128, 3, groups=32), torch.nn.Linear(300, 400)
    for theirs, ours in (
        (conv.weight, nx.nn.Conv2d(64, 128, 3, groups=32, rng=0).weight),
        (linear.weight, nx.nn.Linear(300, 400, rng=0).weight),
        (
            torch.nn.init.kaiming_normal_(conv.weight.clone(), mode="fan_out", nonlinearity="relu"),
            nx.nn.Parameter(init.kaiming_normal((128, 2, 3, 3), groups=32, rng=0)),
        ),
    ):
        assert ours.data.std() == pytest.approx(theirs.std().item(), rel=0.05)
    assert np.abs(nx.nn.Conv2d(64, 12800, 3, groups=32, rng=0).bias.data).max() == pytest.approx(18**-0.5, rel=0.01)


def test_a_seed_is_a_seed_and_a_generator_moves_on():
    a, b = init.kaiming_normal((3, 3, 3, 3), rng=5), init.kaiming_normal((3, 3, 3, 3), rng=5)
    np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(5)
    first, second = init.kaiming_normal((3, 3, 3, 3), rng=rng), init.kaiming_normal((3, 3, 3, 3), rng=rng)
    np.testing.assert_array_equal(a, first)
    assert (first != second).all()
    assert (nx.nn.Linear(3, 3).weight.data != nx.nn.Linear(3, 3).weight.data).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float32, np.dtype("float64")])
def test_weights_have_the_dtype_asked_for(dtype):
    layer = nx.nn.Conv2d(2, 3, 1, rng=0, dtype=dtype)
    assert layer.weight.data.dtype == layer.bias.data.dtype == np.dtype(dtype)
    assert nx.nn.BatchNorm2d(2, dtype=dtype).running_var.dtype == np.dtype(dtype)


def test_bfloat16_weights():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert nx.nn.Linear(2, 3, rng=0, dtype="bfloat16").weight.data.dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("dtype", ["int32", "complex64", "half", np.int64, None])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(InvalidTypeError, match="dtype must be one of float16, bfloat16, float32, float64, but is"):
        nx.nn.Linear(2, 3, dtype=dtype)


@pytest.mark.parametrize("rng", ["a", -1, 1.5])
def test_what_is_no_source_of_numbers_is_named(rng):
    with pytest.raises(InvalidValueError, match=f"rng must be None, a seed of at least 0, or .*, but is {rng!r}"):
        nx.nn.Linear(2, 3, rng=rng)


@pytest.mark.parametrize("size", [10**7, 10**12])
def test_weights_too_large_for_memory_say_how_large(size):
    with pytest.raises(AllocationError, match=rf"a weight of shape \({size}, {size}, 1, 1\) and dtype float64 takes"):
        nx.nn.Conv2d(size, size, 1)
    with pytest.raises(AllocationError, match=rf"a weight of shape \({size}, {size}, 1, 1\) and dtype float64 takes"):
        init.kaiming_normal((size, size, 1, 1))


def test_an_unknown_initialisation_names_the_two():
    with pytest.raises(InvalidValueError, match="init must be one of fan_out, fan_out_per_group, but is 'he'"):
        init.kaiming_normal((1, 1, 1, 1), init="he")


def test_what_is_undrawn_is_zero():
    layers = nx.nn.Conv2d(4, 6, 3, rng=init.Undrawn()), nx.nn.Linear(4, 6, rng=init.Undrawn())
    weights = [layer.weight.data for layer in layers] + [init.kaiming_normal((6, 4, 3, 3), rng=init.Undrawn())]
    assert not any(weight.any() for weight in weights)
    assert [weight.shape for weight in weights] == [(6, 4, 3, 3), (6, 4), (6, 4, 3, 3)]


def test_what_is_undrawn_takes_no_memory():
    weight = init.kaiming_normal((2**40, 2**10, 3, 3), rng=init.Undrawn())
    assert weight.shape == (2**40, 2**10, 3, 3) and weight[-1, -1, -1, -1] == 0
    assert not weight.flags.writeable
