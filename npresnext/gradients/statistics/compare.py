"""Is a group special, or is it chance? Three tests, by what they take for exchangeable: filters, steps, seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..._support.arguments import as_generator, as_int, check_number
from ..._support.plurals import counted
from ..._support.typing import NumPyArray
from ...backend import array_module, to_numpy
from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...nn import Module
from ..norms import Row, weight_gradients
from .comparison import Comparison, compare_layers
from .permutation import PermutationResult, least_pvalue, permutation_test, variation
from .ranks import agreement, rank_rows
from .steps import LEAST_BLOCKS, block_length, blocks_of_steps, shares_by_layer

Result = tuple[int, PermutationResult, str | None]  # samples, what the test finds, why it was not made


def compare_groups(
    data: Module | Mapping[str, Any] | Sequence[Row],
    groups: Mapping[str, int] | None = None,
    *,
    value: str = "l2",
    alpha: float = 0.05,
    n_resamples: int = 9999,
    rng: Any = 0,
) -> Comparison:
    """Test for each layer whether its conv groups have equal gradient norms, and name the groups that stand out.

    The statistic is the *variation*: the standard deviation of the norms of the groups over their mean. It is compared
    with the variation after random permutations. What is permuted depends on the data:

    ================================ ================================================================================
    data                             null hypothesis and permutations
    ================================ ================================================================================
    a network after backward, or     Filters (output channels) are exchangeable: all filters of a layer are dealt anew
    weight gradients                 to its groups. One gradient; one filter per group cannot be tested.
    rows of one run, step by step    Groups are exchangeable within blocks of steps that are nearly independent. The
                                     blocks are long compared with the time over which norms are correlated.
    ================================ ================================================================================

    Neither test says that a group would be special with another seed: see :func:`compare_seeds`.

    Parameters
    ----------
    data : Module, mapping of str to array (C_out, ...), or sequence of dict
        A network after its backward pass; weight gradients by layer, output channels first; or rows as from
        :func:`read_rows`. Layers with one group are left out.
    groups : mapping of str to int
        With weight gradients: the number of groups of each layer.
    value : str
        With rows: the column to compare, a norm. Its squares are divided by the sum over the groups of the layer at
        that step.
    alpha : float
        The accepted probability of a wrong verdict, over all layers together.
    n_resamples : int
        B, the number of random permutations for each layer. No p-value is below 1/(1 + B).
    rng : None, int or numpy.random.Generator
        For the permutations. With the default, the same data give the same p-values.

    Returns
    -------
    Comparison
        ``print`` shows its table. For each layer: the variation, the p-value ``(1 + b)/(1 + B)`` for b of B
        permutations with at least the variation of the data, and that p-value corrected over layers by Holm's method.
        For each group: the ratio of its norm to the root mean square norm of the other groups, its confidence
        interval of level 1 − alpha from the same permutations, and a p-value corrected over the groups of the layer.
        A verdict names groups if both corrected p-values are at most `alpha`; else it is "nothing to see".

    Raises
    ------
    ValueError
        No layer has more than one group; rows are incomplete; or `n_resamples` is too small for any finding.
    TypeError
        `data` is neither of the three.
    BackwardError
        The network has no gradients.

    Examples
    --------
    >>> import npresnext as nx
    >>> grad = np.random.default_rng(0).normal(size=(32, 4, 3, 3))
    >>> print(nx.gradients.compare_groups({"conv": grad}, {"conv": 4}))
    layer  groups  filters  variation  by chance            p  p (Holm)  verdict
    -----------------------------------------------------------------------------------
    conv        4        8      0.030  0.013 to 0.076  0.7514    0.7514  nothing to see

    >>> grad[16:24] *= 1.5                                               # group 2
    >>> found = nx.gradients.compare_groups({"conv": grad}, {"conv": 4})
    >>> found.layers[0].verdict
    'group 2: 1.43 times the others (1.27 to 1.63), p = 0.0002'
    """
    tester = _Tester(alpha, n_resamples, rng)
    if isinstance(data, (Module, Mapping)):
        if value != "l2":
            raise InvalidTypeError("value names a column of rows: weight gradients have none")
        return compare_layers("filters", _filter_tests(data, groups, tester), alpha, n_resamples)
    if groups is not None:
        raise InvalidTypeError("groups goes with a mapping of weight gradients; rows have a column groups")
    results = {layer: _step_test(shares, tester) for layer, shares in shares_by_layer(data, value).items()}
    return compare_layers("steps", results, alpha, n_resamples)


def compare_seeds(
    runs: Collection[Sequence[Row]],
    *,
    value: str = "l2",
    alpha: float = 0.05,
    n_resamples: int = 9999,
    rng: Any = 0,
) -> Comparison:
    """Test for each layer whether the same conv groups are large in several runs that differ only in their seed.

    In each run the groups of a layer are ranked by their share of the squared norm, averaged over the steps. The
    statistic is the *agreement* of these rankings, Kendall's W. It is compared with that of rankings that are permuted
    at random, each by itself: Friedman's test, by permutation.

    The null hypothesis is exact for a network as it is built here. Its initial weights are drawn alike for all groups,
    and to renumber the groups changes nothing else; so over seeds every ranking is equally probable. A small p
    then means that something tells the groups apart: common initial weights, an operation between groups, or a mistake.
    The test does not say whether groups differ within a run: see :func:`compare_groups`.

    Parameters
    ----------
    runs : collection of sequences of dict
        The rows of each run, as from :func:`read_rows`.
    value, alpha, n_resamples, rng
        As for :func:`compare_groups`.

    Returns
    -------
    Comparison
        As from :func:`compare_groups`, with seeds in place of blocks of steps.

    Raises
    ------
    ValueError
        Fewer than two runs, runs with different layers or with the same numbers, or what :func:`compare_groups` raises.

    Examples
    --------
    >>> def run(seed, special=1.0):                                      # one step of a layer with 4 groups
    ...     l2 = np.random.default_rng(seed).uniform(1, 2, size=4) * [1, 1, 1, special]
    ...     return [{"layer": "conv", "conv_group": g, "groups": 4, "l2": l2[g]} for g in range(4)]
    >>> compare_seeds([run(seed) for seed in range(8)]).layers[0].verdict
    'nothing to see'
    >>> compare_seeds([run(seed, special=2.0) for seed in range(8)]).layers[0].special
    (3,)
    """
    tester = _Tester(alpha, n_resamples, rng)
    if isinstance(runs, (str, bytes, Mapping)) or not isinstance(runs, Collection):
        raise InvalidTypeError(f"runs is of type {type(runs).__name__}: expected the rows of each run, in a list")
    if len(runs) < 2:
        raise InvalidValueError(f"runs has {counted(len(runs), 'run')}: seeds are compared from two runs on")
    by_run = [_mean_shares(number, rows, value) for number, rows in enumerate(runs)]
    results = {layer: _seed_test(shares, tester) for layer, shares in _tables_of_seeds(by_run).items()}
    return compare_layers("seeds", results, alpha, n_resamples)


class _Tester:
    """The options that the tests of all layers share."""

    def __init__(self, alpha: float, n_resamples: int, rng: Any) -> None:
        check_number(alpha, "alpha")
        if not 0 < alpha < 1:
            raise InvalidValueError(f"alpha must lie between 0 and 1, but is {alpha}")
        self.alpha, self.n_resamples, self.rng = alpha, as_int(n_resamples, "n_resamples", 1), as_generator(rng)
        if 1 / (1 + self.n_resamples) > alpha:
            raise InvalidValueError(
                f"{counted(self.n_resamples, 'permutation')} allow no p below 1/{1 + self.n_resamples}, and alpha is "
                f"{alpha:g}: use at least {math.ceil(1 / alpha) - 1}"
            )

    def test(self, table: NumPyArray, size: str, *, within_rows: bool, **options: Any) -> Result:
        """Test a table (n, G); `size` says how many samples it has, if these are too few to show any difference."""
        least = least_pvalue(*table.shape, within_rows=within_rows, n_resamples=self.n_resamples)
        reason = None if least <= self.alpha else f"{size}, so no p is below {least:.2g}"
        found = permutation_test(
            table, self.rng, within_rows=within_rows, n_resamples=self.n_resamples, alpha=self.alpha, **options
        )
        return len(table), found, reason


def _filter_tests(
    data: Module | Mapping[str, Any], groups: Mapping[str, int] | None, tester: _Tester
) -> dict[str, Result]:
    tables = {
        name: _squared_norms(name, grad, count)
        for name, (grad, _, count) in weight_gradients(data, groups).items()
        if count > 1
    }
    if not tables:
        raise InvalidValueError("no layer has more than one group: there are no groups to compare")
    return {
        name: tester.test(
            table, f"its groups have {counted(len(table), 'filter')} each", within_rows=False, statistic=variation
        )
        for name, table in tables.items()
    }


def _squared_norms(name: str, grad: Any, groups: int) -> NumPyArray:
    """Return the squared norm of each filter, as float64 of shape (C_out/G, G)."""
    if not grad.shape or grad.shape[0] % groups:
        raise ShapeError(
            f"{name} has shape {tuple(grad.shape)} and groups={groups}: groups must divide the first axis, C_out"
        )
    xp = array_module(grad=grad)
    filters = xp.reshape(xp.astype(grad, xp.float64), (grad.shape[0], -1))  # (C_out, L)
    squares = to_numpy(xp.sum(filters * filters, axis=1)).reshape(groups, -1).T  # (C_out/G, G)
    if not np.isfinite(squares).all():
        raise InvalidValueError(f"{name} has a gradient that is not finite")
    return squares


def _step_test(shares: NumPyArray, tester: _Tester) -> Result:
    """Test the shares (T, G) of one layer in one run."""
    blocks = blocks_of_steps(shares)
    options: dict[str, Any] = {"within_rows": True, "statistic": variation}
    if len(blocks) >= LEAST_BLOCKS:
        return tester.test(blocks, f"there are {counted(len(blocks), 'block')} of steps", **options)
    _, found, _ = tester.test(shares.mean(axis=0, keepdims=True), "", **options)  # for its ratios
    needed = LEAST_BLOCKS * block_length(shares)
    return len(blocks), found, f"it has {counted(len(shares), 'step')}, and their correlation calls for {needed:,}"


def _seed_test(shares: NumPyArray, tester: _Tester) -> Result:
    """Test the shares (K, G) of one layer in K runs."""
    ranks = rank_rows(shares)
    size = f"there are {counted(len(shares), 'seed')}"
    return tester.test(shares, size, within_rows=True, statistic=lambda sums: agreement(ranks, sums), scores=ranks)


def _mean_shares(number: int, rows: Sequence[Row], value: str) -> dict[str, NumPyArray]:
    """Return, for each layer of one run, the shares of the groups (G,), averaged over the steps."""
    try:
        return {name: shares.mean(axis=0) for name, shares in shares_by_layer(rows, value).items()}
    except InvalidValueError as error:
        raise InvalidValueError(f"run {number}: {error}") from error


def _tables_of_seeds(by_run: Sequence[Mapping[str, NumPyArray]]) -> dict[str, NumPyArray]:
    """Return, for each layer, the shares by run and group (K, G)."""
    first = by_run[0]
    for number, run in enumerate(by_run[1:], 1):
        different = sorted(set(first) ^ set(run))
        if different:
            raise InvalidValueError(
                f"runs 0 and {number} must have the same layers, but differ in {', '.join(different)}"
            )
        for layer, shares in run.items():
            if shares.shape != first[layer].shape:
                raise InvalidValueError(
                    f"{layer} has {len(first[layer])} groups in run 0 and {len(shares)} in run {number}"
                )
    tables = {layer: np.array([run[layer] for run in by_run]) for layer in first}
    for number in range(len(by_run)):
        for earlier in range(number):
            if all(np.array_equal(table[number], table[earlier]) for table in tables.values()):
                raise InvalidValueError(
                    f"runs {earlier} and {number} have the same numbers: expected runs with different seeds"
                )
    return tables
