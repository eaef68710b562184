"""Permutation tests of G equal groups: what the spread between the groups would be if labels were dealt at random.

The data are a table of nonnegative numbers with one column per group. Two null hypotheses are served:

- all cells are exchangeable: a random permutation of the whole table, as for filters that belong to groups;
- the cells of a row are exchangeable: a random permutation within each row, as for runs or blocks of steps.

The p-value is ``(1 + b) / (1 + B)``: b of B random permutations have a statistic at least as large as the data have
(Phipson and Smyth 2010, "Permutation p-values should never be zero", doi:10.2202/1544-6115.1585). A tie counts as at
least as large, so that discrete data make p larger, never smaller.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..._support.integers import chunks
from ..._support.typing import NumPyArray

Statistic = Callable[[NumPyArray], NumPyArray]  # sums of the groups (..., G) -> (...)

CELLS_AT_ONCE = 2**18  # of the permuted tables: 2 MB as float64
TIE = 1e-12  # sums of the same numbers in another order differ by rounding: less than this share of the total


@dataclasses.dataclass(frozen=True)
class PermutationResult:
    """What a permutation test of G groups finds.

    Attributes
    ----------
    statistic, pvalue : float
        Of the table as a whole.
    chance : float
        The mean of the statistic over the random permutations.
    chance_interval : (float, float)
        95 % of the random permutations have a statistic between these two.
    ratios : array (G,)
        √(sum of the group / mean sum of the other groups).
    low, high : array (G,)
        The confidence interval of each ratio, of level 1 − α.
    group_pvalues : array (G,)
        Two-sided, corrected for the number of groups.
    """

    statistic: float
    pvalue: float
    chance: float
    chance_interval: tuple[float, float]
    ratios: NumPyArray
    low: NumPyArray
    high: NumPyArray
    group_pvalues: NumPyArray


def permutation_test(
    table: NumPyArray,
    rng: np.random.Generator,
    *,
    within_rows: bool,
    n_resamples: int,
    statistic: Statistic,
    scores: NumPyArray | None = None,
    alpha: float = 0.05,
) -> PermutationResult:
    """Compare the columns of a table with those of randomly permuted tables.

    Parameters
    ----------
    table : array (n, G)
        Squared norms, at least 0: n of each of G groups.
    rng : numpy.random.Generator
    within_rows : bool
        Whether each row is permuted by itself; the whole table if false.
    n_resamples : int
        B, the number of random permutations.
    statistic : function from array (..., G) to array (...)
        Computed from the sums of the columns; large values count against equal groups.
    scores : array (n, G), optional
        What the statistic sums in place of `table`, such as ranks.
    alpha : float
        The intervals have the level 1 − α; a group stands out if its p-value is at most α.

    Returns
    -------
    PermutationResult
        The interval of a ratio contains every factor f that the same permutations do not reject: if the group is
        divided by f², its two-sided p-value is above α (Ernst 2004, "Permutation methods: a basis for exact
        inference", doi:10.1214/088342304000000396). The p-value of a group is the larger of that of
        f = 1 and that of :func:`stepwise_pvalues`.

    Examples
    --------
    >>> table = np.array([[1.0, 1.1, 8.0, 0.9], [1.2, 1.0, 9.0, 1.1], [0.8, 1.0, 7.0, 1.0]])
    >>> found = permutation_test(
    ...     table, np.random.default_rng(0), within_rows=True, n_resamples=999, statistic=variation
    ... )
    >>> round(found.pvalue, 2), found.ratios.round(1)
    (0.06, array([0.5, 0.6, 2.8, 0.5]))
    """
    scores = table if scores is None else scores
    sums, observed = table.sum(axis=0), statistic(scores.sum(axis=0))  # (G,), ()
    permuted = _permuted(table, scores, statistic, _deals(table.shape, rng, within_rows, n_resamples))
    low, high = _limits(_factors(sums, permuted), alpha)
    tie = TIE * table.sum()
    of_one = _two_sided(
        np.sum(permuted.sums >= sums - tie, axis=0), np.sum(permuted.sums <= sums + tie, axis=0), n_resamples
    )
    of_all = stepwise_pvalues(
        table, permuted.sums.max(axis=1), permuted.sums.min(axis=1), rng, within_rows=within_rows, alpha=alpha
    )
    least, most = np.quantile(permuted.statistic, [0.025, 0.975]).tolist()
    return PermutationResult(
        statistic=float(observed),
        pvalue=(1 + int(np.sum(permuted.statistic >= observed * (1 - 1e-9)))) / (1 + n_resamples),
        chance=float(permuted.statistic.mean()),
        chance_interval=(least, most),
        ratios=ratios_to_others(sums),
        low=low,
        high=high,
        group_pvalues=np.maximum(of_one, of_all),
    )


def stepwise_pvalues(
    table: NumPyArray,
    largest: NumPyArray,
    smallest: NumPyArray,
    rng: np.random.Generator,
    *,
    within_rows: bool,
    alpha: float,
) -> NumPyArray:
    """Return the p-value of each group, corrected for the number of groups.

    The sum of a group is compared with the largest and the smallest sum of any group of each permutation. The groups
    that stand out on one side are then taken out, and the others are compared among themselves; and so on. Otherwise a
    single large group would make all others stand out as small ones. (Max-T, step-down: Westfall and Young 1993,
    "Resampling-based multiple testing".)

    Parameters
    ----------
    table : array (n, G)
    largest, smallest : array (B,)
        The largest and the smallest sum of any group of each permutation of `table`.
    rng : numpy.random.Generator
        For the permutations after the first groups are taken out.
    within_rows : bool
        As for :func:`permutation_test`.
    alpha : float
        Groups with p-values up to α are taken out.

    Returns
    -------
    array (G,)
        Two-sided. 1 for a group that is left alone; of two groups that differ, this is the smaller one.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = rng.uniform(1, 2, size=(9, 4)) * [1, 1, 8, 1]
    >>> sums = np.array([rng.permuted(table, axis=1).sum(axis=0) for _ in range(199)])
    >>> stepwise_pvalues(table, sums.max(axis=1), sums.min(axis=1), rng, within_rows=True, alpha=0.05) <= 0.05
    array([False, False,  True, False])
    """
    sums, tie = table.sum(axis=0), TIE * table.sum()
    pvalues, left, least = np.ones(len(sums)), np.arange(len(sums)), 0.0
    while len(left) > 1:
        pvalues[left] = np.maximum(least, _extreme_pvalues(sums[left], largest, smallest, tie))
        leaving = _farthest(sums[left], pvalues[left] <= alpha)
        if not leaving.any():
            break
        least = pvalues[left[leaving]].max()
        left = left[~leaving]
        pvalues[left] = 1
        if len(left) > 1:
            rest = table[:, left]
            deals = _deals(rest.shape, rng, within_rows, len(largest))
            new_sums = np.concatenate([rest.ravel()[deal].sum(axis=1) for deal in deals])  # (B, groups left)
            largest, smallest = new_sums.max(axis=1), new_sums.min(axis=1)
    return pvalues


def variation(sums: NumPyArray) -> NumPyArray:
    """Return the coefficient of variation of the norms of the groups: their standard deviation over their mean.

    It is 0 if all norms are equal, and does not depend on their scale.

    Parameters
    ----------
    sums : array (..., G)
        Squared norms.

    Returns
    -------
    array (...)

    Examples
    --------
    >>> variation(np.array([1.0, 9.0]))                   # the norms 1 and 3: mean 2, standard deviation 1
    np.float64(0.5)
    """
    norms = np.sqrt(sums)
    mean = norms.mean(axis=-1)
    return np.divide(norms.std(axis=-1), mean, out=np.zeros_like(mean), where=mean > 0)[()]


def ratios_to_others(sums: NumPyArray) -> NumPyArray:
    """Return the norm of each group divided by the root mean square norm of the other groups.

    Parameters
    ----------
    sums : array (G,)
        Squared norms.

    Returns
    -------
    array (G,)
        Infinity where all other groups are 0, NaN where all groups are.

    Examples
    --------
    >>> ratios_to_others(np.array([4.0, 1.0, 1.0])).round(3)
    array([2.   , 0.632, 0.632])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(sums * (len(sums) - 1) / (sums.sum() - sums))


def least_pvalue(samples: int, groups: int, *, within_rows: bool, n_resamples: int) -> float:
    """Return the smallest p-value that a table (samples, groups) allows, however different its groups are.

    Parameters
    ----------
    samples, groups, n_resamples : int
    within_rows : bool
        As for :func:`permutation_test`.

    Returns
    -------
    float
        The larger of ``1/(1 + B)`` and one over the number of different ways to deal the labels, where ways that
        differ only in the names of the groups count once.

    Examples
    --------
    >>> least_pvalue(2, 2, within_rows=False, n_resamples=9999)      # ab|cd, ac|bd, ad|bc
    0.333333333333333
    """
    if within_rows:
        log_ways = (samples - 1) * math.lgamma(groups + 1)
    else:
        log_ways = math.lgamma(samples * groups + 1) - groups * math.lgamma(samples + 1) - math.lgamma(groups + 1)
    return max(1 / (1 + n_resamples), round(math.exp(-log_ways), 15))


def _deals(shape: tuple[int, ...], rng: np.random.Generator, within_rows: bool, count: int) -> Iterator[NumPyArray]:
    """Yield index arrays (b, n, G): the cell of the table, counted along its rows, that each cell gets."""
    rows, groups = shape
    cells = np.arange(rows * groups)
    start = cells.reshape(rows, groups) if within_rows else cells  # permuted along the last axis
    for piece in chunks(count, max(1, CELLS_AT_ONCE // max(cells.size, 1))):
        repeated = np.repeat(start[None], piece.stop - piece.start, axis=0)
        yield rng.permuted(repeated, axis=-1, out=repeated).reshape(-1, rows, groups)


@dataclasses.dataclass
class _Permuted:
    """What B permutations make of a table: the statistic (B,), and of each group (B, G) the rest.

    `sums` is the new sum of the group, `came` the part of it that comes from other groups, and `moved` says whether
    anything does.
    """

    statistic: NumPyArray
    sums: NumPyArray
    came: NumPyArray
    moved: NumPyArray


def _permuted(table: NumPyArray, scores: NumPyArray, statistic: Statistic, deals: Iterable[NumPyArray]) -> _Permuted:
    """Permute a table; `scores` are what the statistic sums."""
    groups, pieces = table.shape[1], []
    for deal in deals:
        dealt = table.ravel()[deal]  # (b, n, G)
        foreign = deal % groups != np.arange(groups)  # (b, n, G): whether the cell comes from another group
        sums = dealt.sum(axis=1)  # (b, G)
        score_sums = sums if scores is table else scores.ravel()[deal].sum(axis=1)  # (b, G)
        came = np.einsum("bng,bng->bg", dealt, foreign)  # (b, G)
        pieces.append((statistic(score_sums), sums, came, foreign.any(axis=1)))
    return _Permuted(*map(np.concatenate, zip(*pieces)))


def _factors(sums: NumPyArray, permuted: _Permuted) -> NumPyArray:
    """Return, for each permutation and group (B, G), the factor from which on it gives the group as much as it has.

    Divide the group by f². A permutation takes ``left`` out of the group, divided by f² too, and puts ``came`` in. So
    the group is then at least as large as it was if ``came >= left/f²``, that is, for f from √(left/came) on. NaN marks
    a permutation that moves nothing into the group, whatever f is.
    """
    left = np.maximum(sums - (permuted.sums - permuted.came), 0)  # (B, G); rounding may make it less than 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(permuted.moved, np.sqrt(left / permuted.came), np.nan)


def _limits(factors: NumPyArray, alpha: float) -> tuple[NumPyArray, NumPyArray]:
    """Return the confidence limits (G,) and (G,) of the factors (B, G) of each group."""
    rank = math.floor(alpha / 2 * (1 + len(factors)) + 1e-9)
    if rank == 0:  # so few permutations that no factor is rejected
        return np.zeros(factors.shape[1]), np.full(factors.shape[1], np.inf)
    unmoved = np.isnan(factors)
    low = np.partition(np.where(unmoved, 0, factors), rank - 1, axis=0)[rank - 1]
    high = np.partition(np.where(unmoved, np.inf, factors), -rank, axis=0)[-rank]
    return low, high


def _extreme_pvalues(sums: NumPyArray, largest: NumPyArray, smallest: NumPyArray, tie: float) -> NumPyArray:
    """Return the two-sided p-value (G,) of each group against the extremes of all groups."""
    count = len(largest)
    as_large = count - np.searchsorted(np.sort(largest), sums - tie, side="left")
    as_small = np.searchsorted(np.sort(smallest), sums + tie, side="right")
    return _two_sided(as_large, as_small, count)


def _two_sided(as_large: NumPyArray, as_small: NumPyArray, count: int) -> NumPyArray:
    """Return the p-value of `count` permutations, some of which are at least as large, and some at least as small."""
    return np.minimum(1, 2 * (1 + np.minimum(as_large, as_small)) / (1 + count))


def _farthest(sums: NumPyArray, found: NumPyArray) -> NumPyArray:
    """Return which of the groups `found` lie on the side of the one that is farthest from the others."""
    with np.errstate(divide="ignore"):
        distances = np.log(ratios_to_others(sums))
    sizes = np.where(found, np.abs(distances), -1)
    larger = distances > 0
    up = sizes[larger].max(initial=-1) >= sizes[~larger].max(initial=-1) * (1 - 1e-9)  # of two groups, the larger
    return found & (larger == up)
