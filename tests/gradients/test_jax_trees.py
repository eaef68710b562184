"""Trees of gradients of JAX give the rows of group_grad_norms; convolutions are found by tracing."""

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import ConfigurationError, InvalidTypeError, InvalidValueError, ShapeError
from npresnext.gradients import COLUMNS, PROVENANCE, Kernel, Provenance, jax_convolutions, tree_grad_norms

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytestmark = pytest.mark.oracle


def conv(x, kernel, groups, layout="HWIO"):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", layout, "NHWC"), feature_group_count=groups
    )


def tree(seed=0):
    """Parameters as in Flax: a dense kernel, one with 2 groups, a depthwise one in OIHW, and a fully connected one."""
    rng = np.random.default_rng(seed)

    def integers(*shape):
        return jax.numpy.asarray(rng.integers(-9, 10, shape), "float32")

    return {
        "stem": {"kernel": integers(3, 3, 4, 8), "bias": integers(8)},
        "block": [{"w": integers(3, 3, 4, 6)}, {"weight": integers(6, 1, 3, 3)}],
        "head": {"kernel": integers(6, 2)},
    }


def network(params, x):
    x = conv(x, params["stem"]["kernel"], 1) + params["stem"]["bias"]
    x = jax.jit(lambda x, kernel: conv(x, kernel.astype("bfloat16"), 2))(x.astype("bfloat16"), params["block"][0]["w"])
    kernel = params["block"][1]["weight"].transpose(2, 3, 1, 0)
    x = jax.checkpoint(lambda x, kernel: conv(x, kernel, 6))(x.astype("float32"), kernel)
    return x.mean((1, 2)) @ params["head"]["kernel"]


KERNELS = {"stem": Kernel(1, 3), "block.0": Kernel(2, 3), "block.1": Kernel(6, 0)}


def test_kernels_groups_and_output_axes_are_found_by_tracing():
    x = jax.ShapeDtypeStruct((2, 5, 5, 4), "float32")
    assert jax_convolutions(network, tree(), x) == KERNELS
    assert jax_convolutions(jax.jit(network), tree(), x) == KERNELS


def test_rows_are_those_of_group_grad_norms_exactly():
    grads, params = tree(1), tree(2)
    rows = tree_grad_norms(grads, KERNELS, params, step=3, epoch=1, provenance=Provenance(loss="sum", clipped="no"))

    def oihw(values):
        stem, block = values["stem"]["kernel"], values["block"]
        hwio = {"stem": stem, "block.0": block[0]["w"]}
        found = {name: np.asarray(kernel).transpose(3, 2, 0, 1) for name, kernel in hwio.items()}
        return {**found, "block.1": np.asarray(block[1]["weight"])}

    groups = {name: kernel.groups for name, kernel in KERNELS.items()}
    expected = nx.group_grad_norms(oihw(grads), groups, oihw(params), step=3, epoch=1)
    assert [{name: row[name] for name in COLUMNS} for row in rows] == expected and len(rows) == 1 + 2 + 6
    assert list(rows[0])[len(COLUMNS) :] == list(PROVENANCE) and rows[0]["loss"] == "sum"
    assert tree_grad_norms(grads, {"block.0": 2}, params) == tree_grad_norms(grads, {"block.0": Kernel(2, 3)}, params)
    (last,) = {row["l2_weight_l2"] for row in tree_grad_norms(grads, {"block.1": 6}, layout="OIHW")}
    assert last is None


@pytest.mark.filterwarnings("error")
def test_arrays_of_jax_are_summed_in_float64_though_jax_has_it_off():
    grad = np.random.default_rng(0).normal(size=(8, 64, 3, 3)).astype(np.float32)
    expected = nx.group_grad_norms({"conv": grad}, {"conv": 2}, {"conv": grad})
    assert nx.group_grad_norms({"conv": jax.numpy.asarray(grad)}, {"conv": 2}, {"conv": grad}) == expected


def test_a_kernel_that_is_computed_first_or_is_no_kernel_is_not_found():
    def standardised(params, x):
        return conv(x, params["a"]["kernel"] - params["a"]["kernel"].mean(), 2)

    params = {"a": {"kernel": jax.numpy.ones((3, 3, 2, 4))}}
    with pytest.raises(InvalidValueError, match="no leaf of params reaches a convolution unchanged: there are a\\."):
        jax_convolutions(standardised, params, jax.numpy.ones((1, 5, 5, 4)))
    with pytest.raises(InvalidValueError, match="no leaf of params reaches"):  # params are the image here
        jax_convolutions(
            lambda x, kernel: conv(x, kernel, 1), jax.numpy.ones((1, 5, 5, 4)), jax.numpy.ones((3, 3, 4, 4))
        )


def test_names_that_would_be_equal_stay_whole():
    params = {"a": {"kernel": jax.numpy.ones((1, 1, 1, 2)), "w": jax.numpy.ones((1, 1, 1, 2))}}
    assert [row["layer"] for row in tree_grad_norms(params, {"a.kernel": 1, "a.w": 1})] == ["a.kernel", "a.w"]


def test_flax_equinox_and_haiku():
    x, key = jax.numpy.ones((2, 6, 6, 4)), jax.random.key(0)
    tried = []
    for make in (flax_network, equinox_network, haiku_network):
        try:
            params, function = make(x, key)
        except ImportError:
            continue
        tried.append(make)
        ((name, kernel),) = jax_convolutions(function, params, x).items()
        grads = jax.grad(lambda params, function=function: (function(params, x) ** 2).sum())(params)
        rows = tree_grad_norms(grads, {name: kernel}, params)
        assert kernel.groups == len(rows) == 2 and all(row["l2"] > 0 and row["ratio"] > 0 for row in rows)
    if not tried:
        pytest.skip("none of Flax, Equinox and Haiku is installed")


def flax_network(x, key):
    from flax import linen

    network = linen.Conv(8, (3, 3), feature_group_count=2)
    return network.init(key, x), network.apply


def equinox_network(x, key):
    import equinox

    layer = equinox.nn.Conv2d(4, 8, 3, groups=2, key=key)
    params, rest = equinox.partition(layer, equinox.is_array)
    images = x.transpose(0, 3, 1, 2)
    return params, lambda params, x: jax.vmap(equinox.combine(params, rest))(images)


def haiku_network(x, key):
    import haiku

    network = haiku.without_apply_rng(haiku.transform(lambda x: haiku.Conv2D(8, 3, feature_group_count=2)(x)))
    return network.init(key, x), network.apply


@pytest.mark.parametrize(
    ("convolutions", "options", "error", "message"),
    [
        ({"stm": 1}, {}, InvalidValueError, "grads has no leaf for stm: expected some of block.0, block.1, head"),
        ({"stem": 3}, {}, ShapeError, "groups must divide axis 3, the output channels"),
        ({"stem": "2"}, {}, InvalidTypeError, "stem must be an integer"),
        ({"stem": Kernel(0, 3)}, {}, InvalidValueError, "stem must be at least 1"),
        ({"stem": Kernel(1, 4)}, {}, ShapeError, "has shape .3, 3, 4, 8., and no axis 4"),
        ({}, {}, InvalidTypeError, "convolutions must map names of layers"),
        ({"stem": 1}, {"layout": "NHWC"}, ConfigurationError, 'layout must be the letters of "HWIO"'),
        ({"stem": 1}, {"params": {}}, InvalidValueError, "params has no leaf for stem: .* .no leaves."),
    ],
)
def test_what_does_not_fit_is_refused(convolutions, options, error, message):
    with pytest.raises(error, match=message):
        tree_grad_norms(tree(), convolutions, **options)
