"""What a type checker sees of the package: every public name, those that load late too, and no other."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import npresnext as nx

ROOT = Path(__file__).parent.parent
PROGRAM = """
import npresnext as nx
reveal_type(nx.summary)
reveal_type(nx.no_grad)
reveal_type(nx.nn.Conv2d)
reveal_type(nx.models.resnet18)
reveal_type(nx.testing.strategies.conv_cases)
nx.sumary
nx.testing.stratagems
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """What mypy says of the program, a line of output for each line of interest."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    path = tmp_path_factory.mktemp("user") / "program.py"
    path.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", "--no-error-summary", str(path)]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True, text=True)
    assert not run.stderr
    return [line for line in run.stdout.splitlines() if "program.py" in line]


def test_late_names_have_their_types(lines):
    revealed = [line.partition("Revealed type is ")[2] for line in lines if "Revealed" in line]
    assert len(revealed) == PROGRAM.count("reveal_type")
    assert "Summary" in revealed[0]
    assert not any(kind.strip('"') in ("Any", "") for kind in revealed)


def test_a_misspelt_name_is_an_error(lines):
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 2
    assert 'Module has no attribute "sumary"' in errors[0] and 'Module has no attribute "stratagems"' in errors[1]


def test_type_checkers_are_shown_exactly_the_names_that_load_late():
    tree = ast.parse(Path(nx.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    shown = {alias.asname for node in block.body for alias in node.names}
    assert shown == set(nx._LAZY)
