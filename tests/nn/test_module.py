"""Parameter, Module, Sequential: registration, state, modes, and what is kept for a backward pass."""

import copy
import pickle
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.errors import (
    BackwardError,
    InvalidTypeError,
    InvalidValueError,
    ModuleError,
    ShapeError,
    StateDictError,
)


class Pair(nn.Module):
    """A module made of others, with a parameter of its own that comes last by assignment and first in the state."""

    def __init__(self, rng=0):
        self.one = nn.Linear(3, 4, rng=rng)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(np.ones(1, dtype="float32"))

    def forward(self, x):
        return self.one(x)

    def backward(self, grad_output):
        return self.one.backward(grad_output)


def test_assignment_registers_and_order_is_pytorchs():
    names = ["scale", "one.weight", "one.bias", "norm.weight", "norm.bias"]
    buffers = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    pair = Pair()
    assert [name for name, _ in pair.named_parameters()] == names
    assert [name for name, _ in pair.named_buffers()] == buffers
    assert list(pair.state_dict()) == names + buffers
    assert [name for name, _ in pair.named_modules()] == ["", "one", "norm"]
    assert [name for name, _ in pair.named_children()] == ["one", "norm"]
    assert list(pair.parameters())[0] is pair.scale
    assert list(pair.modules()) == [pair, pair.one, pair.norm] and list(pair.children()) == [pair.one, pair.norm]
    assert len(list(pair.buffers())) == 3


@pytest.mark.oracle
def test_names_and_order_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.ReLU()), torch.nn.Linear(4, 2)
    )
    ours = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Linear(4, 2))
    for listing in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [name for name, _ in getattr(ours, listing)()] == [name for name, _ in getattr(theirs, listing)()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    named = OrderedDict(conv=nn.Conv2d(2, 4, 3), act=nn.ReLU())
    assert repr(nn.Sequential(named)) == repr(
        torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(2, 4, 3), act=torch.nn.ReLU()))
    )
    assert repr(nn.Sequential()) == repr(torch.nn.Sequential())


def test_one_instance_has_one_place():
    relu, linear = nn.ReLU(), nn.Linear(2, 2)
    with pytest.raises(ModuleError, match=r"1 would give ReLU a second place in Sequential: it is 0 already"):
        nn.Sequential(relu, relu)
    with pytest.raises(ModuleError, match=r"it is 0\.0 already"):
        nn.Sequential(nn.Sequential(linear), nn.Sequential(nn.ReLU(), linear))
    with pytest.raises(ModuleError, match="Parameter"):
        linear.bias = linear.weight
    with pytest.raises(ModuleError, match="the module itself"):
        linear.inner = linear
    inner = nn.Sequential(nn.ReLU())
    outer = nn.Sequential(inner)
    with pytest.raises(ModuleError, match="the module itself"):
        inner.outer = outer


def test_an_instance_placed_twice_behind_the_back_is_found_before_any_use():
    shared, first, second = nn.ReLU(), nn.Sequential(), nn.Sequential()
    network = nn.Sequential(first, second)
    first.late = shared
    second.late = shared  # neither sees the other: the whole tree does
    for use in (network.state_dict, lambda: list(network.parameters()), network.train):
        with pytest.raises(ModuleError, match=r"1\.late .* it is 0\.late already"):
            use()


def test_replacing_a_part_and_a_part_in_two_trees_are_allowed():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    head = network[0]
    setattr(network, "0", nn.Linear(2, 3))
    assert network[0].out_features == 3
    setattr(network, "0", head)
    setattr(network, "0", head)
    features = network[:1]
    assert features[0] is head and len(features) == 1


def test_sequential_is_a_sequence():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(network) == 3 and [type(m).__name__ for m in network] == ["Linear", "ReLU", "Linear"]
    assert network[-1].out_features == 1
    assert [name for name, _ in network[1:].named_children()] == ["1", "2"]
    with pytest.raises(IndexError):
        network[3]
    with pytest.raises(InvalidTypeError, match="Sequential takes modules, but 1 is of type function"):
        nn.Sequential(nn.ReLU(), lambda x: x)


@pytest.mark.parametrize("name", ["forward", "training", "a.b", "", 1], ids=repr)
def test_sequential_takes_no_name_that_would_replace_a_part_of_itself_or_blur_the_state(name):
    with pytest.raises(InvalidValueError, match=f"cannot name a module {name!r}"):
        nn.Sequential({name: nn.ReLU()})


def test_backward_goes_through_the_modules_in_reverse():
    network = nn.Sequential(nn.Linear(3, 4, rng=0, dtype="float64"), nn.ReLU(), nn.Linear(4, 2, rng=1, dtype="float64"))
    rng = np.random.default_rng(0)
    x, upstream = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    network(x)
    dx = network.backward(upstream)
    a, b = network[0].weight.data, network[2].weight.data
    hidden = x @ a.T + network[0].bias.data
    dhidden = (upstream @ b) * (hidden > 0)
    np.testing.assert_allclose(dx, dhidden @ a, rtol=1e-12)
    np.testing.assert_allclose(network[0].weight.grad, dhidden.T @ x, rtol=1e-12, atol=1e-14)


# What is kept


LAYERS = {
    "Conv2d": (lambda: nn.Conv2d(2, 2, 3, padding=1, rng=0), (2, 2, 4, 4)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), (2, 2, 4, 4)),
    "ReLU": (nn.ReLU, (2, 2, 4, 4)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (2, 2, 4, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (2, 2, 4, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (2, 2, 4, 4)),
    "Flatten": (nn.Flatten, (2, 2, 4, 4)),
    "Linear": (lambda: nn.Linear(4, 3, rng=0), (2, 2, 4, 4)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_forward_serves_one_backward(name, training):  # micrograd#102
    build, shape = LAYERS[name]
    layer = build().train(training)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype("float32")
    upstream = rng.standard_normal(np.shape(build()(x))).astype("float32")
    complaint = rf"{name}\(.*\)\.backward\(\) without a forward pass to go with"
    with pytest.raises(BackwardError, match=complaint):
        layer.backward(upstream)
    layer(x)
    first = layer.backward(upstream)
    with pytest.raises(BackwardError, match=complaint):
        layer.backward(upstream)
    layer(2 * x)
    layer(x)  # the last forward counts
    np.testing.assert_array_equal(layer.backward(upstream), first)
    layer(x)
    with nx.no_grad():
        layer(x)  # replaces what was kept by nothing
    with pytest.raises(BackwardError, match=complaint):
        layer.backward(upstream)


def test_the_loss_too_serves_one_backward():
    criterion = nn.CrossEntropyLoss()
    with pytest.raises(BackwardError, match="CrossEntropyLoss"):
        criterion.backward()
    criterion(np.zeros((1, 2)), np.array([0]))
    criterion.backward()
    with pytest.raises(BackwardError, match="CrossEntropyLoss"):
        criterion.backward()


def test_no_grad_decorates_nests_and_ends_with_an_error():
    layer, x = nn.ReLU(), np.ones(3)

    @nx.no_grad()
    def predict():
        return layer(x)

    for _ in range(2):
        predict()
        with pytest.raises(BackwardError):
            layer.backward(x)
    with pytest.raises(ZeroDivisionError), nx.no_grad():
        with nx.no_grad():
            pass
        layer(x)
        assert layer._saved is None
        raise ZeroDivisionError
    layer(x)
    layer.backward(x)


def test_no_grad_of_one_thread_leaves_the_others_alone():
    layer, x = nn.ReLU(), np.ones(3)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # born outside: what is born inside inherits the block in free-threaded Python
        with nx.no_grad():
            pool.submit(layer, x).result()
    np.testing.assert_array_equal(layer.backward(x), x)


def test_backward_lets_go_of_what_was_kept():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    y = network(np.random.default_rng(0).random((2, 1, 6, 6), dtype="float32"))
    assert all(layer._saved is not None for layer in network)
    network.backward(y)
    assert all(layer._saved is None for layer in network)


def test_the_first_gradient_is_taken_and_the_next_is_added():
    parameter = nn.Parameter(np.zeros(2))
    assert parameter.grad is None
    first = np.array([1.0, 2.0])
    parameter.add_grad(first)
    assert parameter.grad is first
    parameter.add_grad(np.array([10.0, 20.0]))
    np.testing.assert_array_equal(parameter.grad, [11.0, 22.0])


def test_a_gradient_of_another_shape_or_kind_is_refused_where_it_is_added():
    parameter = nn.Parameter(np.zeros((2, 3)))
    parameter.add_grad(np.ones((2, 3)))
    for wrong in (np.ones(3), np.ones((1, 3)), np.ones((3, 2))):
        with pytest.raises(ShapeError, match=r"parameter.grad has shape .* but parameter.data has \(2, 3\)"):
            parameter.add_grad(wrong)
    with pytest.raises(InvalidTypeError, match="grad must be an array, but is of type float"):
        nn.Parameter(np.zeros(())).add_grad(1.0)
    np.testing.assert_array_equal(parameter.grad, np.ones((2, 3)))


def test_parameters_are_arrays():
    with pytest.raises(InvalidTypeError, match="data must be an array, but is of type list"):
        nn.Parameter([1.0])
    with pytest.raises(InvalidTypeError, match="data has dtype int64: expected a floating or complex dtype"):
        nn.Parameter(np.array([1, 2]))
    assert repr(nn.Parameter(np.zeros((2, 3), dtype="float32"))) == "Parameter(shape=(2, 3), dtype=float32)"


def test_a_part_is_replaced_by_a_part_or_none_and_by_nothing_else():
    pair = Pair()
    weight = pair.one.weight
    with pytest.raises(InvalidTypeError, match=r"^weight of Linear is a Parameter: .* ndarray; .* are weight\.data$"):
        pair.one.weight = np.zeros((4, 3), "float32")
    with pytest.raises(InvalidTypeError, match="^one of Pair is a Module: expected another or None, .* function$"):
        pair.one = lambda x: x
    assert pair.one.weight is weight
    pair.one.weight, pair.one.bias, pair.norm = nn.Parameter(np.ones((4, 3), "float32")), None, nn.ReLU()
    assert list(pair.state_dict()) == ["scale", "one.weight"]


def test_train_and_eval_reach_every_part_and_return_the_module():
    network = nn.Sequential(nn.Sequential(nn.BatchNorm2d(2)), nn.ReLU())
    assert all(module.training for module in network.modules())
    assert network.eval() is network and not any(module.training for module in network.modules())
    assert network.train() is network and all(module.training for module in network.modules())


def test_a_module_without_forward_or_backward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(np.ones(1))
    with pytest.raises(NotImplementedError, match="Empty has no backward"):
        Empty().backward(np.ones(1))


# State


def test_a_state_travels_from_one_network_to_another():
    one, two = Pair(rng=0), Pair(rng=1)
    result = two.load_state_dict(one.state_dict())
    assert result == ([], []) and result.missing_keys == [] and result.unexpected_keys == []
    for name, array in two.state_dict().items():
        np.testing.assert_array_equal(array, one.state_dict()[name])
        assert not np.shares_memory(array, one.state_dict()[name]), name


def test_loading_keeps_dtype_and_takes_any_array():
    layer = nn.Linear(2, 3, rng=0)
    layer.load_state_dict({"weight": np.ones((3, 2), dtype="float64"), "bias": [1, 2, 3]})
    assert layer.weight.data.dtype == layer.bias.data.dtype == np.float32
    np.testing.assert_array_equal(layer.bias.data, [1, 2, 3])
    xp = pytest.importorskip("array_api_strict")
    layer.load_state_dict({"weight": xp.zeros((3, 2)), "bias": xp.ones(3)})
    assert type(layer.weight.data) is np.ndarray


def test_every_fault_of_a_state_stands_in_one_message_and_nothing_is_loaded():
    pair = Pair()
    before = copy.deepcopy(pair.state_dict())
    state = {name: np.full_like(array, 7) for name, array in before.items()}
    del state["scale"], state["norm.bias"]
    state |= {"one.weight": np.zeros((4, 2)), "norm.running_var": np.zeros(()), "fc.weight": np.zeros(3), "old": 1.0}
    with pytest.raises(StateDictError) as caught:
        pair.load_state_dict(state)
    assert str(caught.value) == (
        "the state does not fit Pair: missing scale; missing norm.bias; unexpected fc.weight; unexpected old; "
        "one.weight has shape (4, 2), expected (4, 3); norm.running_var has shape (), expected (4,)"
    )
    with pytest.raises(StateDictError, match="the state does not fit Pair: one.weight has shape"):
        pair.load_state_dict(state, strict=False)
    for name, array in pair.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_value_that_cannot_be_converted_leaves_everything_as_it_was():
    pair = Pair()
    before = copy.deepcopy(pair.state_dict())
    state = {name: array + 1 for name, array in before.items()}
    for bad in (np.array(["a"] * 4), np.ones(4) * 1j):
        with pytest.raises(StateDictError, match=r"norm.bias has dtype .*, expected real numbers"):
            pair.load_state_dict({**state, "norm.bias": bad})
        for name, array in pair.state_dict().items():
            np.testing.assert_array_equal(array, before[name])
    with pytest.raises(InvalidTypeError, match="state_dict must be a mapping of names to arrays, but is of type list"):
        pair.load_state_dict([1])


def test_without_strict_the_rest_is_loaded_and_the_keys_are_returned():
    layer = nn.Linear(2, 3, rng=0)
    result = layer.load_state_dict({"bias": np.ones(3), "scale": np.ones(1)}, strict=False)
    assert result == (["weight"], ["scale"])
    np.testing.assert_array_equal(layer.bias.data, np.ones(3))


def test_a_state_holds_the_arrays_themselves():
    layer = nn.Linear(2, 3, rng=0)
    assert layer.state_dict()["weight"] is layer.weight.data


@pytest.mark.parametrize("carry", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_stand_on_their_own(carry):
    model = nx.models.resnext_small(rng=0)
    twin = carry(model)
    assert repr(twin) == repr(model)
    twin.conv1.weight.data += 1
    assert (twin.conv1.weight.data != model.conv1.weight.data).all()


# Moving


def test_to_converts_parameters_gradients_and_floating_buffers():
    model = nx.models.resnext_small(rng=0)
    model.backward(model(np.random.default_rng(0).random((2, 1, 8, 8), dtype="float32")))
    assert model.to(dtype="float64") is model
    for name, array in model.state_dict().items():
        assert array.dtype == (np.int64 if name.endswith("num_batches_tracked") else np.float64), name
    assert all(parameter.grad.dtype == np.float64 for parameter in model.parameters())
    x = np.zeros((2, 1, 8, 8))
    assert model.backward(model(x)).dtype == np.float64


def test_to_drops_what_an_earlier_forward_kept():
    layer = nn.Linear(2, 3, rng=0)
    layer(np.ones((1, 2), dtype="float32"))
    with pytest.raises(BackwardError):
        layer.to(dtype="float64").backward(np.ones((1, 3)))


def test_to_the_same_place_changes_nothing():
    layer = nn.Linear(2, 3, rng=0)
    array = layer.weight.data
    assert layer.to("numpy", "float32").weight.data is array and layer.to().weight.data is array


def test_to_brings_arrays_back_from_another_library():
    from tests.support.strict import STRICT, to_strict

    layer = nn.Linear(2, 3, rng=0)
    expected = layer.weight.data
    assert type(to_strict(layer).weight.data) is not np.ndarray
    assert type(layer.to(dtype="float64").weight.data) is type(STRICT.zeros(1))
    layer.to("numpy", "float32")
    assert type(layer.weight.data) is np.ndarray
    np.testing.assert_array_equal(layer.weight.data, expected)


def test_mistakes_of_to_are_named_and_change_nothing():
    layer = nn.Linear(2, 3, rng=0)
    with pytest.raises(InvalidValueError, match="backend must be one of numpy, cupy, but is 'jax'"):
        layer.to("jax")
    with pytest.raises(InvalidTypeError, match="dtype must be one of float16, .*, but is 'int8'"):
        layer.to(dtype="int8")
    assert layer.weight.data.dtype == np.float32


def test_repr_of_a_nested_network():
    assert repr(nn.Sequential(OrderedDict(stage=nn.Sequential(nn.ReLU()), fc=nn.Linear(2, 3)))) == (
        "Sequential(\n"
        "  (stage): Sequential(\n"
        "    (0): ReLU()\n"
        "  )\n"
        "  (fc): Linear(in_features=2, out_features=3, bias=True)\n"
        ")"
    )


# The gradient of the input


NETWORKS = {
    "convolution": (lambda: nn.Conv2d(3, 4, 3, groups=1, rng=0), (2, 3, 6, 5)),
    "linear": (lambda: nn.Linear(5, 3, rng=0), (2, 5)),
    "sequential": (lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, rng=0)), nn.BatchNorm2d(4)), (2, 3, 6, 5)),
    "resnet": (lambda: nx.models.resnext_small(rng=0), (2, 1, 8, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_input_gradient_that_nobody_needs_is_left_out_and_the_others_stay(name):
    build, shape = NETWORKS[name]
    model, rng = build(), np.random.default_rng(0)
    x = rng.standard_normal(shape).astype("float32")
    upstream = rng.standard_normal(model(x).shape).astype("float32")
    assert model.needs_input_grad
    assert model.backward(upstream).shape == shape
    expected = {key: parameter.grad for key, parameter in model.named_parameters()}
    model.needs_input_grad = False
    assert not model.needs_input_grad
    model.zero_grad()
    model(x)
    assert model.backward(upstream) is None
    for key, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.grad, expected[key], err_msg=key)
    model.needs_input_grad = True
    model(x)
    assert model.backward(upstream).shape == shape


def test_a_sequence_without_modules_needs_every_gradient():
    empty = nn.Sequential()
    empty.needs_input_grad = False
    assert empty.needs_input_grad
    assert empty.backward(np.ones(3)).shape == (3,)


# Errors, copies, and parts in the wrong place


class Fails(nn.Module):
    """A layer that raises what it is given."""

    def __init__(self, error):
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError("full"), KeyboardInterrupt()], ids=repr)
def test_a_forward_pass_that_fails_leaves_nothing_to_go_back_through(error):
    relu = nn.ReLU()
    network, x = nn.Sequential(relu, Fails(error)), np.ones(3)
    with pytest.raises(type(error)):
        network(x)
    with pytest.raises(BackwardError):
        relu.backward(x)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_do_not_contain_what_forward_saved(duplicate):
    network, x = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU()).eval(), np.ones((1000, 3), "float32")
    size = len(pickle.dumps(network))
    y = network(x)
    assert len(pickle.dumps(network)) == size
    twin = duplicate(nn.Sequential(network[0])[0])
    with pytest.raises(BackwardError):
        twin.backward(y)
    assert network.backward(y).shape == x.shape  # the original still has it


class Hidden(nn.Module):
    """A module whose parts stand in an attribute that is no module."""

    def __init__(self, parts):
        self.stage = nn.Sequential()
        self.stage.parts = parts


@pytest.mark.parametrize("use", ["parameters", "state_dict", "train", "zero_grad", "named_modules"])
@pytest.mark.parametrize("wrap", [list, tuple, lambda parts: dict(enumerate(parts))])
def test_parts_in_a_list_or_dictionary_are_refused_at_the_first_use(wrap, use):
    for part, name in ((nn.Linear(2, 2), "Linear"), (nn.Parameter(np.ones(2)), "Parameter")):
        with pytest.raises(
            ModuleError, match=rf"stage.parts is a \w+ that holds a {name}, .* into a ModuleList or a Seq"
        ):
            list(getattr(Hidden(wrap([part])), use)() or [])
    layer = nn.Linear(2, 2)
    late = Hidden(parts := [])
    parts.append(layer)
    with pytest.raises(ModuleError, match="stage.parts is a list"):
        list(late.parameters())
    late.layer = layer  # it has a place now, and the list is a second way to reach it
    assert len(list(late.parameters())) == 2


def test_a_module_list_registers_and_is_a_list():
    layers = nn.ModuleList([nn.Linear(2, 3, rng=0), nn.ReLU()])
    assert layers.append(nn.Linear(3, 1, rng=0)) is layers and layers.extend([nn.ReLU()]) is layers
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Linear", "ReLU"] and len(layers) == 4
    assert layers[-2].out_features == 1
    assert list(layers.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    tail = layers[2:]
    assert type(tail) is nn.ModuleList and list(tail.state_dict()) == ["0.weight", "0.bias"]
    layers[1] = flatten = nn.Flatten()
    assert layers[1] is flatten and len(layers) == 4
    with pytest.raises(InvalidTypeError, match="ModuleList takes modules, but got an object of type int"):
        nn.ModuleList([1])
    with pytest.raises(InvalidTypeError, match="ModuleList takes modules, but got an object of type int"):
        layers[0] = 1
    with pytest.raises(IndexError):
        layers[4] = nn.ReLU()
    with pytest.raises(ModuleError, match="second place"):
        layers.append(flatten)
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(np.ones(2))


@pytest.mark.oracle
def test_a_module_list_names_its_parts_as_pytorchs_does():
    torch = pytest.importorskip("torch")
    ours, theirs = (nn.ModuleList([nn.Linear(2, 3), nn.ReLU()]), torch.nn.ModuleList([torch.nn.Linear(2, 3)]))
    theirs.append(torch.nn.ReLU())
    for each in (ours, theirs):
        each[0] = each[0]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert len(ours[1:]) == len(theirs[1:]) and list(dict(ours[1:].named_children())) == ["0"]


@pytest.mark.parametrize(
    "collect",
    [
        lambda layer: [layer],
        lambda layer: (layer,),
        lambda layer: {"a": layer},
        lambda layer: {layer},
        lambda layer: frozenset([layer]),
        lambda layer: deque([layer]),
        lambda layer: OrderedDict(a=layer),
        lambda layer: {"a": [layer]},
        lambda layer: [0, [("a", layer)]],
    ],
)
def test_a_layer_in_any_collection_at_any_depth_is_refused(collect):
    class Holder(nn.Module):
        def __init__(self, layer):
            self.norm = nn.BatchNorm2d(2)
            self.parts = collect(layer)

    holder = nn.Sequential(Holder(nn.Linear(2, 2, rng=0)))
    for use in (holder.state_dict, holder.eval, holder.zero_grad, lambda: nn.SGD(holder.parameters(), lr=0.1)):
        with pytest.raises(ModuleError, match=r"^0\.parts is a \w+ that holds a Linear, which would neither"):
            use()
    assert len(list(Holder(nn.ReLU).parameters())) == 2  # a class is no layer


def test_a_collection_that_holds_itself_or_layers_with_a_place_is_fine():
    holder = Pair()
    holder.order = [holder.one]
    holder.order.append(holder.order)
    assert len(list(holder.parameters())) == 5


def test_a_place_of_a_module_list_takes_modules_only():
    layers = nn.ModuleList([nn.ReLU(), nn.Identity()])
    for nothing in (None, 3, nn.ReLU):
        with pytest.raises(InvalidTypeError, match="ModuleList takes modules"):
            layers[0] = nothing
    with pytest.raises(InvalidTypeError, match="index"):
        layers[0:1] = nn.ReLU()
    layers[-1] = nn.Flatten()
    assert [type(layer) for layer in layers.append(nn.MaxPool2d(2))] == [nn.ReLU, nn.Flatten, nn.MaxPool2d]


def test_an_error_in_the_forward_pass_names_the_layer():
    model = nn.Sequential(nn.Conv2d(2, 4, 1, rng=0), nn.Sequential(nn.ReLU(), nn.Linear(5, 3, rng=0)))
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype("float32")
    with pytest.raises(InvalidTypeError, match="^0: x has dtype float64 and weight has dtype float32"):
        model(x.astype("float64"))
    for _ in range(2):  # a second time, too
        with pytest.raises(ShapeError, match=r"^1\.1: x has shape \(1, 4, 4, 4\) but weight has shape \(3, 5\)"):
            model(x)
    with pytest.raises(ShapeError, match=r"^1: x has shape"):
        model[1](x)
    with pytest.raises(ShapeError, match=r"^x has shape"):
        model[1][1](x)
    with pytest.raises(ShapeError, match=r"^1\.1: x has shape"):
        nn.trace(model, x.shape)


def test_an_error_of_another_kind_stays_as_it_is():
    class Broken(nn.Module):
        def forward(self, x):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="^'mine'$"):
        nn.Sequential(nn.ReLU(), Broken())(np.ones(3))
