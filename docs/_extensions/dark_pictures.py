"""Pictures of the site: sharp, readable on a phone, and in dark mode.

A figure of a lesson is drawn with two dots for each dot of the page, because most screens have so many. Its width goes
into the variable ``--width``, from which ``_static/npresnext.css`` decides how small it may become on a phone. A heat
map is drawn narrower than usual, so that its text does not become small on a page.

A picture that is drawn dark on white is shown with its lightness turned round (``_static/npresnext.css``). That changes
its colours, and the contrast of text on coloured cells. So three kinds of pictures have a second version:

- a file ``NAME.png`` of the documentation, if there is a file ``NAME-dark.png``;
- a picture of ``npresnext.pictures`` in a lesson: it is drawn again with ``dark=True``;
- a heat map in a lesson: it is drawn again, with the same colours and with light text on nothing.
"""

import functools
import html
import re
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.transforms import SphinxTransform

INK = "#d6dbe1"
LIGHT, DARK = "only-light", "only-dark"
WIDTH = 9  # inches, of a heat map on a page
WIDE = 720  # pixels: wider pictures do not fit on a phone with readable text


class BothVersions(SphinxTransform):
    """Show ``NAME.png`` in light mode and ``NAME-dark.png`` in dark mode."""

    default_priority = 500  # before Sphinx collects the files of images

    def apply(self, **kwargs):
        """Replace each image that has a dark version by the two."""
        for image in list(self.document.findall(nodes.image)):
            _, path = self.env.relfn2path(image["uri"])
            dark = Path(path).with_name(f"{Path(path).stem}-dark.png")
            if dark.is_file():
                other = image.deepcopy()
                other["uri"] = str(Path(image["uri"]).with_name(dark.name))
                image["classes"].append("only-light")
                other["classes"].append("only-dark")
                image.parent.insert(image.parent.index(image) + 1, other)


def with_pictures_for_a_page(notebook):
    """Return a notebook whose pictures are drawn for a page of the site."""
    folder = str(Path(__file__).parent)
    source = f"import sys; sys.path.append({folder!r})\nimport dark_pictures; dark_pictures.draw_for_a_page()"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell"]})
    notebook.cells.insert(1, cell)  # after the title
    return notebook


def draw_for_a_page():
    """Let the notebook that calls this show its figures as HTML, and each heat map as two images."""
    from IPython import get_ipython
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    from npresnext import pictures

    pyplot.switch_backend("module://matplotlib_inline.backend_inline")  # now: it removes what is registered for figures
    get_ipython().display_formatter.formatters["text/html"].for_type(Figure, _figure)
    for name in set(pictures.__all__) - {"Animation"}:
        setattr(pictures, name, _drawn_twice(getattr(pictures, name)))


class _TwoVersions:
    """What a notebook shows as two images, of which a page shows one."""

    def __init__(self, light, dark):
        self.light, self.dark = light, dark

    def _repr_html_(self):
        image = _animation if hasattr(self.light, "frames") else _image
        return image(self.light, LIGHT) + image(self.dark, DARK)


def _drawn_twice(draw):
    """Return a function that draws with a light and with a dark background."""

    @functools.wraps(draw)
    def both(*arguments, **options):
        return _TwoVersions(draw(*arguments, **options), draw(*arguments, **options, dark=True))

    return both


def _figure(figure):
    """Return a figure as HTML; a heat map as two images."""
    from matplotlib.collections import QuadMesh

    if not figure.findobj(QuadMesh):
        return _image(figure)
    figure.set_figwidth(min(WIDTH, figure.get_figwidth()))
    light = _image(figure, LIGHT)
    with_light_ink(figure)
    return light + _image(figure, DARK, facecolor="none")


def _image(figure, version="", **options):
    """Return a figure as an image of HTML, which has the class `version`."""
    from IPython.core.pylabtools import retina_figure

    content, size = retina_figure(figure, base64=True, **options)
    attributes = _attributes(version, size["width"])
    alt = html.escape(_description(figure), quote=True)
    return f'<img {attributes} width="{size["width"]}" alt="{alt}" src="data:image/png;base64,{content.strip()}">'


def _description(figure):
    """Return the title of a figure, or the longest text in it that is not the number of a cell."""
    title = figure.get_suptitle() or figure.axes[0].get_title()
    labels = [text.get_text() for text in figure.axes[0].texts if not text.get_gid()]
    return title or max(labels, key=len, default="a picture")


def _animation(animation, version):
    """Return an animation as HTML, with its width."""
    width = int(re.search(rb'width="(\d+)', animation.content)[1])
    return animation._repr_html_().replace("<img ", f"<img {_attributes(version, width)} ", 1)


def _attributes(version, width):
    """Return the class and the style of an image."""
    classes = f"{version} wide" if width > WIDE else version
    return f'class="{classes}" style="--width: {width}px"'


def with_light_ink(figure):
    """Draw the text and the lines of a figure in the colour for dark backgrounds; the data keep their colours."""
    from matplotlib.lines import Line2D
    from matplotlib.spines import Spine
    from matplotlib.text import Text

    for text_or_line in (*figure.findobj(Text), *figure.findobj(Line2D)):
        text_or_line.set_color(INK)
    for ax in figure.axes:
        ax.tick_params(which="both", colors=INK)  # for the ticks that are made while it is drawn
    for spine in figure.findobj(Spine):
        spine.set_edgecolor(INK)


def setup(app):
    """Called by Sphinx."""
    app.add_transform(BothVersions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
