"""``npresnext classify`` on a network trained here, in every format, on pictures of its own data set."""

import json
import sys

import numpy as np
import pytest

from npresnext import cli, data, io, models, nn
from npresnext.commands import classify
from npresnext.training import Trainer, schedules

Image = pytest.importorskip("PIL.Image")
CLASSES = [f"digit {k}" for k in range(10)]
PREPROCESSING = {"resize": 8, "crop": 8, "mean": [data.load_digits()[0].mean], "std": [data.load_digits()[0].std]}


@pytest.fixture(scope="module")
def trained():
    """A network after an epoch on the digits."""
    train, _ = data.load_digits()
    model = models.resnext_small(rng=0)
    optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    trainer = Trainer(model, optimizer, train, batch_size=32, schedule=schedules.constant(0.05))
    trainer.run(60)
    return model.eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The first test digits as PNG files, named by their label, and what a network should be shown."""
    folder = tmp_path_factory.mktemp("pictures")
    _, test = data.load_digits()
    greys = np.rint(test.images[:20, 0] * (255 / test.white)).astype(np.uint8)
    for number, (grey, label) in enumerate(zip(greys, test.labels)):
        Image.fromarray(grey).save(folder / f"{number:02}-{label}.png")
    shown = (greys[:, None] / np.float32(255) - np.float32(test.mean)) / np.float32(test.std)
    return folder, shown.astype(np.float32), test.labels[:20]


def classified(capsys, *arguments):
    code = cli.main(["classify", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_train_saves_classifies_pictures_as_it_is(tmp_path, capsys, pictures):
    path = tmp_path / "mine.npz"
    assert cli.main(["train", "--limit", "32", "--epochs", "1", "--save", str(path)]) == 0
    assert json.loads(io.load(path).metadata["preprocessing"]) == PREPROCESSING
    capsys.readouterr()
    code, out, _ = classified(capsys, pictures[0], "--weights", path, "--json")
    assert code == 0 and len(json.loads(out)) == 20


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pth", "torch zip", "torch stream"])
def test_a_trained_network_classifies_its_own_pictures_from_every_format(tmp_path, capsys, trained, pictures, kind):
    folder, shown, labels = pictures
    state, extra = trained.state_dict(), []
    if kind.startswith("torch"):
        torch = pytest.importorskip("torch")
        path = tmp_path / "net.pth"
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=kind == "torch zip")
        (tmp_path / "recipe.json").write_text(json.dumps(PREPROCESSING))
        (tmp_path / "names.txt").write_text("\n".join(CLASSES))
        extra = ["--preprocessing", tmp_path / "recipe.json", "--classes", tmp_path / "names.txt"]
    else:
        pytest.importorskip("safetensors")
        path = tmp_path / f"net.{kind}"
        metadata = {"classes": json.dumps(CLASSES), "preprocessing": json.dumps(PREPROCESSING)}
        io.save(path, state, metadata=metadata)
    code, out, _ = classified(capsys, folder, "--weights", path, "--json", "--top", 3, *extra)
    rows = json.loads(out)
    assert code == 0 and [row["picture"] for row in rows] == sorted(map(str, folder.iterdir()))
    logits = trained(shown).astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, probabilities in zip(rows, expected):
        best = np.argsort(-probabilities)[:3]
        assert [each["class"] for each in row["top"]] == best.tolist()
        assert [each["name"] for each in row["top"]] == [CLASSES[k] for k in best]
        assert np.allclose([each["probability"] for each in row["top"]], probabilities[best], atol=1e-5)
    right = sum(row["top"][0]["class"] == label for row, label in zip(rows, labels))
    assert right >= 16, right


def test_the_text_names_picture_class_and_probability(capsys, pictures):
    folder, _, labels = pictures
    picture = sorted(folder.iterdir())[0]
    code, out, err = classified(capsys, picture, "--weights", "digits", "--top", 2)
    lines = out.splitlines()
    assert (code, err, len(lines), lines[0]) == (0, "", 3, str(picture))
    assert lines[1].split()[1:] == [str(labels[0])] and lines[1].split()[0].endswith("%")


def test_bad_pictures_are_said_and_the_others_classified(tmp_path, capsys, pictures):
    folder, _, _ = pictures
    good, bad = sorted(folder.iterdir())[0], tmp_path / "bad.png"
    bad.write_text("no picture")
    code, out, err = classified(capsys, bad, good, tmp_path / "absent.png", "--weights", "digits")
    assert code == 2 and out.splitlines()[0] == str(good)  # 2, since a picture does not exist
    assert len(err.splitlines()) == 2 and "bad.png is not an image file" in err and "absent.png" in err
    code, out, _ = classified(capsys, bad, good, "--weights", "digits", "--json")
    assert code == 1 and ["error" in row for row in json.loads(out)] == [True, False]


def test_bad_pictures_alone_are_said(tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    code, out, err = classified(capsys, tmp_path / "bad.png", "--weights", "digits")
    assert (code, out) == (1, "") and "bad.png is not an image file" in err


def test_a_picture_that_does_not_exist_is_a_mistake(capsys):
    code, out, err = classified(capsys, "nofile.jpg", "--weights", "digits")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "nofile.jpg" in err


def test_a_terminal_shows_the_lines_and_a_bar_only_where_none_would_come(capsys, monkeypatch, pictures):
    pytest.importorskip("tqdm")
    chosen = sorted(pictures[0].iterdir())[:2]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = classified(capsys, *chosen, "--weights", "digits", "--top", 1)
    assert (code, err, len(out.splitlines())) == (0, "", 4)
    code, out, err = classified(capsys, *chosen, "--weights", "digits", "--json")
    assert code == 0 and "0/2" in err and len(json.loads(out)) == 2


def test_a_thousand_classes_have_the_names_of_imagenet():
    args = type("Args", (), {"classes": None})
    assert classify._class_names(args, {}, 1000) == data.pictures.imagenet_classes()


def test_a_picture_given_twice_is_answered_twice(capsys, pictures):
    picture = sorted(pictures[0].iterdir())[0]
    code, out, _ = classified(capsys, picture, picture, picture.parent, "--weights", "digits", "--json")
    assert code == 0 and [row["picture"] for row in json.loads(out)][:3] == [str(picture)] * 3


@pytest.mark.parametrize(
    "name, expected",
    [("net.npz", "v1"), ("resnext-7cdf4587.npz", "v1"), ("resnext-1a0047aa.npz", "v2")],
)
def test_torchvisions_recipe_follows_from_the_name(tmp_path, monkeypatch, name, expected):
    from npresnext.data.pictures import TORCHVISION_PREPROCESSING

    model = models.ResNet(models.BasicBlock, [1], planes=8, num_classes=1000, rng=0)
    args = type("Args", (), {"preprocessing": None})
    assert classify._preprocessing(args, tmp_path / name, {}, model) == TORCHVISION_PREPROCESSING[expected]


def test_weights_that_answer_with_nan_are_refused(tmp_path, capsys, pictures, trained):
    state = dict(trained.state_dict()) | {"bn1.running_var": np.full(16, -1, "float32")}
    metadata = {"preprocessing": json.dumps(PREPROCESSING)}
    io.save(tmp_path / "net.npz", state, metadata=metadata)
    code, out, err = classified(capsys, pictures[0], "--weights", tmp_path / "net.npz", "--json")
    assert (code, out) == (2, "") and "NaN or infinity" in err


@pytest.mark.parametrize("classes", ["[1,", "{}", "3", '["one"]'])
def test_class_names_in_metadata_that_are_no_names_are_refused(tmp_path, capsys, pictures, trained, classes):
    metadata = {"preprocessing": json.dumps(PREPROCESSING), "classes": classes}
    io.save(tmp_path / "net.npz", trained.state_dict(), metadata=metadata)
    code, out, err = classified(capsys, pictures[0], "--weights", tmp_path / "net.npz")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "10 classes" in err


def test_warnings_about_pictures_name_the_picture_and_are_in_the_json(tmp_path, capsys, pictures):
    folder, _, _ = pictures
    good = sorted(folder.iterdir())[0]
    inverted = tmp_path / "inverted.png"
    Image.eval(Image.open(good), lambda value: 255 - value).save(inverted)
    code, out, err = classified(capsys, good, inverted, "--weights", "digits", "--json")
    assert code == 0 and [len(row.get("warnings", [])) for row in json.loads(out)] == [0, 1]
    assert err.startswith(f"npresnext: warning: {inverted}: the background is light") and err.count("\n") == 1


def test_a_recipe_named_by_the_option_is_torchvisions_to_the_letter(tmp_path, capsys):
    state = models.ResNet(models.BasicBlock, [1], planes=8, num_classes=3, rng=0).state_dict()
    io.save(tmp_path / "net.npz", state)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(4800, dtype=np.uint8).reshape(40, 40, 3)).save(tmp_path / "photo.png", exif=exif)
    command = [tmp_path / "photo.png", "--weights", tmp_path / "net.npz"]
    assert classified(capsys, *command)[2] == ""
    code, _, err = classified(capsys, *command, "--preprocessing", "v1")
    assert code == 0 and "the orientation that the camera stored is not applied, as in torchvision" in err


def test_a_limit_of_pixels_is_raised_by_the_option_that_the_message_names(capsys, pictures):
    picture = sorted(pictures[0].iterdir())[0]
    code, out, err = classified(capsys, picture, "--weights", "digits", "--max-pixels", 63)
    assert (code, out) == (1, "") and err.endswith("pass --max-pixels 64 to read it all the same\n")
    assert classified(capsys, picture, "--weights", "digits", "--max-pixels", 64)[0] == 0


@pytest.mark.parametrize("option", ["--classes", "--preprocessing"])
def test_a_text_file_that_is_no_text_is_named(tmp_path, capsys, pictures, option):
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    code, out, err = classified(capsys, pictures[0], "--weights", "digits", option, tmp_path / "latin.txt")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "latin.txt is not UTF-8" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--weights", "absent.npz"], "absent.npz"),
        (["--weights", "digits", "--preprocessing", "v1"], "takes 1 channel and the preprocessing gives 3"),
        (
            ["--weights", "digits", "--preprocessing", "v3"],
            "argument --preprocessing: must be v1, v2 or a JSON file, but is v3",
        ),
        (["--weights", "digits", "--classes", __file__], "has 10 classes"),
        (["--weights", "digits", "--top", "0"], "must be a whole number above 0, but is '0'"),
        (["--weights", __file__], "no state file"),
    ],
)
def test_mistakes_are_one_line(capsys, pictures, arguments, message):
    code, out, err = classified(capsys, pictures[0], *arguments)
    assert code == 2 and not out
    assert len(err.splitlines()) == 1 and message in err
