"""The reference: it lists every public module, and every name in a docstring exists; both without building the site."""

import importlib.util
import inspect
import pkgutil
import re

import pytest

import npresnext as nx

from tests.support.paths import ROOT

SPEC = importlib.util.spec_from_file_location("public_names", ROOT / "docs" / "_extensions" / "public_names.py")
public_names = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(public_names)

# Rooms that others do not import from: their public names, if any, are in npresnext itself.
NOT_LISTED = {"backend", "cli", "commands", "engines", "geometry", "lesson"}

# What numpydoc asks for and we do not: each one is a matter of taste, or said once for several functions.
NOT_REQUIRED = {"ES01", "EX01", "PR01", "PR03", "PR04", "PR07", "PR08", "PR09", "RT01", "RT02", "RT03"}
NOT_REQUIRED |= {"SA01", "SS05", "YD01"}


@pytest.fixture(scope="module", autouse=True)
def _hypothesis():
    pytest.importorskip("hypothesis", reason="npresnext.testing.strategies is part of the reference")


def members(full_name):
    """The objects that a page documents, with their kind as autodoc names it and their full name."""
    value = public_names.object_of(full_name)
    if inspect.ismodule(value):
        return [("module", full_name, value)]
    if not inspect.isclass(value):
        return [("function", full_name, value)]
    kinds = [(("property" if isinstance(each, property) else "method"), name) for name, each in vars(value).items()]
    own = [(kind, f"{full_name}.{name}", getattr(value, name)) for kind, name in kinds if not name.startswith("_")]
    return [("class", full_name, value), *[each for each in own if each[0] == "property" or callable(each[2])]]


def test_every_public_module_is_listed():
    rooms = {each.name for each in pkgutil.iter_modules(nx.__path__) if not each.name.startswith("_")}
    listed = {name.split(".")[1] for name in public_names.modules() if "." in name}
    assert listed == rooms - NOT_LISTED


def test_every_public_name_has_one_page():
    for module_name, rows in public_names.names_by_module().items():
        assert [name for name, _, _ in rows] == public_names.public_names(module_name)
        for name, place, _ in rows:
            assert public_names.object_of(place) is getattr(public_names.object_of(module_name), name)
    assert {"npresnext.conv2d", "npresnext.nn.Module", "npresnext.group_grad_norms"} <= public_names.pages()
    assert "npresnext.functional.conv2d" not in public_names.pages()


@pytest.mark.parametrize("page", sorted(public_names.pages()) if importlib.util.find_spec("hypothesis") else [])
def test_every_name_in_a_docstring_exists(page):
    for kind, name, value in members(page):
        lines = (inspect.getdoc(value) or "").splitlines()
        assert public_names.unknown_names(kind, name, value, lines) == [], name


@pytest.mark.parametrize("page", sorted(public_names.pages()) if importlib.util.find_spec("hypothesis") else [])
def test_an_example_is_in_no_section_of_something_else(page):
    """numpydoc reads each line of a section such as Raises as an entry of it, the lines of an example too."""
    for _, name, value in members(page):
        sections = re.split(r"^(\w+)\n---+$", inspect.getdoc(value) or "", flags=re.MULTILINE)
        for title, text in zip(sections[1::2], sections[2::2]):
            assert title == "Examples" or ">>>" not in text, f"{name}: an example in {title}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":func:`conv2d`", ":py:obj:`conv2d <npresnext.conv2d>`"),
        (":class:`~npresnext.nn.Module`", ":py:obj:`Module <npresnext.nn.Module>`"),
        ("`conv2d_backward()`", ":py:obj:`conv2d_backward() <npresnext.conv2d_backward>`"),
        ("`nx.nn.Module.forward`", ":py:obj:`nx.nn.Module.forward <npresnext.nn.Module.forward>`"),
        ("`nx.nn.Module.backwards`", "``nx.nn.Module.backwards``"),
        ("`ConvGeometry`", "``ConvGeometry``"),
        ("`weight` and ``x``", "``weight`` and ``x``"),
        (":func:`conv3d`", ":func:`conv3d`"),
        (">>> f(`a`)", ">>> f(`a`)"),
    ],
)
def test_names_in_docstrings_become_links(text, expected):
    value = nx.conv2d_input_grad
    assert public_names.linked(text, "function", "npresnext.conv2d_input_grad", value) == expected


def test_names_of_methods_are_found_in_their_class():
    value = nx.nn.Module
    line = public_names.linked(":meth:`zero_grad`", "class", "npresnext.nn.Module", value)
    assert line == ":py:obj:`zero_grad <npresnext.nn.Module.zero_grad>`"


def test_the_source_of_a_name_is_found():
    place, _, line = public_names.source_of("npresnext.conv2d").partition("#L-")
    assert place == "source:npresnext/functional/conv.py"
    text = (ROOT / place.removeprefix("source:")).read_text(encoding="utf-8").splitlines()
    assert text[int(line) - 1] == "def conv2d("


@pytest.mark.parametrize("page", sorted(public_names.pages()) if importlib.util.find_spec("hypothesis") else [])
def test_the_docstring_is_one_that_numpydoc_reads(page):
    validate = pytest.importorskip("numpydoc.validate").validate
    if not inspect.ismodule(public_names.object_of(page)):
        assert [error for error in validate(page)["errors"] if error[0] not in NOT_REQUIRED] == []
