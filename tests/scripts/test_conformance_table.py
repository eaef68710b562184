"""scripts/conformance_table.py: rows of npresnext and of a framework that is wrong, refuses or ends its process."""

import importlib
import json
import sys

import pytest

from npresnext.testing import ConvCase
from npresnext.testing.outcomes import outcomes_of_a_death

from tests.support.paths import SCRIPTS

FRAMEWORK = '''
import npresnext as nx


def forward(x, weight, bias, **window):
    """Wrong for groups; no channels are refused."""
    if x.shape[1] == 0:
        raise RuntimeError("no channels")
    return nx.conv2d(x, weight, bias, **window) + (window["groups"] > 1)
'''
FEW = ["--cases", "40", "--budget", "0.5", "--dtypes", "float32"]


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("torch")  # one of the two oracles
    monkeypatch.syspath_prepend(SCRIPTS)
    script = importlib.import_module("conformance_table")
    monkeypatch.setattr(script, "EDGES", {"zero_channels": "C_in = 0"})  # two commands for each row
    return script


def row_of(page, label):
    """The cells of a row in float32, by the names of their columns."""
    table = page.partition("## float32\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith(("| framework | ", f"| {label} | "))]
    names, values = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return dict(zip(names, values))


@pytest.mark.oracle
def test_every_cell_says_what_became_of_it(script, tmp_path, monkeypatch, capsys):
    (tmp_path / "fake_framework.py").write_text(FRAMEWORK)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "table.json"
    arguments = [*FEW, "--out", str(out), "--python", f"fake_framework:forward={sys.executable}"]
    script.main([*arguments, "--absent", "nnabla=no wheel"])

    page = out.with_suffix(".md").read_text()
    cells = row_of(page, "fake_framework:forward")
    assert cells["1 < G < C"] == cells["y"] == "[outside](#fake-framework-forward-1)"
    assert cells["dx"] == cells["db"] == "-" and cells["zero channels"] == "refuses"
    assert "### fake-framework-forward-1\n" in page and "oracles: SciPy: " in page and ", PyTorch: " in page
    assert "| fake_framework:forward | forward | `forward raised RuntimeError: no channels` | zero channels |" in page
    assert "| nnabla | no wheel |" in page and "--only-with zero_channels" in page

    (row,) = json.loads(out.read_text())["rows"].values()
    wrong = row["commands"][0]["found"][0]
    assert wrong["oracles"].keys() == {"SciPy", "PyTorch"} and not wrong["disputed"]
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError):
        exec(wrong["reproduction"], {})

    capsys.readouterr()
    script.main(arguments)
    assert capsys.readouterr().out == "fake_framework:forward: in the table already\n"
    script.main([*arguments, "--cases", "3", "--again", "--common"])
    (again,) = json.loads(out.read_text())["rows"].values()
    assert "--cases 3 " in again["commands"][0]["command"] and again["commands"][1:] == row["commands"][1:]


@pytest.mark.oracle
def test_npresnext_is_exact_and_a_missing_interpreter_ends_nothing(script, tmp_path):
    out = tmp_path / "table.json"
    script.main([*FEW, "--out", str(out), "--python", "torch=no/such/python", f"npresnext={sys.executable}"])
    page = out.with_suffix(".md").read_text()
    cells = row_of(page, "npresnext")
    assert cells.pop("framework") == "npresnext" and int(cells.pop("cases")) > 0
    assert [cells[name] for name in ("y", "dx", "dw", "db", "zero channels")] == ["exact"] * 5
    assert cells["empty batch"] == "-", "what was not run is no pass"
    assert "no/such/python" in json.loads(out.read_text())["absent"]["torch"]


@pytest.mark.oracle
def test_a_process_that_ended_is_a_crash_of_the_direction_or_of_all(script):
    note = dict.fromkeys(("result", "mistake", "evidence", "conditions", "diagnosis", "disputed", "reproduction"), "")
    note |= {
        "title": "the process does not survive backward",
        "check": "returns at all (contract)",
        "line": "ConvCase()",
    }
    note |= {"dtype": "float32", "edge": "zero_channels", "failed": 1, "tried": 1, "oracles": {}, "message": "SIGFPE"}
    row = {"directions": ["forward", "backward"], "dtypes": ["float32"], "asked": ["float32"], "environment": {}}
    row |= dict.fromkeys(("ran", "python", "numpy", "seed", "date"), "")
    cells = {}
    for role in ("backward", ""):
        died = [[*key, 1] for key in outcomes_of_a_death(ConvCase(in_channels=0), role)]
        commands = [
            {"dtype": "float32", "edge": edge, "cases": 1, "verdict": "", "outcomes": [], "found": [], "command": ""}
            for edge in ("", *script.EDGES)
        ]
        commands[1] |= {"outcomes": [["C_in = 0", "y", "exact", 1], *died], "found": [{**note, "role": role}]}
        page = script.page({"rows": {"fake": {**row, "commands": commands}}, "absent": {}})
        cells[role] = row_of(page, "fake")["zero channels"]
    assert cells == {"backward": "y exact; dx, dw, db [crashes](#fake-1)", "": "[crashes](#fake-1)"}


@pytest.mark.oracle
def test_what_the_oracles_do_not_confirm_is_not_published(script):
    case = "ConvCase(in_channels=2, kernel=(2, 2), seed=3)"
    finding = {"property": "y", "verdict": "exact", "result": "y", "line": case, "index": (0, 0, 0, 0), "got": 1.0}
    told = script.asked_twice({**finding, "expected": 12345.0}, "float32")
    assert told["oracles"] == {} and "the kit expects 12345.0, but {'SciPy': " in told["disputed"]


@pytest.mark.oracle
@pytest.mark.parametrize("arguments", [["--python", "torch"], ["--absent", "nnabla="]])
def test_an_entry_without_a_value_is_refused(script, arguments):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        script.main(arguments)
