"""Study files: what they describe, and how mistakes in them are reported."""

import os
import subprocess
import sys

import pytest

from npresnext.errors import NpresnextError
from npresnext.studies import RunConfiguration, read_study

from tests.support.paths import ROOT


def written(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_grid_is_every_combination_and_a_run_is_one(tmp_path):
    study = read_study(
        written(
            tmp_path,
            """
            title = "two grids and a run"
            data_dir = "images"
            [common]
            epochs = 3
            measure = ["history", "gradnorms"]
            [[grid]]
            design = ["1x8d", "4x3d"]
            blocks = [[1, 1], [2, 2]]
            seeds = 2
            [[grid]]
            model = "resnext_small"
            lr = [0.1, 0.05]
            [[run]]
            model = "resnext_small"
            lr = 0.2
            """,
        )
    )
    assert study.title == "two grids and a run" and study.data_dir == tmp_path / "images"
    described = [(run.design, run.blocks, run.training.seed, run.training.lr) for run in study.runs]
    assert described[:3] == [("1x8d", (1, 1), 0, 0.1), ("1x8d", (1, 1), 1, 0.1), ("1x8d", (2, 2), 0, 0.1)]
    assert len(described) == 8 + 2 + 1 and [rate for *_, rate in described[8:]] == [0.1, 0.05, 0.2]
    assert {run.training.epochs for run in study.runs} == {3}
    assert {run.measure for run in study.runs} == {("history", "gradnorms")}


def test_the_same_configuration_is_one_run(tmp_path):
    path = written(tmp_path, '[[grid]]\ndesign = ["1x8d", "4x3d"]\n[[run]]\ndesign = "4x3d"\nlr = 0.1\nplanes = 16\n')
    assert [run.design for run in read_study(path).runs] == ["1x8d", "4x3d"]


def test_the_name_depends_on_what_decides_the_numbers_and_on_nothing_else():
    same = [
        {"data": "digits", "design": "4x6d"},
        {"design": "4x6d", "seed": 0, "momentum": 0.9, "measure": ["history"]},
        {"design": "4x6d", "lr": 0.1, "blocks": [1, 1, 1]},
    ]
    assert len({RunConfiguration.from_settings(settings).name for settings in same}) == 1
    other = [{"model": "resnext_small"}, {"design": "4x6d", "seed": 1}, {"design": "4x6d", "measure": ["gradnorms"]}]
    assert len({RunConfiguration.from_settings(settings).name for settings in [same[0], *other]}) == 4
    assert RunConfiguration.from_settings(same[0]).name == "14baab99cff4"  # in every version, or old folders are lost


def test_settings_have_one_order_in_every_process():
    code = (
        "from npresnext.studies import RunConfiguration\n"
        "print(*RunConfiguration.from_settings({'measure': ['statistics', 'gradnorms']}).to_settings())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # a set of these two measures is in the other order
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    # A checkpoint holds the settings, and `--again` compares its bytes.
    assert printed.stdout.split()[-3:] == ["measure", "gradnorms_every", "statistics_images"]


@pytest.mark.parametrize("design, conv2", [("4x6d", (24, 4)), ("32x1d", (32, 32))])
def test_a_design_gives_c_groups_of_d_channels_in_the_first_stage(design, conv2):
    run = RunConfiguration.from_settings({"design": design})
    train, _ = run.training.load_data()
    first = run.build_model(train).layer1[0].conv2
    assert (first.out_channels, first.groups) == conv2


@pytest.mark.parametrize(
    "text, words",
    [
        ("[[grid]]\nsed = 1\n", r"\[\[grid\]\] 1 has no key 'sed' \(did you mean 'seed'\?\): there are data, model"),
        ("[comon]\n", r"no key 'comon' \(did you mean 'common'\?\)"),
        ("[common]\nlearning_rate = 1\n[[run]]\n", r"\[common\] has no key 'learning_rate'"),
        ("[grid]\nlr = 0.1\n", r"grid must be a list of tables: write \[\[grid\]\], with two brackets"),
        ("grid = [1]\n", r"\[\[grid\]\] 1 must be a table of keys and values, but is 1"),
        ("[[grid]\n", "is not a TOML file: .*line 1"),
        ("", r"has no run: it needs \[\[grid\]\] or \[\[run\]\] tables"),
        ("[common]\nlr = 0.1\n[[grid]]\nlr = [0.2]\n", r"lr = \[0.2\] contradicts \[common\], where it is 0.1"),
        ("[common]\nseeds = 2\n[[grid]]\nseed = 1\n", "seed and seeds contradict each other: seeds = 3 means seed = "),
        ('[[run]]\nmodel = "resnext_small"\ndesign = "4x6d"\n', "contradict each other: both name the network"),
        ("[[run]]\nblocks = [1]\n", 'blocks needs a design such as "4x6d"'),
        ("[[run]]\ngradnorms_every = 2\n", 'gradnorms_every needs "gradnorms" in measure, but measure is'),
        ("[[run]]\nlr = [0.1, 0.2]\n", r"lr = \[0.1, 0.2\] has several values: write \[\[grid\]\] instead"),
        ("[[grid]]\nlr = []\n", "lr is an empty list"),
        ("[[grid]]\nseeds = 0\n", "seeds must be at least 1, but is 0"),
        ('[[grid]]\nseeds = "3"\n', "seeds must be an integer"),
        ("[[grid]]\nlr = [0.1, -1]\n", r"study.toml, \[\[grid\]\] 1: lr must be above 0, but is -1"),
        ('[[run]]\ndata = "digit"\n', "data must be one of digits, fashion-mnist, mnist, but is 'digit'"),
        ('[[run]]\ndesign = "4x"\n', "design must be cardinality and width as in 4x6d, but is '4x'"),
        ("[[run]]\ndesign = 4\n", 'design must be text such as "4x6d", but is 4'),
        ('[[run]]\ndesign = "4x3d"\nplanes = 128\n', "64·d is a multiple of planes=128, but is '4x3d'"),
        ('[[run]]\ndesign = "4x3d"\nblocks = []\n', r"blocks must be the number of blocks in each stage"),
        (
            '[[run]]\nmeasure = ["norms"]\n',
            "measure must be one or more of history, steps, gradnorms, statistics, but is .norms.",
        ),
        ('[[run]]\nmeasure = "history"\n', "measure must be a list, but is 'history'"),
        ('[[run]]\nmodel = "net.onnx"\n', "model must be the name of a network, not a file"),
        ("[[run]]\nstatistics_images = 9\n", 'statistics_images needs "statistics" in measure'),
        (
            '[[run]]\nmeasure = ["statistics"]\nepochs = 3\nstatistics_epochs = [4]\n',
            "statistics_epochs must be from 1 to 3, the epochs, but is 4",
        ),
        ("title = 3\n[[run]]\n", "title must be text, but is 3"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(NpresnextError, match=words) as raised:
        read_study(path)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_a_folder_and_a_missing_file_are_no_study(tmp_path):
    with pytest.raises(ValueError, match="is a folder: give the name of a study file"):
        read_study(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_study(tmp_path / "absent.toml")


def test_the_study_of_the_claims_is_what_its_plan_says():
    study = read_study(ROOT / "docs" / "claims" / "study.toml")
    digits = [run for run in study.runs if run.training.data == "digits"]
    images = [run for run in study.runs if run.training.data == "fashion-mnist"]
    assert [len(digits), len(images)] == [6 * 20, 6 * 10]
    assert [run.training.seed for run in digits[:7]] == [0] * 6 + [1]
    assert {(run.training.epochs, run.training.batch_size, run.training.crop) for run in digits} == {(12, 32, 2)}
    assert {(run.training.epochs, run.training.batch_size, run.training.flip) for run in images} == {(5, 64, True)}
    assert {(run.training.limit, run.test_limit) for run in images} == {(8000, 2000)}
    train, _ = digits[0].training.load_data()
    sizes = {
        run.design: sum(parameter.data.size for parameter in run.build_model(train).parameters()) for run in digits[:6]
    }
    assert sizes == {"1x8d": 33_090, "2x5d": 32_500, "4x3d": 31_910, "16x1d": 32_242, "1x1d": 13_987, "4x1d": 17_638}
