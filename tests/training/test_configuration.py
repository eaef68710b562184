"""What the commands that train make of their arguments: a network, its optimizer, its rates, its images."""

import argparse

import pytest

from npresnext import cli
from npresnext.commands import _recipe as recipe
from npresnext.data import Augment
from npresnext.errors import InvalidValueError


def trainer_for(*argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int)
    recipe.add_arguments(parser)
    args = parser.parse_args(argv)
    recipe.complete(args)
    return recipe.make_trainer(args, *recipe.load_data(args), [])


def test_every_argument_reaches_the_trainer():
    trainer = trainer_for(
        "--epochs",
        "4",
        "--seed",
        "3",
        "--limit",
        "96",
        "--batch-size",
        "48",
        "--lr",
        "0.5",
        "--momentum",
        "0.25",
        "--weight-decay",
        "0.125",
        "--crop",
        "2",
        "--flip",
        "--schedule",
        "step:1,3",
        "--dtype",
        "float64",
    )
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
    assert trainer.dtype == trainer.model.conv1.weight.data.dtype == "float64"


def test_the_rest_follows_from_the_data():
    trainer = trainer_for()
    found = trainer.optimizer
    assert (found.lr, found.momentum, found.nesterov, found.weight_decay) == (0.1, 0.9, True, 5e-4)
    assert (trainer.batch_size, trainer.seed, trainer.augment) == (32, 0, Augment(flip=False, crop=1))
    assert [trainer.schedule(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.1, 0.05, 0])  # of ten epochs


def test_without_a_momentum_there_is_none_of_nesterovs():
    trainer = trainer_for("--momentum", "0", "--schedule", "constant", "--no-flip", "--crop", "0")
    assert not trainer.optimizer.nesterov and trainer.schedule(9) == 0.1
    assert trainer.augment == Augment(flip=False, crop=0)


@pytest.mark.parametrize(
    ("schedule", "rule"),
    [
        *((name, "expected cosine, constant, or step:E1,E2,") for name in ("step", "step:", "cosine:3", "linear")),
        ("step:2,1", "expected rising epochs"),
        ("step:1,b", "invalid literal"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_named(schedule, rule):
    with pytest.raises(InvalidValueError, match=f"--schedule {schedule}: .*{rule}"):
        trainer_for("--schedule", schedule)


@pytest.mark.parametrize(
    "argv",
    [
        ["--limit", "0"],
        ["--seed", "-1"],
        ["--batch-size", "0"],
        ["--init", "xavier"],
        ["--dtype", "int8"],
        ["--data", "cifar"],
        ["--backend", "tpu"],
        ["--lr", "fast"],
    ],
)
def test_values_that_no_run_can_have_are_refused_by_the_command_line(argv, capsys):
    assert cli.main(["train", *argv]) == cli.MISTAKE
    assert capsys.readouterr().err.startswith(f"npresnext: error: argument {argv[0]}: ")
