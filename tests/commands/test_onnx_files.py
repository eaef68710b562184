"""The commands that take an .onnx file in place of the name of a network."""

import json

import numpy as np
import pytest

import npresnext as nx
from npresnext import cli, data, io, models, nn
from npresnext.gradients import read_rows

onnx = pytest.importorskip("onnx")
DIGITS = {"resize": 8, "crop": 8, "mean": [data.load_digits()[0].mean], "std": [data.load_digits()[0].std]}


@pytest.fixture
def net(tmp_path):
    """The bundled network for digits, as an ONNX file."""
    path = tmp_path / "net.onnx"
    nx.onnx.export(models.resnext_small(weights="digits"), path, (1, 1, 8, 8))
    return path


@pytest.fixture
def picture(tmp_path):
    """A black picture of 8x8 pixels."""
    pytest.importorskip("PIL.Image").fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    return tmp_path / "black.png"


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("ends_with_softmax", [False, True])
def test_classify_says_what_the_network_says_in_either_format(tmp_path, capsys, net, ends_with_softmax):
    Image = pytest.importorskip("PIL.Image")
    _, test = data.load_digits()
    for number in range(3):
        grey = np.rint(test.images[number, 0] * (255 / test.white)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
    (tmp_path / "digits.json").write_text(json.dumps(DIGITS))
    if ends_with_softmax:
        proto = onnx.load(net)
        proto.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["probabilities"]))
        proto.graph.output[0].name = "probabilities"
        net.write_bytes(proto.SerializeToString())
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    options = ["--preprocessing", tmp_path / "digits.json", "--json"]
    code, out, _ = run(capsys, "classify", *pictures, "--weights", net, *options)
    _, expected, _ = run(capsys, "classify", *pictures, "--weights", "digits", *options)
    assert code == 0
    for row, wanted in zip(json.loads(out), json.loads(expected), strict=True):
        assert [each["class"] for each in row["top"]] == [each["class"] for each in wanted["top"]]
        for each, other in zip(row["top"], wanted["top"]):
            assert each["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_classify_takes_preprocessing_and_names_from_the_metadata(capsys, net, picture):
    proto = onnx.load(net)
    names = [f"number {k}" for k in range(10)]
    texts = {"preprocessing": json.dumps(DIGITS), "classes": json.dumps(names)}
    onnx.helper.set_model_props(proto, texts)
    net.write_bytes(proto.SerializeToString())
    assert nx.onnx.load(net).metadata == texts
    code, out, _ = run(capsys, "classify", picture, "--weights", net, "--json")
    assert code == 0 and json.loads(out)[0]["top"][0]["name"] in names


def test_classify_names_the_size_that_does_not_fit(tmp_path, capsys, net, picture):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(DIGITS | {"resize": 28, "crop": 28}))
    code, _, err = run(capsys, "classify", picture, "--weights", net, "--preprocessing", recipe)
    assert code == 2 and "takes images of 8x8 pixels and the preprocessing gives 28x28: pass --preprocessing" in err
    code, _, err = run(capsys, "classify", picture, "--weights", net)
    assert code == 2 and "takes 1 channel and the preprocessing gives 3" in err


def test_classify_refuses_a_network_that_returns_no_classes(tmp_path, capsys, picture):
    nx.onnx.export(nn.Conv2d(1, 4, 3, rng=0), tmp_path / "net.onnx", (1, 1, 8, 8))
    (tmp_path / "digits.json").write_text(json.dumps(DIGITS))
    arguments = ["--weights", tmp_path / "net.onnx", "--preprocessing", tmp_path / "digits.json"]
    code, _, err = run(capsys, "classify", picture, *arguments)
    assert code == 2 and "shape (1, 4, 6, 6) for one picture: expected (1, classes)" in err


def test_summary_counts_the_network_in_a_file(tmp_path, capsys, net):
    code, out, _ = run(capsys, "summary", net, "--json")
    counted = json.loads(out)
    assert code == 0 and counted["rows"][0]["input_size"] == [1, 1, 8, 8]
    expected = nx.summary(models.resnext_small(rng=0), (1, 1, 8, 8))
    assert (counted["total_params"], counted["total_macs"]) == (expected.total_params, expected.total_macs)
    proto = onnx.load(net)
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    (tmp_path / "open.ONNX").write_bytes(proto.SerializeToString())
    code, _, err = run(capsys, "summary", tmp_path / "open.ONNX")
    assert code == 2 and "leaves the size of its images open: pass --input-size" in err
    assert run(capsys, "summary", tmp_path / "open.ONNX", "--input-size", 2, 1, 16, 8)[0] == 0


def test_connectivity_is_that_of_the_network_that_was_exported(capsys, net):
    code, out, _ = run(capsys, "connectivity", net)
    _, expected, _ = run(capsys, "connectivity", "resnext_small")
    rows, wanted = ({tuple(line.split()) for line in text.splitlines()[2:]} for text in (out, expected))
    assert code == 0 and wanted == rows
    code, _, err = run(capsys, "connectivity", net, "--part", "layer1.0")
    assert code == 2 and "only holds layers" in err


def test_gradnorms_goes_on_with_the_network_in_a_file(tmp_path, capsys, net):
    rows = tmp_path / "rows.csv"
    code, *_ = run(capsys, "gradnorms", "--model", net, "--steps", 2, "--every", 1, "--lr", 0.01, "-o", rows)
    assert code == 0
    written = read_rows(rows)
    assert {row["layer"] for row in written} >= {"conv1", "layer1.0.conv2", "layer3.0.conv2"}
    norms = {row["conv_group"]: row["weight_l2"] for row in written if row["layer"] == "conv1" and row["step"] == 0}
    weight = io.load(models.shipped_weights("resnext_small")["digits"])["conv1.weight"]
    assert norms[0] == pytest.approx(np.linalg.norm(weight), rel=1e-5)
    record = json.loads((tmp_path / "rows.csv.meta.json").read_text())
    assert record["initialisation"] == f"read from {net}" and record["arguments"]["model"] == str(net)


def test_gradnorms_refuses_a_network_for_other_classes_and_train_every_file(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    nx.onnx.export(models.resnext_small(rng=0, num_classes=7), path, (1, 1, 8, 8))
    code, _, err = run(capsys, "gradnorms", "--model", path, "-o", tmp_path / "rows.csv")
    assert code == 2 and "returns (N, 10), one number for each class, not ('N', 7)" in err
    code, _, err = run(capsys, "train", "--model", path)
    assert code == 2 and "there is no network" in err


def test_a_file_that_is_not_there_is_a_mistake_of_one_line(tmp_path, capsys):
    for command in ("summary", "connectivity"):
        code, _, err = run(capsys, command, tmp_path / "absent.onnx")
        assert code == 2 and err.count("\n") == 1 and "absent.onnx" in err
