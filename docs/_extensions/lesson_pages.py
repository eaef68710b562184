"""Lessons: scripts in percent format as pages, with their notebook and script to download; the explorer, as it is."""

import re
import shutil
from pathlib import Path

import dark_pictures
import jupytext
import nbformat
from docutils import nodes

DOCS = Path(__file__).parents[1]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def read_script(text):
    """Return a script in percent format as a notebook that has not been run."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = KERNEL
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def read_page(text):
    """Return a script as the notebook that is executed for its page."""
    notebook = dark_pictures.with_pictures_for_a_page(read_script(text))
    for cell in notebook.cells:
        if "inspect.getsource" in cell.source:  # it prints code
            cell.metadata["mystnb"] = {"text_lexer": "python"}
    return notebook


def scripts():
    """Return the scripts that are pages: the lessons, and the first hour."""
    return sorted([*DOCS.glob("*.py"), *(DOCS / "lessons").glob("*.py")])


def read_download(text):
    """Return a script as the notebook that a reader downloads, without the labels that only the site understands."""
    notebook = read_script(text)
    for cell in notebook.cells:
        cell.source = re.sub(r"(?m)^\([\w-]+\)=\n", "", cell.source)
    return notebook


def is_page(path):
    """Return whether a script is a page of the site."""
    return path.name != "conf.py"


def _offer_downloads(app, doctree):
    """Put a line with the downloads below the title of a lesson."""
    path = Path(app.env.doc2path(app.env.docname))
    title = next(iter(doctree.findall(nodes.title)), None)
    if path.suffix == ".py" and title is not None:
        line = nodes.paragraph("", "Run it yourself: ", classes=["downloads"])
        for number, (text, ending) in enumerate([("notebook", ".ipynb"), ("script", ".py")]):
            line += [nodes.Text(", ")] if number else []
            line += nodes.reference("", f"{text} ({path.stem}{ending})", refuri=path.stem + ending, internal=False)
        title.parent.insert(title.parent.index(title) + 1, line)


def _copy_files(app, exception):
    """Write the notebooks and scripts beside the pages, and the explorer as it is."""
    if exception or app.builder.format != "html":
        return
    for path in filter(is_page, scripts()):
        place = Path(app.outdir) / path.relative_to(DOCS)
        text = path.read_text(encoding="utf-8")
        place.write_text(text, encoding="utf-8")
        nbformat.write(read_download(text), place.with_suffix(".ipynb"))
    if (DOCS / "explorer").exists():
        shutil.copytree(DOCS / "explorer", Path(app.outdir) / "explorer", dirs_exist_ok=True)


def _keep_files_of_the_build_together(app):
    """Let MyST-NB write its own files below the output folder rather than beside it."""
    folder = Path(app.doctreedir) / "notebooks"
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=str(folder))


def setup(app):
    """Called by Sphinx."""
    app.connect("builder-inited", _keep_files_of_the_build_together, priority=900)  # after MyST-NB has set its own
    app.connect("doctree-read", _offer_downloads)
    app.connect("build-finished", _copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
