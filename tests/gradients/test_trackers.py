"""Trackers get five numbers per layer and step, one picture and one file; each adapter is tried without a network."""

import math
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest

import npresnext as nx
from npresnext.errors import InvalidValueError, MissingExtraError, OutputExistsError
from npresnext.gradients import COLUMNS, PROVENANCE, open_rows
from npresnext.gradients.trackers import SUMMARIES, TensorBoardTracker, log_rows, summary_scalars

from tests.support.rows import rows_of_a_run


class Diary:
    """A tracker that keeps what it gets."""

    def __init__(self):
        self.entries, self.pictures, self.files = [], [], []

    def scalars(self, values, step):
        self.entries.append((step, dict(values)))

    def picture(self, name, figure, step):
        self.pictures.append((name, step, figure))

    def file(self, path):
        self.files.append(str(path))


@pytest.fixture
def run_file(tmp_path, monkeypatch):
    """The rows of a run and the name of their file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rows = rows_of_a_run()
    with open_rows("norms.csv", [*COLUMNS, *PROVENANCE]) as file:
        file.write(rows)
    return rows, "norms.csv"


def test_each_layer_has_five_numbers():
    rows = rows_of_a_run(steps=3)
    found = summary_scalars(rows)
    assert list(found) == [0, 1, 2]
    for step, values in found.items():
        own = [row for row in rows if row["step"] == step and row["layer"] == "layer1.0.conv2"]
        l2, weight = (np.linalg.norm([row[name] for row in own]) for name in ("l2", "weight_l2"))
        assert {name: values[f"{name}/layer1.0.conv2"] for name in SUMMARIES} == pytest.approx(
            {
                "gradient_l2": l2,
                "gradient_max_abs": max(row["max_abs"] for row in own),
                "gradient_ratio": l2 / weight,
                "gradient_spread": max(row["l2"] for row in own) / min(row["l2"] for row in own),
                "gradient_silent_groups": 0,
            }
        )
        assert len(values) == 5 + 5 + 4 and "gradient_spread/stem" not in values


def test_silent_groups_are_counted_and_what_is_missing_is_left_out():
    row = {"step": 0, "layer": "a", "groups": 2}
    rows = [{**row, "conv_group": 0, "l2": 0.0}, {**row, "conv_group": 1, "l2": 2.0}]
    assert summary_scalars(rows) == {0: {"gradient_l2/a": 2.0, "gradient_silent_groups/a": 1.0}}
    (values,) = summary_scalars([{**row, "conv_group": 0, "l2": math.nan, "max_abs": math.nan}]).values()
    assert math.isnan(values["gradient_l2/a"]) and math.isnan(values["gradient_max_abs/a"])
    with pytest.raises(InvalidValueError, match="a row has no step"):
        summary_scalars([{**rows[0], "step": None}])


def test_rows_are_logged_with_one_picture_and_one_file():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    tracker = Diary()
    log_rows(tracker, rows_of_a_run(steps=3), "norms.csv")
    assert tracker.entries == list(summary_scalars(rows_of_a_run(steps=3)).items())
    ((name, step, figure),) = tracker.pictures
    assert (name, step) == ("gradient_norms", 2) and len(figure.axes) == 4 and tracker.files == ["norms.csv"]


@pytest.mark.oracle
@pytest.mark.parametrize("path", [None, "norms.csv"])
def test_a_watch_logs_while_it_reads_and_the_picture_at_the_end(path, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    model, tracker = torch.nn.Conv2d(4, 4, 3, groups=2), Diary()
    with nx.gradients.watch(model, path, read_every=2, trackers=[tracker]) as watched:
        for step in range(3):
            model(torch.randn(1, 4, 5, 5)).square().sum().backward()
            watched.step()
            assert [step for step, _ in tracker.entries] == ([] if step == 0 else [0, 1])
    assert [step for step, _ in tracker.entries] == [0, 1, 2] and len(tracker.entries[0][1]) == 5
    assert len(tracker.pictures) == 1 and tracker.files == ([] if path is None else [path])


@pytest.mark.oracle
def test_a_watch_of_a_diverged_network_logs_no_picture():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    model, tracker = torch.nn.Conv2d(4, 4, 3, groups=2), Diary()
    with nx.gradients.watch(model, trackers=[tracker]) as watched:
        (model(torch.randn(1, 4, 5, 5)) * math.nan).sum().backward()
        watched.step()
    assert math.isnan(tracker.entries[0][1]["gradient_l2/Conv2d"]) and tracker.pictures == []


@pytest.mark.oracle
def test_tensorboard(run_file):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    rows, path = run_file
    tracker = TensorBoardTracker("runs")
    log_rows(tracker, rows, path)
    with pytest.raises(OutputExistsError):
        tracker.file(path)
    tracker.close()
    (events,) = [file for file in (Path.cwd() / "runs").iterdir() if "tfevents" in file.name]
    content, numbers, pictures = events.read_bytes(), {}, []
    while content:  # a record: length, its checksum, an event, its checksum
        size = int.from_bytes(content[:8], "little")
        assert int.from_bytes(content[8:12], "little") == masked_crc32c(content[:8])
        event, content = Event.FromString(content[12 : 12 + size]), content[16 + size :]
        for value in event.summary.value:
            if value.HasField("image"):
                pictures.append((value.tag, event.step, value.image.encoded_image_string[:4]))
            else:
                numbers.setdefault(event.step, {})[value.tag] = value.simple_value
    assert numbers == {step: pytest.approx(values, rel=1e-6) for step, values in summary_scalars(rows).items()}
    assert pictures == [("gradient_norms", 3, b"\x89PNG")]
    assert (Path.cwd() / "runs" / path).read_bytes() == (Path.cwd() / path).read_bytes()


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_weights_and_biases(run_file, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    rows, path = run_file
    run = wandb.init(project="test", dir=".")
    log_rows(nx.gradients.trackers.WandbTracker(run), rows, path)
    summary = dict(run.summary)
    run.finish()
    last = summary_scalars(rows)[3]
    assert {name: summary[name] for name in last} == pytest.approx(last)
    assert summary["gradient_step"] == 3 and summary["gradient_norms"]["format"] == "png"


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_mlflow(run_file, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows, path = run_file
    client = mlflow.MlflowClient(tracking_uri=Path.cwd().joinpath("mlruns").as_uri())
    run = client.create_run(client.create_experiment("test")).info.run_id
    monkeypatch.setattr("npresnext.gradients.trackers.mlflow_run.MOST_METRICS", 5)
    log_rows(nx.gradients.trackers.MlflowTracker(run, client), rows, path)
    for name in summary_scalars(rows)[0]:
        history = {metric.step: metric.value for metric in client.get_metric_history(run, name)}
        assert history == {step: values[name] for step, values in summary_scalars(rows).items()}
    assert [file.path for file in client.list_artifacts(run)] == ["gradient_norms.png", "norms.csv"]


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
def test_trackio(run_file, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(Path.cwd() / "trackio"))
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    rows, path = run_file
    run = trackio.init(project="test", embed=False, auto_log_cpu=False, auto_log_gpu=False)
    log_rows(nx.gradients.trackers.TrackioTracker(run), rows, path)
    run.finish()
    with sqlite3.connect(Path.cwd() / "trackio" / "test.db") as database:
        steps = [step for (step,) in database.execute("select step from metrics order by id")]
    assert steps == [0, 1, 2, 3, 3]  # the last one is the picture
    assert list((Path.cwd() / "trackio" / "media").rglob("*.png"))


def test_without_tensorboardx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match="npresnext\\[tensorboard\\]"):
        TensorBoardTracker("runs")
