"""The site, built from the checkout as CI does; takes minutes, and needs the extra `docs`."""

import html
import json
import re
import subprocess
import sys
from functools import cache
from urllib.parse import unquote

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
SITE = ROOT / "site"
LINK = re.compile(r'<(a|link|script|img|iframe|source)\b[^>]*?\b(?:href|src)="([^"]+)"')
MARK = re.compile(r'\b(?:id|name)="([^"]+)"')


@pytest.fixture(scope="module", autouse=True)
def site():
    """Build the site without a warning."""
    for name in ("sphinx", "myst_nb", "numpydoc", "pydata_sphinx_theme", "jupytext", "latex2mathml"):
        pytest.importorskip(name, exc_type=ImportError)
    process = subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-j", "2", "docs", "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@cache
def text(path):
    return path.read_text(encoding="utf-8")


@cache
def marks(path):
    """The places in a page that a link can lead to."""
    return {html.unescape(mark) for mark in MARK.findall(text(path))}


def pages():
    found = sorted(SITE.rglob("*.html"))
    assert len(found) > 300
    return [path for path in found if "explorer" not in path.parts and "_static" not in path.parts]


def test_every_internal_link_and_anchor_exists():
    broken, checked = [], 0
    for page in pages():
        for _, target in LINK.findall(text(page)):
            target = html.unescape(target)
            if re.match(r"[a-z]+:", target) or target == "#":
                continue
            checked += 1
            name, _, anchor = target.partition("#")
            file = page if not name else (page.parent / unquote(name.partition("?")[0])).resolve()
            if not file.is_file():
                broken.append(f"{page.relative_to(SITE)}: {target}")
            elif anchor and file.suffix == ".html" and "explorer" not in file.parts:
                if unquote(anchor) not in marks(file):
                    broken.append(f"{page.relative_to(SITE)}: {target}")
    assert checked > 10_000
    assert broken == []


def test_no_page_loads_anything_from_another_server():
    for page in pages():
        for tag, target in LINK.findall(text(page)):
            if tag != "a" and re.match(r"(?:https?:)?//", target):
                assert 'rel="canonical"' in target, f"{page.relative_to(SITE)} loads {target}"


def test_every_public_name_is_in_the_reference():
    sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
    try:
        import public_names
    finally:
        sys.path.pop(0)
    for module_name, rows in public_names.names_by_module().items():
        table = text(SITE / "api" / f"{module_name}.html")
        for name, place, _ in rows:
            assert f'href="{place}.html#{place}"' in table, f"{module_name}.{name}"
            assert f'id="{place}"' in text(SITE / "api" / f"{place}.html")


def test_names_in_docstrings_and_links_to_sources_lead_to_pages():
    page = text(SITE / "api" / "npresnext.conv2d_backward.html")
    assert 'href="npresnext.conv2d.html#npresnext.conv2d"' in page
    assert re.search(r'href="\.\./source/npresnext/functional/conv\.py\.html#L-\d+"', page)
    assert 'href="source/npresnext/reference.py.html"' in text(SITE / "architecture.html")
    assert 'href="readme.html#glossary"' in text(SITE / "architecture.html")


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "lessons").glob("*.py")), ids=lambda path: path.stem)
def test_a_lesson_is_a_page_with_results_a_notebook_and_a_script(path):
    page = SITE / "lessons" / f"{path.stem}.html"
    assert "cell_output" in text(page)
    assert f'href="{path.stem}.ipynb"' in text(page) and f'href="{path.stem}.py"' in text(page)
    notebook = json.loads(text(page.with_suffix(".ipynb")))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any(re.search(r"(?m)^\([\w-]+\)=$", "".join(cell["source"])) for cell in notebook["cells"])
    assert text(page.with_suffix(".py")) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, pictures", [("first_hour", 2), ("lessons/06_groups", 2), ("lessons/13_tour", 2), ("gradient-norms", 2)]
)
def test_heat_maps_and_coloured_cells_have_a_version_for_dark_mode(name, pictures):
    """Of a lesson the page has both; the notebook has nothing but the script's cells."""
    images = re.findall(r'<img\b[^>]*class="[^"]*\bonly-(light|dark)\b[^>]*>', text(SITE / f"{name}.html"))
    assert sorted(images) == ["dark"] * pictures + ["light"] * pictures
    notebook = SITE / f"{name}.ipynb"
    assert not notebook.exists() or "dark_pictures" not in text(notebook)
