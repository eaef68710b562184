"""Pictures of gradient norms: from a run, from a file, of a run that diverged, relative to the layer."""

import math

import numpy as np
import pytest

from npresnext import cli
from npresnext.errors import ConfigurationError, InvalidTypeError, InvalidValueError
from npresnext.gradients import COLUMNS, draw_grad_norms, open_rows, wide_rows
from npresnext.gradients.pictures import DENSE, grad_norm_panels, plain_number
from npresnext.models import get_model
from npresnext.nn import Conv2d
from npresnext.nn.init import Undrawn

pytest.importorskip("matplotlib")


def rows_of(layers, steps=range(4), seed=0):
    """Random rows of layers, given as name -> groups."""
    rng = np.random.default_rng(seed)
    return [
        {"step": step, "layer": name, "conv_group": group, "groups": groups, "l2": float(np.exp(rng.normal()))}
        for step in steps
        for name, groups in layers.items()
        for group in range(groups)
    ]


SMALL = {"stem": 1, "conv2": 4, "0": 8}


def written(tmp_path, rows, ending="csv"):
    path = tmp_path / f"norms.{ending}"
    with open_rows(str(path), COLUMNS) as file:
        file.write(rows)
    return path


def draw(*argv):
    return cli.main(["gradnorms", "draw", *map(str, argv)])


def drawn_values(figure, panel):
    """The numbers of the heat map below a title, with NaN where it is grey."""
    (ax,) = [ax for ax in figure.axes if ax.get_title("left") == panel]
    return ax.collections[0].get_array().filled(np.nan)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "npz"])
def test_the_command_draws_a_file_of_every_format(tmp_path, capsys, ending):
    path, picture = written(tmp_path, rows_of(SMALL), ending), tmp_path / "norms.png"
    assert draw(path, "-o", picture) == 0
    assert capsys.readouterr().out == f"picture of 52 rows in {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert draw(path, "-o", picture) == cli.MISTAKE and "pass --force" in capsys.readouterr().err
    assert draw(path, "-o", picture, "--force", "--relative", "--layers", "conv*") == 0
    assert capsys.readouterr().out.startswith("picture of 16 rows in ")


def test_one_row_is_one_row(tmp_path, capsys):
    path = written(tmp_path, rows_of({"a": 1}, steps=[0]))
    assert draw(path, "-o", tmp_path / "norms.svg") == 0
    assert capsys.readouterr().out.startswith("picture of 1 row in ")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["{}/norms.csv"], "required: -o/--output (see npresnext gradnorms draw --help)"),
        (["{}/norms.csv", "-o", "{}/norms.bmp"], "must end in one of"),
        (["{}/absent.csv", "-o", "{}/norms.png"], "absent.csv"),
        (
            ["{}/norms.csv", "-o", "{}/norms.png", "--value", "l3"],
            "argument --value: must be a column with numbers, one",
        ),
        (["{}/norms.csv", "-o", "{}/norms.png", "--value", "layer"], "argument --value: must be a column with numbers"),
        (["{}/norms.csv", "-o", "{}/norms.png", "--value", "ratio"], "one of l2, but is ratio"),
        (
            ["{}/norms.csv", "-o", "{}/norms.png", "--layers", "fc"],
            "no convolution matches 'fc': there are stem, conv2",
        ),
        (["{}/norms.csv", "-o", "{}/norms.png", "--relative", "--layers", "stem"], "every layer has one group"),
    ],
)
def test_mistakes_in_drawing_are_one_line_and_leave_nothing(tmp_path, capsys, argv, message):
    written(tmp_path, rows_of(SMALL))
    assert draw(*(word.format(tmp_path) for word in argv)) == cli.MISTAKE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["norms.csv"]


@pytest.mark.parametrize("step", [None, "absent"])
def test_rows_without_a_step_are_columns_in_their_order(step):
    rows = rows_of(SMALL)
    expected = {name: image for name, (_, _, image) in grad_norm_panels(rows).items()}
    for row in rows:
        row["step"] = None
        if step == "absent":
            del row["step"]
    panels = grad_norm_panels(rows)
    assert all(np.array_equal(image, expected[name]) for name, (_, _, image) in panels.items())
    assert {ax.get_xlabel() for ax in draw_grad_norms(rows).axes[:3]} == {"rows of a conv group, in their order"}
    with pytest.raises(InvalidValueError, match="some rows have a step and some have none"):
        draw_grad_norms([*rows, *rows_of(SMALL)])


def test_layers_may_have_numbers_as_names():
    rows = [{**row, "layer": 0 if row["layer"] == "0" else row["layer"]} for row in rows_of(SMALL)]
    figure = draw_grad_norms(rows)
    assert [ax.get_title("left") for ax in figure.axes[:-1]] == ["conv2", "layer 0", DENSE]


def test_conv_groups_stand_in_their_order_whatever_the_order_of_the_rows():
    rows = rows_of({"a": 12})
    shuffled = [rows[index] for index in np.random.default_rng(1).permutation(len(rows))]
    (labels, _, image), (_, _, expected) = grad_norm_panels(shuffled)["a"], grad_norm_panels(rows)["a"]
    assert labels == [str(group) for group in range(12)] and np.array_equal(image, expected)


def test_two_rows_for_one_cell_are_refused():
    with pytest.raises(InvalidValueError, match="conv group 0 of stem has two rows at step 0: draw one run at a time"):
        draw_grad_norms(rows_of(SMALL) + rows_of(SMALL, seed=1))


def test_what_are_no_rows_is_refused():
    for rows, message in [
        ("norms.csv", "rows are of type str: expected a list of rows"),
        ({"layer": [], "l2": []}, "a row is of type str, and rows are of type dict: expected a list of dictionaries"),
    ]:
        for use in (draw_grad_norms, wide_rows):
            with pytest.raises(InvalidTypeError, match=message):
                use(rows)
    with pytest.raises(InvalidValueError, match="a row has no column layer"):
        draw_grad_norms([{"l2": 1.0}])


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
@pytest.mark.parametrize("relative", [False, True])
def test_what_is_no_finite_number_is_grey_and_everything_else_is_drawn(bad, relative):
    rows = rows_of(SMALL)
    for row in rows:
        row["l2"] = bad if row["step"] == 3 else row["l2"]
    figure = draw_grad_norms(rows, relative=relative)
    figure.canvas.draw()
    assert "grey: no finite number" in figure.axes[-1].get_ylabel()
    values = drawn_values(figure, "conv2")
    assert np.isnan(values[:, 3]).all() and np.isfinite(values[:, :3]).all()
    assert "grey" not in draw_grad_norms(rows_of(SMALL), relative=relative).axes[-1].get_ylabel()


def test_nothing_but_nan_is_refused_and_a_number_below_0_too():
    rows = rows_of(SMALL)
    with pytest.raises(ConfigurationError, match="value must be a column with numbers, one of .none., but is 'l2'"):
        draw_grad_norms([{**row, "l2": math.nan} for row in rows])
    with pytest.raises(InvalidValueError, match="the column l2 has a number below 0, -1"):
        draw_grad_norms([{**row, "l2": -1} for row in rows])
    with pytest.raises(ConfigurationError, match="one of l2, but is 'groups'"):
        draw_grad_norms(rows, value="groups")


def test_zero_has_the_lowest_colour_and_not_the_grey_of_nan():
    rows = rows_of({"a": 4})
    rows[0]["l2"] = 0.0
    figure = draw_grad_norms(rows)
    values = drawn_values(figure, "a")
    assert values[0, 0] == figure.axes[0].collections[0].norm.vmin and "colours end at" in figure.axes[-1].get_ylabel()


def test_relative_values_are_those_of_the_definition_and_1_is_in_the_middle():
    rows = rows_of({"stem": 1, "a": 4, "b": 6})
    figure = draw_grad_norms(rows, relative=True)
    assert [ax.get_title("left") for ax in figure.axes[:-1]] == ["a", "b"]
    mesh = figure.axes[0].collections[0]
    for step in range(4):
        values = [row["l2"] for row in rows if (row["layer"], row["step"]) == ("a", step)]
        expected = np.clip(np.divide(values, np.mean(values)), mesh.norm.vmin, None)
        assert drawn_values(figure, "a")[:, step] == pytest.approx(expected)
    assert mesh.norm.vmin * mesh.norm.vmax == pytest.approx(1)
    assert "relative to the layer's mean" in figure.axes[-1].get_ylabel()


def test_colours_that_are_clipped_are_stated_and_others_are_not():
    rows = rows_of({"a": 4}, steps=range(100))
    label = draw_grad_norms(rows).axes[-1].get_ylabel()
    low, high = np.percentile([row["l2"] for row in rows], [1, 99.5])
    assert f"(colours end at {plain_number(low)} and {plain_number(high)})" in label
    assert draw_grad_norms([{**row, "l2": 0.5} for row in rows]).axes[-1].get_ylabel() == "l2 of the weight gradient"
    assert draw_grad_norms([{**row, "cka": 0.5} for row in rows], value="cka").axes[-1].get_ylabel() == "cka"


@pytest.mark.parametrize("spread", [0.01, 0.1, 1, 3, 9])
def test_ticks_are_a_few_plain_numbers(spread):
    rows = [{**row, "step": 10**6 + row["step"], "l2": row["l2"] ** spread} for row in rows_of({"a": 8}, range(9))]
    figure = draw_grad_norms(rows)
    figure.canvas.draw()
    texts = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert 1 <= len(texts) <= 10 and all("$" not in text and "^" not in text for text in texts)
    assert all(text.get_text().isdigit() for text in figure.axes[0].get_xticklabels())


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.5, "0.5"),
        (0.00012, "0.00012"),
        (2e-7, "2e-7"),
        (3456, "3460"),
        (1, "1"),
        (100, "100"),
        (1.5e12, "1.5e12"),
        (1.5e6, "1.5e6"),
    ],
)
def test_numbers_are_written_plainly(number, text):
    assert plain_number(number) == text


def test_at_the_size_of_resnext50_every_row_has_its_label():
    model = get_model("resnext50_32x4d", rng=Undrawn())
    layers = {name: module.groups for name, module in model.named_modules() if isinstance(module, Conv2d)}
    figure = draw_grad_norms(rows_of(layers, steps=[0]))
    *panels, _ = figure.axes
    assert len(panels) == 17
    for ax in panels:
        labels = ax.get_yticklabels()
        assert len(labels) == ax.collections[0].get_array().shape[0] == (37 if ax is panels[-1] else 32)
        figure.canvas.draw() if ax is panels[0] else None
        inches = ax.get_position().height * figure.get_figheight() / len(labels)
        assert labels[0].get_fontsize() / 72 < inches, "labels must not touch each other"


def test_a_narrow_range_between_round_numbers_has_its_ends_as_ticks():
    rows = [{**row, "l2": 11.1 + row["conv_group"] / 1000} for row in rows_of({"a": 8})]
    assert [text.get_text() for text in draw_grad_norms(rows).axes[-1].get_yticklabels()] == ["11.1", "11.2"]


def test_a_panel_of_a_thousand_groups_labels_some_of_its_rows():
    figure = draw_grad_norms(rows_of({"depthwise": 1000}, steps=[0, 1]))
    assert 32 <= len(figure.axes[0].get_yticklabels()) <= 64 and figure.get_figheight() < 20
