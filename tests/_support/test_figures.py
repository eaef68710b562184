"""Figures: refused before any work is done, saved whole or not at all."""

import pickle

import pytest

from npresnext._support.figures import FORMATS, check_picture, new_figure, save_figure

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("ending", FORMATS)
def test_a_figure_is_saved_in_the_format_that_its_name_ends_in(tmp_path, ending):
    path = tmp_path / f"figure.{ending}"
    save_figure(new_figure(2, 1), path)
    assert path.read_bytes()[:8].lstrip(b"\x89").startswith((b"PNG", b"%PDF", b"<?xml"))
    with pytest.raises(ValueError, match="exists already"):
        check_picture(path)


def test_a_format_that_nobody_writes_is_refused_by_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"designs\.bmp must end in one of \.png, \.pdf, \.svg"):
        check_picture(tmp_path / "designs.bmp")


def test_a_figure_has_the_size_that_was_asked_for_and_no_display():
    figure = new_figure(3, 2)
    assert tuple(figure.get_size_inches()) == (3, 2)
    assert type(figure.canvas).__name__ == "FigureCanvasBase"


def test_a_notebook_shows_a_figure_without_pyplot():
    """IPython asks an object for ``_repr_png_``; a real notebook was tried by hand, with and without pyplot."""
    figure = new_figure(3, 2)
    for each in (figure, pickle.loads(pickle.dumps(figure))):
        picture = each._repr_png_()
        assert picture.startswith(b"\x89PNG")
        assert [int.from_bytes(picture[at : at + 4], "big") for at in (16, 20)] == [300, 200]
