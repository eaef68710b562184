"""The names of the reference: which there are, where each one is documented, and links to them from docstrings.

``docs/api.md`` lists the public modules. A name that several of them offer, such as ``conv2d`` in ``npresnext`` and in
``npresnext.functional``, has its page under the module that is listed first; the tables of the others link to it.
"""

import importlib
import inspect
import re
import sys
from collections import ChainMap
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
API_PAGE = ROOT / "docs" / "api.md"
STUBS = ROOT / "docs" / "api"  # the pages that autosummary writes
MODULE = re.compile(r"`(npresnext[\w.]*)`")
ROLE = re.compile(r"(?<![`\w:])(:(?:func|class|meth|mod|attr|data|exc|obj):)?`(~?)([^`<>\s]+)`(?![`\w])")


@cache
def modules():
    """Return the names of the public modules, in the order of the page."""
    return re.findall(r"^ {3}(npresnext[\w.]*)$", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def public_names(module_name):
    """Return the functions and classes of a module that others may use."""
    module = importlib.import_module(module_name)
    if module_name == "npresnext":
        names = dir(module)  # with those that are loaded when they are first used
    elif hasattr(module, "__all__"):
        names = module.__all__
    else:
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module_name]
    return [name for name in names if not name.startswith("_") and _documented(getattr(module, name))]


def _documented(value):
    return inspect.isfunction(value) or inspect.isclass(value)


@cache
def places():
    """Return where each public object is documented: its ``id`` and its full name."""
    found = {}
    for module_name in modules():
        module = importlib.import_module(module_name)
        found.setdefault(id(module), module_name)
        for name in public_names(module_name):
            found.setdefault(id(getattr(module, name)), f"{module_name}.{name}")
    return found


def names_by_module():
    """Return module -> rows ``(name, full name of its page, whether the page is below this module)``."""
    rows = {}
    for module_name in modules():
        module = importlib.import_module(module_name)
        found = [(name, places()[id(getattr(module, name))]) for name in public_names(module_name)]
        rows[module_name] = [(name, place, place == f"{module_name}.{name}") for name, place in found]
    return rows


def pages():
    """Return the full names of everything that has a page of its own."""
    return {*modules(), *(place for rows in names_by_module().values() for _, place, _ in rows)}


def class_aliases():
    """Return class name -> full name, for the types in docstrings."""
    return {place.rpartition(".")[2]: place for place in sorted(pages()) if inspect.isclass(object_of(place))}


def object_of(full_name):
    """Return the object of that name; AttributeError or ImportError if there is none."""
    parts = full_name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ImportError(full_name)


def source_of(full_name):
    """Return ``source:FILE#L-LINE``, or None where an object has no source of its own; see source_pages.py."""
    try:
        value = inspect.unwrap(getattr(object_of(full_name), "fget", None) or object_of(full_name))
        path = Path(inspect.getsourcefile(value)).resolve()
        line = inspect.getsourcelines(value)[1]
    except (AttributeError, ImportError, TypeError, OSError):
        return None
    return f"source:{path.relative_to(ROOT).as_posix()}#L-{max(line, 1)}" if path.is_relative_to(ROOT) else None


def linked(line, kind, name, value):
    """Return a line of the docstring of `value` with the names in backticks as links to their pages.

    A name is looked up where the docstring stands: in the class, in the module, and beside it among the public names.
    One that exists and is not public becomes a literal. A role whose name does not exist is left: Sphinx warns.
    """
    if line.lstrip().startswith((">>>", "...")):
        return line
    owner, scope, parameters = _surroundings(kind, name, value)

    def link(match):
        role, short, text = match.groups()
        target, call = text.removesuffix("()"), "()" if text.endswith("()") else ""
        if not role and target in parameters:
            return f"``{text}``"
        found, place = _look_up(target, scope, owner)
        if place:
            shown = target.rpartition(".")[2] if short else target
            return f":py:obj:`{shown}{call} <{place}>`"
        return match[0] if role and not found else f"``{text}``"

    return ROLE.sub(link, line)


def unknown_names(kind, name, value, lines):
    """Return the names with a role, such as :func:, that do not exist at the place of a docstring."""
    owner, scope, _ = _surroundings(kind, name, value)
    used = [match for line in lines for match in ROLE.finditer(line) if match[1]]
    return [match[3] for match in used if not _look_up(match[3].removesuffix("()"), scope, owner)[0]]


def _surroundings(kind, name, value):
    """Return the class of a docstring or None, the names that it can use, and those of the parameters.

    The names that it can use are those of its module, and those that are public beside it.
    """
    if kind in ("class", "exception"):
        owner = value
    else:
        owner = object_of(name.rpartition(".")[0]) if kind in ("method", "property", "attribute") else None
    function = inspect.unwrap(getattr(value, "fget", None) or value)
    module_name = name if kind == "module" else getattr(function, "__module__", None) or owner.__module__
    try:
        parameters = set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        parameters = set()
    home = max((each for each in modules() if f"{name}.".startswith(f"{each}.")), key=len, default="npresnext")
    beside = {each: getattr(sys.modules[home], each) for each in public_names(home)}
    return owner, ChainMap(vars(sys.modules[module_name]), beside), parameters


def _look_up(target, scope, owner):
    """Return whether a name exists where a docstring uses it, and where it is documented, or None."""
    first, *rest = target.split(".")
    starts = [(owner, target.split("."))] if hasattr(owner, first) else []
    starts += [(scope[first], rest)] if first in scope else []
    starts += [(sys.modules["npresnext"], rest)] if first in ("npresnext", "nx") else []
    for value, names in starts:
        try:
            return True, _place_of(value, names)
        except AttributeError:
            continue
    return False, None


def _place_of(value, names):
    """Return where ``value.name.name…`` is documented, or None; AttributeError if there is no such thing."""
    member = None
    for name in names:
        if inspect.ismodule(value) and not hasattr(value, name):
            with suppress(ImportError):
                importlib.import_module(f"{value.__name__}.{name}")
        holder, value = value, getattr(value, name)
        member = _member_place(holder, name) if inspect.isclass(holder) else None
    return places().get(id(value)) or member


def _member_place(cls, name):
    """Return where a method or property is documented: with the class that defines it."""
    definer = next((each for each in cls.__mro__ if name in vars(each)), None)
    if id(definer) in places() and (callable(getattr(cls, name)) or isinstance(vars(definer)[name], property)):
        return f"{places()[id(definer)]}.{name}"
    return None


def _link_names(app, kind, name, value, options, lines):
    lines[:] = [linked(line, kind, name, value) for line in lines]


def _prepare(app):
    """Link types to our classes alone, and remove the pages of names that are no longer public."""
    app.config.numpydoc_xref_aliases_complete = class_aliases()  # without numpydoc's own, which lead to other sites
    for path in STUBS.glob("*.rst"):
        if path.stem not in pages():
            path.unlink()


def _link_modules(app, docname, source):
    """Link the modules that the tables of the reference's first page name."""
    if docname == "api":
        source[0] = re.sub(r"^\|.*\|$", lambda row: MODULE.sub(r"{py:mod}`\1`", row[0]), source[0], flags=re.MULTILINE)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _link_modules)
    app.connect("builder-inited", _prepare, priority=100)  # before autosummary writes its pages
    app.connect("autodoc-process-docstring", _link_names, priority=100)  # before numpydoc reads the sections
    return {"parallel_read_safe": True, "parallel_write_safe": True}
