"""What docs/claims.md says: the tests that it names exist, and what can be counted is counted anew."""

import importlib.util
import json
import re

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_claims", ROOT / "scripts" / "measure_claims.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_test_that_the_page_names_exists():
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) >= 8
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_the_counts_are_those_of_the_page(script):
    rows = {(row["setting"], row["quantity"]): row["value"] for row in script.measure_counts()}
    assert rows["3x3, 64 -> 128, G=32", "saved in the layer, %"] == 96.875
    assert round(rows["resnet50 -> resnext50_32x4d", "parameters, %"], 2) == -2.07
    assert round(rows["resnet50 -> resnext50_32x4d", "MACs, %"], 2) == 3.46
    assert round(rows["resnext50_32x4d", "share of parameters in grouped convolutions, %"], 2) == 5.65
    assert rows["resnet50, every 3x3 with G=32", "parameters"] == 14_593_448


def test_gradients_are_local_in_the_layer_and_not_in_the_network(script):
    layer, *networks = script.measure_locality()
    assert layer["value"] == 0
    assert len(networks) == 3 and all(row["value"] > 0.05 for row in networks)


def test_the_stored_figures_are_whole_and_say_where_they_come_from():
    files = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "docs" / "claims").glob("*.json")]
    assert all(set(file["about"]) == {"date", "npresnext", "numpy", "python", "machine", "parts"} for file in files)
    assert {row["claim"] for file in files for row in file["rows"]} == {
        "saving",
        "only groups differ",
        "locality",
        "efficiency",
    }
