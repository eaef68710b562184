"""The sliding window: every frame writes out a sum of the definition, and the files are whole."""

import re

import numpy as np
import pytest

import npresnext as nx
from npresnext import pictures, reference
from npresnext.errors import InvalidValueError, OutputExistsError, ShapeError
from npresnext.pictures._cells import Cell, Label
from npresnext.pictures._colours import DARK, LIGHT
from npresnext.pictures.animation import window_frames

WINDOW = {"stride": (1, 2), "padding": ((1, 0), (0, 1)), "dilation": (1, 1)}


def operands(groups, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 10, (2 * groups, 3, 3)), rng.integers(-9, 10, (groups, 2, 2, 2))


@pytest.mark.parametrize("groups", [1, 2])
def test_each_frame_marks_and_adds_the_products_of_its_window(groups):
    x, weight = operands(groups)
    y = reference.conv2d(x[None], weight, groups=groups, **WINDOW)[0]
    found = list(reference.products((1, *x.shape), weight.shape, groups=groups, **WINDOW))
    oh, ow = y.shape[1:]
    frames = window_frames(x, weight, *WINDOW.values(), groups, LIGHT)
    assert len(frames) == groups * oh * ow
    for number, frame in enumerate(frames):
        group, p, q = np.unravel_index(number, (groups, oh, ow))
        last = {part.name: part for part in frame if isinstance(part, Cell)}  # what is drawn last is seen
        marked = {name for name, part in last.items() if part.fill == LIGHT.mark}
        own = [(b, c) for (_, o, *at), b, c in found if (o, *at) == (group, p, q)]  # one output channel per group
        pixels = {f"x[{c[1]}, {c[2]}, {c[3]}]" for _, c in own}
        inside = {f"x[{', '.join(map(str, at))}]" for at in np.ndindex(x.shape)}
        assert {name for name in marked if name[0] == "x"} & inside == pixels
        assert {name for name in marked if name[0] == "w"} == {
            f"weight[{group}, {', '.join(map(str, at))}]" for at in np.ndindex(weight.shape[1:])
        }
        assert {name for name in marked if name[0] == "y"} == {f"y[{group}, {p}, {q}]"}
        lines = [part.text for part in frame if part.text.startswith(("y[", "+ ", "= "))]
        assert lines[0].startswith("y[")
        left, middle, right = " ".join(lines).split(" = ")
        assert left == f"y[{group}, {p}, {q}]" and right == str(y[group, p, q])
        assert len(middle.split(" + ")) == weight[0].size
        assert eval(middle.replace("·", "*")) == y[group, p, q] == sum(weight[b] * x[c[1:]] for b, c in own)
        known = {name: part.text for name, part in last.items() if name.startswith("y[")}
        assert known == {
            f"y[{o}, {r}, {s}]": str(y[o, r, s]) for at, (o, r, s) in enumerate(np.ndindex(y.shape)) if at <= number
        }


def test_a_long_sum_takes_several_lines_that_are_hardly_wider_than_the_arrays():
    x, weight = np.random.default_rng(0).standard_normal((2, 1, 1, 3, 3))  # one image, one kernel
    for frame in window_frames(x, weight, 1, 1, 1, 1, LIGHT):
        lines = [part for part in frame if isinstance(part, Label) and part.text.startswith(("y[", "+ ", "= "))]
        assert len(lines) > 1 and " ".join(part.text for part in lines).count("·") == weight.size
        right = max(part.box[2] for part in frame if isinstance(part, Cell))
        assert max(part.box[2] for part in lines) < right + 2


def test_many_products_and_many_filters_are_counted_instead():
    x, weight = np.ones((2, 3, 3)), np.ones((6, 2, 3, 3))
    texts = [part.text for part in window_frames(x, weight, 1, 0, 1, 1, LIGHT)[0]]
    assert "y[0, 0, 0] = 18 products = 18" in texts and "and 2 more" in texts


def test_the_svg_shows_each_part_in_its_frames_and_stands_still_on_request(tmp_path):
    x, weight = operands(2)
    written = pictures.sliding_window(
        tmp_path / "window.svg", x, weight, groups=2, milliseconds=500, dark=True, **WINDOW
    )
    frames = window_frames(x, weight, *WINDOW.values(), 2, DARK)
    text = written.path.read_text(encoding="utf-8")
    assert written.frames == len(frames) and f"{len(frames) * 0.5:g}s step-end infinite" in text
    rules = dict(re.findall(r"@keyframes (f\d+)\{((?:[\d.]+%\{[^}]*\})*)\}", text))
    texts_of_frames = [{part.text for part in frame if part.text} for frame in frames]
    for name, body in re.findall(r'<g class="(f\d+)">(.*)</g>', text):
        steps = [(float(at), how == "visible") for at, how in re.findall(r"([\d.]+)%\{visibility:(\w+)\}", rules[name])]
        shown = [[on for at, on in steps if at <= 100 * (n + 0.5) / len(frames)][-1] for n in range(len(frames))]
        assert any(shown) and not all(shown)
        (word,) = re.findall(r"<text[^>]*>([^<]*)</text>", body)
        assert all(word in texts for on, texts in zip(shown, texts_of_frames) if on)
        rest = re.search(rf"\.{name}\{{visibility:(\w+);", text)[1]
        assert (rest == "visible") == shown[-1]
        assert f".{name}{{animation:none}}" in text
    assert "prefers-reduced-motion: reduce" in text and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert written._repr_html_().startswith('<img alt="a sliding grouped window" src="data:image/svg+xml;base64,')


def test_the_gif_has_a_frame_for_each_window_and_group(tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    x, weight = np.arange(8).reshape(2, 2, 2), np.arange(2, 6).reshape(2, 1, 1, 2)
    written = pictures.sliding_window(tmp_path / "window.GIF", x, weight, groups=2, milliseconds=700)
    with image.open(written.path) as gif:
        assert gif.n_frames == written.frames == 4
        assert gif.info["duration"] == 700 and gif.info["loop"] == 0
        frames = []
        for number in range(4):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    assert all(np.abs(one - two).max() > 100 for one, two in zip(frames, frames[1:]))
    assert "data:image/gif" in written._repr_html_()


def test_a_file_is_replaced_only_on_request(tmp_path):
    x, weight = operands(1)
    path = tmp_path / "window.svg"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        pictures.sliding_window(path, x, weight)
    assert path.read_text() == "mine"
    pictures.sliding_window(path, x, weight, overwrite=True)
    assert path.read_text().startswith("<svg") and [file.name for file in tmp_path.iterdir()] == ["window.svg"]


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("window.mp4", {}, InvalidValueError, "must end in one of .gif, .svg"),
        ("absent/window.svg", {}, InvalidValueError, "the folder .*absent does not exist"),
        ("window.svg", {"groups": 3}, ShapeError, "groups=3 must divide C_in=4"),
        ("window.svg", {"padding": 9}, InvalidValueError, "frames, G.oh.ow, are too many to watch"),
        (
            "window.svg",
            {"x": np.ones((40, 3, 3)), "weight": np.ones((2, 20, 2, 2))},
            InvalidValueError,
            "too large to draw",
        ),
        ("window.svg", {"milliseconds": 0}, InvalidValueError, "milliseconds must be at least 20"),
    ],
)
def test_bad_arguments_are_explained_and_leave_nothing(tmp_path, name, change, error, message):
    x, weight = operands(2)
    with pytest.raises(error, match=message):
        pictures.sliding_window(tmp_path / name, **{"x": x, "weight": weight, "groups": 2, **change})
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = pictures.sliding_window(None, *operands(1))
    written = pictures.sliding_window(tmp_path / "window.svg", *operands(1))
    assert shown.path is None and shown.content == written.content == written.path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["window.svg"]


def test_the_room_is_loaded_when_it_is_used():
    assert nx.pictures is pictures
