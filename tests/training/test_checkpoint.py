"""Runs that are killed go on as if nothing had happened, byte for byte."""

import json
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npresnext import cli, io, training
from npresnext.data import load_digits
from npresnext.errors import FileFormatError, InvalidTypeError, InvalidValueError, NonFiniteLossError
from npresnext.training.checkpoint import (
    Checkpoints,
    load_checkpoint,
    previous_path,
    save_checkpoint,
)

from tests.support.paths import ROOT
from tests.support.training import state_bytes, tiny_trainer

ARGUMENTS = {"seed": 0, "lr": 0.05}


@settings(max_examples=4)
@given(stop=st.integers(0, 8))
def test_a_resumed_run_ends_in_the_same_bytes(tmp_path_factory, stop):
    folder = tmp_path_factory.mktemp("resume")
    test = load_digits()[1].first(16)
    whole = tiny_trainer(test=test)
    whole.run(8)
    save_checkpoint(folder / "whole.npz", whole, ARGUMENTS)

    killed = tiny_trainer(test=test)
    killed.run(stop)
    save_checkpoint(folder / "killed.npz", killed, ARGUMENTS)
    resumed = tiny_trainer(seed=0, test=test)
    resumed.model.load_state_dict({name: array + 1 for name, array in resumed.model.state_dict().items()})
    load_checkpoint(folder / "killed.npz", resumed, ARGUMENTS)
    assert resumed.step == stop
    resumed.run(8)
    save_checkpoint(folder / "resumed.npz", resumed, ARGUMENTS)
    assert resumed.history == whole.history
    assert (folder / "resumed.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_a_checkpoint_holds_weights_statistics_momentum_and_position(tmp_path):
    trainer = tiny_trainer()
    trainer.run(5)
    save_checkpoint(tmp_path / "run.npz", trainer, ARGUMENTS)
    state = io.load(tmp_path / "run.npz")
    assert {"model/conv1.weight", "model/bn1.running_var", "momentum/layer1.0.conv2.weight"} <= set(state)
    assert json.loads(state.metadata["step"]) == 5 and json.loads(state.metadata["arguments"]) == ARGUMENTS


@pytest.mark.parametrize("every, steps", [(None, [3, 6]), (2, [2, 3, 4, 6]), (4, [3, 4, 6])])
def test_checkpoints_are_written_every_so_many_steps_and_at_the_end_of_each_epoch(every, steps, monkeypatch):
    written = []
    monkeypatch.setattr(
        "npresnext.training.checkpoint.save_checkpoint", lambda path, trainer, _: written.append(trainer.step)
    )
    tiny_trainer(watchers=[Checkpoints("run.npz", ARGUMENTS, every)]).run(6)  # two epochs of three
    assert written == steps


def command(folder, name, *more):
    return [
        sys.executable,
        "-m",
        "npresnext",
        "train",
        "--limit",
        "64",
        "--batch-size",
        "16",
        "--epochs",
        "3",
        "--checkpoint",
        str(folder / f"{name}.npz"),
        "--checkpoint-every",
        "1",
        "--save",
        str(folder / f"{name}.pth"),
        *more,
    ]


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_byte(tmp_path):
    subprocess.run(command(tmp_path, "whole"), check=True, capture_output=True)
    choose = random.Random(0)
    path, killed = tmp_path / "killed.npz", 0
    while True:
        assert killed < 100
        process = subprocess.Popen(
            command(tmp_path, "killed", *["--resume"] * path.exists()), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        before = path.stat().st_mtime_ns if path.exists() else None
        if killed < 3:
            while process.poll() is None and (path.stat().st_mtime_ns if path.exists() else None) == before:
                time.sleep(0.002)
            time.sleep(choose.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        if process.returncode != -signal.SIGKILL:
            break
        killed += 1
        io.load(path)
    assert (process.returncode, killed) == (0, 3), errors
    for ending in (".npz", ".previous.npz", ".pth"):
        assert (tmp_path / f"killed{ending}").read_bytes() == (tmp_path / f"whole{ending}").read_bytes()


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from tests.support.training import tiny_trainer
from npresnext import io
from npresnext.training.checkpoint import Checkpoints, load_checkpoint, previous_path, save_checkpoint

path = Path(sys.argv[1]) / "run.npz"
trainer = tiny_trainer()
for trainer.step in (1, 2):
    save_checkpoint(path, trainer, {})
before, seen = path.read_bytes(), set()
for moment in range(1000):
    trainer.step = 3
    child = os.fork()
    if child == 0:
        left = moment
        def die(event, args):
            global left
            if any("run." in str(arg) for arg in args):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(die)
        save_checkpoint(path, trainer, {})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    stood = tiny_trainer()
    load_checkpoint(path, stood, {})
    load_checkpoint(previous_path(path), tiny_trainer(), {})
    seen.add(stood.step)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    path.write_bytes(before)
print(moment, sorted(seen))
"""


def test_sigkill_at_every_file_operation_of_a_write_leaves_a_whole_checkpoint(tmp_path):
    script = [sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path]
    process = subprocess.run(script, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    moments, _, seen = process.stdout.partition(" ")
    assert int(moments) > 5 and seen == "[2, 3]\n"


@settings(max_examples=12)
@given(share=st.floats(0, 0.999))
def test_a_truncated_checkpoint_is_refused_and_the_one_before_is_still_there(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("truncated") / "run.npz"
    trainer = tiny_trainer()
    save_checkpoint(path, trainer, ARGUMENTS)
    trainer.run(1)
    save_checkpoint(path, trainer, ARGUMENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    other = tiny_trainer(seed=1)
    before = state_bytes(other)
    with pytest.raises(FileFormatError, match="run.npz.*run.previous.npz: resume from that"):
        load_checkpoint(path, other, ARGUMENTS)
    assert state_bytes(other) == before and other.step == 0
    load_checkpoint(previous_path(path), other, ARGUMENTS)
    assert other.step == 0 and state_bytes(other) == state_bytes(tiny_trainer())


def test_a_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, tiny_trainer(), ARGUMENTS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="run.npz"):
        load_checkpoint(path, tiny_trainer(), ARGUMENTS)


def test_a_checkpoint_of_another_name_is_refused_and_not_written(tmp_path):
    with pytest.raises(InvalidValueError, match="must have a name that ends in .npz"):
        save_checkpoint(tmp_path / "run.safetensors", tiny_trainer(), ARGUMENTS)
    assert not list(tmp_path.iterdir())


def test_a_foreign_file_is_refused(tmp_path):
    trainer = tiny_trainer()
    (tmp_path / "text.npz").write_text("epoch 1")
    io.save(tmp_path / "weights.npz", trainer.model.state_dict())
    np.savez(tmp_path / "numpy.npz", x=np.ones(3))
    for name, words in (("text", "no state file"), ("weights", "not a checkpoint"), ("numpy", "not a checkpoint")):
        with pytest.raises(FileFormatError, match=words):
            load_checkpoint(tmp_path / f"{name}.npz", trainer, ARGUMENTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, notes: notes.pop("arguments"),
        lambda arrays, notes: notes.pop("step"),
        lambda arrays, notes: notes.update(step="-1"),
        lambda arrays, notes: notes.update(step='"5"'),
        lambda arrays, notes: notes.update(meter="[1]"),
        lambda arrays, notes: notes.update(arguments="[]"),
        lambda arrays, notes: arrays.update({"momentum/conv1.weight": np.zeros(3, "float32")}),
        lambda arrays, notes: arrays.pop("model/conv1.weight"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused_and_the_trainer_left_alone(tmp_path, change):
    trainer, path = tiny_trainer(), tmp_path / "run.npz"
    trainer.run(5)
    save_checkpoint(path, trainer, ARGUMENTS)
    arrays = io.load(path)
    change(arrays, arrays.metadata)
    io.save(path, arrays, metadata=arrays.metadata, overwrite=True)
    other = tiny_trainer(seed=1)
    other.run(1)

    def state():
        buffers = other.optimizer.state_dict()["momentum_buffers"]
        return state_bytes(other), [buffer.tobytes() for buffer in buffers], other.step, list(other.history)

    before = state()
    with pytest.raises(ValueError, match="run.npz"):
        load_checkpoint(path, other, ARGUMENTS)
    assert state() == before


def test_arguments_that_json_cannot_hold_are_refused_before_training(tmp_path):
    path = tmp_path / "run.npz"
    for call in (
        lambda: Checkpoints(path, {"lr": 0.1, "seed": np.int64(3)}),
        lambda: save_checkpoint(path, tiny_trainer(), {"seed": np.int64(3)}),
    ):
        with pytest.raises(InvalidTypeError, match=r"arguments\['seed'\] must be a value that JSON can hold.* int64"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_schedule_of_numpys_numbers_can_be_stored(tmp_path):
    trainer = tiny_trainer(watchers=[Checkpoints(tmp_path / "run.npz", {})])
    trainer.schedule = lambda epoch: np.float32(0.125)
    trainer.run(trainer.steps_per_epoch)
    assert json.loads(io.load(tmp_path / "run.npz").metadata["history"])[0]["lr"] == 0.125


def test_a_resume_with_other_arguments_says_which_differ(tmp_path):
    save_checkpoint(tmp_path / "run.npz", tiny_trainer(), ARGUMENTS)
    with pytest.raises(InvalidValueError, match="other arguments: lr was 0.05 and is 0.1; new was None and is 1$"):
        load_checkpoint(tmp_path / "run.npz", tiny_trainer(), {"seed": 0, "lr": 0.1, "new": 1})


def test_a_checkpoint_of_another_run_that_came_meanwhile_is_kept(tmp_path):
    first, second = (Checkpoints(tmp_path / "run.npz", {**ARGUMENTS, "seed": seed}, 1) for seed in (1, 2))
    tiny_trainer(seed=1, watchers=[first]).run(2)
    before = (tmp_path / "run.npz").read_bytes()
    with pytest.raises(InvalidValueError, match="run.npz exists already"):
        tiny_trainer(seed=2, watchers=[second]).run(2)
    assert (tmp_path / "run.npz").read_bytes() == before


def test_a_link_to_where_the_checkpoint_will_be_is_followed(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "run.npz").symlink_to(tmp_path / "far" / "run.npz")
    tiny_trainer(watchers=[Checkpoints(tmp_path / "run.npz", ARGUMENTS, 1)]).run(2)
    assert (tmp_path / "run.npz").is_symlink() and (tmp_path / "far" / "run.npz").is_file()
    load_checkpoint(tmp_path / "run.npz", tiny_trainer(), ARGUMENTS)


def test_a_network_that_is_no_number_is_never_written(tmp_path):
    trainer = tiny_trainer()
    trainer.run(1)
    trainer.meter.add(1, np.float32("nan"), np.zeros((1, 10)), np.zeros(1))
    with pytest.raises(NonFiniteLossError, match="nan at step 1 "):
        save_checkpoint(tmp_path / "run.npz", trainer, ARGUMENTS)
    assert list(tmp_path.iterdir()) == []


SMALL = ["train", "--limit", "32", "--batch-size", "16", "--epochs", "1"]


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--resume"], "need --checkpoint"),
        (["--checkpoint", "{}/run.pth"], "ends in .npz"),
        (["--checkpoint", "{}/run.npz", "--resume"], "no checkpoint .*/run.npz to resume from"),
        (["--checkpoint", "{}/gone.npz", "--resume"], "no checkpoint .*; .* before it is .*/gone.previous.npz: resume"),
        (["--checkpoint", "{}/there.npz"], "there.npz exists already: pass --resume to continue its run, or --force"),
        (["--checkpoint", "{}/gone.npz"], "gone.previous.npz exists already"),
        (["--save", "{}/there.npz"], "there.npz exists already: .*--force"),
        (["--save", "{}/link.npz"], "link.npz exists already"),
        (["--save", "{}/run.npz", "--checkpoint", "{}/sub/../run.npz"], "--save .*/run.npz .* the checkpoint"),
        (["--save", "{}/run.previous.npz", "--checkpoint", "{}/run.npz", "--force"], "--save .* the checkpoint"),
        (["--save", "{}/weights.txt"], "expected one of .npz"),
        (["--save", "{}/nowhere/weights.npz"], "folder .*/nowhere does not exist"),
        (["--model", "resnext_smal"], "argument --model: must be one of .*resnext_small.*, but is resnext_smal$"),
        (["--data", "mnist"], "argument --data-dir is missing: it must be the folder with the files of mnist"),
        (["--data", "fashion-mnist", "--data-dir", "{}"], "dataset-fashion-mnist"),
        (["--data-dir", "{}"], "digits are inside the package"),
        (["--schedule", "step:9,3"], "argument --schedule: must be .* with increasing epochs above 0, but is step:9,3"),
        (["--schedule", "cosin"], "argument --schedule: must be cosine, constant, or step"),
        (["--limit", "8"], "argument --batch-size: must be at most 8, the images of digits train, but is 16"),
        (["--limit", "0"], "argument --limit: must be at least 1, but is 0"),
        (["--seed", "-1"], "argument --seed: must be at least 0, but is -1"),
        (["--crop", "8"], "argument --crop: must be less than 8, the size of the images of digits train, but is 8"),
        (
            ["--checkpoint", "{}/run.npz", "--checkpoint-every", "0"],
            "argument --checkpoint-every: must be a whole number",
        ),
        (["--lr", "-1"], "argument --lr: must be above 0, but is -1"),
    ],
)
def test_a_mistake_is_found_before_training_and_is_one_line(tmp_path, argv, words, capsys, monkeypatch):
    def train(*args):
        raise AssertionError("training began")

    monkeypatch.setattr("npresnext.training.Trainer.run", train)
    (tmp_path / "there.npz").write_bytes(b"mine")
    (tmp_path / "gone.previous.npz").write_bytes(b"mine")
    (tmp_path / "link.npz").symlink_to("absent.npz")
    (tmp_path / "sub").mkdir()
    assert cli.main([*SMALL, *(word.format(tmp_path) for word in argv)]) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert re.search(words, captured.err), captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gone.previous.npz", "link.npz", "sub", "there.npz"]
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "gone.previous.npz").read_bytes() == b"mine"


def test_a_missing_writer_is_found_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert cli.main([*SMALL, "--save", str(tmp_path / "weights.safetensors")]) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and "npresnext[safetensors]" in captured.err


def test_a_loss_that_is_no_number_ends_the_command_with_one_line_and_no_file(tmp_path, capsys):
    code = cli.main([*SMALL, "--lr", "1e30", "--save", str(tmp_path / "weights.npz")])
    captured = capsys.readouterr()
    assert code == cli.FAILED and "nan at step 1 " in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_command_is_resumed_to_the_same_bytes(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    argv = ["train", "--limit", "32", "--batch-size", "16", "--epochs", "2", "--schedule", "constant", "--checkpoint"]
    assert cli.main([*argv, str(tmp_path / "whole.npz")]) == 0
    argv += [str(tmp_path / "run.npz"), "--checkpoint-every", "1"]
    monkeypatch.setattr("npresnext.training.progress.Progress.after_epoch", interrupted)
    assert cli.main(argv) == cli.INTERRUPTED
    monkeypatch.undo()
    capsys.readouterr()
    assert cli.main([*argv, "--resume"]) == 0
    assert capsys.readouterr().out.startswith(f"resuming {tmp_path / 'run.npz'} at step 1\nepoch 1/2 ")
    assert (tmp_path / "run.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert {record["lr"] for record in json.loads(io.load(tmp_path / "run.npz").metadata["history"])} == {0.1}


def test_the_command_saves_weights_that_load(tmp_path, capsys):
    from npresnext import models

    path = tmp_path / "weights.safetensors"
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    assert cli.main([*SMALL, "--save", str(path)]) == 0
    models.resnext_small().load_state_dict(io.load(path))
    assert "test accuracy" in capsys.readouterr().out.splitlines()[-1]


RUN = ["train", "--limit", "32", "--batch-size", "16", "--checkpoint"]


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_the_last_evaluation_is_printed_and_not_repeated(tmp_path, capsys, monkeypatch):
    evaluated, evaluate = [], training.loop.evaluate
    monkeypatch.setattr(training.loop, "evaluate", lambda *args: evaluated.append(1) or evaluate(*args))
    argv = [*RUN, str(tmp_path / "run.npz"), "--epochs", "2"]
    assert cli.main(argv) == 0 and len(evaluated) == 2
    *_, epoch, end = capsys.readouterr().out.splitlines()
    accuracy = re.search(r"test accuracy (\S+)", epoch)[1]
    assert end == f"test accuracy {accuracy} (resnext_small on digits, seed 0)"
    assert cli.main([*argv, "--resume"]) == 0 and len(evaluated) == 2  # a finished run: the figure of its history
    assert last_line(capsys) == end


@pytest.mark.parametrize("schedule", ["constant", "step:1,2"])
def test_more_epochs_extend_a_finished_run_to_the_bytes_of_a_longer_one(tmp_path, capsys, schedule):
    more = ["--schedule", schedule]
    assert cli.main([*RUN, str(tmp_path / "long.npz"), "--epochs", "3", *more]) == 0
    assert cli.main([*RUN, str(tmp_path / "run.npz"), "--epochs", "1", *more]) == 0
    assert cli.main([*RUN, str(tmp_path / "run.npz"), "--epochs", "3", *more, "--resume"]) == 0
    assert (tmp_path / "run.npz").read_bytes() == (tmp_path / "long.npz").read_bytes()
    assert "epoch 2/3" in capsys.readouterr().out


def test_a_cosine_cannot_be_extended_since_its_first_rates_would_have_been_others(tmp_path, capsys):
    path = tmp_path / "run.npz"
    assert cli.main([*RUN, str(path), "--epochs", "1"]) == 0
    before = path.read_bytes()
    capsys.readouterr()
    assert cli.main([*RUN, str(path), "--epochs", "2", "--resume"]) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == (
        f"npresnext: error: {path} belongs to a run with other arguments: --epochs was 1 and is 2 (with --schedule "
        "cosine, a run of another length has other learning rates from its first epoch on; runs with constant and "
        "step schedules can be extended)\n"
    )
    assert path.read_bytes() == before


def test_a_run_cannot_end_before_where_it_stands(tmp_path, capsys):
    argv = [*RUN, str(tmp_path / "run.npz"), "--schedule", "constant"]
    assert cli.main([*argv, "--epochs", "2"]) == 0
    assert cli.main([*argv, "--epochs", "1", "--resume"]) == cli.MISTAKE
    assert "--epochs must be at least 2, but is 1: " in capsys.readouterr().err


def test_a_resume_with_other_options_says_which_differ(tmp_path, capsys):
    argv = [*RUN, str(tmp_path / "run.npz"), "--epochs", "1"]
    assert cli.main(argv) == 0
    assert cli.main([*argv, "--resume", "--weight-decay", "0", "--limit", "33"]) == cli.MISTAKE
    assert capsys.readouterr().err.endswith(
        "other arguments: the training images are not the same; --limit was 32 and is 33; "
        "--weight-decay was 0.0005 and is 0.0\n"
    )
