"""Pictures of a convolution: every cell shows the number that the definition gives, and nothing is marked wrongly."""

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn, pictures, reference
from npresnext.errors import InvalidTypeError, InvalidValueError, ShapeError
from npresnext.pictures._cells import CELL, FITTING, POINTS, number_text
from npresnext.pictures._colours import DARK, DARKEST, GROUPS, LIGHT, blend, contrast, ink_on

matplotlib = pytest.importorskip("matplotlib")

SEEDS = range(5)


def texts(figure):
    """The text of every cell by its id."""
    return {text.get_gid(): text.get_text() for text in figure.axes[0].texts if text.get_gid()}


def fills(figure):
    """The colour of every cell by its id."""
    axes = figure.axes[0]
    corners = {tuple(patch.get_xy()): matplotlib.colors.to_hex(patch.get_facecolor()) for patch in axes.patches}
    cells = [text for text in axes.texts if text.get_gid()]
    return {text.get_gid(): corners[text.get_position()[0] - 0.5, text.get_position()[1] - 0.5] for text in cells}


def random_window(seed):
    """A small image and a window on it, with unequal numbers for its two axes."""
    rng = np.random.default_rng(seed)
    kernel = tuple(map(int, rng.integers(1, 4, 2)))
    dilation = tuple(map(int, rng.integers(1, 3, 2)))
    stride = tuple(map(int, rng.integers(1, 4, 2)))
    padding = tuple(tuple(map(int, sides)) for sides in rng.integers(-1, 3, (2, 2)))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    size = [int(rng.integers(1, 4)) + max(r - sum(p), 1) for r, p in zip(reach, padding)]
    x = rng.integers(-9, 10, (int(rng.integers(1, 3)), *size))
    return x, kernel, {"stride": stride, "padding": padding, "dilation": dilation}


def products(x, kernel, window):
    """All products of a convolution that connects each channel of x with one output channel."""
    shapes = (1, *x.shape), (len(x), 1, *kernel)
    return list(reference.products(*shapes, groups=len(x), **window)), reference.output_shape(*shapes, **window)


@pytest.mark.parametrize("seed", SEEDS)
def test_im2col_shows_the_pixel_of_every_product_and_marks_its_window(seed):
    x, kernel, window = random_window(seed)
    found, (_, _, oh, ow) = products(x, kernel, window)
    column = seed % (oh * ow)
    figure = pictures.im2col(x, kernel, column=column, dark=bool(seed % 2), **window)
    shown, colours = texts(figure), fills(figure)
    expected = dict.fromkeys(np.ndindex(len(x) * kernel[0] * kernel[1], oh * ow), 0)
    pixels = set()
    for (_, o, p, q), (_, _, i, j), (_, _, r, s) in found:
        expected[(o * kernel[0] + i) * kernel[1] + j, p * ow + q] = x[o, r, s]
        if p * ow + q == column:
            pixels.add(f"x[{o}, {r}, {s}]")
    for (row, position), value in expected.items():
        assert shown[f"columns[{row}, {position}]"] == str(value)
        assert (colours[f"columns[{row}, {position}]"] == (DARK if seed % 2 else LIGHT).mark) == (position == column)
    marked = {
        name for name, colour in colours.items() if colour == (DARK if seed % 2 else LIGHT).mark and name[0] == "x"
    }
    inside = {f"x[{c}, {r}, {s}]" for c, r, s in np.ndindex(x.shape)}
    assert marked & inside == pixels
    assert all(shown[name] == "0" for name in shown if name[0] == "x" and name not in inside)
    assert all(shown[f"x[{c}, {r}, {s}]"] == str(x[c, r, s]) for c, r, s in np.ndindex(x.shape))


def test_im2col_without_a_column_marks_nothing():
    colours = fills(pictures.im2col(np.arange(12).reshape(3, 4), 2))
    assert LIGHT.mark not in colours.values()


@pytest.mark.parametrize("seed", SEEDS)
def test_taps_shows_for_every_product_the_window_at_its_pixel(seed):
    x, kernel, window = random_window(seed)
    figure = pictures.taps(x.shape, kernel, **window)
    shown, colours = texts(figure), fills(figure)
    expected = {
        f"tap[{i}, {j}] x[{r}, {s}]": f"{p},{q}"
        for (_, _, p, q), (_, _, i, j), (_, _, r, s) in products(x, kernel, window)[0]
    }
    assert {name: shown[name] for name in expected} == expected
    assert {name for name, colour in colours.items() if colour == LIGHT.mark} == set(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_overlaps_counts_the_products_of_each_pixel(seed):
    x, kernel, window = random_window(seed)
    shown = texts(pictures.overlaps(x.shape, kernel, dark=bool(seed % 2), **window))
    counts = np.zeros(x.shape[1:], int)
    for _, _, (_, c, r, s) in products(x, kernel, window)[0]:
        counts[r, s] += c == 0
    ones = np.ones((1, 1, *x.shape[1:]))
    assert np.array_equal(nx.col2im(nx.im2col(ones, kernel, **window), ones.shape, kernel, **window)[0, 0], counts)
    for r, s in np.ndindex(counts.shape):
        assert shown[f"overlaps[{r}, {s}]"] == str(counts[r, s])
        assert int(shown[f"down[{r}]"]) * int(shown[f"across[{s}]"]) == counts[r, s]


@pytest.mark.parametrize(
    ("groups", "shape"), [(1, (2, 3, 2, 1)), (2, (4, 1, 1, 3)), (3, (6, 2, 2, 2)), (4, (4, 1, 3, 3))]
)
def test_weight_matrix_places_every_kernel_where_the_block_diagonal_weight_has_it(groups, shape):
    weight = np.random.default_rng(groups).integers(-9, 10, shape)
    figure = pictures.weight_matrix(weight, groups)
    shown, colours = texts(figure), fills(figure)
    assert shown == {f"weight[{', '.join(map(str, at))}]": str(weight[at]) for at in np.ndindex(shape)}
    for o in range(len(weight)):
        assert {colours[name] for name in colours if name.startswith(f"weight[{o},")} == {
            LIGHT.group(o * groups // len(weight))
        }
    dense = reference.block_diagonal_weight(weight, groups)
    places = {text.get_gid(): text.get_position() for text in figure.axes[0].texts}
    _, _, kh, kw = shape
    for o, c, i, j in np.ndindex(shape):
        x, y = places[f"weight[{o}, {c}, {i}, {j}]"]
        channel, tap = int(x // (kw + 0.5)), int(x % (kw + 0.5))
        assert (int(y // (kh + 0.5)), int(y % (kh + 0.5)), tap) == (o, i, j)
        assert dense[o, channel, i, j] == weight[o, c, i, j]
    holes = sum(text.get_text() == "·" for text in figure.axes[0].texts)
    assert holes == shape[0] * shape[1] * (groups - 1)
    (sentence,) = [text.get_text() for text in figure.axes[0].texts if " weight" in text.get_text()]
    assert f"= {weight.size} weights" in sentence
    assert groups == 1 or f"1/{groups} of the {dense.size} " in sentence


def chain(rng):
    """A grouped convolution, a 1x1 that mixes its groups, and a grouped convolution."""
    grouped = [nn.Conv2d(6, 6, 3, padding=1, groups=3, rng=rng, dtype="float64") for _ in range(2)]
    return nn.Sequential(
        grouped[0], nn.BatchNorm2d(6, dtype="float64"), nn.Conv2d(6, 6, 1, rng=rng, dtype="float64"), grouped[1]
    )


def test_gradient_flow_shows_the_norms_of_each_part_alone_and_changes_nothing():
    rng = np.random.default_rng(0)
    model = chain(rng)
    x, grad_output = rng.standard_normal((2, 3, 6, 4, 4))
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    shown = texts(pictures.gradient_flow(model, x, grad_output))
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    for part in range(3):
        only = np.zeros_like(grad_output)
        only[:, 2 * part : 2 * part + 2] = grad_output[:, 2 * part : 2 * part + 2]
        model.zero_grad()
        model(x)
        model.backward(only)
        for row in nx.group_grad_norms(model):
            text = shown[f"{row['layer']}[{row['conv_group']}, {part}]"]
            assert text == (number_text(row["l2"], most=2) if row["l2"] else "")
    grouped = [[shown[f"{layer}[{g}, {k}]"] != "" for k in range(3)] for layer in "03" for g in range(3)]
    assert np.array_equal(grouped[3:], np.eye(3)) and np.all(grouped[:3])


def test_gradient_flow_cuts_the_output_into_as_many_parts_as_asked_for():
    rng = np.random.default_rng(1)
    x, grad_output = rng.standard_normal((2, 1, 6, 4, 4))
    shown = texts(pictures.gradient_flow(chain(rng), x, grad_output, parts=2))
    assert sum(name.startswith("3[0,") for name in shown) == 2


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_numbers_have_contrast_and_neighbouring_groups_differ_for_every_kind_of_colour_vision(theme):
    cells = [theme.mark, theme.background, *(theme.group(g) for g in range(len(GROUPS)))]
    cells += [theme.heat(share) for share in np.linspace(0, 1, 11)]
    assert min(contrast(ink_on(fill), fill) for fill in cells) >= 4.5
    assert min(contrast(colour, theme.background) for colour in (theme.ink, theme.muted)) >= 4.5
    for kind in COLOUR_VISION:
        first, second, third, fourth = (seen(theme.group(g), kind) for g in range(4))
        for one, two in ((first, second), (second, third), (third, fourth)):
            assert np.linalg.norm(one - two) > 15, kind
        for fill in cells[2:]:
            assert np.linalg.norm(seen(theme.mark, kind) - seen(fill, kind)) > 8, (kind, fill)
    assert contrast(ink_on(DARKEST), DARKEST) > 10 and blend("#102030", "#ffffff", 1) == "#102030"


COLOUR_VISION = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(colour, kind):
    """A colour as somebody sees it, in CIELAB, in which distances are those that the eye sees."""
    linear = np.array(
        [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb(colour)]
    )
    met = np.clip(COLOUR_VISION[kind] @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.array(
        [
            value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116
            for value in to_xyz @ met / [0.9505, 1, 1.089]
        ]
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def rgb(colour):
    return matplotlib.colors.to_rgb(colour)


def test_every_number_fits_into_its_cell_and_no_label_lies_on_another():
    x = np.random.default_rng(2).integers(-9999, 10000, (2, 4, 4))
    flow = chain(np.random.default_rng(0))
    numbers = np.random.default_rng(1).standard_normal((2, 1, 6, 4, 4))
    canvas = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg
    for figure in (
        pictures.im2col(x / 7, 3, padding=1, column=2),
        pictures.taps((4, 3), (2, 3)),
        pictures.overlaps((30, 5), (25, 3), padding=20),
        pictures.weight_matrix(x.reshape(4, 2, 2, 2), 2),
        pictures.gradient_flow(flow, *numbers),
    ):
        renderer = canvas(figure).get_renderer()
        axes = figure.axes[0]
        cell = figure.dpi * CELL
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text().strip()]
        for text in axes.texts:
            if text.get_gid() and text.get_text():
                assert text.get_window_extent(renderer).width < 0.96 * cell, text.get_text()
        overlap = [(one, two) for n, one in enumerate(boxes) for two in boxes[:n] if one.overlaps(two)]
        assert not overlap
        page = figure.bbox
        assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)


def test_numbers_of_an_array_have_one_size():
    x = np.array([[1, 2.25, -31.5], [4, 5, 6], [7, -0.00612, 0]])
    figure = pictures.im2col(x, 2, column=0)
    sizes = {text.get_text(): text.get_fontsize() for text in figure.axes[0].texts if text.get_gid()}
    unusual = sizes.pop("-0.006")
    assert (
        set(sizes.values()) == {POINTS * FITTING / 5} and unusual < POINTS * FITTING / 5
    )  # "-31.5" has five characters
    whole = pictures.im2col(np.arange(9).reshape(3, 3), 2)
    assert {text.get_fontsize() for text in whole.axes[0].texts if text.get_gid()} == {POINTS}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pictures.im2col(np.ones((2, 1, 3, 3)), 2), InvalidValueError, "x has 2 images: a picture shows one"),
        (lambda: pictures.im2col(np.ones(3), 2), InvalidValueError, r"x has shape \(3,\): expected \(H, W\)"),
        (lambda: pictures.im2col(np.ones((3, 3), complex), 2), InvalidTypeError, "x must hold real numbers"),
        (
            lambda: pictures.im2col(np.ones((3, 3)), 2, column=4),
            InvalidValueError,
            "column must be below oh.ow = 4, but",
        ),
        (lambda: pictures.im2col(np.ones((3, 3)), 2, column=-1), InvalidValueError, "column must be at least 0"),
        (lambda: pictures.im2col(np.ones((3, 3)), 4), ShapeError, "the kernel is larger than the padded image"),
        (lambda: pictures.im2col(np.ones((64, 64)), 3), InvalidValueError, "the column matrix is too large to draw"),
        (lambda: pictures.taps((64, 64), 3), InvalidValueError, "too large to draw with readable numbers: 198 cells"),
        (lambda: pictures.taps(7, 3), ShapeError, r"x_shape must be \(H, W\), or end so, but is 7"),
        (lambda: pictures.overlaps((224, 224), 3), InvalidValueError, "at most 60 and 36"),
        (lambda: pictures.weight_matrix(np.ones((3, 1, 1, 1)), 2), ShapeError, "groups=2 must divide C_out=3"),
        (
            lambda: pictures.weight_matrix(np.ones((3, 1)), 1),
            InvalidValueError,
            r"expected \(C_out, C_in/groups, kh, kw\)",
        ),
        (lambda: pictures.weight_matrix(np.ones((64, 64, 3, 3))), InvalidValueError, "weight is too large to draw"),
        (
            lambda: pictures.gradient_flow(nn.ReLU(), np.ones(1), np.ones(1)),
            InvalidValueError,
            "ReLU has no convolution",
        ),
        (lambda: pictures.gradient_flow(None, np.ones(1), np.ones(1)), InvalidTypeError, "model must be a Module"),
        (
            lambda: pictures.gradient_flow(
                nn.Conv2d(2, 3, 1, rng=0), np.ones((1, 2, 1, 1), "f4"), np.ones((1, 2, 1, 1))
            ),
            ShapeError,
            r"grad_output has shape \(1, 2, 1, 1\): expected that of the output, \(1, 3, 1, 1\)",
        ),
        (
            lambda: pictures.gradient_flow(
                nn.Conv2d(2, 3, 1, rng=0), np.ones((1, 2, 1, 1), "f4"), np.ones((1, 3, 1, 1), "f4"), parts=2
            ),
            ShapeError,
            "parts=2 must divide the 3 output channels",
        ),
    ],
)
def test_bad_arguments_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (-12.0, "-12"),
        (0.25, "0.25"),
        (1234.5678, "1235"),
        (-0.0442, "-0.04"),
        (-0.746, "-0.75"),
        (5.934, "5.93"),
        (-2e-12, "-2e-12"),
        (2e6, "2e+06"),
        (np.nan, "nan"),
    ],
)
def test_numbers_are_short(value, text):
    assert number_text(value) == text
