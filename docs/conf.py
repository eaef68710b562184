"""Settings of the site: ``python -m sphinx -n -W docs site`` writes it to the folder ``site/``."""

import hashlib
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "_extensions")]

import public_names

import npresnext as nx

project = "npresnext"
author = "The npresnext authors"
project_copyright = "The npresnext authors"
version = release = nx.__version__
language = "en"

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "sphinx_design",
    "code_blocks",
    "dark_pictures",
    "lesson_pages",
    "mathml",
    "public_names",
    "source_pages",
]
exclude_patterns = ["_extensions", "_templates", "api/README.md", "conf.py", "explorer", "claims"]
nitpicky = True

# Pages: Markdown, as the code host shows it

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}  # the last: source_pages.py

# Lessons: scripts in percent format, executed anew whenever they are read; an error fails the build

nb_custom_formats = {".py": "lesson_pages.read_page"}
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the solution", "Hide the solution"
nb_output_stderr = "remove"  # what progress bars draw

# Reference: from the docstrings

templates_path = ["_templates"]
default_role = "literal"
autodoc_typehints = "none"  # a docstring states the types, with shapes
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"  # on the right of a page: forward(), not Module.forward()
autosummary_context = {"names_of": public_names.names_by_module()}
highlight_language = "none"  # blocks that name no language are formulas and results, not Python
numpydoc_show_class_members = False  # the template of a class lists them
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # words such as "array" and "optional"; names of our classes are linked
copybutton_prompt_text = r">>> |\.\.\. |\$ |In \[\d*\]: "
copybutton_prompt_is_regexp = True

# Layout

html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_title = "npresnext"
html_static_path = ["_static"]
html_css_files = ["npresnext.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "collapse_navigation": True,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "conformance": []},  # its tables need the whole width
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_sidebars = {"index": [], "source/**": []}


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return where the source of an object of the reference is, for its link ``[source]``."""
    return public_names.source_of(f"{info['module']}.{info['fullname']}") if domain == "py" else None


def _digest_of_the_code() -> str:
    """Return a digest of the package and of the extensions: when it changes, every page is read and executed anew."""
    digest = hashlib.sha256()
    for folder in (ROOT / "npresnext", DOCS / "_extensions"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def setup(app):
    """Register the settings that Sphinx does not have."""
    app.add_config_value("code_digest", _digest_of_the_code(), "env", str)
