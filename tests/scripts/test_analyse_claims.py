"""The analysis of docs/claims/plan.md: planted effects are found, none is not, and the page gets the tables."""

import contextlib
import csv
import importlib.util
import itertools
import re
import sys

import numpy as np
import pytest

from tests.support.paths import ROOT

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("analyse_claims", ROOT / "scripts" / "analyse_claims.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


DESIGNS = {"1x8d": 1, "2x5d": 2, "4x3d": 4, "16x1d": 16, "1x1d": 1, "4x1d": 4}
COLUMNS = ("class_cosine", "effective_rank", "gap", "roughness", "test_loss")


def table_of(rng, *, seeds, data="digits", slope=0.0, noise=0.01):
    """Runs whose quantities all rise by `slope` for each doubling of C."""
    table = []
    for seed, (design, cardinality) in itertools.product(range(seeds), DESIGNS.items()):
        drawn = {name: slope * np.log2(cardinality) + noise * rng.normal() for name in COLUMNS}
        other = dict.fromkeys(("rank_per_channel", "group_snr", "group_class_cosine", "group_cka"), 0.5)
        table.append(
            {
                "run": f"{data}{design}{seed}",
                "data": data,
                "design": design,
                "cardinality": cardinality,
                "seed": seed,
                "parameters": 33_000,
                "train_accuracy": 0.97,
                "test_accuracy": 0.95,
                **drawn,
                **other,
            }
        )
    return table


def test_a_planted_effect_is_found_with_its_size_and_sign(script):
    rng = np.random.default_rng(0)
    table = table_of(rng, seeds=10, slope=0.5)
    for claim in script.CLAIMS:
        effect = script.effect_of(table, claim, list(range(10)))
        assert effect.mean == pytest.approx(2, abs=0.02), claim.name  # 4 doublings
        assert effect.low < effect.mean < effect.high and effect.high - effect.low < 0.1
        assert effect.p == pytest.approx(2 / 2**10)
        expected = "supported" if claim.sign > 0 else "contradicted"
        assert script.verdict(claim, effect, 12 * effect.p) == expected


def test_of_a_hundred_intervals_95_hold_the_true_effect(script):
    rng = np.random.default_rng(3)
    claim, held = script.CLAIMS[0], 0
    for _ in range(200):
        effect = script.effect_of(table_of(rng, seeds=6, slope=0.5), claim, list(range(6)))
        held += effect.low < 2 < effect.high
    assert 0.90 < held / 200 < 0.99


def test_without_an_effect_a_twentieth_of_the_tests_is_below_a_twentieth(script):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1000, 10))
    share = np.mean([script.sign_flip_p(row) <= 0.05 for row in values])
    assert 0.03 < share < 0.07


def test_sign_changes_are_counted_exactly_for_few_seeds_and_drawn_for_many(script):
    assert script.sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert script.sign_flip_p(np.array([1.0, -1.0])) == 1
    assert script.sign_flip_p(np.full(20, 0.1)) == pytest.approx(1 / 100_000)


def test_each_verdict_has_its_condition(script):
    claim = script.CLAIMS[0]  # predicts a rise; 0.02 matters
    made = {
        "supported": (0.05, 0.03, 0.07, 0.01),
        "contradicted": (-0.05, -0.07, -0.03, 0.01),
        "no difference that matters": (0.001, -0.01, 0.012, 0.9),
        "undecided": (0.03, -0.01, 0.07, 0.2),
    }
    for expected, (mean, low, high, p) in made.items():
        assert script.verdict(claim, script.Effect(10, mean, low, high, 1.0, p), p) == expected
    small = script.Effect(10, 0.005, 0.004, 0.006, 9.0, 0.001)  # significant, and smaller than what matters
    assert script.verdict(claim, small, 0.001) == "no difference that matters"


def test_the_section_states_what_is_complete_and_what_was_left_out(script):
    rng = np.random.default_rng(2)
    table = table_of(rng, seeds=10) + table_of(rng, seeds=3, data="fashion-mnist")[:-1]
    text = script.section(table, {"digits": 10, "fashion-mnist": 10}, {"fashion-mnist": {7, 8}})
    assert "- Digits: 10 of 10 seeds are complete, 0 have a failed run." in text
    assert "- Fashion-MNIST: 2 of 10 seeds are complete, 2 have a failed run." in text
    assert (
        sum(line.startswith(f"| {claim.name} | Digits |") for line in text.splitlines() for claim in script.CLAIMS) == 6
    )
    assert "| Fashion-MNIST |" not in text  # more than one seed in ten was left out: no verdict
    for row in table:
        row["train_accuracy"] = 1.0
    text = script.section(table, {"digits": 10}, {})
    assert "100 % of the runs have memorised their training set" in text and "| 3 regularisation" not in text


def test_quantities_are_computed_from_the_rows_of_a_sweep(script):
    result = {
        "run": "a",
        "data": "digits",
        "design": "4x3d",
        "cardinality": 4,
        "width": 3,
        "seed": 0,
        "parameters": 31_910,
        "train_accuracy": 0.97,
        "train_loss": 0.1,
        "test_accuracy": 0.95,
        "test_loss": 0.15,
    }
    layer = {"run": "a", "layer": "layer3.0.conv2", "conv_group": None, "snr": None, "cka": None}
    group = {"run": "a", "layer": "layer3.0.conv2", "effective_rank": 2.0, "epoch": 11, "class_cosine": 0.1, "snr": 0.2}
    statistics = [
        {**layer, "epoch": 1, "class_cosine": 0.5, "effective_rank": 10.0},
        {**layer, "epoch": 11, "class_cosine": 0.3, "effective_rank": 12.0},
        {**group, "conv_group": 0, "cka": 0.4},
        {**group, "conv_group": 1, "cka": None, "snr": 0.4},
        {**group, "conv_group": 0, "epoch": 1, "snr": 9.0, "cka": 9.0},
    ]
    steps = [
        {"run": "a", "epoch": epoch, "gradient_l2": np.exp(value)} for epoch, value in [(0, 9), (1, 1), (1, 3), (2, 2)]
    ]
    (row,) = script.quantities([result], statistics, steps)
    assert row["gap"] == pytest.approx(0.05) and row["roughness"] == pytest.approx(1.5)
    assert row["class_cosine"] == 0.4 and row["effective_rank"] == 12 and row["rank_per_channel"] == 12 / 48
    assert row["group_snr"] == pytest.approx(0.3) and row["group_cka"] == 0.4


def test_the_marks_of_the_page_are_there_and_what_is_between_them_is_replaced(script, tmp_path):
    page = tmp_path / "claims.md"
    page.write_bytes(script.PAGE.read_bytes())
    script.replace_section(page, "new tables\n")
    text = page.read_text(encoding="utf-8")
    before, _, rest = script.PAGE.read_text(encoding="utf-8").partition(script.BEGIN)
    assert text == f"{before}{script.BEGIN}\nnew tables\n\n{script.END}{rest.partition(script.END)[2]}"
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the marks"):
        script.replace_section(page, "new tables\n")


def test_the_tables_of_the_page_are_those_of_the_stored_runs(script):
    with open(script.TABLE, newline="", encoding="utf-8") as file:
        table = [{name: number_or_text(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert len(table) == 180
    page = script.PAGE.read_text(encoding="utf-8")
    section = page.partition(script.BEGIN)[2].partition(script.END)[0]
    assert section.strip() == script.section(table, script.seeds_of_study(), {}).strip()


def number_or_text(cell):
    """Return a cell of a CSV file as int, float, None if it is empty, or text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell or None


def test_the_verdicts_at_the_top_are_those_of_the_tables(script):
    page = script.PAGE.read_text(encoding="utf-8")
    summary, _, tables = page.partition("## Small trainings")[2].partition(script.BEGIN)

    def rows(text):
        return [
            [cell.strip(" *") for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \d.*$", text, re.M)
        ]

    verdicts = {(name.split()[0], data): cells[-1] for name, data, *cells in rows(tables)}
    assert len(verdicts) == script.TESTS
    for name, *cells in rows(summary):
        assert cells == [verdicts[name.split()[0], data] for data in ("Digits", "Fashion-MNIST")], name
    assert len(rows(summary)) == len(script.CLAIMS)


def test_the_claims_are_those_of_the_plan(script):
    plan = (ROOT / "docs" / "claims" / "plan.md").read_text(encoding="utf-8")
    for claim in script.CLAIMS:
        (line,) = [line for line in plan.splitlines() if line.startswith(f"| {claim.name} |")]
        quantity = script.QUANTITIES[claim.quantity][0]
        assert (
            f"| {quantity} |" in line
            and f"| {claim.matters} {claim.unit}".replace("1 directions", "1 direction").rstrip() in line
        )
        assert ("rises" in line) == (claim.sign > 0)
