"""Shards of a batch: the same bits by hand, on one process, and on any number of ranks."""

import sys
import types

import numpy as np
import pytest

from npresnext import nn
from npresnext.data import load_digits, training_batches
from npresnext.errors import (
    ConfigurationError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    NonFiniteLossError,
    RanksDifferError,
    ShapeError,
)
from npresnext.gradients import group_grad_norms
from npresnext.training import (
    Communicator,
    ShardedTrainer,
    Trainer,
    TrainingConfiguration,
    Watcher,
    connect_ranks,
    evaluate,
    load_checkpoint,
    save_checkpoint,
    schedules,
    shards,
)
from npresnext.training.communicator import launched_rank

from tests.support.ranks import on_ranks
from tests.support.training import state_bytes, tiny_trainer

TEST = load_digits()[1]


class Gradients(Watcher):
    """Keeps a copy of every gradient of every step."""

    def __init__(self):
        self.seen = []

    def after_backward(self, trainer):
        self.seen.append([parameter.grad.copy() for parameter in trainer.model.parameters()])


def written(folder, trainer):
    """The bytes of a checkpoint: weights, running statistics, momentum, step, meter, history."""
    path = folder / f"{id(trainer)}.npz"
    save_checkpoint(path, trainer, {})
    return path.read_bytes()


@pytest.mark.parametrize("count, dtype", [(2, "float32"), (16, "float32"), (4, "float64")])  # float64 shows the order
def test_gradients_and_statistics_are_those_of_a_loop_over_the_shards(count, dtype):
    gradients = Gradients()
    trainer = tiny_trainer(shards=count, watchers=[gradients], dtype=dtype)
    by_hand, criterion = tiny_trainer(dtype=dtype), nn.CrossEntropyLoss()
    model, parameters = by_hand.model, list(by_hand.model.parameters())
    batches = training_batches(by_hand.train_set, 16, seed=0, epoch=0, augment=by_hand.augment, dtype=dtype)
    losses, hits = [], 0
    for step, (x, target) in enumerate(batches):
        trainer.run(step + 1)
        sums = [np.zeros(parameter.shape, "float64") for parameter in parameters]
        for images, labels in zip(np.split(x, count), np.split(target, count), strict=True):
            by_hand.optimizer.zero_grad()
            logits = model(images)
            losses.append(float(criterion(logits, labels)) * len(labels))
            hits += (logits.argmax(axis=1) == labels).sum()
            model.backward(criterion.backward())
            for total, parameter in zip(sums, parameters, strict=True):
                total += parameter.grad
        for total, parameter, theirs in zip(sums, parameters, gradients.seen[step], strict=True):
            parameter.grad = (total / count).astype(dtype)
            assert np.array_equal(parameter.grad, theirs) and theirs.dtype == dtype
        by_hand.optimizer.lr = by_hand.schedule(step / 3)
        by_hand.optimizer.step()
    assert step == 2 and state_bytes(trainer) == state_bytes(by_hand)
    assert trainer.history[0]["loss"] == sum(losses) / 48 and trainer.history[0]["accuracy"] == hits / 48


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_shard_gives_the_bytes_of_a_run_without_shards(dtype, tmp_path):
    sharded, plain = tiny_trainer(shards=1, dtype=dtype, test=TEST), tiny_trainer(dtype=dtype, test=TEST)
    for trainer in (sharded, plain):
        trainer.run(4)
    assert written(tmp_path, sharded) == written(tmp_path, plain)
    assert sharded.history == plain.history


def test_without_batch_norm_the_gradient_is_that_of_the_whole_batch_within_rounding():
    def trainer(**sharded):
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, rng=0, dtype="float64"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 36, 10, rng=1, dtype="float64"),
        )
        options = {"batch_size": 24, "schedule": schedules.constant(0.1), "watchers": [Gradients()], **sharded}
        return (ShardedTrainer if sharded else Trainer)(model, nn.SGD(model.parameters()), load_digits()[0], **options)

    whole, sharded = trainer(), trainer(shards=6)
    for each in (whole, sharded):
        each.run(1)
    for expected, found in zip(whole.watchers[0].seen[0], sharded.watchers[0].seen[0], strict=True):
        assert np.abs(found - expected).max() < 1e-14 * np.abs(expected).max() * 24
    assert sharded.meter.loss == pytest.approx(whole.meter.loss, rel=1e-14)
    assert sharded.meter.hits == whole.meter.hits


def test_any_number_of_ranks_gives_the_same_bytes_on_every_rank(tmp_path):
    def run(communicator):
        trainer = tiny_trainer(shards=4, communicator=communicator, test=TEST)
        trainer.run(4)
        return trainer

    expected = tiny_trainer(shards=4, test=TEST)
    expected.run(4)
    other = tiny_trainer(shards=2, test=TEST)
    other.run(4)
    expected, other = written(tmp_path, expected), written(tmp_path, other)
    for size in (2, 4):
        assert [written(tmp_path, trainer) for trainer in on_ranks(size, run)] == [expected] * size
    assert expected != other


def test_long_gradients_are_gathered_in_pieces(monkeypatch):
    whole, pieces = tiny_trainer(shards=4), tiny_trainer(shards=4)
    whole.run(1)
    monkeypatch.setattr(shards, "VALUES_PER_GATHER", 1000)
    pieces.run(1)
    assert state_bytes(whole) == state_bytes(pieces)


def test_another_number_of_ranks_resumes_a_run(tmp_path):
    def run(communicator):
        trainer = tiny_trainer(shards=4, communicator=communicator, test=TEST.first(16))
        if (tmp_path / "run.npz").exists():
            load_checkpoint(tmp_path / "run.npz", trainer, {})
            assert trainer.step == 4
            trainer.run(7)
        else:
            trainer.run(4)  # in the middle of the second epoch
        return trainer

    save_checkpoint(tmp_path / "run.npz", on_ranks(2, run)[0], {})
    whole = tiny_trainer(shards=4, test=TEST.first(16))
    whole.run(7)
    assert {written(tmp_path, trainer) for trainer in on_ranks(4, run)} == {written(tmp_path, whole)}


@pytest.mark.parametrize("size, images", [(1, 256), (2, 25), (4, 20), (4, 256)])  # up to 18 batches
def test_ranks_share_the_evaluation(size, images, monkeypatch):
    def run(communicator):
        return tiny_trainer(shards=4, communicator=communicator, dtype="float64").evaluate(TEST)

    monkeypatch.setattr(shards, "EVALUATION_BATCH", images)
    assert on_ranks(size, run) == [evaluate(tiny_trainer(dtype="float64").model, TEST, batch_size=images)] * size


def test_gradient_norms_are_those_of_the_mean_gradient():
    class Norms(Gradients):
        def after_backward(self, trainer):
            self.seen.append(group_grad_norms(trainer.model))

    def run(communicator):
        norms = Norms()
        tiny_trainer(shards=4, communicator=communicator, watchers=[norms]).run(2)
        return norms.seen

    alone, (first, second) = run(Communicator()), on_ranks(2, run)
    assert alone == first == second and len(alone) == 2


def test_a_loss_that_is_no_number_stops_all_ranks_in_the_same_step():
    def run(communicator):
        trainer = tiny_trainer(shards=4, communicator=communicator, lr=1e30)
        with pytest.raises(NonFiniteLossError, match="at step 1 "):
            trainer.run(9)
        return trainer.step  # not that of the end of the epoch, 3

    assert on_ranks(2, run) == [1, 1]


def test_ranks_that_hold_different_numbers_stop_before_a_step_and_at_the_end_of_an_epoch():
    class Changing(Watcher):
        def after_step(self, trainer):
            if trainer.step == 2:
                next(trainer.model.parameters()).data.flat[0] += 1e-3

    def begin(communicator):
        tiny_trainer(seed=int(communicator.rank == 2), shards=4, communicator=communicator).run(1)

    def hurry(communicator):
        trainer = tiny_trainer(shards=4, communicator=communicator)
        trainer.step = communicator.rank  # as if it had read another checkpoint
        trainer.run(3)

    def change(communicator):
        watchers = [Changing()] if communicator.rank else []
        tiny_trainer(shards=4, communicator=communicator, watchers=watchers).run(9)

    for function, size, expected in ((begin, 4, "rank 2"), (hurry, 2, "rank 1"), (change, 2, "step 3, rank 1")):
        errors = on_ranks(size, function)
        assert all(isinstance(error, RanksDifferError) and f"{expected} holds" in str(error) for error in errors)


@pytest.mark.parametrize("count, message", [(0, "at least 1, but is 0"), (5, "a divisor of the batch size, 16, but")])
def test_an_impossible_number_of_shards_is_refused(count, message):
    with pytest.raises(ConfigurationError, match=f"shards must be {message}"):
        tiny_trainer(shards=count)
    with pytest.raises(ConfigurationError, match=f"shards must be {message}"):
        TrainingConfiguration.for_data("digits", batch_size=16, shards=count)


def test_ranks_that_do_not_divide_the_shards_are_refused_on_every_rank():
    errors = on_ranks(3, lambda communicator: tiny_trainer(shards=4, communicator=communicator))
    assert {str(error) for error in errors} == {"shards must be a multiple of the number of ranks, 3, but is 4"}


def test_a_configuration_builds_a_trainer_of_its_shards_and_several_ranks_need_them():
    configuration = TrainingConfiguration.for_data("digits", shards=8)
    trainer = configuration.build(*configuration.load_data())
    assert isinstance(trainer, ShardedTrainer) and (trainer.shards, trainer.images_per_shard) == (8, 4)
    configuration = TrainingConfiguration.for_data("digits")
    train, test = configuration.load_data()
    assert type(configuration.build(train, test)) is Trainer
    errors = on_ranks(2, lambda communicator: configuration.build(train, test, communicator=communicator))
    assert [type(error) for error in errors] == [ConfigurationError] * 2


def test_a_batch_that_the_shards_do_not_divide_is_refused():
    with pytest.raises(ShapeError, match=r"target has shape \(15,\): expected a multiple of 4, the shards"):
        tiny_trainer(shards=4).learn(np.zeros((15, 1, 8, 8), np.float32), np.zeros(15, int))


def test_buffers_that_shards_cannot_combine_are_refused():
    class Counter(nn.Flatten):
        buffer_names = ("calls",)
        calls = np.zeros(())

    model = nn.Sequential(Counter(), nn.Linear(64, 10, rng=0))
    with pytest.raises(InvalidTypeError, match="0 is a Counter with the buffers calls"):
        ShardedTrainer(
            model,
            nn.SGD(model.parameters()),
            load_digits()[0],
            batch_size=16,
            schedule=schedules.constant(0.1),
            shards=4,
        )


def test_an_error_in_a_shard_leaves_the_running_statistics_in_place():
    trainer = tiny_trainer(shards=4)
    with pytest.raises(ShapeError):
        trainer.learn(np.zeros((16, 2, 8, 8), np.float32), np.zeros(16, int))
    assert trainer.model.bn1.running_mean.shape == trainer.model.bn1.running_var.shape


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, None),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "1"}, (1, 4)),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, (0, 2)),
        ({"PMIX_RANK": "3"}, (3, None)),
    ],
)
def test_the_environment_tells_the_rank(variables, expected, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_rank() == expected


def launched(monkeypatch, mpi):
    """Pretend that mpirun has started two ranks, and that `mpi` is the module mpi4py.MPI."""
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", types.ModuleType("mpi4py"))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)


def test_without_a_launcher_a_process_is_alone_and_needs_no_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert type(connect_ranks()) is Communicator


def test_ranks_without_mpi4py_are_told_what_to_install(monkeypatch):
    launched(monkeypatch, None)
    with pytest.raises(MissingExtraError, match=r"needs mpi4py: pip install 'npresnext\[mpi\]'"):
        connect_ranks()


def test_ranks_whose_mpi4py_belongs_to_another_mpi_are_told_so(monkeypatch):
    comm = types.SimpleNamespace(Get_rank=lambda: 0, Get_size=lambda: 1)
    mpi = types.SimpleNamespace(COMM_WORLD=comm, Get_library_version=lambda: "Open MPI v5.0.11, package: x\nmore")
    launched(monkeypatch, mpi)
    with pytest.raises(InvalidValueError, match=r"started 2 ranks, but mpi4py finds 1: it uses Open MPI v5.0.11, and"):
        connect_ranks()


def test_ranks_without_the_library_of_mpi_are_told_so(monkeypatch):
    def fail(name):
        raise RuntimeError("cannot load MPI library")

    launched(monkeypatch, None)
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(MissingExtraError, match="mpi4py does not find the library of MPI: install one"):
        connect_ranks()
