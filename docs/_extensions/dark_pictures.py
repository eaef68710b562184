"""Pictures in the dark mode of the site.

A picture that is drawn dark on white is shown with its lightness turned round (``_static/npresnext.css``). That would
change the colours of a heat map, so a heat map has a second version, with the same colours and with light text on
nothing:

- a file ``NAME.png`` of the documentation, if there is a file ``NAME-dark.png``;
- a figure of a lesson, which is drawn twice while the page is executed.
"""

import base64
import html
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.transforms import SphinxTransform

INK = "#d6dbe1"


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


def with_both_versions(notebook):
    """Return a notebook that draws its heat maps twice when a page is made of it."""
    source = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\nimport dark_pictures; dark_pictures.draw_twice()"
    )
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell"]})
    notebook.cells.insert(1, cell)  # after the title
    return notebook


def draw_twice():
    """Let the notebook that calls this show each heat map as two images."""
    from IPython import get_ipython
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    pyplot.switch_backend("module://matplotlib_inline.backend_inline")  # now: it removes what is registered for figures
    get_ipython().display_formatter.formatters["text/html"].for_type(Figure, _both_images)


def _both_images(figure):
    """Return a heat map as HTML, or None for another figure, which is shown as usual."""
    from matplotlib.collections import QuadMesh

    if not figure.findobj(QuadMesh):
        return None
    title = html.escape(figure.get_suptitle() or figure.axes[0].get_title(), quote=True)
    light = _data(figure)
    with_light_ink(figure)
    dark = _data(figure, facecolor="none")
    return f'<img class="only-light" alt="{title}" src="{light}"><img class="only-dark" alt="{title}" src="{dark}">'


def _data(figure, **options):
    """Return a figure as the address of an image."""
    from IPython.core.pylabtools import print_figure

    return "data:image/png;base64," + base64.b64encode(print_figure(figure, "png", **options)).decode()


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
