"""Analyse the runs of docs/claims/study.toml as docs/claims/plan.md says, and write the tables of docs/claims.md.

    npresnext sweep docs/claims/study.toml -o claims-runs
    python scripts/analyse_claims.py claims-runs                          # print the tables
    python scripts/analyse_claims.py claims-runs --write                  # write them into docs/claims.md

With --write, docs/claims/trainings.csv gets one row per run with every quantity, and the part of docs/claims.md between
the marks "trainings: begin" and "trainings: end" is replaced. Needs SciPy.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from npresnext._support.files import atomic_path
from npresnext.gradients.statistics.corrections import holm
from npresnext.studies import collect, read_study, run_folders, write_table

ROOT = Path(__file__).parent.parent
STUDY, PAGE, TABLE = (ROOT / "docs" / name for name in ("claims/study.toml", "claims.md", "claims/trainings.csv"))
BEGIN, END = "<!-- trainings: begin -->\n", "<!-- trainings: end -->\n"

EQUAL_PARAMETERS = ("1x8d", "2x5d", "4x3d", "16x1d")
EQUAL_WIDTH = ("1x1d", "4x1d", "16x1d")
LAST_LAYER = "layer3.0.conv2"
LEVEL, TESTS = 0.05, 12
DOUBLINGS = 4  # from C = 1 to C = 16
MOST_EXACT, RESAMPLES = 12, 99_999  # seeds up to which every sign change is tried, and how many are drawn for more
KNOWN_BY_HEART, MOST_LEFT_OUT = 0.995, 0.1
NAMES = {"digits": "Digits", "fashion-mnist": "Fashion-MNIST"}
NO_BREAK = "\N{NO-BREAK SPACE}"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the plan says about one claim: `sign` is that of the effect that the claim predicts."""

    name: str
    quantity: str
    designs: tuple[str, ...]
    sign: int
    matters: float
    unit: str


CLAIMS = (
    Claim("1 less interference", "class_cosine", EQUAL_PARAMETERS, +1, 0.02, ""),
    Claim("2 more diverse features", "effective_rank", EQUAL_PARAMETERS, +1, 1, "directions"),
    Claim("3 regularisation", "gap", EQUAL_PARAMETERS, -1, 0.01, "nats"),
    Claim("4 stability", "roughness", EQUAL_PARAMETERS, -1, 0.02, ""),
    Claim("5a scaling", "test_loss", EQUAL_WIDTH, -1, 0.01, "nats"),
    Claim("5b cardinality rather than width", "test_loss", ("1x8d", "16x1d"), -1, 0.01, "nats"),
)
QUANTITIES = {  # column -> heading and number format
    "parameters": ("parameters", "{:,.0f}"),
    "train_accuracy": ("training accuracy", "{:.3f}"),
    "test_accuracy": ("test accuracy", "{:.3f}"),
    "test_loss": ("test loss", "{:.3f}"),
    "gap": ("gap", "{:.3f}"),
    "class_cosine": ("class cosine", "{:.3f}"),
    "effective_rank": ("effective rank", "{:.2f}"),
    "rank_per_channel": ("effective rank / channels", "{:.3f}"),
    "roughness": ("roughness", "{:.3f}"),
    "group_snr": ("mean over groups: signal-to-noise", "{:.4f}"),
    "group_class_cosine": ("mean over groups: class cosine", "{:.3f}"),
    "group_cka": ("mean over groups: CKA with the others", "{:.3f}"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folders of the sweep")
    parser.add_argument("--write", action="store_true", help="write docs/claims.md and docs/claims/trainings.csv")
    args = parser.parse_args()
    table = quantities(*(collect(args.folders, what) for what in ("results", "statistics", "steps")))
    failed = {run.name for folder in args.folders for run in run_folders(folder) if run.state == "failed"}
    text = section(table, seeds_of_study(), failures(failed))
    if not args.write:
        print(text)
        return 0
    write_table(table, TABLE, overwrite=True)
    replace_section(PAGE, text)
    print(f"{len(table)} runs in {TABLE}; {PAGE} has their tables")
    return 0


# ---------------------------------------------------------------------------------------------------------
# One row for each run


def quantities(results: Sequence[Row], statistics: Sequence[Row], steps: Sequence[Row]) -> list[Row]:
    """Return a row for each run, with the quantities of the plan."""
    statistics_of, steps_of = _by_run(statistics), _by_run(steps)
    return [_quantities(result, statistics_of[result["run"]], steps_of[result["run"]]) for result in results]


def _by_run(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["run"], []).append(row)
    return found


def _quantities(result: Row, statistics: Sequence[Row], steps: Sequence[Row]) -> Row:
    last = max(row["epoch"] for row in statistics)
    layers = [row for row in statistics if row["conv_group"] is None]
    groups = [row for row in statistics if row["conv_group"] is not None and row["epoch"] == last]
    (rank,) = [row["effective_rank"] for row in layers if row["layer"] == LAST_LAYER and row["epoch"] == last]
    channels = 4 * result["cardinality"] * result["width"]  # the third stage is 4 times as wide as the first
    norms = np.array([row["gradient_l2"] for row in steps if row["epoch"] > 0])
    copied = ("run", "data", "design", "cardinality", "width", "seed", "parameters")
    return {
        **{name: result[name] for name in copied},
        "train_accuracy": result["train_accuracy"],
        "test_accuracy": result["test_accuracy"],
        "test_loss": result["test_loss"],
        "gap": result["test_loss"] - result["train_loss"],
        "class_cosine": _mean([row["class_cosine"] for row in layers]),
        "effective_rank": rank,
        "rank_per_channel": rank / channels,
        "roughness": float(np.abs(np.diff(np.log(norms))).mean()),
        "group_snr": _mean([row["snr"] for row in groups]),
        "group_class_cosine": _mean([row["class_cosine"] for row in groups]),
        "group_cka": _mean([row["cka"] for row in groups]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None and math.isfinite(value)]
    return sum(there) / len(there) if there else None


# ---------------------------------------------------------------------------------------------------------
# The analysis


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of cardinality on one quantity: mean over seeds, 95 % interval, size and p-value before correction."""

    seeds: int
    mean: float
    low: float
    high: float
    size: float
    p: float


def effect_of(table: Sequence[Row], claim: Claim, seeds: Sequence[int]) -> Effect:
    """Return the effect for one claim, from the rows of one data set."""
    values = {(row["seed"], row["design"]): row[claim.quantity] for row in table}
    cardinality = {row["design"]: row["cardinality"] for row in table}
    logs = np.log2([cardinality[design] for design in claim.designs])
    numbers = []
    for seed in seeds:
        y = np.array([values[seed, design] for design in claim.designs])
        if claim.name.startswith("5b"):
            numbers.append(y[1] - y[0])
        else:
            numbers.append(DOUBLINGS * np.polyfit(logs, y, 1)[0])
    found = np.array(numbers)
    mean, deviation = found.mean(), found.std(ddof=1)
    half = scipy.stats.t.ppf(0.975, len(found) - 1) * deviation / math.sqrt(len(found))
    return Effect(len(found), mean, mean - half, mean + half, mean / deviation, sign_flip_p(found))


def sign_flip_p(values: np.ndarray) -> float:
    """Return the share of sign changes of `values` with at least the absolute mean of the data.

    >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    observed = abs(values.sum()) * (1 - 1e-12)  # the data themselves count, whatever their rounding
    if len(values) <= MOST_EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(values))))  # (2^n, n)
        return float((np.abs(signs @ values) >= observed).mean())
    signs = np.random.default_rng(0).choice((-1, 1), size=(RESAMPLES, len(values)))
    return float((1 + (np.abs(signs @ values) >= observed).sum()) / (1 + RESAMPLES))


def verdict(claim: Claim, effect: Effect, p: float) -> str:
    """Return the verdict of the plan; `p` is corrected."""
    if p <= LEVEL and abs(effect.mean) >= claim.matters:
        return "supported" if np.sign(effect.mean) == claim.sign else "contradicted"
    if -claim.matters < effect.low and effect.high < claim.matters:
        return "no difference that matters"
    return "undecided"


def complete_seeds(table: Sequence[Row]) -> list[int]:
    """Return the seeds for which every design is there, from the rows of one data set."""
    designs = {*EQUAL_PARAMETERS, *EQUAL_WIDTH}
    seeds = sorted({row["seed"] for row in table})
    return [seed for seed in seeds if designs <= {row["design"] for row in table if row["seed"] == seed}]


def seeds_of_study() -> dict[str, int]:
    """Return the number of seeds that the study has for each data set."""
    found: dict[str, set[int]] = {}
    for run in read_study(STUDY).runs:
        found.setdefault(run.training.data, set()).add(run.training.seed)
    return {data: len(seeds) for data, seeds in found.items()}


def failures(names: set[str]) -> dict[str, set[int]]:
    """Return the seeds of failed runs by data set."""
    found: dict[str, set[int]] = {}
    for run in read_study(STUDY).runs:
        if run.name in names:
            found.setdefault(run.training.data, set()).add(run.training.seed)
    return found


# ---------------------------------------------------------------------------------------------------------
# The page


def section(table: Sequence[Row], planned: dict[str, int], failed: dict[str, set[int]]) -> str:
    """Return the part of the page with all tables."""
    effects: list[tuple[Claim, str, Effect]] = []
    lines, designs = [], []
    for data, count in planned.items():
        rows = [row for row in table if row["data"] == data]
        seeds = complete_seeds(rows)
        left_out = failed.get(data, set())
        lines.append(f"- {NAMES[data]}: {len(seeds)} of {count} seeds are complete, {len(left_out)} have a failed run.")
        if len(seeds) < 2:
            continue
        rows = [row for row in rows if row["seed"] in seeds]
        by_heart = sum(row["train_accuracy"] >= KNOWN_BY_HEART for row in rows) / len(rows)
        lines[-1] += f" {100 * by_heart:.0f} % of the runs have memorised their training set."
        designs.append((data, rows))
        for claim in CLAIMS:
            if len(left_out) > MOST_LEFT_OUT * count:
                continue
            if claim.name.startswith("3") and by_heart > MOST_LEFT_OUT:
                continue
            effects.append((claim, data, effect_of(rows, claim, seeds)))
    parts = ["\n".join(lines)]
    if effects:
        parts.append(_verdicts(effects))
    for data, rows in designs:
        parts.append(f"{NAMES[data]}, mean ± standard deviation over the seeds:\n\n{_designs(rows)}")
    return "\n\n".join(parts) + "\n"


def _verdicts(effects: Sequence[tuple[Claim, str, Effect]]) -> str:
    untested = [1.0] * (TESTS - len(effects))  # the plan corrects for all of its tests
    corrected = holm([effect.p for _, _, effect in effects] + untested)
    rows = [
        [
            claim.name,
            NAMES[data],
            QUANTITIES[claim.quantity][0],
            _with_interval(effect, QUANTITIES[claim.quantity][1].replace(":", ":+").format, claim.unit),
            f"{effect.size:+.2f}",
            f"{p:.4f}",
            verdict(claim, effect, p),
        ]
        for (claim, data, effect), p in zip(effects, corrected)
    ]
    heading = [
        "claim",
        "data",
        "quantity",
        "effect of C = 16 against C = 1 (95 %)",
        "effect size",
        "p (Holm)",
        "verdict",
    ]
    return markdown(heading, rows)


def _with_interval(effect: Effect, form: Callable[[float], str], unit: str) -> str:
    return f"{form(effect.mean)} ({form(effect.low)} to {form(effect.high)}) {unit}".strip()


def _designs(rows: Sequence[Row]) -> str:
    designs = sorted({row["design"] for row in rows}, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    lines = []
    for column, (heading, form) in QUANTITIES.items():
        cells = [heading]
        for design in designs:
            values = [row[column] for row in rows if row["design"] == design and row[column] is not None]
            cells.append(_mean_and_spread(values, form.format))
        lines.append(cells)
    return markdown(["C x d", *designs], lines)


def _mean_and_spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    if not values:
        return "-"
    spread = float(np.std(values, ddof=1))
    return form(float(np.mean(values))) + (f"{NO_BREAK}±{NO_BREAK}{form(spread)}" if spread else "")


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_section(page: Path, text: str) -> None:
    """Replace what is between the marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the marks {BEGIN.strip()} and {END.strip()}")
    with atomic_path(page, overwrite=True) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
