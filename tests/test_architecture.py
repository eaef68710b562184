"""The plan of the house, held by the syntax trees: imports point one way, and importing npresnext is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "npresnext"

# A module may import from rooms further left, and from its own room.
ORDER = [
    {"errors"},
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
    {"gradients", "paper"},
    {"testing"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms} | {"reference": 0}


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def own_imports(path):
    """The rooms of ours that a module imports, at its top or inside its functions."""
    package = ["npresnext", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                parts = [*base, *(node.module.split(".") if node.module else []), alias.name]
                if parts[0] == "npresnext":
                    yield parts[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "npresnext":
                    yield (alias.name.split(".") + [""])[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for imported in own_imports(path):
        if imported in RANK:
            assert RANK[imported] <= RANK[room(path)], f"{room(path)} imports {imported}"


def test_the_oracle_imports_nothing_of_ours():
    assert list(own_imports(PACKAGE / "reference.py")) == []


def test_only_testing_imports_the_oracle():
    users = {room(path) for path in modules() if "reference" in own_imports(path)}
    assert users <= {"testing"}


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
