"""The plan of the house, read from the syntax trees: imports point one way, without circles; importing it is light."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "npresnext"
FACADE = "(npresnext)"  # npresnext/__init__.py, the public names

# A room is a folder or a file directly below npresnext/. It may import rooms of earlier lines, and itself.
ORDER = [
    {"errors", "reference", "definitions"},
    {"_support"},
    {"geometry"},
    {"backend"},
    {"lesson"},
    {"engines"},
    {"functional"},
    {"nn"},
    {"io"},
    {"models"},
    {"data"},
    {"training", "counting", "onnx"},
    {"gradients", "paper", "pictures", "studies"},
    {"testing"},
    {"learn"},
    {FACADE},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

# The inner ring is what one reads; the tools of the outer ring stand around it, and each can be removed.
CORE = {
    "errors",
    "_support",
    "reference",
    "definitions",
    "geometry",
    "backend",
    "lesson",
    "engines",
    "functional",
    "nn",
    "io",
}
CORE |= {"models", "data"}
INTERFACE = {FACADE, "commands", "cli", "__main__"}  # loads each tool where it is used, and not before
TOOLS = set(RANK) - CORE - INTERFACE

# A tool that needs another tool says so here: without the second one, the first one goes too.
TOOLS_NEED = {
    ("paper", "counting"): "networks of a cardinality are counted by summary",
    ("gradients", "training"): "NormDump is a watcher of training runs",
    ("studies", "training"): "a study is made of training runs",
    ("studies", "gradients"): "gradient norms are among the rows that a run writes",
    ("learn", "testing"): "the exercises are checked by the conformance kit",
}

# Faults that are known. These lists may only shrink: a fault that is mended must leave its list.
CIRCLES: list[set[str]] = []
HIDDEN: set[str] = set()


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    """The name of a module below npresnext, such as "nn.module"; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or FACADE


NAMES = {dotted(path): path for path in modules()}


def room(name):
    return name.partition(".")[0]


@cache
def own_imports(name):
    """The modules of ours that a module imports: at its top, inside functions, and for type checkers alone."""
    path = NAMES[name]
    package = path.relative_to(PACKAGE.parent).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {_module(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = [*base, *(node.module.split(".") if node.module else [])]
            found |= {_module([*base, alias.name]) for alias in node.names}
    return found - {None, name}


def _module(parts):
    """The module that an import of npresnext.a.b loads: a.b, or a if b is a name inside it; None if not ours."""
    if parts[0] != "npresnext":
        return None
    while len(parts) > 1 and ".".join(parts[1:]) not in NAMES:
        parts = parts[:-1]
    return ".".join(parts[1:]) or FACADE


def circles():
    """The sets of modules that import each other, directly or through others."""

    def reach(name, seen):
        for imported in own_imports(name) - seen:
            seen.add(imported)
            reach(imported, seen)
        return seen

    reached = {name: reach(name, set()) for name in NAMES}
    return {
        frozenset(other for other in NAMES if other in reached[name] and name in reached[other])
        for name in NAMES
        if name in reached[name]
    }


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name):
    for imported in own_imports(name):
        assert RANK[room(imported)] <= RANK[room(name)], f"{name} imports {imported}"


def test_no_modules_import_each_other_in_a_circle():
    assert circles() == {frozenset(circle) for circle in CIRCLES}


def test_every_room_has_a_rank_and_every_rank_a_room():
    assert {room(name) for name in NAMES} == set(RANK)


def test_the_oracle_imports_nothing_of_ours():
    assert own_imports("reference") == own_imports("definitions") == set()


def test_only_testing_imports_the_oracle():
    users = {room(name) for name in NAMES if {"reference", "definitions"} & own_imports(name)}
    assert users <= {"testing", FACADE}


def test_the_core_knows_no_tool():
    for name in NAMES:
        if room(name) in CORE:
            assert not {imported for imported in own_imports(name) if room(imported) not in CORE}, name


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_a_tool_can_be_removed(tool):
    """Nothing outside imports it but the interface, and the tools that say so."""
    users = {room(name) for name in NAMES if any(room(imported) == tool for imported in own_imports(name))}
    assert users - {tool} - INTERFACE == {user for user, needed in TOOLS_NEED if needed == tool}


def test_the_interface_loads_each_tool_only_where_it_is_used():
    """At their top, the modules of the interface import no tool: without the tool, the others still run."""
    for name in NAMES:
        if room(name) in INTERFACE:
            tree = ast.parse(NAMES[name].read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and node.level and node.module:
                    assert node.module.split(".")[0] not in TOOLS, f"{name}, line {node.lineno}"


def test_every_room_has_its_folder_of_tests():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in rooms if not list((ROOT / "tests" / name).rglob("test_*.py"))} == set()
    assert all((ROOT / "tests" / f"test_{name}.py").exists() for name in ("geometry", "backend", "reference"))


def test_no_name_hides_the_module_of_the_same_name():
    hidden = set()
    for name, path in NAMES.items():
        if path.name == "__init__.py":
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ImportFrom) and node.module:  # "from . import x" binds the module itself
                    prefix = "" if name == FACADE else f"{name}."
                    hidden |= {f"{prefix}{alias.name}" for alias in node.names} & set(NAMES)
    assert hidden == HIDDEN


@pytest.mark.parametrize("name", NAMES)
def test_private_modules_are_imported_inside_their_folder_only(name):
    for imported in own_imports(name):
        parts = imported.split(".")
        for depth in range(1, len(parts)):  # npresnext._support is private to the whole package
            if parts[depth].startswith("_"):
                assert name.split(".")[:depth] == parts[:depth], f"{name} imports {imported}"


def test_the_formatter_decides_the_layout():
    """At most ten places in the project ask it not to."""
    marks = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("npresnext", "tests", "scripts")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*fmt:\s*(off|skip)", line)
    ]
    assert len(marks) <= 10, marks


def test_importing_the_package_loads_numpy_and_nothing_heavier():
    heavy = "scipy cupy matplotlib hypothesis tqdm threadpoolctl torch onnx onnxruntime safetensors ml_dtypes PIL"
    code = f"import sys, npresnext; print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


def test_every_public_name_is_there():
    import npresnext as nx

    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {
        "_support",
        "commands",
        "engines",
        "lesson",
    } <= set(dir(nx))
    assert {"reference", "training"} <= set(dir(nx))  # modules that the pages speak of
    for module, names in ((nx, nx._LAZY), (nx.paper, nx.paper.__all__)):
        assert set(names) <= set(dir(module))  # where the completion of a prompt looks
        for name in dir(module):
            assert getattr(module, name) is not None
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'convolve'"):
            module.convolve  # noqa: B018
