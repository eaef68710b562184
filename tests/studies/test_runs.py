"""One run: its files, its resumption, its failures, and the bytes of a second time."""

import errno
import json
import shutil

import numpy as np
import pytest
import threadpoolctl

from npresnext import studies, training
from npresnext.data import normalise
from npresnext.engines.cpu.threads import get_num_threads
from npresnext.errors import InvalidValueError
from npresnext.gradients import group_statistics
from npresnext.studies import RunConfiguration, RunFolder, RunOptions, collect, create_folders, locks, perform, sweep
from npresnext.studies.run import MOST_DEATHS

from tests.studies.test_locks import leave_lock

SETTINGS = {
    "design": "4x2d",
    "blocks": [1],
    "planes": 8,
    "limit": 48,
    "batch_size": 16,
    "epochs": 2,
    "measure": ["history", "gradnorms"],
    "gradnorms_every": 2,
}
OPTIONS = RunOptions(checkpoint_every=2)


@pytest.fixture
def run(tmp_path):
    """The folder of one run, with six steps, that waits."""
    return made(tmp_path / "runs", SETTINGS)


def made(root, settings):
    configuration = RunConfiguration.from_settings(settings)
    create_folders(root, [configuration])
    return RunFolder(root, configuration.name)


def contents(run):
    return {path.name: path.read_bytes() for path in sorted(run.path.iterdir()) if path.name != "log.json"}


def interrupt_at(monkeypatch, step, error=KeyboardInterrupt):
    """Raise in the middle of a step."""

    def learn(self, *args, learn=training.Trainer.learn):
        if self.step == step:
            raise error
        learn(self, *args)

    monkeypatch.setattr(training.Trainer, "learn", learn)


def test_a_run_writes_its_files_and_is_done(run):
    assert run.state == "waiting"
    outcome = perform(run.path.parent, run.name, OPTIONS)
    assert (outcome.state, run.state) == ("done", "done")
    assert list(contents(run)) == [
        "checkpoint.npz",
        "configuration.json",
        "gradnorms.csv",
        "history.csv",
        "results.json",
    ]
    results = json.loads(run.file("results.json").read_bytes())
    history = run.file("history.csv").read_text().splitlines()
    assert history[0] == "epoch,epoch_lr,loss,accuracy,test_loss,test_accuracy" and len(history) == 3
    assert history[-1].endswith(
        f"{results['loss']},{results['accuracy']},{results['test_loss']},{results['test_accuracy']}"
    )
    steps = [line.partition(",")[0] for line in run.file("gradnorms.csv").read_text().splitlines()]
    assert list(dict.fromkeys(steps)) == ["step", "0", "2", "4"] and results["steps"] == 6


def test_the_figures_are_those_of_a_training_without_a_sweep(run):
    perform(run.path.parent, run.name, OPTIONS)
    results = json.loads(run.file("results.json").read_bytes())
    configuration = run.configuration()
    train, test = configuration.training.load_data()
    trainer = configuration.training.build(train, test, model=configuration.build_model(train))
    trainer.run(6)
    assert [trainer.history[-1][name] for name in ("loss", "test_loss")] == [results["loss"], results["test_loss"]]


@pytest.mark.parametrize("step", [0, 3, 5])
def test_an_interrupted_run_goes_on_to_the_same_bytes(run, tmp_path, monkeypatch, step):
    perform(run.path.parent, run.name, OPTIONS)
    other = made(tmp_path / "interrupted", SETTINGS)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            perform(other.path.parent, other.name, OPTIONS)
    assert other.state == ("waiting" if step == 0 else "stopped") and locks.records(other.path) == []
    perform(other.path.parent, other.name, OPTIONS)
    assert contents(other) == contents(run)
    assert json.loads(other.file("log.json").read_bytes())["began_at_step"] == step - step % 2 + (step == 3)


def test_rows_that_are_later_than_the_checkpoint_are_dropped(run, tmp_path, monkeypatch):
    perform(run.path.parent, run.name, OPTIONS)
    other = made(tmp_path / "killed", SETTINGS)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            perform(other.path.parent, other.name, OPTIONS)
    pieces = sorted(path.name for path in other.path.glob("*.piece"))
    assert pieces == ["gradnorms.000000002.piece", "gradnorms.000000003.piece"]  # steps 0 and 2
    shutil.copy(other.file(pieces[0]), other.file("gradnorms.000000005.piece"))  # killed between piece and checkpoint
    perform(other.path.parent, other.name, OPTIONS)
    assert contents(other) == contents(run)


@pytest.mark.parametrize("damaged, step", [(["checkpoint.npz"], 3), (["checkpoint.npz", "checkpoint.previous.npz"], 0)])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_or_by_the_start(run, tmp_path, monkeypatch, damaged, step):
    perform(run.path.parent, run.name, OPTIONS)
    other = made(tmp_path / "damaged", SETTINGS)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            perform(other.path.parent, other.name, OPTIONS)
    for name in damaged:
        other.file(name).write_bytes(b"torn")
    assert perform(other.path.parent, other.name, OPTIONS).state == "done"
    assert json.loads(other.file("log.json").read_bytes())["began_at_step"] == step
    assert contents(other) == contents(run)


def test_steps_and_statistics_are_those_of_the_run_when_it_was_interrupted_too(tmp_path, monkeypatch):
    settings = {**SETTINGS, "measure": ["steps", "statistics"], "statistics_epochs": [1, 2], "statistics_images": 40}
    del settings["gradnorms_every"]
    whole, other = made(tmp_path / "whole", settings), made(tmp_path / "interrupted", settings)
    perform(whole.path.parent, whole.name, OPTIONS)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            perform(other.path.parent, other.name, OPTIONS)
    perform(other.path.parent, other.name, OPTIONS)
    assert contents(other) == contents(whole)

    configuration = whole.configuration()
    train, test = configuration.training.load_data()
    trainer = configuration.training.build(train, test, model=configuration.build_model(train))
    norms = GradientNorms()
    trainer.watchers.append(norms)
    trainer.run(6)
    steps = collect([whole.path.parent], "steps")
    np.testing.assert_allclose([row["gradient_l2"] for row in steps], norms.values, rtol=1e-6)
    found = [row for row in collect([whole.path.parent], "statistics") if row["epoch"] == 1]
    x = normalise(train, train.images[:40])
    expected = group_statistics(trainer.model, x, train.labels[:40], statistics=["l2", "snr", "cka"])
    layer, *groups = found
    assert layer["conv_group"] is None and [row["conv_group"] for row in groups] == [0, 1, 2, 3]
    for name in ("l2", "snr", "cka"):
        assert [row[name] for row in groups] == [row[name] for row in expected]
    assert layer["l2"] ** 2 == pytest.approx(sum(row["l2"] ** 2 for row in groups), rel=1e-5)
    assert (
        -1 / 9 < layer["class_cosine"] < 1
        and max(row["effective_rank"] for row in groups) < layer["effective_rank"] < 8
    )


class GradientNorms(training.Watcher):
    """The norm of the whole gradient, by NumPy alone."""

    def __init__(self):
        self.values = []

    def after_backward(self, trainer):
        self.values.append(np.linalg.norm(np.concatenate([each.grad.ravel() for each in trainer.model.parameters()])))


def test_only_the_first_test_images_are_used(tmp_path):
    results = []
    for settings in (SETTINGS, {**SETTINGS, "test_limit": 20}):
        run = made(tmp_path / "runs", settings)
        perform(run.path.parent, run.name, OPTIONS)
        results.append(json.loads(run.file("results.json").read_bytes()))
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert results[1]["test_accuracy"] * 20 == int(results[1]["test_accuracy"] * 20)
    assert results[0]["test_loss"] != results[1]["test_loss"]


def test_a_second_time_gives_the_same_bytes_and_a_changed_file_is_found(run):
    perform(run.path.parent, run.name, OPTIONS)
    before = contents(run)
    again = RunOptions(again=True)
    assert perform(run.path.parent, run.name, again) == studies.Outcome(run.name, "same", "4 files with the same bytes")
    assert contents(run) == before
    text = run.file("gradnorms.csv").read_text()
    run.file("gradnorms.csv").write_text(text.replace("0", "1", 1))
    outcome = perform(run.path.parent, run.name, again)
    assert outcome.state == "different" and outcome.message.startswith("other bytes in gradnorms.csv;")
    assert (run.path / "again" / "gradnorms.csv").read_text() == text


def test_a_failing_run_is_recorded_and_the_others_go_on(tmp_path):
    runs = [RunConfiguration.from_settings({**SETTINGS, "lr": lr, "crop": crop}) for lr, crop in [(1e30, 0), (0.1, 8)]]
    runs.append(RunConfiguration.from_settings(SETTINGS))
    create_folders(tmp_path / "runs", runs)
    lines = []
    summary = sweep(tmp_path / "runs", [each.name for each in runs], report=lines.append)
    assert [outcome.state for outcome in summary.outcomes] == ["failed", "failed", "done"] and summary.failed == 2
    assert "failed: the loss is nan at step" in lines[0]
    assert "failed: crop must be less than 8" in lines[1]
    error = json.loads(RunFolder(tmp_path / "runs", runs[0].name).file("error.json").read_bytes())
    assert error["error"] == "NonFiniteLossError" and "Traceback" in error["traceback"]
    assert sweep(tmp_path / "runs", [each.name for each in runs], report=lines.append).outcomes == ()


def test_a_full_disk_stops_the_sweep_and_fails_no_run(run, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", "checkpoint.npz")

    with monkeypatch.context() as patch:
        patch.setattr("npresnext.training.checkpoint.save", full)
        with pytest.raises(studies.SweepStoppedError, match=f"{run.path}: .*No space left on device"):
            sweep(run.path.parent, [run.name], options=OPTIONS)
    assert run.state == "waiting" and locks.records(run.path) == []
    assert perform(run.path.parent, run.name, OPTIONS).state == "done"


def test_a_run_whose_processes_die_again_and_again_at_one_place_fails(run):
    for number in range(1, MOST_DEATHS + 1):
        leave_lock(run.path, number, began_at=0)
    outcome = perform(run.path.parent, run.name, OPTIONS)
    assert outcome.state == "failed" and "5 processes in a row died after step 0 of this run" in outcome.message


def test_a_process_that_lost_its_lock_leaves_the_run_to_the_other(run, monkeypatch):
    monkeypatch.setattr(studies.run._KeepsLock, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(locks.RunLock, "reach", lambda self, step: step == 3 and leave_lock(run.path, 2))
    assert perform(run.path.parent, run.name, OPTIONS).state == "elsewhere"
    assert run.state == "stopped" and not run.file("error.json").exists()


def test_an_error_after_the_lock_was_lost_fails_no_run(run, monkeypatch):
    def learn(self, *args):
        leave_lock(run.path, 2)
        raise ValueError("a file is there that the other process has written")

    monkeypatch.setattr(training.Trainer, "learn", learn)
    assert perform(run.path.parent, run.name, OPTIONS).state == "elsewhere"
    assert not run.file("error.json").exists()


def test_a_changed_configuration_is_refused(run):
    path = run.file("configuration.json")
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 3'))
    with pytest.raises(InvalidValueError, match="configuration.json was changed: its configuration has the name"):
        run.configuration()
    assert perform(run.path.parent, run.name, OPTIONS).state == "stopped"


def test_files_of_somebody_else_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidValueError, match="holds other files and no runs"):
        create_folders(tmp_path, [RunConfiguration.from_settings(SETTINGS)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_uses_one_thread_and_leaves_the_number_as_it_was(run, monkeypatch):
    seen = []

    def learn(self, *args, learn=training.Trainer.learn):
        seen.append(get_num_threads())
        seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")
        learn(self, *args)

    monkeypatch.setattr(training.Trainer, "learn", learn)
    before = get_num_threads()
    perform(run.path.parent, run.name, OPTIONS)
    assert len(seen) > 6 and set(seen) == {1} and get_num_threads() == before
