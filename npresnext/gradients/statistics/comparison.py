"""What a comparison of the groups of each layer finds: numbers, a verdict in words, a table, rows for a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ..._support.plurals import counted
from ..._support.tables import text_table
from ...errors import InvalidValueError
from ..norms import Row
from .corrections import holm
from .permutation import PermutationResult

COMPARISON_COLUMNS = (
    "layer",
    "conv_group",
    "groups",
    "samples",
    "l2_to_others",
    "low",
    "high",
    "group_p",
    "statistic",
    "chance",
    "p",
    "p_holm",
    "special",
)
NOTHING = "nothing to see"

# null hypothesis -> (noun of a sample, name of the statistic, what the test says and what it does not)
TESTS = {
    "filters": (
        "filters",
        "variation",
        "A small p says: the gradient norm of a filter depends on its group, in this one gradient. It says nothing of\n"
        "other steps or seeds. The test takes all filters of a layer for exchangeable.",
    ),
    "steps": (
        "blocks",
        "variation",
        "A small p says: the groups differ throughout this run. They start from different random weights, so the seed\n"
        "may be the reason: compare several seeds. The test takes blocks of steps that are far apart for independent.",
    ),
    "seeds": (
        "seeds",
        "agreement",
        "A small p says: the same groups are large in run after run, so something tells the groups apart. The test\n"
        "takes the runs for independent: each has a seed of its own, and none starts from the weights of another.",
    ),
}


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """The groups of one layer, compared.

    Attributes
    ----------
    layer : str
    groups : int
        G.
    samples : int
        Filters per group, blocks of steps, or seeds.
    result : PermutationResult
        Statistic, ratios, intervals, and p-values before the correction over layers.
    pvalue : float
        Of the hypothesis that the groups are equal; NaN if the layer was not tested.
    pvalue_holm : float
        The same, corrected for the number of layers.
    special : tuple of int
        The groups that stand out; empty if there is nothing to see, or if no single group does.
    verdict : str
        In words.
    """

    layer: str
    groups: int
    samples: int
    result: PermutationResult
    pvalue: float
    pvalue_holm: float
    special: tuple[int, ...]
    verdict: str

    @property
    def differs(self) -> bool:
        """Whether the groups differ by more than chance, after the correction over layers."""
        return self.verdict != NOTHING and not math.isnan(self.pvalue)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The groups of all layers, compared: ``print`` shows a table with verdicts.

    Attributes
    ----------
    test : "filters", "steps" or "seeds"
        What the null hypothesis takes for exchangeable.
    layers : tuple of LayerComparison
    alpha : float
        The probability of a wrong verdict that was accepted, over all layers together.
    """

    test: str
    layers: tuple[LayerComparison, ...]
    alpha: float

    def rows(self) -> list[Row]:
        """Return a row for each conv group of each layer, with the keys of ``COMPARISON_COLUMNS``.

        Returns
        -------
        list of dict
            `samples`: filters per group, blocks of steps, or seeds. `l2_to_others`: the norm of the group over the root
            mean square norm of the other groups, with its interval of level 1 − α from `low` to `high`. `group_p`: the
            p-value of the group, corrected for the number of groups. `statistic`, and `chance`, its mean under the
            null hypothesis. `p` and `p_holm` of the layer; NaN if it was not tested. `special`: 1 if the verdict names
            the group, else 0.
        """
        return [
            {
                "layer": layer.layer,
                "conv_group": group,
                "groups": layer.groups,
                "samples": layer.samples,
                "l2_to_others": float(layer.result.ratios[group]),
                "low": float(layer.result.low[group]),
                "high": float(layer.result.high[group]),
                "group_p": math.nan if math.isnan(layer.pvalue) else float(layer.result.group_pvalues[group]),
                "statistic": layer.result.statistic,
                "chance": layer.result.chance,
                "p": layer.pvalue,
                "p_holm": layer.pvalue_holm,
                "special": int(group in layer.special),
            }
            for layer in self.layers
            for group in range(layer.groups)
        ]

    def __str__(self) -> str:
        samples, statistic, _ = TESTS[self.test]
        header = ["layer", "groups", samples, statistic, "by chance", "p", "p (Holm)", "verdict"]
        table = text_table(header, [_cells(layer) for layer in self.layers])
        groups = [_group_cells(layer, group) for layer in self.layers for group in layer.special]
        if not groups:
            return table
        interval = f"{100 * (1 - self.alpha):g} % interval"
        return f"{table}\n\n{text_table(['layer', 'group', 'times the others', interval, 'p'], groups)}"

    @property
    def meaning(self) -> str:
        """What the test says and what it does not, in a few sentences."""
        return TESTS[self.test][2]


def compare_layers(
    test: str, results: dict[str, tuple[int, PermutationResult, str | None]], alpha: float, n_resamples: int
) -> Comparison:
    """Correct the p-values over the layers, and put the verdicts into words.

    Parameters
    ----------
    test : "filters", "steps" or "seeds"
    results : dict of str to (int, PermutationResult, str or None)
        For each layer the number of samples, what its test finds, and why it cannot be tested, or None if it can.
        Whether it can must not depend on the differences between its groups.
    alpha : float
    n_resamples : int

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        So few permutations that no verdict could differ from "nothing to see".
    """
    tested = [name for name, (_, _, reason) in results.items() if reason is None]
    if tested and len(tested) > alpha * (1 + n_resamples):
        raise InvalidValueError(
            f"{counted(n_resamples, 'permutation')} allow no p below 1/{1 + n_resamples}, but with "
            f"{counted(len(tested), 'layer')} Holm's correction needs p <= {alpha:g}/{len(tested)}: use at least "
            f"{math.ceil(len(tested) / alpha) - 1}"
        )
    corrected = dict(zip(tested, holm([results[name][1].pvalue for name in tested])))
    return Comparison(
        test,
        tuple(
            _layer(name, samples, result, corrected.get(name), reason, alpha)
            for name, (samples, result, reason) in results.items()
        ),
        alpha,
    )


def _layer(
    name: str, samples: int, result: PermutationResult, pvalue_holm: float | None, reason: str | None, alpha: float
) -> LayerComparison:
    groups = len(result.ratios)
    if pvalue_holm is None:
        return LayerComparison(name, groups, samples, result, math.nan, math.nan, (), f"not tested: {reason}")
    special: tuple[int, ...] = ()
    verdict = NOTHING
    if pvalue_holm <= alpha:
        special = tuple(group for group in range(groups) if result.group_pvalues[group] <= alpha)
        verdict = (
            "; ".join(_in_words(result, group) for group in special) or "groups differ, but no single one stands out"
        )
    return LayerComparison(name, groups, samples, result, result.pvalue, pvalue_holm, special, verdict)


def _in_words(result: PermutationResult, group: int) -> str:
    ratio, low, high = (float(values[group]) for values in (result.ratios, result.low, result.high))
    return (
        f"group {group}: {ratio:.2f} times the others ({low:.2f} to {high:.2f}), p = {result.group_pvalues[group]:.2g}"
    )


def _cells(layer: LayerComparison) -> Sequence[object]:
    """Return a line of the table of layers."""
    numbers = ["-", "-", "-"]
    if not math.isnan(layer.pvalue):
        low, high = layer.result.chance_interval
        numbers = [f"{low:.3f} to {high:.3f}", f"{layer.pvalue:.4f}", f"{layer.pvalue_holm:.4f}"]
    verdict = layer.verdict
    if layer.special:
        verdict = f"{'group' if len(layer.special) == 1 else 'groups'} {', '.join(map(str, layer.special))}"
    return [layer.layer, layer.groups, layer.samples, f"{layer.result.statistic:.3f}", *numbers, verdict]


def _group_cells(layer: LayerComparison, group: int) -> Sequence[object]:
    """Return a line of the table of groups that stand out."""
    found = layer.result
    interval = f"{found.low[group]:.2f} to {found.high[group]:.2f}"
    return [layer.layer, str(group), f"{found.ratios[group]:.2f}", interval, f"{found.group_pvalues[group]:.4f}"]
