"""The layers: PyTorch's numbers, arguments and representation; state of batch norm; other array libraries."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import BackwardError, InvalidTypeError, InvalidValueError, ShapeError, StateDictError

from tests.support.strict import assert_same_on_strict_arrays

IMAGES = (3, 4, 7, 6)
# what to build, and the shape of its input: the same expression makes ours and PyTorch's
LAYERS = {
    "Conv2d(4, 6, 3)": IMAGES,
    "Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)": IMAGES,
    "Conv2d(4, 8, 3, padding=1, groups=2)": IMAGES,
    "Conv2d(4, 4, 3, 2, 2, 2, 4)": IMAGES,
    "Conv2d(4, 6, 3, padding='same', dilation=2, groups=2)": IMAGES,
    "Conv2d(4, 6, 3, padding='valid')": IMAGES,
    "BatchNorm2d(4)": IMAGES,
    "BatchNorm2d(4, eps=1e-3, momentum=0.3)": IMAGES,
    "BatchNorm2d(4, momentum=None)": IMAGES,
    "BatchNorm2d(4, affine=False)": IMAGES,
    "BatchNorm2d(4, bias=False)": IMAGES,
    "BatchNorm2d(4, track_running_stats=False)": IMAGES,
    "ReLU()": IMAGES,
    "MaxPool2d(3, stride=2, padding=1)": IMAGES,
    "MaxPool2d((2, 3), ceil_mode=True)": IMAGES,
    "MaxPool2d(2, 1, dilation=2)": IMAGES,
    "AvgPool2d(2)": IMAGES,
    "AvgPool2d(3, stride=2, padding=1, count_include_pad=False)": IMAGES,
    "AvgPool2d((3, 2), ceil_mode=True)": IMAGES,
    "Flatten()": IMAGES,
    "Flatten(0, 2)": IMAGES,
    "Flatten(-2)": IMAGES,
    "Flatten(-4, -4)": IMAGES,
    "Linear(5, 3)": (4, 5),
    "Linear(5, 3, bias=False)": (2, 4, 5),
}


def make(expression):
    """Build our layer of that expression in float64, with random values where it has some."""
    name, _, arguments = expression.partition("(")
    options = {
        "Conv2d": {"rng": 0, "dtype": "float64"},
        "Linear": {"rng": 0, "dtype": "float64"},
        "BatchNorm2d": {"dtype": "float64"},
    }
    layer = eval(
        f"nn.{name}({arguments[:-1]}{', ' if arguments[:-1] else ''}**options.get(name, {{}}))",
        {"nn": nn, "options": options, "name": name},
    )
    rng = np.random.default_rng(1)
    if name == "BatchNorm2d":
        for parameter in layer.parameters():
            parameter.data[...] = rng.standard_normal(4)
    return layer


@pytest.mark.oracle
@pytest.mark.parametrize("expression", LAYERS)
def test_layers_are_pytorchs(expression):
    torch = pytest.importorskip("torch")
    ours, theirs = make(expression), eval(f"torch.nn.{expression}", {"torch": torch}).double()
    theirs.load_state_dict({key: torch.from_numpy(np.asarray(array)) for key, array in ours.state_dict().items()})
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(2)
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        ours.zero_grad(), theirs.zero_grad()
        x = rng.standard_normal(LAYERS[expression]) + 1
        x_torch = torch.from_numpy(x).requires_grad_()
        y, y_torch = ours(x), theirs(x_torch)
        assert y.shape == tuple(y_torch.shape)
        upstream = rng.standard_normal(y.shape)
        y_torch.backward(torch.from_numpy(upstream))
        close = {"rtol": 1e-11, "atol": 1e-12}
        np.testing.assert_allclose(y, y_torch.detach().numpy(), **close)
        np.testing.assert_allclose(ours.backward(upstream), x_torch.grad.numpy(), **close)
        for (key, parameter), tensor in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(parameter.grad, tensor.grad.numpy(), **close, err_msg=key)
        for (key, array), tensor in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            np.testing.assert_allclose(array, tensor.numpy(), **close, err_msg=key)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("expression", LAYERS)
def test_layers_run_on_any_array_library(expression, training):
    x = np.random.default_rng(3).standard_normal(LAYERS[expression])
    upstream = np.random.default_rng(4).standard_normal(make(expression)(x).shape)
    assert_same_on_strict_arrays(lambda: make(expression).train(training), x, upstream, rtol=1e-11)


@pytest.mark.parametrize("expression", [key for key in LAYERS if key.startswith(("Conv2d", "Linear", "AvgPool2d"))])
def test_gradients_of_linear_maps_are_exact_by_a_step_of_one(expression):
    """Integers, and a map that is linear in each argument: (f(v + d) − f(v − d))/2 is the derivative."""
    rng = np.random.default_rng(5)
    layer = make(expression)
    scale = 36 if expression.startswith("AvgPool2d") else 1  # no window's average leaves the integers
    x = scale * rng.integers(-3, 4, LAYERS[expression]).astype(float)
    for parameter in layer.parameters():
        parameter.data[...] = rng.integers(-3, 4, parameter.shape)
    y = layer(x)
    upstream = rng.integers(-3, 4, y.shape).astype(float)
    dx = layer.backward(upstream)
    for array, grad in [(x, dx)] + [(p.data, p.grad) for p in layer.parameters()]:
        direction, kept = scale * rng.integers(-3, 4, array.shape), array.copy()
        array += direction
        above = (layer(x) * upstream).sum()
        array -= 2 * direction
        below = (layer(x) * upstream).sum()
        array[...] = kept
        expected = (above - below) / 2
        assert (grad * direction).sum() == pytest.approx(expected, rel=1e-13 if scale > 1 else 0, abs=0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Conv2d(4, 4, 3, groups=2, rng=0, dtype="float64"),
        lambda: nn.Linear(6, 3, rng=0, dtype="float64"),
        lambda: nn.AvgPool2d(2, ceil_mode=True),
        lambda: nn.GlobalAvgPool2d(),
        lambda: nn.Flatten(),
    ],
)
def test_input_gradients_by_complex_step(build):
    layer, rng = build(), np.random.default_rng(6)
    x = rng.standard_normal(IMAGES)
    y = layer(x)
    upstream = rng.standard_normal(y.shape)
    dx = layer.backward(upstream)
    direction, step = rng.standard_normal(x.shape), 1e-30
    for parameter in layer.parameters():
        parameter.data = parameter.data.astype(complex)
    derivative = (layer(x + 1j * step * direction) * upstream).sum().imag / step
    assert (dx * direction).sum() == pytest.approx(derivative, rel=1e-13)


def test_global_average_pooling_keeps_four_axes():
    layer = nn.GlobalAvgPool2d()
    x = np.random.default_rng(7).standard_normal((2, 3, 4, 5))
    y = layer(x)
    assert y.shape == (2, 3, 1, 1)
    np.testing.assert_allclose(y[:, :, 0, 0], x.mean(axis=(2, 3)), rtol=1e-12)
    upstream = np.random.default_rng(8).standard_normal(y.shape)
    np.testing.assert_allclose(layer.backward(upstream), np.broadcast_to(upstream / 20, x.shape), rtol=1e-12)
    assert repr(layer) == "GlobalAvgPool2d()"


def test_relu_at_zero_passes_no_gradient():
    layer = nn.ReLU()
    layer(np.array([-1.0, -0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(layer.backward(np.array([2.0, 3.0, 4.0, 5.0])), [0, 0, 0, 5])


def test_running_statistics_move_in_training_alone_and_under_no_grad_too():
    layer = nn.BatchNorm2d(2, dtype="float64")
    x = np.random.default_rng(9).standard_normal((4, 2, 3, 3)) * 3 + 5
    with nx.no_grad():
        layer(x)
    np.testing.assert_allclose(layer.running_mean, 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-12)
    assert layer.num_batches_tracked == 1 and layer.num_batches_tracked.shape == ()
    before = {name: array.copy() for name, array in layer.state_dict().items()}
    layer.eval()(x)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_images_of_other_channels_leave_the_running_statistics_alone():
    layer = nn.BatchNorm2d(1, affine=False)  # with no weight to tell, and one channel would broadcast
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3, 5, 5\): expected \(N, 1, H, W\)"):
        layer(np.ones((2, 3, 5, 5), "float32"))
    assert layer.running_mean.shape == (1,) and layer.num_batches_tracked == 0


def test_momentum_none_averages_over_all_batches():
    layer = nn.BatchNorm2d(2, momentum=None, dtype="float64")
    batches = np.random.default_rng(10).standard_normal((5, 4, 2, 3, 3))
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(layer.running_mean, batches.mean(axis=(0, 1, 3, 4)), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, batches.var(axis=(1, 3, 4), ddof=1).mean(axis=0), rtol=1e-12)


def test_batch_norm_counts_on_after_a_saved_state():
    one = nn.BatchNorm2d(2, momentum=None)
    x = np.random.default_rng(11).standard_normal((4, 2, 3, 3)).astype("float32")
    one(x)
    two = nn.BatchNorm2d(2, momentum=None)
    two.load_state_dict(one.state_dict())
    one(2 * x), two(2 * x)
    assert one.num_batches_tracked == two.num_batches_tracked == 2
    assert two.num_batches_tracked.dtype == np.int64 and two.num_batches_tracked.shape == ()
    np.testing.assert_array_equal(one.running_var, two.running_var)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_networks_run_forward_and_backward(dtype):
    pytest.importorskip("ml_dtypes")
    wide = nx.models.resnext_small(rng=0, dtype="float32")
    narrow = nx.models.resnext_small(rng=0, dtype=dtype)
    x = np.random.default_rng(12).standard_normal((4, 1, 8, 8)).astype("float32")
    upstream = np.random.default_rng(13).standard_normal((4, 10)).astype("float32")
    kind = narrow.conv1.weight.data.dtype
    y = narrow(x.astype(kind))
    assert y.dtype == kind and narrow.backward(upstream.astype(kind)).dtype == kind
    assert all(array.dtype == kind for name, array in narrow.named_buffers() if "tracked" not in name)
    optimizer = nn.SGD(narrow.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    optimizer.step(), optimizer.step()
    assert all(parameter.data.dtype == parameter.grad.dtype == kind for parameter in narrow.parameters())
    error = np.abs(y.astype("float32") - wide(x)).max()
    assert error < {"float16": 0.02, "bfloat16": 0.2}[dtype] * np.abs(wide(x)).max()


def test_the_loss_is_an_array_of_no_axes_and_its_gradient_fits():
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    logits = np.random.default_rng(14).standard_normal((6, 3))
    target = np.array([0, 2, 1, 1, 0, 2])
    loss = criterion(logits, target)
    assert loss.shape == () and loss.dtype == np.float64
    twice = criterion.backward(2.0)
    criterion(logits, target)
    np.testing.assert_allclose(twice, 2 * criterion.backward(), rtol=1e-14)


def test_layers_without_inputs_give_their_bias_and_layers_without_outputs_nothing():
    linear, conv = nn.Linear(0, 3, rng=0), nn.Conv2d(0, 3, 1, rng=0)
    for layer, x in ((linear, np.zeros((2, 0), "float32")), (conv, np.zeros((2, 0, 1, 1), "float32"))):
        layer.bias.data[...] = [1, 2, 3]
        assert layer(x).reshape(2, 3).tolist() == [[1, 2, 3]] * 2
    assert nn.Linear(2, 0, rng=0)(np.ones((5, 2), "float32")).shape == (5, 0)
    assert nn.Conv2d(2, 0, 1, rng=0)(np.ones((5, 2, 4, 4), "float32")).shape == (5, 0, 4, 4)


def test_the_loss_passes_over_targets_of_minus_100_as_pytorchs_does():
    logits = np.random.default_rng(17).standard_normal((3, 4))
    criterion = nn.CrossEntropyLoss()
    loss, gradient = criterion(logits, np.array([2, -100, 0])), criterion.backward()
    assert loss == criterion(logits[::2], np.array([2, 0]))
    assert not gradient[1].any() and (gradient[::2] == criterion.backward()).all()


@pytest.mark.oracle
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.2},
        {"ignore_index": 1},
        {"weight": [1.0, 2.0, 0.5], "label_smoothing": 0.1},
    ],
)
def test_the_loss_is_pytorchs(options):
    torch = pytest.importorskip("torch")
    weight = np.array(options["weight"]) if "weight" in options else None
    ours = nn.CrossEntropyLoss(**{**options, "weight": weight})
    theirs = torch.nn.CrossEntropyLoss(**{**options, "weight": None if weight is None else torch.from_numpy(weight)})
    logits, target = np.random.default_rng(15).standard_normal((6, 3)) * 4, np.array([0, 2, 1, 1, 0, 2])
    tensor = torch.from_numpy(logits).requires_grad_()
    loss, expected = ours(logits, target), theirs(tensor, torch.from_numpy(target))
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-12)
    upstream = np.random.default_rng(16).standard_normal(loss.shape)
    expected.backward(torch.from_numpy(np.asarray(upstream)))
    np.testing.assert_allclose(ours.backward(upstream), tensor.grad.numpy(), rtol=1e-11, atol=1e-13)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_asymmetric_padding_is_kept_and_shown():
    layer = nn.Conv2d(2, 2, 3, padding=((0, 1), (2, 0)), rng=0)
    assert repr(layer) == "Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1), padding=((0, 1), (2, 0)))"
    assert layer(np.zeros((1, 2, 5, 5), dtype="float32")).shape == (1, 2, 4, 5)
    assert nn.Conv2d(2, 2, 3, padding=((1, 1), (2, 2)), rng=0).padding == (1, 2)


def test_a_convolution_takes_one_image_and_an_empty_batch():
    layer = nn.Conv2d(2, 4, 3, groups=2, rng=0)
    for shape, out in (((2, 5, 5), (4, 3, 3)), ((0, 2, 5, 5), (0, 4, 3, 3))):
        y = layer(np.zeros(shape, dtype="float32"))
        assert y.shape == out
        assert layer.backward(y).shape == shape
    assert layer.weight.grad.shape == layer.weight.shape


def test_mistakes_are_named():
    for build, kind, message in (
        (lambda: nn.Conv2d(4, 6, 3, groups=3), ShapeError, "groups=3 must divide C_in=4"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4), ShapeError, "groups=4 must divide C_out=6"),
        (lambda: nn.Conv2d(4, 6, 3, groups=0), InvalidValueError, "groups must be at least 1, but is 0"),
        (lambda: nn.Conv2d(4, 6, 0), InvalidValueError, "kernel_size must be at least 1, but is 0"),
        (lambda: nn.Conv2d(4, 6, 3, stride=0), InvalidValueError, "stride must be at least 1, but is 0"),
        (lambda: nn.Conv2d(4, 6, 3, dilation=0), InvalidValueError, "dilation must be at least 1, but is 0"),
        (lambda: nn.Conv2d(4, 6, 3, stride=2, padding="same"), InvalidValueError, 'padding="same" needs stride 1'),
        (lambda: nn.Conv2d(4.0, 6, 3), InvalidTypeError, "in_channels must be an integer, but 4.0 is of type float"),
        (lambda: nn.Conv2d(4, -1, 3), InvalidValueError, "out_channels must be at least 0, but is -1"),
        (lambda: nn.Linear(-1, 3), InvalidValueError, "in_features must be at least 0, but is -1"),
        (lambda: nn.Linear(2, -1), InvalidValueError, "out_features must be at least 0, but is -1"),
        (lambda: nn.Linear(2, "3"), InvalidTypeError, "out_features must be an integer"),
        (lambda: nn.BatchNorm2d(-1), InvalidValueError, "num_features must be at least 0"),
        (lambda: nn.CrossEntropyLoss(reduction="max"), InvalidValueError, "reduction must be one of mean, sum, none"),
        (lambda: nn.BatchNorm2d(3, eps="1e-5")(np.zeros((2, 3, 4, 4), "float32")), InvalidTypeError, "eps must be"),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing="0.1")(np.zeros((1, 3)), np.array([0])),
            InvalidTypeError,
            "label_smoothing must be a number, but '0.1'",
        ),
        (lambda: nn.BatchNorm2d(3)(np.zeros((2, 3, 4))), ShapeError, r"\(2, 3, 4\): expected \(N, 3, H, W\)"),
        (lambda: nn.BatchNorm2d(3)(np.zeros((2, 4, 5, 5), "float32")), ShapeError, r"expected \(N, 3, H, W\)"),
        (lambda: nn.BatchNorm2d(3)([[[[1.0]]]]), InvalidTypeError, "x must be an array, but is of type list"),
        (lambda: nn.Linear(2, 3)(np.zeros((1, 2))), InvalidTypeError, "x has dtype float64 and weight has dtype"),
        (lambda: nn.Conv2d(1, 1, 3)(np.zeros((1, 1, 2, 5), "float32")), ShapeError, "kernel is larger than the padded"),
        (lambda: nn.ReLU()([1.0]), InvalidTypeError, "x must be an array, but is of type list"),
        (lambda: nn.Flatten(1, 2)(np.zeros((2, 3))), ShapeError, "joins axes that it does not have"),
        (lambda: nn.Flatten(2, 1)(np.zeros((2, 3, 4))), ShapeError, "start_dim=2 comes after end_dim=1"),
    ):
        with pytest.raises(kind, match=message):
            build()


def test_a_wrong_upstream_gradient_is_refused():
    for layer, shape in (
        (nn.Conv2d(4, 6, 3, rng=0), IMAGES),
        (nn.BatchNorm2d(4), IMAGES),
        (nn.MaxPool2d(2), IMAGES),
        (nn.Linear(6, 2, rng=0), IMAGES),
        (nn.ReLU(), IMAGES),
        (nn.AvgPool2d(2), IMAGES),
        (nn.GlobalAvgPool2d(), IMAGES),
        (nn.Flatten(), IMAGES),
    ):
        layer(np.ones(shape, dtype="float32"))
        with pytest.raises(ShapeError, match=r"grad_output has shape \(5, 5\)"):
            layer.backward(np.ones((5, 5), dtype="float32"))
        layer(np.ones(shape, dtype="float32"))
        with pytest.raises(InvalidTypeError, match="grad_output must be an array, but is of type list"):
            layer.backward([1.0])


def test_arguments_that_stand_elsewhere_in_pytorch_go_by_name():
    with pytest.raises(TypeError, match="positional"):
        nn.MaxPool2d(3, 2, 1, 1, True)
    with pytest.raises(TypeError, match="positional"):
        nn.CrossEntropyLoss(None, -1)


def test_a_state_taken_before_training_follows_it_whole():
    network = nn.Sequential(nn.Conv2d(2, 3, 1, rng=0), nn.BatchNorm2d(3, momentum=None), nn.BatchNormReLU2d(3))
    state = network.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    optimizer = nn.SGD(network.parameters(), lr=0.1)
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype("float32")
    y = network(x)
    network.backward(x[:, :1] * np.ones_like(y))
    optimizer.step()
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
        assert name == "0.bias" or (array != before[name]).any(), name  # the norm takes the bias away


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_an_empty_batch_is_no_batch(momentum):
    layer, once = nn.BatchNorm2d(2, momentum=momentum), nn.BatchNorm2d(2, momentum=momentum)
    x = np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype("float32")
    for each in (layer, once):
        each(x)
    layer(x[:0])
    for each in (layer, once):
        each(2 * x)
    for (name, array), other in zip(layer.state_dict().items(), once.state_dict().values(), strict=True):
        np.testing.assert_array_equal(array, other, err_msg=name)


@pytest.mark.parametrize("build", [nn.BatchNorm2d, nn.BatchNormReLU2d])
def test_the_statistics_of_a_batch_exist_between_forward_and_backward(build):
    layer = build(2)
    x = np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype("float32")
    with pytest.raises(BackwardError, match="has no batch statistics"):
        layer.batch_statistics()
    y = layer(x)
    mean, var, shape = layer.batch_statistics()
    np.testing.assert_allclose([mean, var], [x.mean((0, 2, 3)), x.var((0, 2, 3))], rtol=1e-5, atol=1e-6)
    assert shape == (4, 2, 3, 3)
    layer.backward(y)
    with pytest.raises(BackwardError, match="has no batch statistics"):
        layer.batch_statistics()


@pytest.mark.oracle
def test_a_state_may_lack_the_number_of_batches_as_in_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    ours(np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype("float32"))
    theirs.num_batches_tracked += 1
    state = {name: array for name, array in ours.state_dict().items() if name != "num_batches_tracked"}
    result = theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    assert ours.load_state_dict(state) == (result.missing_keys, result.unexpected_keys) == ([], [])
    assert ours.num_batches_tracked == theirs.num_batches_tracked.item() == 1  # it keeps its value
    with pytest.raises(StateDictError, match="missing running_mean$"):
        ours.load_state_dict({name: array for name, array in state.items() if name != "running_mean"})


@pytest.mark.parametrize("build", [nn.MaxPool2d, nn.AvgPool2d])
def test_poolings_check_their_arguments_when_they_are_made(build):
    for arguments, kind, message in (
        ((0,), InvalidValueError, "kernel_size must be at least 1, but is 0"),
        (((2, 0),), InvalidValueError, r"kernel_size\[1\] must be at least 1, but is 0"),
        (("2",), InvalidTypeError, "kernel_size must be an integer, but '2'"),
        ((2, 0), InvalidValueError, "stride must be at least 1, but is 0"),
        ((2, 2, -1), InvalidValueError, "padding must be at least 0, but is -1"),
        (((1, 2, 3),), InvalidValueError, "kernel_size must be an integer or a pair"),
    ):
        with pytest.raises(kind, match=message):
            build(*arguments)
    with pytest.raises(InvalidValueError, match="dilation must be at least 1, but is 0"):
        nn.MaxPool2d(2, dilation=0)


def test_norms_and_losses_check_their_arguments_when_they_are_made():
    for build, kind, message in (
        (lambda: nn.BatchNorm2d(3, eps="1e-5"), InvalidTypeError, "eps must be a number"),
        (lambda: nn.BatchNorm2d(3, eps=0.0), InvalidValueError, "eps must be above 0, but is 0"),
        (lambda: nn.BatchNorm2d(3, momentum="0.1"), InvalidTypeError, "momentum must be a number"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), InvalidValueError, "label_smoothing must lie between 0 and 1"),
        (lambda: nn.CrossEntropyLoss(ignore_index="a"), InvalidTypeError, "ignore_index must be an integer"),
    ):
        with pytest.raises(kind, match=message):
            build()


def test_the_identity_passes_on():
    layer, x = nn.Identity(), np.random.default_rng(0).standard_normal((2, 3))
    assert layer(x) is x and layer.backward(x) is x and layer.output_shape((2, 3)) == (2, 3)
