"""The wide form, and `npresnext gradnorms convert`."""

import csv
import sys
import types

import pytest

from npresnext import cli
from npresnext.errors import InvalidTypeError, InvalidValueError
from npresnext.gradients import COLUMNS, PROVENANCE, open_rows, read_rows, wide_rows

from tests.support.rows import rows_of_a_run


def test_every_number_is_in_its_column_of_its_step():
    rows = rows_of_a_run(steps=3)
    wide = wide_rows(rows[::-1], ["l2", "ratio"])
    assert [row["step"] for row in wide] == [0, 1, 2]
    assert all(list(row) == list(wide[0]) and len(row) == 1 + 2 * (4 + 3 + 1) for row in wide)
    for row in rows:
        for name in ("l2", "ratio"):
            assert wide[row["step"]][f"{row['layer']}/{row['conv_group']}/{name}"] == row[name]


def test_what_is_missing_at_a_step_is_none():
    row = {"layer": "a", "groups": 2, "l2": 1.0}
    rows = [{**row, "step": 0, "conv_group": 0}, {**row, "step": 1, "conv_group": 1}]
    assert wide_rows(rows) == [
        {"step": 0, "a/0/l2": 1.0, "a/1/l2": None},
        {"step": 1, "a/0/l2": None, "a/1/l2": 1.0},
    ]


@pytest.mark.parametrize(
    ("change", "values", "error", "message"),
    [
        ({"step": None}, ["l2"], InvalidValueError, "a row has no step"),
        ({}, ["l3"], InvalidValueError, "no row has the column 'l3': there are l2, rms"),
        ({}, "l2", InvalidTypeError, "is the string 'l2'"),
        ({"conv_group": 1}, ["l2"], InvalidValueError, "conv group 1 of layer1.0.conv2 has two rows at step 0"),
    ],
)
def test_rows_that_have_no_wide_form_are_refused(change, values, error, message):
    first, *others = rows_of_a_run()
    with pytest.raises(error, match=message):
        wide_rows([first | change, *others], values)


def convert(*argv):
    return cli.main(["gradnorms", "convert", *map(str, argv)])


@pytest.fixture
def source(tmp_path):
    with open_rows(tmp_path / "norms.csv", [*COLUMNS, *PROVENANCE]) as file:
        file.write(rows_of_a_run())
    return tmp_path / "norms.csv"


def test_a_file_is_converted_there_and_back(source, tmp_path, capsys):
    assert convert(source, "-o", tmp_path / "norms.jsonl") == 0
    assert convert(tmp_path / "norms.jsonl", "-o", tmp_path / "norms.npz") == 0
    assert convert(tmp_path / "norms.npz", "-o", tmp_path / "back.dat", "--output-format", "csv") == 0
    assert (tmp_path / "back.dat").read_bytes() == source.read_bytes()
    assert capsys.readouterr().out.splitlines()[0] == f"32 rows of 19 columns in {tmp_path / 'norms.jsonl'}"


def test_the_wide_form_is_written(source, tmp_path, capsys):
    assert convert(source, "-o", tmp_path / "wide.csv", "--wide") == 0
    with open(tmp_path / "wide.csv", newline="") as file:
        found = list(csv.DictReader(file))
    expected = wide_rows(read_rows(source))
    assert [{name: float(value) for name, value in row.items()} for row in found] == expected
    assert convert(source, "-o", "-", "--wide", "l2", "ratio") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("step,layer1.0.conv2/0/l2,layer1.0.conv2/0/ratio,")


@pytest.mark.oracle
def test_event_files_are_written(source, tmp_path, capsys):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert convert(source, "--tensorboard", tmp_path / "runs") == 0
    assert [file for file in (tmp_path / "runs").iterdir() if "tfevents" in file.name]


@pytest.mark.parametrize("module", ["tensorboardX", "matplotlib"])
def test_what_tensorboard_needs_is_looked_for_before_a_file_is_written(module, source, tmp_path, capsys, monkeypatch):
    for name in ("tensorboardX", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None if name == module else types.ModuleType(name))
    before = sorted(tmp_path.iterdir())
    assert convert(source, "-o", tmp_path / "wide.csv", "--tensorboard", tmp_path / "runs") == cli.MISTAKE
    assert f"needs {module}: pip install 'npresnext[tensorboard]'" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "pass -o FILE, or --tensorboard DIR"),
        (["--tensorboard", "runs", "--wide"], "--wide is about the output"),
        (["-o", "{}/norms.csv"], "exists already"),
        (["-o", "{}/wide.txt"], "none of .csv, .jsonl, .npz, .parquet"),
        (["-o", "{}/wide.csv", "--wide", "l3"], "no row has the column 'l3': there are l2"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(source, tmp_path, argv, words, capsys):
    before = sorted(tmp_path.iterdir())
    assert convert(source, *(word.format(tmp_path) for word in argv)) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err
    assert sorted(tmp_path.iterdir()) == before
