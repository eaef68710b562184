"""SGD: its formula, its state, its mistakes, and PyTorch's trajectory."""

import itertools

import array_api_strict
import numpy as np
import pytest

from npresnext import nn
from npresnext.errors import (
    AllocationError,
    BackendMixError,
    InvalidTypeError,
    InvalidValueError,
    ShapeError,
    StateDictError,
)

SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9, "dampening": 1.0},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
]


def parameters(rng, dtype="float64"):
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in ((3, 2), (4,), ())]


def run(optimizer, gradients):
    for step in gradients:
        optimizer.zero_grad()
        for parameter, grad in zip(optimizer.params, step):
            parameter.grad = None if grad is None else grad.copy()
        optimizer.step()


def gradients(rng, steps, params):
    """Random gradients; the last parameter misses the first, third, ... step."""
    return [
        [None if i == 2 and step % 2 == 0 else np.asarray(rng.standard_normal(p.shape)) for i, p in enumerate(params)]
        for step in range(steps)
    ]


def test_the_momentum_moves_with_its_parameter():
    rng = np.random.default_rng(0)
    params = parameters(rng, "float32")
    first, second = gradients(rng, 2, params)
    wide = [nn.Parameter(p.data.astype("float64")) for p in params]
    moved, expected = (nn.SGD(each, lr=0.1, momentum=0.9) for each in (params, wide))
    run(moved, [[None if grad is None else grad.astype("float32") for grad in first]])
    run(expected, [first])
    for parameter in params:
        parameter.data = parameter.data.astype("float64")
    run(moved, [second])
    run(expected, [second])
    for got, want in zip(params, wide):
        np.testing.assert_allclose(got.data, want.data, rtol=1e-6)
        assert got.data.dtype == "float64"


@pytest.mark.oracle
@pytest.mark.parametrize("settings", SETTINGS)
def test_trajectories_are_pytorchs(settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    params = parameters(rng)
    theirs = [torch.from_numpy(p.data.copy()).requires_grad_() for p in params]
    ours, oracle = nn.SGD(params, **settings), torch.optim.SGD(theirs, **settings)
    for index, step in enumerate(gradients(rng, 6, params)):
        run(ours, [step])
        for tensor, grad in zip(theirs, step):
            tensor.grad = None if grad is None else torch.from_numpy(grad.copy())
        oracle.step()
        if index == 3:
            ours.lr = oracle.param_groups[0]["lr"] = 0.01
        for parameter, tensor in zip(params, theirs):
            np.testing.assert_allclose(parameter.data, tensor.detach().numpy(), rtol=1e-13, atol=1e-15)


def test_a_step_of_16_bit_parameters_without_momentum_rounds_once():
    p = nn.Parameter(np.array([1.0, 2.0, 3.0], "float16"))
    run(nn.SGD([p], lr=0.013), [[np.array([0.5, -1.0, 2.0], "float16")]])
    np.testing.assert_array_equal(p.data, np.array([1 - 0.0065, 2 + 0.013, 3 - 0.026]).astype("float16"))


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_of_16_bit_parameters_round_only_what_they_keep(nesterov):
    rng = np.random.default_rng(0)
    lr, momentum, decay = 0.013, 0.99, 3e-3  # none of them is a number of float16
    p = nn.Parameter(rng.standard_normal(500).astype("float16"))
    optimizer = nn.SGD([p], lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    run(optimizer, [[rng.standard_normal(500).astype("float16")]])
    before, buffer = p.data.astype("float64"), optimizer.state_dict()["momentum_buffers"][0].astype("float64")
    grad = rng.standard_normal(500).astype("float16")
    run(optimizer, [[grad]])
    direction = grad + decay * before
    exact = momentum * buffer + direction
    after = before - lr * (direction + momentum * exact if nesterov else exact)
    for kept, value in ((optimizer.state_dict()["momentum_buffers"][0], exact), (p.data, after)):
        assert kept.dtype == "float16"
        assert (abs(kept - value) <= 0.5001 * abs(np.spacing(value.astype("float16"))).astype("float64")).all()


def test_the_formula_step_by_step():
    p = nn.Parameter(np.array([2.0]))
    optimizer = nn.SGD([p], lr=0.5, momentum=0.5, weight_decay=0.25, nesterov=True)
    p.grad = np.array([1.0])
    optimizer.step()  # g = 1 + 0.25·2 = 1.5, b = 1.5, g + 0.5·b = 2.25
    assert p.data[0] == 2 - 0.5 * 2.25
    optimizer.step()  # p = 0.875: g = 1.21875, b = 0.75 + 1.21875 = 1.96875
    assert p.data[0] == 0.875 - 0.5 * (1.21875 + 0.5 * 1.96875)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_stay_raw_and_the_arrays_stay_in_place(settings):
    rng = np.random.default_rng(1)
    params = parameters(rng, "float32")
    arrays = [p.data for p in params]
    optimizer = nn.SGD(params, **settings)
    for _ in range(3):
        grads = [np.asarray(rng.standard_normal(p.shape), dtype="float32") for p in params]
        for parameter, grad in zip(params, grads):
            parameter.grad = grad.copy()
        optimizer.step()
        for parameter, array, grad in zip(params, arrays, grads):
            assert parameter.data is array and parameter.data.dtype == np.float32
            np.testing.assert_array_equal(parameter.grad, grad)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_resumed_run_takes_the_same_steps(settings):
    rng = np.random.default_rng(2)
    params = parameters(rng)
    steps = gradients(rng, 5, params)
    one = nn.SGD(params, **settings)
    run(one, steps[:3])
    copies = [nn.Parameter(p.data.copy()) for p in params]
    two = nn.SGD(copies, lr=9.0)
    two.load_state_dict(one.state_dict())
    run(one, steps[3:])
    run(two, steps[3:])
    for a, b in zip(params, copies):
        np.testing.assert_array_equal(a.data, b.data)
    assert two.lr == settings["lr"]


def test_loaded_buffers_are_copies():
    one, two = (nn.SGD([nn.Parameter(np.ones(2))], momentum=0.9) for _ in range(2))
    run(one, [[np.ones(2)]])
    two.load_state_dict(one.state_dict())
    run(one, [[np.ones(2)]])
    np.testing.assert_array_equal(two.state_dict()["momentum_buffers"][0], np.ones(2))


def test_a_state_that_does_not_fit_changes_nothing():
    optimizer = nn.SGD([nn.Parameter(np.ones(2)), nn.Parameter(np.ones(3))], lr=0.5, momentum=0.9)
    good = optimizer.state_dict()
    for change, message in (
        ({"momentum_buffers": [None]}, r"1 momentum_buffers for 2 parameters"),
        ({"momentum_buffers": [np.zeros(2), np.zeros(4)]}, r"momentum_buffers\[1\] has shape \(4,\), expected \(3,\)"),
        ({"beta": 1}, r"missing \[\], unexpected \['beta'\]"),
    ):
        with pytest.raises(StateDictError, match=message):
            optimizer.load_state_dict({**good, "lr": 7.0, **change})
        assert optimizer.lr == 0.5 and optimizer.state_dict()["momentum_buffers"] == [None, None]
    for change, message in (
        ({"lr": float("nan")}, "lr must be at least 0, but is nan"),
        ({"dampening": 0.1, "nesterov": True}, "nesterov needs a momentum above 0 and dampening 0"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**good, "momentum_buffers": [np.ones(2), np.ones(3)], **change})
        assert optimizer.lr == 0.5 and optimizer.state_dict()["momentum_buffers"] == [None, None]
    with pytest.raises(StateDictError, match=r"missing \['lr'\]"):
        optimizer.load_state_dict({key: value for key, value in good.items() if key != "lr"})


def test_mistakes_are_named():
    p = nn.Parameter(np.ones(2))
    for params, settings, kind, message in (
        ([], {}, InvalidValueError, "params is empty"),
        ([p, p], {}, InvalidValueError, "same Parameter more than once"),
        ([np.ones(2)], {}, InvalidTypeError, r"params\[0\] is of type ndarray: expected Parameters"),
        ([p], {"lr": -1}, InvalidValueError, "lr must be at least 0, but is -1"),
        ([p], {"lr": "0.1"}, InvalidTypeError, "lr must be a number, but '0.1' is of type str"),
        ([p], {"dampening": None}, InvalidTypeError, "dampening must be a number, but None"),
        (p, {}, InvalidTypeError, "params must be Parameters, as .*, but is a Parameter"),
        ([p], {"lr": float("nan")}, InvalidValueError, "lr must be at least 0, but is nan"),
        ([p], {"momentum": -0.1}, InvalidValueError, "momentum must be at least 0, but is -0.1"),
        ([p], {"weight_decay": -1}, InvalidValueError, "weight_decay must be at least 0"),
        ([p], {"nesterov": True}, InvalidValueError, "nesterov needs a momentum above 0"),
        ([p], {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, InvalidValueError, "dampening is 0.1"),
    ):
        with pytest.raises(kind, match=message):
            nn.SGD(params, **settings)
    with pytest.raises(InvalidTypeError, match=r"params must be Parameters, as model.parameters\(\), but is a Linear"):
        nn.SGD(nn.Linear(2, 2))


@pytest.mark.parametrize("shape", [(3, 2), (6,), (1, 3), (7,)])
def test_a_gradient_of_another_shape_moves_nothing(shape):
    first, second = nn.Parameter(np.ones(2)), nn.Parameter(np.ones((2, 3)))
    first.grad, second.grad = np.ones(2), np.ones(shape)
    optimizer = nn.SGD([first, second], lr=1.0, momentum=0.9)
    with pytest.raises(ShapeError, match=r"params\[1\].grad has shape .* but params\[1\].data has \(2, 3\)"):
        optimizer.step()
    assert (first.data == 1).all() and (second.data == 1).all()
    assert optimizer.state_dict()["momentum_buffers"] == [None, None]  # the next step is still the first


def test_a_gradient_of_another_library_moves_nothing():
    p = nn.Parameter(np.ones(2))
    p.grad = array_api_strict.ones(2, dtype=array_api_strict.float64)
    with pytest.raises(BackendMixError, match=r"params\[0\].data is an array of numpy and params\[0\].grad one of"):
        nn.SGD([p], lr=1.0).step()
    assert (p.data == 1).all()


def test_the_quadratic_bowl_is_descended_as_theory_says():
    for momentum, curvature in itertools.product((0.0, 0.5), (0.1, 0.3)):
        p = nn.Parameter(np.array([1.0]))
        optimizer = nn.SGD([p], lr=0.1, momentum=momentum)
        for _ in range(200):
            p.grad = curvature * p.data
            optimizer.step()
        # the slower root of r² − (1 + momentum − lr·curvature)·r + momentum = 0 rules the end
        root = np.roots([1, -(1 + momentum - 0.1 * curvature), momentum]).real.max()
        assert np.log(abs(p.data[0])) / 200 == pytest.approx(np.log(root), rel=0.02)


def test_a_gradient_that_stays_is_not_taken_for_the_momentum():
    p, grad = nn.Parameter(np.zeros(1)), np.ones(1)
    optimizer = nn.SGD([p], lr=1.0, momentum=0.5)
    p.grad = grad
    optimizer.step()  # b = 1
    optimizer.step()  # b = 0.5·1 + 1
    assert p.data[0] == -2.5 and grad[0] == 1


@pytest.mark.parametrize("allocated", [0, 1])
def test_memory_refused_in_a_step_is_an_error_of_ours_and_the_next_step_works(allocated, monkeypatch):
    parameters = [nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))]
    for parameter in parameters:
        parameter.grad = np.full(3, 0.5)
    optimizer = nn.SGD(parameters, lr=1.0, momentum=0.9)
    left = [np.full(3, np.nan)] * allocated  # the first buffers, with what lay in memory

    def refuse(array):
        if left:
            return left.pop()
        monkeypatch.undo()
        raise MemoryError("Unable to allocate 24 bytes")

    monkeypatch.setattr(np, "empty_like", refuse)
    with pytest.raises(AllocationError, match="step needs more memory than there is: Unable to allocate 24 bytes"):
        optimizer.step()
    optimizer.step()
    for parameter in parameters:
        np.testing.assert_array_equal(parameter.data, [0.5, 0.5, 0.5])


def test_an_optimizer_shows_its_settings():
    optimizer = nn.SGD([nn.Parameter(np.ones(1))], lr=0.5, momentum=0.9)
    assert repr(optimizer) == "SGD(lr=0.5, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False)"
