"""Pages of source code, and links to them.

Pages of the documentation link to files of the project as a reader on the code host follows them, such as
``../npresnext/reference.py``. On the site the same links lead to highlighted pages below ``source/``, and those to
README.md, CONTRIBUTING.md and CHANGELOG.md to the pages that show these files.
"""

import html
import re
from functools import cache
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SHOWN_PAGES = {"README.md": "readme", "CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
LANGUAGES = {
    ".py": "python",
    ".cu": "cuda",
    ".cuh": "cuda",
    ".csv": "text",
    ".json": "json",
    ".cff": "yaml",
    ".cfg": "ini",
    ".toml": "toml",
}
FOLDERS = ("npresnext", "scripts", "docs/claims")
AS_THEY_ARE = ("docs/explorer",)  # pages that lesson_pages.py copies
IMAGES = {".png", ".svg"}  # which Sphinx finds by itself
FILES = ("CITATION.cff", "LICENSE", "setup.cfg")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#?]+)([#?][^)\s]*)?(?=\))")


@cache
def source_files():
    """Return the files that have a page, relative to the project."""
    texts = [
        path.relative_to(ROOT)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {*LANGUAGES, ".md", ".txt"} and "__pycache__" not in path.parts
    ]
    return [*texts, *map(Path, FILES)]


@cache
def source_folders():
    """Return the folders that have a page, relative to the project."""
    return sorted({parent for file in source_files() for parent in file.parents if parent != Path(".")})


def page_name(path):
    """Return the name of the page of a file or folder."""
    return f"source/{PurePosixPath(path)}" + ("/index" if (ROOT / path).is_dir() else "")


def _show_file(app, docname, content):
    """Replace the text of a page that stands for a file outside docs/, and lead its links, and all others, right."""
    folder = (DOCS / docname).parent
    for name, shown in SHOWN_PAGES.items():
        if docname == shown:
            content[0] = (ROOT / name).read_text(encoding="utf-8")
            app.env.note_dependency(str(ROOT / name))
            folder = ROOT

    def lead(match):
        target, anchor = match[1], match[2] or ""
        path = (folder / target).resolve()
        if not path.is_relative_to(ROOT):
            return match[0]
        name = path.relative_to(ROOT).as_posix()
        if name in SHOWN_PAGES:
            return relative_uri(docname, f"{SHOWN_PAGES[name]}.md") + anchor
        has_own_page = any(path.is_relative_to(ROOT / each) for each in FOLDERS + AS_THEY_ARE)
        if path.is_relative_to(DOCS) and (path.suffix in IMAGES or not has_own_page):
            return match[0] if folder != ROOT else path.relative_to(DOCS).as_posix() + anchor
        return f"source:{name}{anchor}"

    parts = re.split(r"(^(?:# )?```.*?^(?:# )?```$)", content[0], flags=re.MULTILINE | re.DOTALL)
    content[0] = "".join(part if index % 2 else LINK.sub(lead, part) for index, part in enumerate(parts))


def _resolve_source_links(app, doctree, docname):
    """Turn links to ``source:FILE`` into links to pages."""
    known = {path.as_posix() for path in [*source_files(), *source_folders()]}
    for node in doctree.findall(nodes.reference):
        scheme, _, target = node.get("refuri", "").partition(":")
        if scheme == "source":
            file, anchor = re.fullmatch(r"([^#?]*)(.*)", target).groups()
            if file in known:
                page = app.builder.get_target_uri(page_name(file))
            elif file.startswith(AS_THEY_ARE) and (ROOT / file).is_file():
                page = file.removeprefix("docs/")
            else:
                logger.warning("link to %s, which has no page of source code", file, location=node)
                continue
            node["refuri"] = relative_uri(app.builder.get_target_uri(docname), page) + anchor


def _source_pages(app):
    """Yield the pages: name, context, template."""
    for folder in source_folders():
        inside = [path for path in [*source_folders(), *source_files()] if path.parent == folder]
        rows = "".join(
            f'<li><a href="{relative_uri(_uri(folder), _uri(path))}">{path.name}{"/" * (ROOT / path).is_dir()}</a></li>'
            for path in inside
        )
        yield page_name(folder), _context(folder, f"<ul>{rows}</ul>"), "page.html"
    for file in source_files():
        text = (ROOT / file).read_text(encoding="utf-8")
        language = LANGUAGES.get(file.suffix, "text")
        code = app.builder.highlighter.highlight_block(text, language, force=True, linespans="L", linenos=False)
        yield page_name(file), _context(file, code), "page.html"


def _uri(path):
    return f"{page_name(path)}.html"


def _context(path, body):
    crumbs = [
        f'<a href="{relative_uri(_uri(path), _uri(parent))}">{html.escape(parent.name)}</a>'
        for parent in reversed(path.parents)
        if parent != Path(".")
    ]
    heading = " / ".join([*crumbs, html.escape(path.name)])
    return {"title": path.as_posix(), "body": f'<h1 class="source-heading">{heading}</h1>{body}', "parents": []}


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _show_file)
    app.connect("doctree-resolved", _resolve_source_links)
    app.connect("html-collect-pages", _source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
