"""Rows of norms as tables of step by group, and blocks of steps that are long enough to be nearly independent.

The norms of one step resemble those of the step before. So steps are no independent samples, and a test that took them
for such would find differences everywhere. Instead the steps are cut into blocks, each several times as long as the
norms stay correlated. Only the second half of each block is used: the first half keeps the blocks apart. For a fixed
number of blocks, permutations within blocks give a valid test as the blocks grow, whatever the correlation inside them
is (Canay, Romano and Shaikh 2017, "Randomization tests under an approximate symmetry assumption",
doi:10.3982/ECTA13081).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..._support.plurals import counted
from ..._support.typing import NumPyArray
from ...errors import InvalidValueError
from ..norms import NEEDED, Row, checked_rows

BLOCK_LENGTH = 4  # in autocorrelation times
LEAST_BLOCKS, MOST_BLOCKS = 5, 16


def shares_by_layer(rows: Sequence[Row], value: str = "l2") -> dict[str, NumPyArray]:
    """Return, for each layer with more than one group, the share of each group in the squared norm of the layer.

    A share does not depend on what all groups of a layer do together from step to step. Steps with a missing,
    infinite or NaN value, and steps where all groups of the layer are 0, are left out.

    Parameters
    ----------
    rows : sequence of dict
        Rows as from :func:`npresnext.gradients.read_rows`.
    value : str
        The column with the norms.

    Returns
    -------
    dict of str to array (T, G)
        Layer -> ``value² / Σ value²`` by step and group; each row has the sum 1.

    Raises
    ------
    ValueError
        There are no rows, the column is missing, holds text or negative numbers, or a layer does not have each of its
        conv groups once at each step.

    Examples
    --------
    >>> rows = [{"step": 0, "layer": "conv", "conv_group": g, "groups": 2, "l2": l2} for g, l2 in enumerate([1.0, 3.0])]
    >>> shares_by_layer(rows)
    {'conv': array([[0.1, 0.9]])}
    """
    by_layer: dict[str, list[Row]] = {}
    for row in checked_rows(rows, (*NEEDED, value)):
        if row["groups"] > 1:
            by_layer.setdefault(row["layer"], []).append(row)
    if not by_layer:
        raise InvalidValueError("no layer has more than one conv group: there are no groups to compare")
    return {layer: _shares(layer, of_layer, value) for layer, of_layer in by_layer.items()}


def autocorrelation_time(series: NumPyArray) -> float:
    """Return over how many steps the values of series stay correlated, on average over the series.

    ``τ = 1 + 2·Σ ρ(k)`` with the autocorrelation ρ at lag k = 1, 2, ..., up to the first lag W of at least 5·τ (Sokal
    1997, "Monte Carlo methods in statistical mechanics", doi:10.1007/978-1-4899-0319-8_6, section 3). The mean of a
    short series follows the series, which makes τ too small; the factor ``1 + (2W + 1)/T`` corrects for that (Wolff
    2004, "Monte Carlo errors with less errors", doi:10.1016/S0010-4655(03)00467-3). τ is 1 for independent
    steps. It still comes out too small for series shorter than about ten times τ.

    Parameters
    ----------
    series : array (T, G)
        G series of T steps.

    Returns
    -------
    float
        In steps; at least 1.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(10_000, 4))
    >>> smooth = noise[:-2] + noise[1:-1] + noise[2:]                # moving sums of 3 steps: ρ = 2/3, 1/3, 0
    >>> round(autocorrelation_time(noise)), round(autocorrelation_time(smooth))
    (1, 3)
    """
    steps = len(series)
    spectrum = np.fft.rfft(series - series.mean(axis=0), 2 * steps, axis=0)
    covariance = np.fft.irfft(np.sum(np.abs(spectrum) ** 2, axis=1), 2 * steps)[:steps]  # (T,), summed over the series
    if not covariance[0] > 0:
        return 1.0
    times = 2 * np.cumsum(covariance / covariance[0]) - 1  # (T,): up to each lag
    stops = np.arange(steps) >= 5 * times
    window = int(np.argmax(stops)) if stops.any() else steps - 1
    return max(1.0, float(times[window]) * (1 + (2 * window + 1) / steps))


def blocks_of_steps(shares: NumPyArray) -> NumPyArray:
    """Return the means over the second halves of blocks of steps.

    Parameters
    ----------
    shares : array (T, G)

    Returns
    -------
    array (K, G)
        At most 16 blocks, each at least 4 autocorrelation times long; K may be 0.

    Examples
    --------
    >>> blocks_of_steps(np.random.default_rng(0).uniform(size=(200, 8))).shape
    (16, 8)
    """
    steps = len(shares)
    count = min(MOST_BLOCKS, steps // block_length(shares))
    edges = np.linspace(0, steps, count + 1).astype(int)
    halves = [shares[(start + stop) // 2 : stop].mean(axis=0) for start, stop in zip(edges, edges[1:])]
    return np.array(halves).reshape(count, shares.shape[1])


def block_length(shares: NumPyArray) -> int:
    """Return the least length of a block, in steps."""
    return math.ceil(BLOCK_LENGTH * autocorrelation_time(shares))


def _shares(layer: str, rows: Sequence[Row], value: str) -> NumPyArray:
    """Return the shares (T, G) of one layer."""
    counts = {row["groups"] for row in rows}
    if len(counts) > 1:
        raise InvalidValueError(f"{layer} has rows with groups={' and '.join(map(str, sorted(counts)))}")
    (groups,) = counts
    try:
        norms = np.array([row[value] for row in rows], dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        raise InvalidValueError(f"{layer} has values of {value} that are no numbers") from None
    if np.any(norms < 0):
        raise InvalidValueError(f"{layer} has negative values of {value}: a norm is at least 0")
    table = _table(layer, rows, groups, norms)  # (T, G)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = table / np.max(table, axis=1, keepdims=True)  # so that no square overflows or underflows
    squares = scaled[np.isfinite(scaled).all(axis=1)] ** 2
    if not len(squares):
        raise InvalidValueError(f"{layer} has no step with finite values of {value} that are not all 0")
    return squares / squares.sum(axis=1, keepdims=True)


def _table(layer: str, rows: Sequence[Row], groups: int, norms: NumPyArray) -> NumPyArray:
    """Return the norms by step and group (T, G), after checking that each has its row."""
    group = np.array([row["conv_group"] for row in rows], dtype=np.int64)
    outside = (group < 0) | (group >= groups)
    if np.any(outside):
        raise InvalidValueError(f"{layer} has a row with conv_group={group[np.argmax(outside)]} and groups={groups}")
    steps, index = np.unique(_steps(rows, group, groups), return_inverse=True)
    place = index * groups + group
    counts = np.bincount(place, minlength=len(steps) * groups)
    if np.any(counts != 1):
        wrong = int(np.argmax(counts != 1))
        several = "; pass the rows of each run separately" if counts[wrong] > 1 else ""
        raise InvalidValueError(
            f"{layer} has {counted(int(counts[wrong]), 'row')} of conv group {wrong % groups} at step "
            f"{steps[wrong // groups]}: expected one row for each conv group at each step{several}"
        )
    table = np.empty(len(rows))
    table[place] = norms
    return table.reshape(-1, groups)


def _steps(rows: Sequence[Row], group: NumPyArray, groups: int) -> NumPyArray:
    """Return the step of each row; without a column `step`, the k-th row of a group is of step k."""
    if all(row.get("step") is not None for row in rows):
        return np.array([row["step"] for row in rows])
    step = np.empty(len(rows), dtype=np.int64)
    for number in range(groups):
        own = group == number
        step[own] = np.arange(own.sum())
    return step
