"""Gradient norms of conv groups: the numbers, the files, the picture, the command."""

import csv
import importlib
import importlib.util
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import array_api_strict
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import cli, models, nn
from npresnext.errors import (
    BackwardError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    NonFiniteLossError,
    ShapeError,
)
from npresnext.gradients import norms
from npresnext.gradients.files import TEXT_COLUMNS, format_of, open_rows
from npresnext.gradients.layer_patterns import choose_layers
from npresnext.gradients.norms import COLUMNS
from npresnext.gradients.pictures import DENSE, draw_grad_norms, grad_norm_panels
from npresnext.gradients.provenance import PROVENANCE
from npresnext.gradients.tables import summary_table
from npresnext.gradients.writer import GradNormWriter, columns_with
from npresnext.training import TrainingConfiguration

from tests.support.paths import SCRIPTS
from tests.support.rows import ENDINGS
from tests.support.training import tiny_trainer

SCRIPT = SCRIPTS / "dump_group_grad_norms.py"
SHORT = ["--limit", "48", "--batch-size", "16", "--steps", "5", "--every", "2"]


@st.composite
def integer_layers(draw):
    groups = draw(st.integers(1, 6))
    shape = (groups * draw(st.integers(1, 3)), *(draw(st.integers(1, 3)) for _ in range(3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return groups, rng.integers(-9, 10, shape), rng.integers(-9, 10, shape)


@settings(max_examples=30)
@given(layer=integer_layers())
def test_norms_are_their_definitions_exactly_on_integers(layer):
    groups, grad, weight = layer
    rows = nx.group_grad_norms({"a": grad.astype("float32")}, {"a": groups}, {"a": weight.astype("float32")}, norm="1")
    size = grad.shape[0] // groups
    total = 0
    for group, row in enumerate(rows):
        own = [int(value) for value in grad[group * size : (group + 1) * size].ravel()]
        weights = [int(value) for value in weight[group * size : (group + 1) * size].ravel()]
        squares = sum(value * value for value in own)
        total += squares
        assert (row["conv_group"], row["groups"], row["numel"]) == (group, groups, len(own))
        assert row["l2"] == math.sqrt(squares)
        assert row["rms"] == math.sqrt(squares) / math.sqrt(len(own))
        assert row["max_abs"] == max(map(abs, own)) and row["norm"] == sum(map(abs, own))
        assert row["weight_l2"] == math.sqrt(sum(value * value for value in weights))
        assert row["l2_weight_l2"] == row["l2"] * row["weight_l2"]
        assert row["ratio"] == row["l2"] / row["weight_l2"] if row["weight_l2"] else math.isnan(row["ratio"])
    whole = nx.group_grad_norms({"a": grad.astype("float64")}, {"a": 1})[0]
    assert whole["l2"] == math.sqrt(total) == pytest.approx(math.hypot(*[row["l2"] for row in rows]), rel=1e-15)


@settings(max_examples=20)
@given(layer=integer_layers(), data=st.data())
def test_the_norms_of_a_group_ignore_every_other_group(layer, data):
    groups, grad, weight = layer
    mine = data.draw(st.integers(0, groups - 1))
    size = grad.shape[0] // groups
    keep = np.zeros(grad.shape[0], bool)
    keep[mine * size : (mine + 1) * size] = True
    other = np.where(keep[:, None, None, None], grad, grad + 100)
    first, second = (nx.group_grad_norms({"a": value * 1.0}, {"a": groups})[mine] for value in (grad, other))
    assert first == second


def test_a_network_gives_a_row_for_each_conv_group_of_each_convolution():
    trainer = tiny_trainer()
    trainer.run(1)
    rows = nx.group_grad_norms(trainer.model, step=7, epoch=2)
    convs = {name: module for name, module in trainer.model.named_modules() if isinstance(module, nn.Conv2d)}
    assert [(row["layer"], row["conv_group"]) for row in rows] == [
        (name, group) for name, conv in convs.items() for group in range(conv.groups)
    ]
    assert all(tuple(row) == COLUMNS and (row["step"], row["epoch"]) == (7, 2) for row in rows)
    conv2 = convs["layer1.0.conv2"]
    assert conv2.groups == 4 and conv2.weight.shape[0] == 16
    got = [row["l2"] for row in rows if row["layer"] == "layer1.0.conv2"]
    expected = [np.linalg.norm(conv2.weight.grad[4 * g : 4 * g + 4].astype("float64")) for g in range(4)]
    assert got == pytest.approx(expected, rel=1e-12)


def test_norms_are_computed_only_for_the_chosen_layers(monkeypatch):
    trainer = tiny_trainer()
    trainer.run(1)
    every = nx.group_grad_norms(trainer.model)
    summed, sums = [], norms._sums
    monkeypatch.setattr(norms, "_sums", lambda name, array, groups: summed.append(name) or sums(name, array, groups))
    chosen = nx.group_grad_norms(trainer.model, layers=["layer1.0.conv2"])
    assert chosen == [row for row in every if row["layer"] == "layer1.0.conv2"] and len(chosen) == 4
    assert summed == ["layer1.0.conv2"] * 2  # the gradient and the weight


def test_gradients_are_taken_raw_before_weight_decay():
    rows = []
    for weight_decay in (0.0, 0.5):
        with open_rows(os.devnull, COLUMNS, format="csv", overwrite=True) as file:
            dump = GradNormWriter(file, ["layer1.0.conv2"])
            tiny_trainer(weight_decay=weight_decay, watchers=[dump]).run(2)
        rows.append(dump.rows)
    assert rows[0][:4] == rows[1][:4] and rows[0][4:] != rows[1][4:]


def test_sixteen_bit_gradients_are_summed_in_float64():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        grad = np.full((2, 100, 3, 3), 1000, dtype)
        assert nx.group_grad_norms({"a": grad}, {"a": 2})[0]["l2"] == 1000 * math.sqrt(900)


class Foreign:
    """What another framework's array offers: DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class WithArray:
    """An object with ``__array__`` and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("wrap", [array_api_strict.asarray, Foreign, WithArray])
def test_arrays_of_every_library_give_the_same_rows(wrap):
    grad = np.random.default_rng(0).standard_normal((6, 2, 3, 3))
    expected = nx.group_grad_norms({"a": grad}, {"a": 3}, {"a": grad + 1}, norm="inf")
    assert nx.group_grad_norms({"a": wrap(grad)}, {"a": 3}, {"a": wrap(grad + 1)}, norm="inf") == expected


@pytest.mark.oracle
def test_a_pytorch_network_gives_rows_in_three_lines():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 3, groups=4), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3, groups=2))
    model(torch.randn(2, 4, 8, 8)).square().sum().backward()

    convs = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    grads, weights = {n: m.weight.grad for n, m in convs.items()}, {n: m.weight for n, m in convs.items()}
    rows = nx.group_grad_norms(grads, {n: m.groups for n, m in convs.items()}, weights, step=0)

    expected = [part.double().norm().item() for m in convs.values() for part in m.weight.grad.chunk(m.groups)]
    assert [row["l2"] for row in rows] == pytest.approx(expected, rel=1e-12)
    assert [row["layer"] for row in rows] == ["0"] * 4 + ["2"] * 2
    with pytest.raises(InvalidTypeError, match="grads\\['a'\\] cannot be read as an array"):
        nx.group_grad_norms({"a": torch.ones(2, 2, dtype=torch.bfloat16)}, {"a": 1})


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: nx.group_grad_norms(models.resnext_small(rng=0)), BackwardError, "conv1.weight has no gradient"),
        (lambda: nx.group_grad_norms(nn.Sequential(nn.ReLU())), InvalidValueError, "has no convolution"),
        (lambda: nx.group_grad_norms({"a": np.ones((4, 2))}, {"a": 3}), ShapeError, "groups=3: groups must divide"),
        (lambda: nx.group_grad_norms({"a": np.ones(())}, {"a": 1}), ShapeError, r"shape \(\) and groups=1"),
        (lambda: nx.group_grad_norms({"a": np.ones((4, 2))}, {"a": "2"}), InvalidTypeError, "groups.* must be an"),
        (lambda: nx.group_grad_norms({"a": np.ones((4, 2))}, {"a": 0}), InvalidValueError, "must be at least 1"),
        (lambda: nx.group_grad_norms(models.resnext_small(rng=0), {"a": 1}), InvalidTypeError, "has its own"),
        (lambda: nx.group_grad_norms({"a": np.ones((4, 2))}, {"b": 2}), InvalidValueError, "differ in a, b"),
        (
            lambda: nx.group_grad_norms({"a": np.ones(2)}, {"a": 1}, layers=["a"]),
            InvalidTypeError,
            "goes with a network",
        ),
        (
            lambda: nx.group_grad_norms(models.resnext_small(rng=0), layers=["conv9"]),
            InvalidValueError,
            "layers names conv9: expected some of conv1, ",
        ),
        (
            lambda: nx.group_grad_norms(models.resnext_small(rng=0), layers="conv1"),
            InvalidTypeError,
            "layers must be a collection of names, but is the string 'conv1'",
        ),
        (
            lambda: nx.group_grad_norms({"a": np.ones(2)}, {"a": 1}, {"b": np.ones(2)}),
            InvalidValueError,
            "grads and weights must name the same layers, but differ in a, b",
        ),
        (lambda: nx.group_grad_norms({"a": [1.0]}, {"a": 1}), InvalidTypeError, "is of type list: expected an array"),
        (lambda: nx.group_grad_norms({"a": np.ones(2)}), InvalidTypeError, "groups is of type NoneType"),
        (lambda: nx.group_grad_norms([np.ones(2)], {"a": 1}), InvalidTypeError, "grads is of type list"),
        (lambda: nx.group_grad_norms({"a": np.ones(2)}, {"a": 1}, norm="3"), InvalidValueError, "one of 1, 2, inf"),
        (lambda: nx.group_grad_norms({"a": np.ones(2)}, {"a": 1}, {"a": np.ones(3)}), ShapeError, "weight of \\(3,\\)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_weight_of_zeros_has_no_ratio():
    (row,) = nx.group_grad_norms({"a": np.ones((1, 2))}, {"a": 1}, {"a": np.zeros((1, 2))})
    assert math.isnan(row["ratio"]) and row["weight_l2"] == row["l2_weight_l2"] == 0


def test_groups_without_weights_have_norms_of_zero_and_no_mean():
    rows = nx.group_grad_norms({"a": np.ones((4, 0, 3, 3))}, {"a": np.int64(2)})
    assert [(row["numel"], row["l2"], row["max_abs"]) for row in rows] == [(0, 0, 0), (0, 0, 0)]
    assert all(math.isnan(row["rms"]) for row in rows)


# Files


def read(path):
    """Read a file of rows with nothing of ours, as dictionaries of floats and names."""
    if path.suffix == ".parquet":
        rows = importlib.import_module("pyarrow.parquet").read_table(path).to_pylist()
    elif path.suffix == ".npz":
        with np.load(path) as columns:
            rows = [dict(zip(columns, values)) for values in zip(*(columns[name] for name in columns))]
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
    return [{name: str(value) if name in TEXT_COLUMNS else float(value) for name, value in row.items()} for row in rows]


def gradnorms(*argv):
    return cli.main(["gradnorms", *SHORT, *map(str, argv)])


def test_all_formats_hold_the_same_rows_to_the_last_bit(tmp_path, capsys):
    found = []
    for ending in ENDINGS:
        assert gradnorms("-o", tmp_path / f"norms{ending}", "--norm", "1") == 0
        found.append(read(tmp_path / f"norms{ending}"))
    capsys.readouterr()
    assert all(rows == found[0] for rows in found)
    assert list(found[0][0]) == [*COLUMNS, "norm", *PROVENANCE]
    assert sorted({row["step"] for row in found[0]}) == [0, 2, 4]
    assert {row["epoch"] for row in found[0]} == {0, 1}
    assert len(found[0]) == 3 * (10 + 3 * 8)


def test_counts_stay_integers_in_an_npz_and_minus_one_stands_for_none(tmp_path):
    rows = nx.group_grad_norms({"a": np.ones((2, 3))}, {"a": 2}, step=7)
    with nx.gradients.open_rows(str(tmp_path / "norms.npz"), COLUMNS) as file:
        file.write(rows)
    with np.load(tmp_path / "norms.npz") as columns:
        for name, expected in {"step": 7, "epoch": -1, "conv_group": [0, 1], "groups": 2, "numel": 3}.items():
            assert columns[name].dtype == np.int64 and (columns[name] == expected).all()
        assert np.isnan(columns["ratio"]).all() and columns["l2"].dtype == np.float64


def test_the_first_rows_are_the_norms_of_the_first_gradient(tmp_path, capsys):
    assert gradnorms("-o", tmp_path / "norms.csv", "--layers", "*conv2") == 0
    rows = read(tmp_path / "norms.csv")
    train = nx.data.load_digits()[0].first(48)
    x, target = next(nx.data.training_batches(train, 16, seed=0, epoch=0, augment=nx.data.Augment(crop=1)))
    model, criterion = models.resnext_small(rng=0), nn.CrossEntropyLoss()
    criterion(model(x), target)
    model.backward(criterion.backward())
    expected = [row for row in nx.group_grad_norms(model, step=0, epoch=0) if row["layer"].endswith("conv2")]
    assert [{name: row[name] for name in COLUMNS} for row in rows[: len(expected)]] == expected
    said = {"taken": "after backward", "clipped": "no", "scaled": "no", "accumulated": 1, "loss": "mean"}
    assert all(row | said | {"world_size": 1, "reduced": "no"} == row for row in rows)


def test_rows_of_a_trainer_with_shards_say_so():
    configuration = TrainingConfiguration.for_data("digits", limit=64, shards=4)
    with open_rows(os.devnull, COLUMNS, format="csv", overwrite=True) as file:
        writer = GradNormWriter(file, ["layer1.0.conv2"])
        configuration.build(configuration.load_data()[0], watchers=[writer]).run(1)
    assert {(row["accumulated"], row["world_size"], row["reduced"]) for row in writer.rows} == {(4, 1, "no")}


def test_the_sidecar_says_how_the_rows_came_about(tmp_path, capsys):
    path = tmp_path / "norms.csv"
    assert gradnorms("-o", path, "--init", "fan_out_per_group", "--seed", "5") == 0
    account = json.loads((tmp_path / "norms.csv.meta.json").read_text())
    assert account["initialisation"] == "fan_out_per_group" and account["arguments"]["seed"] == 5
    assert account["versions"]["numpy"] == np.__version__ and account["backend"] == "numpy"
    assert account["data"]["sha256"] == nx.data.load_digits()[0].first(48).fingerprint()
    assert (account["ended"], account["steps_done"], account["rows"]) == ("finished", 5, len(read(path)))


def test_a_run_that_diverges_is_drawn_up_to_there(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    files = ["-o", tmp_path / "norms.csv", "--plot", tmp_path / "norms.png"]
    assert gradnorms(*files, "--lr", "1e30", "--every", "1") == cli.FAILED
    captured = capsys.readouterr()
    assert "at step 1 " in captured.err and f"picture in {tmp_path / 'norms.png'}" in captured.out
    assert (tmp_path / "norms.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_at_the_end_has_a_line_for_each_layer(tmp_path, capsys):
    assert gradnorms("-o", tmp_path / "norms.csv", "--layers", "layer?.0.conv2") == 0
    shown = capsys.readouterr().out
    table = [line.split()[0] for line in shown.splitlines() if line.startswith("layer")]
    assert table == ["layer", "layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"]
    assert "nan" not in shown


def test_a_table_of_one_silent_group_divides_by_nothing():
    rows = nx.group_grad_norms({"a": np.array([[0.0], [2.0]])}, {"a": 2})
    assert summary_table(rows).splitlines()[-1].split() == ["a", "2", "1", "0", "2", "-", "1", "-"]


def test_the_script_and_the_command_write_the_same_bytes(tmp_path):
    for program, name in (([SCRIPT], "script"), (["-m", "npresnext", "gradnorms"], "command")):
        argv = [sys.executable, *program, *SHORT, "-o", tmp_path / f"{name}.csv"]
        process = subprocess.run(argv, capture_output=True, text=True)
        assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "script.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()


def test_the_script_calls_itself_by_its_own_name(capsys):
    spec = importlib.util.spec_from_file_location("dump_group_grad_norms", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.run_command("gradnorms", prog="dump_group_grad_norms.py", argv=[]) == 2
    assert capsys.readouterr().err.startswith("dump_group_grad_norms.py: error: ")


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_standard_output_gets_the_rows_and_nothing_else(tmp_path, format, capfdbinary, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gradnorms("-o", "-", "--format", format) == 0
    streamed = capfdbinary.readouterr()
    assert list(tmp_path.iterdir()) == []
    gradnorms("-o", f"norms.{format}")
    assert streamed.out == Path(f"norms.{format}").read_bytes()
    assert b"layer1.0.conv2" in streamed.err


def test_a_reader_that_closes_the_pipe_early_causes_no_error():
    command = f"{sys.executable} -m npresnext gradnorms {' '.join(SHORT)} --steps 300 -o - | head -n 3"
    process = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert process.stdout.count("\n") == 3 and "rror" not in process.stderr


@pytest.mark.parametrize("ending", ENDINGS)
def test_ctrl_c_leaves_whole_rows(tmp_path, ending):
    path = tmp_path / f"norms{ending}"
    argv = ["gradnorms", "--limit", "64", "--batch-size", "16", "--steps", "100000", "--every", "1", "-o", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "npresnext", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    assert process.stdout.readline().startswith("epoch 1/")
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (cli.INTERRUPTED, "npresnext: interrupted\n")
    rows = read(path)
    assert len(rows) >= 4 * 34 and len(rows) % 34 == 0
    account = json.loads(Path(f"{path}.meta.json").read_text())
    assert (account["ended"], account["rows"]) == ("interrupted", len(rows))


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_rows_during_which_ctrl_c_came_are_taken_back(tmp_path, ending):
    class Interrupted(io.FileIO):
        def write(self, content):
            super().write(content)
            raise KeyboardInterrupt

    path = tmp_path / f"norms{ending}"
    with open_rows(str(path), ["layer", "l2"]) as file:
        file.write([{"layer": "conv1", "l2": 0.5}])
        before = path.read_bytes()
        file._file.close()
        file._file = Interrupted(path, "ab")
        with pytest.raises(KeyboardInterrupt):
            file.write([{"layer": "conv2", "l2": 0.5}])
    assert path.read_bytes() == before


def test_a_run_that_is_killed_never_counts_as_finished(tmp_path, capsys):
    path = tmp_path / "norms.csv"
    assert gradnorms("-o", path) == 0  # the account of an earlier run says "finished"
    argv = [*SHORT, "--steps", "100000", "-o", str(path), "--force"]
    process = subprocess.Popen([sys.executable, "-m", "npresnext", "gradnorms", *argv], stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b"epoch 1/")
    process.kill()
    process.communicate(timeout=60)
    assert json.loads(Path(f"{path}.meta.json").read_text())["ended"] == "not yet, or killed"


def test_a_run_whose_rows_cannot_be_written_never_counts_as_finished(tmp_path, capsys, monkeypatch):
    def full(*args, **columns):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert gradnorms("-o", tmp_path / "norms.npz") == cli.FAILED
    assert "No space left" in json.loads((tmp_path / "norms.npz.meta.json").read_text())["ended"]


def test_a_loss_that_is_no_number_leaves_the_rows_before_it(tmp_path, capsys):
    assert gradnorms("-o", tmp_path / "norms.csv", "--lr", "1e30", "--every", "1") == cli.FAILED
    assert "at step 1 " in capsys.readouterr().err
    assert {row["step"] for row in read(tmp_path / "norms.csv")} == {0}
    assert "at step 1 " in json.loads((tmp_path / "norms.csv.meta.json").read_text())["ended"]


@pytest.mark.parametrize(
    "argv, words",
    [
        (["-o", "{}/there.csv"], "there.csv exists already"),
        (["-o", "{}/new.csv", "--plot", "{}/there.png"], "there.png exists already"),
        (["-o", "{}/sidecar.csv"], "sidecar.csv.meta.json exists already"),
        (["-o", "{}/nowhere/norms.csv"], "nowhere does not exist"),
        (["-o", "{}/norms.txt"], "norms.txt is none of .csv, .jsonl, .npz"),
        (["-o", "-", "--format", "npz"], "NPZ cannot be streamed"),
        (["-o", "{}/norms.csv", "--plot", "{}/norms.bmp"], "must end in one of"),
        (["-o", "{}/norms.csv", "--layers", "conv1", "layer9*"], "no convolution matches 'layer9*': there are conv1, "),
        (
            ["-o", "{}/norms.csv", "--layers", "conv2"],
            "no convolution matches 'conv2' (did you mean '*conv2'?): there are conv1, ",
        ),
        (["-o", "{}/norms.csv", "--model", "resnext"], "argument --model: must be one of "),
        (
            ["-o", "{}/norms.csv", "--batch-size", "99"],
            "argument --batch-size: must be at most 48, the images of digits train, but is 99",
        ),
        (["-o", "{}/norms.csv", "--dtype", "float8"], "--dtype"),
        (["-o", "{}/norms.csv", "--relative"], "--relative is about the picture: pass --plot FILE.png as well"),
        ([], "-o/--output"),
    ],
)
def test_a_mistake_is_found_before_training_and_leaves_nothing(tmp_path, argv, words, capsys, monkeypatch):
    if any(word.endswith(".png") for word in argv):
        pytest.importorskip("matplotlib")

    def train(*args):
        raise AssertionError("training began")

    monkeypatch.setattr("npresnext.training.Trainer.run", train)
    for name in ("there.csv", "there.png", "sidecar.csv.meta.json"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert gradnorms(*(word.format(tmp_path) for word in argv)) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err
    assert sorted(tmp_path.iterdir()) == before and all(path.read_text() == "mine" for path in before)


def test_a_missing_extra_is_found_before_training(tmp_path, capsys, monkeypatch):
    def missing(module, extra, purpose):
        raise MissingExtraError(f"{purpose} needs matplotlib: pip install 'npresnext[{extra}]'")

    monkeypatch.setattr("npresnext._support.figures.load_extra", missing)
    assert gradnorms("-o", tmp_path / "norms.csv", "--plot", tmp_path / "norms.png") == cli.MISTAKE
    assert "npresnext[plot]" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_force_overwrites(tmp_path, capsys):
    for name in ("norms.csv", "norms.csv.meta.json"):
        (tmp_path / name).write_text("old")
    assert gradnorms("-o", tmp_path / "norms.csv", "--force") == 0
    assert read(tmp_path / "norms.csv")


def test_format_and_layers_say_what_they_take():
    assert format_of("a.CSV") == "csv" and format_of("a.dat", "npz") == "npz"
    assert choose_layers(["a.x", "b.x", "b.y"], ["b.*", "*.x"]) == ["a.x", "b.x", "b.y"]
    assert columns_with("2") == (*COLUMNS, "norm", *PROVENANCE)


def test_json_has_null_where_csv_is_empty(tmp_path):
    rows = nx.group_grad_norms({"a": np.ones((1, 1))}, {"a": 1}, {"a": np.zeros((1, 1))}, step=3)
    for ending in (".jsonl", ".csv"):
        with open_rows(str(tmp_path / f"norms{ending}"), COLUMNS) as file:
            file.write(rows)
    line = json.loads((tmp_path / "norms.jsonl").read_text())
    assert line["epoch"] is None and line["ratio"] is None and line["step"] == 3
    assert (tmp_path / "norms.csv").read_text().splitlines()[1].startswith("3,,a,0,")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_disk_that_is_full_leaves_whole_rows(tmp_path, ending):
    resource = pytest.importorskip("resource")
    path, limits = tmp_path / f"norms.{ending}", resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = [{"step": step, "l2": 1 / 3} for step in range(40)]
    try:
        with open_rows(str(path), ["step", "l2"]) as file, pytest.raises(OSError, match="too large"):
            file.write(rows[:10])
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
            file.write(rows[10:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read(path) == rows[:10]


# The picture


def made_up_rows(steps=(0, 5, 10)):
    return [
        {"step": step, "layer": layer, "conv_group": group, "groups": groups, "l2": 10.0**-group * (step + 1)}
        for step in steps
        for layer, groups in (("stem", 1), ("conv2", 4), ("head", 1))
        for group in range(groups)
    ]


def test_panels_are_conv_group_by_step_and_dense_layers_share_one():
    panels = grad_norm_panels(made_up_rows())
    labels, steps, values = panels["conv2"]
    assert labels == ["0", "1", "2", "3"] and steps.tolist() == [0, 5, 10]
    assert values == pytest.approx(np.outer([1, 0.1, 0.01, 0.001], [1, 6, 11]))
    assert list(panels) == ["conv2", DENSE] and panels[DENSE][0] == ["stem", "head"]


@pytest.mark.oracle
def test_a_picture_is_drawn_with_every_layer(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = draw_grad_norms(made_up_rows())
    drawn = [axes for axes in figure.axes if axes.get_visible() and axes.collections]
    assert [axes.get_title("left") for axes in drawn[:2]] == ["conv2", DENSE]
    assert drawn[0].collections[0].get_array().shape == (4, 3)
    assert gradnorms("-o", tmp_path / "norms.csv", "--plot", tmp_path / "norms.png") == 0
    picture = (tmp_path / "norms.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000


@pytest.mark.oracle
def test_a_picture_of_many_layers_names_the_steps_below_each_column():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows = [{**row, "layer": f"conv{k}"} for k in range(5) for row in made_up_rows() if row["groups"] > 1]
    *axes, bar = draw_grad_norms(rows).axes
    assert [ax.get_title("left") for ax in axes] == [f"conv{k}" for k in range(5)] and bar.get_ylabel()
    assert [ax.get_xlabel() for ax in axes] == ["", "step", "step", "step", "step"]


@pytest.mark.oracle
def test_a_picture_of_one_step_and_of_vanished_gradients_is_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    silent = [{**row, "l2": 0.0} for row in made_up_rows((3,))]
    for rows in (made_up_rows((3,)), silent):
        draw_grad_norms(rows).canvas.draw()
    with pytest.raises(InvalidValueError, match="no rows"):
        draw_grad_norms([])


@pytest.mark.parametrize("steps", [(0,), (0, 1), (0, 1, 2)])
def test_a_picture_counts_whole_steps(steps):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = draw_grad_norms(made_up_rows(steps))
    figure.canvas.draw()
    assert all(tick == int(tick) for ax in figure.axes[:-1] for tick in ax.get_xticks())


def test_a_dump_notices_a_loss_that_is_no_number_before_it_writes():
    with open_rows(os.devnull, COLUMNS, format="csv", overwrite=True) as file:
        dump = GradNormWriter(file, ["conv1"])
        with pytest.raises(NonFiniteLossError):
            tiny_trainer(lr=1e30, watchers=[dump]).run(9)
    assert all(math.isfinite(row["l2"]) for row in dump.rows)
