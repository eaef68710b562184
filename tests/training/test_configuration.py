"""The configuration of a training run: from the command line or from Python, as one value, checked field by field."""

import argparse
import dataclasses
import json

import numpy as np
import pytest

from npresnext import cli, nn
from npresnext.commands import _training_arguments as training_arguments
from npresnext.data import Augment, load_digits
from npresnext.errors import ConfigurationError, InvalidTypeError, InvalidValueError
from npresnext.training import TrainingConfiguration, Watcher
from npresnext.training.configuration import DEFAULTS

from tests.support.training import state_bytes


def configuration_for(*argv):
    parser = argparse.ArgumentParser()
    training_arguments.add_arguments(parser, epochs=True)
    return training_arguments.configuration_from(parser.parse_args(argv))


def trainer_for(*argv):
    configuration = configuration_for(*argv)
    return configuration.build(*configuration.load_data())


EVERY_OPTION = "--epochs 4 --seed 3 --limit 96 --batch-size 48 --lr 0.5 --momentum 0.25 --weight-decay 0.125 --crop 2 \
--flip --schedule step:1,3 --dtype float64".split()


def test_every_argument_reaches_the_trainer():
    trainer = trainer_for(*EVERY_OPTION)
    assert trainer.optimizer.state_dict() | {"momentum_buffers": None} == {
        "lr": 0.5,
        "momentum": 0.25,
        "dampening": 0.0,
        "weight_decay": 0.125,
        "nesterov": True,
        "momentum_buffers": None,
    }
    assert [trainer.schedule(epoch) for epoch in range(4)] == pytest.approx([0.5, 0.05, 0.05, 0.005])
    assert (trainer.seed, trainer.batch_size, trainer.augment) == (3, 48, Augment(flip=True, crop=2))
    assert len(trainer.train_set) == 96 and len(trainer.test_set) == 355
    assert trainer.model.conv1.weight.data.dtype == "float64"


def test_other_fields_have_the_defaults_of_the_data_set():
    trainer = trainer_for()
    found = trainer.optimizer
    assert (found.lr, found.momentum, found.nesterov, found.weight_decay) == (0.1, 0.9, True, 5e-4)
    assert (trainer.batch_size, trainer.seed, trainer.augment) == (32, 0, Augment(flip=False, crop=1))
    assert [trainer.schedule(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.1, 0.05, 0])  # of ten epochs
    assert trainer.model.conv1.weight.data.dtype == "float32"


def test_without_momentum_there_is_no_nesterov_momentum():
    trainer = trainer_for("--momentum", "0", "--schedule", "constant", "--no-flip", "--crop", "0")
    assert not trainer.optimizer.nesterov and trainer.schedule(9) == 0.1
    assert trainer.augment == Augment(flip=False, crop=0)


def test_a_script_and_the_command_line_build_the_same_run():
    fields = dict(epochs=4, seed=3, limit=96, batch_size=48, lr=0.5, momentum=0.25, weight_decay=0.125, crop=2)
    configuration = TrainingConfiguration.for_data("digits", **fields, flip=True, schedule="step:1,3", dtype="float64")
    assert configuration == configuration_for(*EVERY_OPTION)
    scripted, typed = configuration.build(*configuration.load_data()), trainer_for(*EVERY_OPTION)
    for trainer in (scripted, typed):
        trainer.run(3)
    assert state_bytes(scripted) == state_bytes(typed) and scripted.history == typed.history


def test_numpys_numbers_become_numbers_that_json_can_hold():
    numbers = {
        "epochs": np.int32(4),
        "batch_size": np.uint8(32),
        "seed": np.int64(3),
        "limit": np.int64(64),
        "crop": np.array(1),
        "flip": np.True_,
        "lr": np.float32(0.5),
        "momentum": np.float16(0.5),
        "weight_decay": np.float64(0.125),
    }
    fields = TrainingConfiguration.for_data("digits", **numbers).to_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert {name: fields[name] for name in numbers} == {name: value.item() for name, value in numbers.items()}
    assert {type(fields[name]) for name in numbers} == {int, bool, float}


@pytest.mark.parametrize("data", DEFAULTS)
def test_a_field_left_out_or_none_has_the_default_of_its_data_set(data):
    left_out, none = TrainingConfiguration.for_data(data), TrainingConfiguration.for_data(data, lr=None, epochs=None)
    assert left_out == none and {name: getattr(none, name) for name in DEFAULTS[data]} == DEFAULTS[data]


def test_a_network_of_ones_own_is_trained_if_it_returns_a_number_for_each_class():
    train, _ = load_digits()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    trainer = TrainingConfiguration.for_data(dtype="float64").build(train, model=network)
    assert trainer.model is network and network[1].weight.data.dtype == "float64"
    for other, returned in ((nn.Sequential(nn.Flatten(), nn.Linear(64, 9, rng=0)), 9), (nn.Flatten(), 64)):
        message = rf"a network that returns \(N, 10\), one number for each class, not \('N', {returned}\)"
        with pytest.raises(ConfigurationError, match=message):
            TrainingConfiguration.for_data().build(train, model=other)


def test_a_configuration_does_not_change_and_comes_back_from_json():
    configuration = TrainingConfiguration.for_data("mnist", limit=7, schedule="step:1")
    assert TrainingConfiguration(**json.loads(json.dumps(configuration.to_dict()))) == configuration
    with pytest.raises(dataclasses.FrozenInstanceError):
        configuration.lr = 0.3
    assert dataclasses.replace(configuration, lr=0.3).lr == 0.3


def test_building_changes_no_configuration_and_every_trainer_starts_anew():
    configuration = TrainingConfiguration.for_data("digits", limit=64)
    train_set, test_set = configuration.load_data()
    watchers = [Watcher()]
    first = configuration.build(train_set, test_set, watchers)
    first.watchers.append(Watcher())
    first.run(1)
    second = configuration.build(train_set, test_set, watchers)
    assert len(watchers) == 1 and second.step == 0
    assert state_bytes(second) == state_bytes(configuration.build(train_set)) != state_bytes(first)


@pytest.mark.parametrize(
    "field, value, expected",
    [
        ("data", "cifar", "one of digits, fashion-mnist, mnist"),
        ("model", "resnext", "one of .*resnext_small"),
        ("init", "xavier", "one of fan_out, fan_out_per_group"),
        ("dtype", "int8", "one of float16, bfloat16, float32, float64"),
        ("epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("limit", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("crop", -1, "at least 0"),
        ("lr", 0.0, "above 0"),
        ("lr", float("nan"), "a finite number"),
        ("momentum", -0.1, "at least 0"),
        ("weight_decay", float("inf"), "a finite number"),
        ("schedule", "linear", "cosine, constant, or step:E1,E2,... with increasing epochs above 0"),
        ("schedule", "step", "cosine, constant, or step"),
        ("schedule", "step:", "cosine, constant, or step"),
        ("schedule", "cosine:3", "cosine, constant, or step"),
        ("schedule", "step:2,1", "cosine, constant, or step:E1,E2,... with increasing epochs above 0"),
        ("schedule", "step:1,b", "cosine, constant, or step"),
    ],
)
def test_a_value_that_no_run_can_have_is_refused_by_name_and_on_the_command_line_by_option(
    field, value, expected, capsys
):
    fields = {"data": "digits", field: value}
    with pytest.raises(ConfigurationError, match=f"^{field} must be {expected}.*, but is ") as caught:
        TrainingConfiguration.for_data(**fields)
    assert (caught.value.field, caught.value.value) == (field, value)
    option = f"--{field.replace('_', '-')}"
    assert cli.main(["train", option, str(value)]) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"npresnext: error: argument {option}: must be ")
    assert captured.err.endswith(f", but is {value}\n")


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 1.5},
        {"batch_size": "32"},
        {"seed": None, "limit": True},
        {"lr": "fast"},
        {"momentum": [0.9]},
        {"flip": "no"},
    ],
)
def test_a_field_of_another_type_is_refused_by_name(fields):
    name = list(fields)[-1]
    with pytest.raises(InvalidTypeError, match=f"^{name} must be "):
        TrainingConfiguration.for_data("digits", **fields)


@pytest.mark.parametrize("argv", [["--lr", "fast"], ["--limit", "1.5"], ["--backend", "tpu"]])
def test_values_of_another_type_are_refused_by_the_command_line(argv, capsys):
    assert cli.main(["train", *argv]) == cli.MISTAKE
    assert capsys.readouterr().err.startswith(f"npresnext: error: argument {argv[0]}: ")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"batch_size": 1443}, "batch_size must be at most 1442, the images of digits train, but is 1443"),
        ({"limit": 8}, "batch_size must be at most 8, the images of digits train, but is 32"),
        ({"limit": 1443}, "limit must be at most 1442, the images of digits train, but is 1443"),
        ({"crop": 8}, "crop must be less than 8, the size of the images of digits train, but is 8"),
    ],
)
def test_what_does_not_fit_the_images_is_refused_before_training(fields, message):
    configuration = TrainingConfiguration.for_data("digits", **fields)
    with pytest.raises(ConfigurationError) as caught:
        configuration.build(*configuration.load_data())
    assert str(caught.value) == message


def test_the_folder_of_the_data_is_asked_for_where_it_is_needed(tmp_path):
    with pytest.raises(ConfigurationError, match="data_dir must be the folder with the files of mnist"):
        TrainingConfiguration.for_data("mnist").load_data()
    with pytest.raises(ConfigurationError, match="data_dir must be left out: the digits are inside the package"):
        TrainingConfiguration.for_data("digits").load_data(tmp_path)
    with pytest.raises(InvalidValueError, match="dataset-fashion-mnist"):
        TrainingConfiguration.for_data("fashion-mnist").load_data(tmp_path)


def test_a_limit_keeps_the_first_images():
    train_set, test_set = TrainingConfiguration.for_data("digits", limit=5).load_data()
    assert np.array_equal(train_set.images, load_digits()[0].images[:5]) and len(test_set) == 355
