"""The pages: links, anchors, file names, names of tests, commands, and what CITATION.cff and the hooks say."""

import re
import shlex

import pytest

import npresnext as nx
from npresnext import cli

from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for folder in ("npresnext", "scripts", "tests", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
}


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    """The text of a page without its code blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {each.strip().replace(" ", "-") for each in words}


def targets_in_lessons():
    """The targets that lessons set in front of a passage, such as (misconception-1)=; any page may link to them."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "lessons").glob("*.py"))
    return set(re.findall(r"^# \(([\w-]+)\)=$", text, re.MULTILINE))


def links(path):
    """Targets of all links and pictures of a page that do not lead to another site."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [target for target in targets if not re.match(r"\w+:", target)]


def commands(path):
    """The npresnext commands in the code blocks of a page, without shell around them."""
    for language, block in FENCE.findall(path.read_text(encoding="utf-8")):
        if language in ("", "sh"):
            for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
                if line.strip().startswith("npresnext "):
                    yield shlex.split(re.split(r"[|>]", line, maxsplit=1)[0], comments=True)


def blocks(path, wanted):
    return [block for language, block in FENCE.findall(path.read_text(encoding="utf-8")) if language == wanted]


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_link_and_anchor_exists(path):
    for target in links(path):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file) or (not name and anchor in targets_in_lessons()), target


def test_the_glossary_is_linked_from_every_page_that_a_reader_opens():
    for name in (
        "architecture",
        "claims",
        "cuda",
        "family",
        "gradient-norms",
        "special-groups",
        "performance",
        "training",
        "weights",
    ):
        assert "../README.md#glossary" in links(ROOT / "docs" / f"{name}.md"), name


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_source_file_that_a_page_names_exists(path):
    names = set(re.findall(r"[\w./-]*\w\.(?:py|cuh?|h|toml|cfg)\b(?!\w)", prose(path)))
    for name in names:
        if "/" not in name and (name.endswith(".py") or name == "study.toml"):
            continue  # a file of the reader, such as kernel.py
        found = any(source == name or source.endswith(f"/{name}") for source in SOURCES)
        assert found or (path.parent / name).exists() or (ROOT / name).exists(), name


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_test_that_a_page_names_exists(path):
    for file, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", prose(path)):
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_every_command_of_a_page_is_accepted_by_the_parser(path):
    for _, *arguments in commands(path):
        cli._parser().parse_args(arguments)


def test_the_readme_has_commands_and_two_blocks_of_one_command_each():
    run, test = (block.replace("\\\n", " ").strip() for block in blocks(ROOT / "README.md", "sh"))
    assert "\n" not in run and "\n" not in test
    assert [arguments[1] for arguments in commands(ROOT / "README.md")] == ["train", "gradnorms"]
    assert "npresnext train" in run and "python -m pytest" in test


def test_the_citation_names_this_version_and_both_papers():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {nx.__version__}\n" in text
    assert "arXiv:1512.03385" in text and "arXiv:1611.05431" in text


def test_the_hooks_pin_one_version_of_each_tool():
    pins = set(re.findall(r"([\w-]+)==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")))
    names = [name for name, _ in pins]
    assert {"ruff", "mypy"} <= set(names) and len(names) == len(set(names))


def test_the_reading_order_gives_the_length_of_each_part():
    """The number of lines may be wrong by a quarter: it says how long reading takes."""
    rows = re.findall(
        r"^\| \d \| \[[^\]]*\]\((npresnext/[^)]+)\) \| ([\d,]+) \|", prose(ROOT / "README.md"), re.MULTILINE
    )
    assert len(rows) == 6
    for name, said in rows:
        place = ROOT / name
        files = (
            [place]
            if place.is_file()
            else [path for ending in ("py", "cu", "cuh") for path in place.rglob(f"*.{ending}")]
        )
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        assert abs(int(said.replace(",", "")) - lines) < lines / 4, f"{name} has {lines} lines"
