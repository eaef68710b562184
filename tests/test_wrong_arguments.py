"""Arguments that no call can have: the error is ours, and names the argument that the caller wrote."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import npresnext as nx
from npresnext import functional, nn
from npresnext.data import Augment, ImageSet, all_batches, load_digits, normalise, random_crop, training_batches
from npresnext.data.pictures import TooManyPixelsError
from npresnext.gradients import statistics
from npresnext.gradients.statistics.features import group_effective_rank
from npresnext.models import BasicBlock, Bottleneck, ResNet, from_state, get_model, resnext_small
from npresnext.training import Trainer, TrainingConfiguration, evaluate, schedules
from npresnext.training.checkpoint import ChangedArgumentsError

FLOATS = np.ones(3, dtype="float32")
TEST_SET = load_digits()[1].first(40)


def trainer(**changed):
    model = changed.pop("model", nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0)))
    options = {"batch_size": 20, "schedule": schedules.constant(0.1), **changed}
    return Trainer(model, nn.SGD(nn.Linear(1, 1, rng=0).parameters()), TEST_SET, **options)


WRONG_TYPES = [
    (lambda: nx.conv2d_input_grad(np.ones((1, 1, 2, 2)), "abcd", np.ones((1, 1, 1, 1))), "x_shape must be a sequence"),
    (lambda: nx.conv2d_parameter_count(4, 4, 3, bias=np.ones(4)), "bias must be True or False, but array"),
    (lambda: nx.to_numpy(nn.Parameter(FLOATS)), "an object of type Parameter is no array, number or sequence"),
    (lambda: nx.asarray(None, dtype="float32"), "an object of type NoneType is no array"),
    (lambda: functional.add(FLOATS, None), "y must be an array, but is None"),
    (lambda: functional.running_statistics(*[np.ones(3, int)] * 4, 9, 0.1), "running_mean has dtype int64"),
    (lambda: functional.running_statistics(*[FLOATS] * 4, 9, "0.1"), "momentum must be a number, but '0.1'"),
    (lambda: functional.batch_norm(np.ones((2, 3)), eps=np.ones(3)), "eps must be a number, but array"),
    (lambda: functional.batch_norm(np.ones((2, 3)), eps=True), "eps must be a number, but True is of type bool"),
    (lambda: functional.cross_entropy_backward("1", np.ones((1, 2)), np.zeros(1, int)), "grad_output must be an array"),
    (lambda: nn.Conv2d(3, 8, 3, bias=np.zeros(8)), "bias must be True or False, but array"),
    (lambda: nn.Linear(3, 8, bias="no"), "bias must be True or False, but 'no' is of type str"),
    (lambda: nn.BatchNorm2d(3, affine=1), "affine must be True or False, but 1 is of type int"),
    (lambda: nn.BatchNorm2d(3, momentum=np.ones(2)), "momentum must be a number"),
    (lambda: nn.MaxPool2d(2, ceil_mode=None), "ceil_mode must be True or False, but None"),
    (lambda: nn.AvgPool2d(2, 2, 0, False, "yes"), "count_include_pad must be True or False"),
    (lambda: nn.ReLU().train("eval"), "mode must be True or False, but 'eval' is of type str"),
    (lambda: nn.CrossEntropyLoss([1.0, 2.0]), "weight must be an array, but is of type list"),
    (lambda: nn.CrossEntropyLoss(np.array([1, 2])), "weight has dtype int64"),
    (lambda: nn.ModuleList(3), "modules must be modules in a list, but is of type int"),
    (lambda: nn.trace("resnet50", (1, 3, 8, 8)), "model must be a Module, but is of type str"),
    (lambda: nn.SGD([nn.Parameter(FLOATS)], nesterov="no"), "nesterov must be True or False"),
    (lambda: nn.SGD([nn.Parameter(FLOATS)]).load_state_dict(5), "state_dict must be a mapping, but is of type int"),
    (
        lambda: nn.Parameter(FLOATS).add_grad(np.ones(3)),
        "parameter.grad has dtype float64 but parameter.data has float",
    ),
    (lambda: nn.init.kaiming_normal(64), "shape must be a sequence of integers, but is of type int"),
    (lambda: nn.init.uniform_fan_in((2, 3), 1.5), "fan_in must be an integer"),
    (lambda: resnext_small(num_classes="ten"), "num_classes must be an integer, but 'ten'"),
    (lambda: BasicBlock(8.0, 8), "inplanes must be an integer, but 8.0"),
    (lambda: Bottleneck(8, "8"), "planes must be an integer, but '8'"),
    (lambda: Bottleneck(8, 2, downsample=5), "downsample must be a Module, but is of type int"),
    (lambda: ResNet(nn.ReLU, [1]), "block must be a class such as BasicBlock or Bottleneck"),
    (lambda: nx.summary(nn.ReLU(), (1, 2), depth="3"), "depth must be an integer"),
    (lambda: nx.summary(nn.ReLU(), (1, 2), col_names=5), "col_names must be a list of column names, but is 5"),
    (lambda: nx.summary(nn.ReLU(), (1, 2), dtype="complex"), "dtype must be one of float16"),
    (lambda: Augment(crop="4"), "crop must be an integer"),
    (lambda: TEST_SET.first(2.0), "count must be an integer"),
    (lambda: normalise(TEST_SET, np.ones((1, 1, 2, 2))), "images must be a NumPy array of uint8, but are float64"),
    (lambda: next(all_batches(TEST_SET, 20, dtype="int8")), "dtype must be one of float16"),
    (lambda: next(training_batches(TEST_SET, 20, seed=0, epoch=0, start="1")), "start must be an integer"),
    (lambda: nx.testing.targets.load("npresnext", engine="cuda"), "the engine cuda cannot take arrays of numpy"),
    (lambda: statistics.effective_rank("ab"), "features must be an array of real numbers with 2 axes"),
    (lambda: statistics.signal_to_noise([1.0, 2.0]), "gradients must be an array of real numbers with 2 axes"),
    (lambda: nx.gradients.conv_layers("resnet50"), "model must be a Module"),
    (lambda: nx.paper.equal_complexity(None), "cardinalities must be an integer, but None"),
    (lambda: nx.paper.equal_complexity([1], reference=64), r"reference must be a pair \(C, d\), but is 64"),
    (lambda: nx.paper.group_mask("4", 4, 2), "in_channels must be an integer, but '4'"),
    (lambda: nx.io.load("a.npz", strip_prefix=None), "strip_prefix must be a text, but is of type NoneType"),
    (lambda: nx.io.save("a.npz", {}, metadata="text"), "metadata must be a mapping, but 'text' is of type str"),
    (lambda: nx.testing.check_conv(nx.conv2d, supports=["groups"]), r"supports must be a mapping, but \['groups'\]"),
    (lambda: nx.testing.check_conv(nx.conv2d, arithmetic="tf32"), "arithmetic must be a mapping, but 'tf32'"),
    (lambda: nx.testing.check_conv(nx.conv2d, xfail="y"), "xfail must be a mapping, but 'y'"),
    (lambda: nx.testing.check_conv(nx.conv2d, cases_from=3), "cases_from must be a list of layers"),
    (lambda: nx.testing.check_conv(nx.conv2d, only=3), "only must be a ConvCase or its text, but is of type int"),
    (lambda: nx.testing.check_grads(3, [FLOATS], np.ones), "f must be callable, but is of type int"),
    (lambda: nx.testing.targets.load(3), "target must be a text, but is of type int"),
    (lambda: from_state({}, strip_prefix=None), "strip_prefix must be a text"),
    (lambda: next(training_batches(TEST_SET, 20, seed=0, epoch=0, augment=True)), "augment must be an Augment"),
    (lambda: evaluate("resnet50", TEST_SET), "model must be a Module"),
    (lambda: trainer(model=np.ones(3)), "model must be a Module, but is of type ndarray"),
    (lambda: trainer(watchers=5), "watchers must be a list of watchers, but is of type int"),
    (lambda: trainer(seed="0"), "seed must be an integer"),
    (lambda: trainer().run(1.5), "steps must be an integer, but 1.5"),
    (lambda: schedules.step(0.1, ["5"]), r"milestones\[0\] must be an integer, but '5'"),
]


@pytest.mark.parametrize("call, message", WRONG_TYPES)
def test_a_wrong_type_is_refused(call, message):
    with pytest.raises(nx.errors.InvalidTypeError, match=message):
        call()


WRONG_VALUES = [
    (lambda: nn.BatchNorm2d(3, momentum=float("nan")), "momentum must be a finite number, but is nan"),
    (lambda: nn.SGD([nn.Parameter(FLOATS)], lr=float("inf")), "lr must be a finite number, but is inf"),
    (lambda: nn.BatchNorm2d(10**13), "a weight of shape .10000000000000,. and dtype float32 takes 40,000,000,000,000"),
    (lambda: nn.init.kaiming_normal((8,)), "shape is .8,.: expected"),
    (
        lambda: functional.cross_entropy(np.ones((1, 2)), np.zeros(1, int), reduction=["sum"]),
        "reduction must be one of",
    ),
    (lambda: ResNet(Bottleneck, [1], stem=["cifar"]), "stem must be one of imagenet, cifar"),
    (lambda: Bottleneck(8, 8, width_per_group=float("inf")), "width_per_group must be a finite number"),
    (lambda: nx.testing.check_conv(nx.conv2d, cases=-1), "cases must be at least 0, but is -1"),
    (lambda: statistics.linear_cka(np.ones((3, 2)), np.ones((4, 2))), r"x has shape \(3, 2\) and y has shape \(4, 2\)"),
    (lambda: statistics.signal_to_noise(np.ones((1, 2))), "N of at least 2"),
    (lambda: from_state({"module.a": FLOATS, "a": FLOATS}, strip_prefix="module."), "two arrays have the same name"),
    (lambda: get_model(["resnet50"]), "there is no network .'resnet50'."),
    (lambda: nx.use_engine(["cpu"]), "engine must be one of"),
    (lambda: nx.set_backend(np.array(["numpy", "cupy"])), "backend must be one of numpy, cupy"),
    (
        lambda: random_crop(np.ones((2, 2), "uint8"), 1, 0),
        "images must be an array .N, C, H, W., but have shape .2, 2.",
    ),
    (lambda: random_crop(np.ones((1, 1, 2, 2), "uint8"), 1, "seed"), "rng must be None, a seed"),
    (lambda: TrainingConfiguration.for_data("digits", schedule=5), "schedule must be "),
]


@pytest.mark.parametrize("call, message", WRONG_VALUES)
def test_a_wrong_value_is_refused(call, message):
    with pytest.raises(nx.errors.InvalidValueError, match=message):
        call()


def test_a_list_with_something_else_adds_no_module():
    modules = nn.ModuleList([nn.ReLU()])
    with pytest.raises(nx.errors.InvalidTypeError, match="ModuleList takes modules"):
        modules.extend([nn.Identity(), 5])
    assert len(modules) == 1


def test_a_gradient_of_another_dtype_moves_no_parameter():
    first, second = (nn.Parameter(np.ones(3)) for _ in range(2))
    first.grad, second.grad = np.ones(3), np.ones(3, dtype=complex)
    with pytest.raises(nx.errors.InvalidTypeError, match=r"params\[1\]\.grad has dtype complex128"):
        nn.SGD([first, second], lr=0.1).step()
    assert (first.data == 1).all()


def test_a_parameter_in_a_state_is_named():
    state = {"weight": nn.Parameter(np.ones((2, 3))), "bias": np.ones(2)}
    with pytest.raises(nx.errors.StateDictError, match="weight: an object of type Parameter is no array"):
        nn.Linear(3, 2, rng=0).load_state_dict(state)


def test_a_batch_size_of_a_narrow_dtype_counts_all_images():
    images = ImageSet("grey", np.zeros((300, 1, 1, 1), np.uint8), np.zeros(300, int), num_classes=1)
    sizes = [len(target) for _, target in training_batches(images, np.uint8(100), seed=0, epoch=0)]
    assert sizes == [len(target) for _, target in all_batches(images, np.uint8(100))] == [100, 100, 100]


def test_float64_batches_are_as_precise_for_every_name_of_the_dtype():
    expected = normalise(TEST_SET, TEST_SET.images, "float64")
    assert (normalise(TEST_SET, TEST_SET.images, np.float64) == expected).all()


@pytest.mark.parametrize(
    "error, attributes",
    [
        (nx.errors.ConfigurationError("lr", -1, "above 0"), ["field", "value", "expected"]),
        (nx.errors.OutputExistsError("norms.csv"), ["path"]),
        (nx.errors.AllocationError("too large"), []),
        (ChangedArgumentsError(Path("run.npz"), {"lr": (0.1, 0.2)}), ["changed"]),
        (TooManyPixelsError("cat.png", 9, 4), ["pixels"]),
    ],
)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copied_or_pickled_error_is_the_same(error, attributes, copied):
    again = copied(error)
    assert (type(again), str(again), repr(again)) == (type(error), str(error), repr(error))
    assert all(getattr(again, name) == getattr(error, name) for name in attributes)


def test_statistics_of_integers_are_those_of_the_same_floats():
    vectors = np.array([[1, 0], [0, 2], [3, 1]])
    assert statistics.mean_cosine(vectors) == statistics.mean_cosine(vectors.astype(float))
    assert statistics.effective_rank(vectors) == statistics.effective_rank(vectors.astype(float))


def test_features_that_are_not_finite_have_no_rank():
    features = np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 1.0]])
    assert np.isnan(statistics.effective_rank(features))
    covariance = np.diag([1.0, 1.0, np.nan, 2.0])
    assert group_effective_rank(covariance, 2).tolist() == pytest.approx([2.0, np.nan], nan_ok=True)


def test_one_cardinality_may_be_a_number_of_numpy():
    assert nx.paper.equal_complexity(np.int64(32)) == nx.paper.equal_complexity([32])


def test_a_large_number_of_channels_has_its_groups_at_once():
    assert len(nx.paper.valid_groups(2**40, 3 * 2**41)) == 41
