"""Networks, their momentum and checkpoints move between backends; played by array_api_strict in the place of CuPy."""

import array_api_strict
import numpy as np
import pytest

import npresnext as nx
from npresnext import backend, nn
from npresnext.training.checkpoint import load_checkpoint, save_checkpoint

from tests.support.training import tiny_trainer

STEPS, ARGUMENTS = 5, {"seed": 0}


@pytest.fixture(autouse=True)
def strict_for_cupy(monkeypatch):
    """The backend "cupy" makes arrays of array_api_strict, which mix with NumPy's as little as CuPy's do."""
    asarray, libraries = array_api_strict.asarray, {"numpy": np, "cupy": array_api_strict}

    def asarray_of_named_dtypes(values, *, dtype=None, **options):  # CuPy takes names as NumPy does
        dtype = getattr(array_api_strict, dtype) if isinstance(dtype, str) else dtype
        return asarray(values, dtype=dtype, **options)

    monkeypatch.setattr(array_api_strict, "asarray", asarray_of_named_dtypes)
    monkeypatch.setattr(backend, "_namespace", lambda name: libraries[name])


def trained(backend_name, steps=STEPS):
    """A network trained for some steps on one backend."""
    trainer = tiny_trainer(dtype="float64", weight_decay=1e-4)
    go_on(trainer, backend_name, steps)
    return trainer


def go_on(trainer, backend_name, steps):
    trainer.model.to(backend=backend_name)
    with nx.use_backend(backend_name):
        trainer.run(steps)


def arrays(trainer):
    buffers = trainer.optimizer.state_dict()["momentum_buffers"]
    return {**trainer.model.state_dict(), **{f"momentum {i}": buffer for i, buffer in enumerate(buffers)}}


def library(backend_name):
    return type(backend._namespace(backend_name).zeros(1))


def assert_alike(trainer, expected):
    for name, array in arrays(expected).items():
        got = nx.to_numpy(arrays(trainer)[name])
        np.testing.assert_allclose(got, nx.to_numpy(array), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("first", "second"), [("numpy", "cupy"), ("cupy", "numpy")])
def test_a_run_goes_on_where_its_network_moves_to_and_its_momentum_follows(first, second):
    moved = trained(first, 2)
    assert all(isinstance(array, library(first)) for array in arrays(moved).values())
    go_on(moved, second, STEPS)
    assert all(isinstance(array, library(second)) for array in arrays(moved).values())
    assert_alike(moved, trained("numpy"))


@pytest.mark.parametrize(("first", "second"), [("numpy", "cupy"), ("cupy", "numpy"), ("cupy", "cupy")])
def test_a_checkpoint_of_one_backend_is_gone_on_with_on_the_other(tmp_path, first, second):
    save_checkpoint(tmp_path / "run.npz", trained(first, 2), ARGUMENTS)
    resumed = tiny_trainer(seed=0, dtype="float64", weight_decay=1e-4)
    resumed.model.to(backend=second)
    with nx.use_backend(second):
        load_checkpoint(tmp_path / "run.npz", resumed, ARGUMENTS)
    assert resumed.step == 2 and all(isinstance(array, library(second)) for array in arrays(resumed).values())
    go_on(resumed, second, STEPS)
    assert_alike(resumed, trained("numpy"))


def test_gradients_and_buffers_move_too_and_what_forward_kept_is_dropped():
    layers = nn.Sequential(nn.Conv2d(2, 2, 3, rng=0), nn.BatchNorm2d(2))
    layers.backward(layers(np.random.default_rng(0).standard_normal((2, 2, 5, 5), dtype="float32")))
    layers(np.ones((2, 2, 5, 5), np.float32))
    layers.to(backend="cupy")
    strict = library("cupy")
    assert all(isinstance(parameter.grad, strict) for parameter in layers.parameters())
    assert len(list(layers.buffers())) == 3 and all(isinstance(buffer, strict) for buffer in layers.buffers())
    with pytest.raises(nx.errors.BackwardError):
        layers.backward(array_api_strict.ones((2, 2, 3, 3)))


def test_arrays_of_the_two_do_not_mix():
    layer = nn.Linear(2, 2, rng=0).to(backend="cupy")
    with pytest.raises(nx.errors.BackendMixError, match="x is an array of numpy and weight one of array_api_strict"):
        layer(np.ones((1, 2), np.float32))
