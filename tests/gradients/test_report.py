"""The report: one page that stands alone, with what rows, statistics and records say."""

import base64
import html.parser
import importlib
import io
import json
import math
import os
import re
import sys

import numpy as np
import pytest

import npresnext as nx
from npresnext import cli
from npresnext.errors import FileFormatError, InvalidValueError
from npresnext.gradients import COLUMNS, PROVENANCE, compare_groups, open_rows
from npresnext.gradients.report import Run, read_run, write_report
from npresnext.gradients.report.heatmaps import MOST_COLUMNS, Scale, heat_map
from npresnext.gradients.report.runs import short_names

from tests.support.rows import rows_of_a_run

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytestmark = pytest.mark.oracle


class Page(html.parser.HTMLParser):
    """The elements and the text of a page; raises where elements are not closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def pixels(address):
    image = importlib.import_module("matplotlib.image")
    return image.imread(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def special_rows(steps=60, factor=1.0, seed=0):
    """Rows in which conv group 3 of 4 has `factor` times the norm."""
    rows = rows_of_a_run({"layer1.0.conv2": 4, "stem": 1}, steps=steps, seed=seed)
    for row in rows:
        row["l2"] *= factor if row["conv_group"] == 3 else 1.0
    return rows


def test_the_page_stands_alone():
    text = write_report([Run("norms.csv", rows_of_a_run())])
    page = Page(text)
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert "http" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", text) and "@import" not in text
    assert all(image["alt"] for image in page.all("img"))
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_each_cell_has_the_colour_of_its_number():
    rows = rows_of_a_run({"conv": 4}, steps=5)
    images = Page(write_report([Run("norms.csv", rows)])).all("img")
    values = np.array([row["l2"] for row in rows]).reshape(5, 4).T
    (absolute, relative) = (pixels(image["src"]) for image in images if "conv: 4 conv groups" in image["alt"])
    assert absolute.shape == relative.shape == (4, 5, 4)
    brightness = absolute[..., :3] @ [0.299, 0.587, 0.114]  # which grows along the colours of absolute values
    assert (np.argsort(brightness.ravel()) == np.argsort(values.ravel())).mean() > 0.8
    ratio = values / values.mean(axis=0)
    red_over_blue = relative[..., 0] - relative[..., 2]
    assert (np.sign(red_over_blue) == np.sign(ratio - 1))[abs(ratio - 1) > 0.02].all()


def test_several_runs_share_one_scale_of_colours():
    small, large = rows_of_a_run({"conv": 2}, seed=0), rows_of_a_run({"conv": 2}, seed=0)
    for row in large:
        row["l2"] *= 100
    alone = [pixels(Page(write_report([Run("a", rows)])).all("img")[1]["src"]) for rows in (small, large)]
    assert (alone[0] == alone[1]).all()
    page = Page(write_report([Run("a", small), Run("b", large)]))
    together = [pixels(image["src"]) for image in page.all("img")[1:3]]
    assert together[0][..., :3].max() < together[1][..., :3].min(axis=(0, 1)).max()
    assert together[0][..., :3].mean() < together[1][..., :3].mean()


def test_more_steps_than_columns_share_columns():
    values = np.arange(2 * 1300.0).reshape(2, 1300) + 1
    panel = ["0", "1"], np.arange(1300), values
    text = heat_map(panel, Scale([panel], "l2", False), "conv", "conv group", True)
    (image,) = Page(text).all("img")
    assert pixels(image["src"]).shape[:2] == (2, math.ceil(1300 / 3)) and 1300 / 3 < MOST_COLUMNS
    assert "3 steps per column, of which the mean is shown" in text
    assert [span for span in re.findall(r">(\d+)</span>", text)][-4:] == ["0", "433", "866", "1299"]


def test_verdicts_are_those_of_the_statistics():
    rows = special_rows(factor=1.5)
    page = Page(write_report([Run("norms.csv", rows)]))
    (layer,) = compare_groups(rows).layers
    assert layer.special == (3,) and layer.verdict in page.text
    assert "Groups differ by more than chance in 1 of 1 layer." in page.text
    page = Page(write_report([Run("norms.csv", special_rows())]))
    assert "Nothing to see in 1 layer." in page.text and "nothing to see" in page.text


def test_several_seeds_are_compared():
    runs = [Run(f"seed{seed}.csv", special_rows(factor=1.5, seed=seed)) for seed in range(6)]
    page = Page(write_report(runs))
    over = nx.gradients.compare_seeds([run.rows for run in runs])
    assert over.layers[0].special == (3,) and over.layers[0].verdict in page.text
    assert page.text.count("Groups differ by more than chance in 1 of 1 layer.") == 1 + 6
    others = Page(write_report([runs[0], Run("b.csv", rows_of_a_run({"layer1.0.conv2": 2}, steps=60))]))
    assert "different layers or numbers of groups" in others.text and "has no such layer" in others.text


def test_what_cannot_be_tested_says_why():
    page = Page(write_report([Run("norms.csv", rows_of_a_run({"stem": 1}))]))
    with pytest.raises(InvalidValueError) as caught:
        compare_groups(rows_of_a_run({"stem": 1}))
    assert f"Not tested: {caught.value}." in page.text
    assert "divided by the mean of the layer" not in page.text
    without_steps = [{**row, "step": None} for row in rows_of_a_run({"conv": 2}, steps=1)]
    assert "rows of a conv group, in their order" in Page(write_report([Run("norms.csv", without_steps)])).text


def test_runs_of_different_gradients_are_warned_of():
    rows = [rows_of_a_run(loss=loss, accumulated=None) for loss in ("mean", "sum")]
    page = Page(write_report([Run("a.csv", rows[0]), Run("b.csv", rows[1])]))
    assert "The runs differ in the column loss (a: mean; b: sum)" in page.text
    assert page.text.count("The runs differ") == 1 and "unknown" in page.text
    same = Page(write_report([Run("a.csv", rows[0]), Run("b.csv", rows_of_a_run(seed=1, accumulated=None))]))
    assert "The runs differ" not in same.text


def test_rows_of_other_programs_and_of_diverged_runs_are_shown():
    rows = [
        {"step": step, "layer": "<b>", "conv_group": group, "groups": 2, "l2": math.nan if step > 2 else 1.0 + group}
        for step in range(5)
        for group in (0, 1)
    ]
    text = write_report([Run("<i>.csv", rows)], title="A & B")
    page = Page(text)
    assert "<b>" in page.text and "<i>" in page.text and not page.all("b") and not page.all("i")
    assert "A & B" in page.text and "(grey: no finite number)" in page.text
    assert "The rows have no columns that say so." in page.text and "no record" in page.text


def test_names_of_runs_lose_what_all_share():
    assert short_names(["a/x.csv", "a/y.csv"]) == ["x", "y"]
    assert short_names(["x.csv", "x.npz"]) == ["x.csv", "x.npz"]
    assert short_names(["runs/1/norms.csv", "runs/2/norms.csv"]) == ["1", "2"]


def report(*argv):
    return cli.main(["gradnorms", "report", *map(str, argv)])


@pytest.fixture
def source(tmp_path):
    with open_rows(tmp_path / "norms.csv", [*COLUMNS, *PROVENANCE]) as file:
        file.write(rows_of_a_run())
    (tmp_path / "norms.csv.meta.json").write_text(json.dumps({"ended": "finished", "arguments": {"lr": 0.1}}))
    return tmp_path / "norms.csv"


def test_the_command_writes_a_page_of_files_and_their_records(source, tmp_path, capsys):
    assert report(source, "-o", tmp_path / "report.html", "--layers", "*conv2", "stem", "--value", "ratio") == 0
    assert f"report on 1 run in {tmp_path / 'report.html'} (" in capsys.readouterr().out
    page = Page((tmp_path / "report.html").read_text())
    assert "depthwise" not in page.text and "ratio of each conv group" in page.text
    assert '"lr": 0.1' in page.text and "finished" in page.text
    assert report(source, source, "-o", tmp_path / "report.html", "--force") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode here")
def test_a_file_whose_name_is_not_utf8_is_reported_and_drawn(source, tmp_path):
    path = source.rename(tmp_path / os.fsdecode(b"norms\xe9.csv"))
    assert report(path, "-o", tmp_path / "report.html") == 0
    assert r"norms\udce9.csv" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli.main(["gradnorms", "draw", str(path), "-o", str(tmp_path / "norms.png")]) == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["{}/norms.csv", "-o", "{}/norms.csv.meta.json"], "exists already: choose another name, or pass --force"),
        (["{}/absent.csv", "-o", "{}/report.html"], "absent.csv"),
        (["{}/norms.csv", "-o", "{}/report.html", "--value", "l3"], "argument --value: must be a column"),
        (["{}/norms.csv", "-o", "{}/report.html", "--layers", "conv9"], "no convolution matches 'conv9'"),
        (["{}/norms.csv", "-o", "{}/no/report.html"], "the folder {}/no does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(source, tmp_path, argv, words, capsys):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert report(*(word.format(tmp_path) for word in argv)) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words.format(tmp_path) in captured.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_records_and_runs_that_are_none_are_refused(source):
    (source.parent / "norms.csv.meta.json").write_text("[")
    with pytest.raises(FileFormatError, match="norms.csv.meta.json is not JSON"):
        read_run(source)
    (source.parent / "norms.csv.meta.json").write_text("[]")
    with pytest.raises(FileFormatError, match="is not a JSON object"):
        read_run(source)
    with pytest.raises(InvalidValueError, match="the run a.csv has no rows"):
        Run("a.csv", [])
    with pytest.raises(InvalidValueError, match="runs is empty"):
        write_report([])
