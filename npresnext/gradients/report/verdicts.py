"""What the statistics say of the runs of a report: within each run, and over runs with the same layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..._support.plurals import counted
from ...errors import InvalidValueError
from ..statistics import Comparison, compare_groups, compare_seeds
from .runs import Run

HEADER = ["layer", "verdict", "p (Holm)", "p", "statistic", "by chance", "samples", "groups"]


def compare_runs(runs: Sequence[Run], value: str) -> tuple[list[Comparison | str], Comparison | str | None]:
    """Return the comparison of the groups of each run, and that over all runs; the reason in words where there is none.

    The second is None for one run.
    """
    within: list[Comparison | str] = []
    for run in runs:
        try:
            within.append(compare_groups(run.rows, value=value))
        except InvalidValueError as error:
            within.append(str(error))
    if len(runs) == 1:
        return within, None
    grouped = [{name: groups for name, groups in run.layers.items() if groups > 1} for run in runs]
    if any(layers != grouped[0] for layers in grouped):
        return within, "the runs have different layers or numbers of groups, so their groups do not correspond"
    try:
        return within, compare_seeds([run.rows for run in runs], value=value)
    except InvalidValueError as error:
        return within, str(error)


def summary_of(found: Comparison | str) -> str:
    """Return the verdicts of all layers in one sentence.

    >>> summary_of("no layer has more than one group")
    'Not tested: no layer has more than one group.'
    """
    if isinstance(found, str):
        return f"Not tested: {found}."
    tested = [layer for layer in found.layers if not math.isnan(layer.pvalue)]
    different = [layer for layer in tested if layer.differs]
    untested = len(found.layers) - len(tested)
    rest = f" {counted(untested, 'layer')} could not be tested." if untested else ""
    if not tested:
        return rest.strip()
    of_all = f"{len(different)} of {counted(len(tested), 'layer')}"
    if not different:
        return f"Nothing to see in {counted(len(tested), 'layer')}.{rest}"
    return f"Groups differ by more than chance in {of_all}.{rest}"


def lines_of(found: Comparison) -> list[list[object]]:
    """Return a line of a table for each layer, below ``HEADER``."""
    lines: list[list[object]] = []
    for layer in found.layers:
        pvalue, pvalue_holm, chance = "-", "-", "-"
        if not math.isnan(layer.pvalue):
            low, high = layer.result.chance_interval
            pvalue, pvalue_holm, chance = f"{layer.pvalue:.4f}", f"{layer.pvalue_holm:.4f}", f"{low:.3f} to {high:.3f}"
        statistic = f"{layer.result.statistic:.3f}"
        lines.append([layer.layer, layer.verdict, pvalue_holm, pvalue, statistic, chance, layer.samples, layer.groups])
    return lines
