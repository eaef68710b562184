"""Ranks of the groups, and how well several rankings agree."""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray


def rank_rows(table: NumPyArray) -> NumPyArray:
    """Return the rank of each value in its row: 1 for the smallest; equal values share the mean of their ranks.

    Parameters
    ----------
    table : array (n, G)

    Returns
    -------
    array (n, G) of float64

    Examples
    --------
    >>> rank_rows(np.array([[0.3, 0.1, 0.2], [5.0, 7.0, 5.0]]))
    array([[3. , 1. , 2. ],
           [1.5, 3. , 1.5]])
    """
    ranks = np.empty(table.shape)
    for row, values in enumerate(table):
        ordered = np.sort(values)
        below = np.searchsorted(ordered, values, side="left")
        ranks[row] = (below + np.searchsorted(ordered, values, side="right") + 1) / 2
    return ranks


def agreement(ranks: NumPyArray, rank_sums: NumPyArray) -> NumPyArray:
    """Return Kendall's coefficient of concordance W: 1 if all rows rank the groups alike, about 1/n by chance.

    With ranks r and their sums R over n rows of G groups::

        W = Σ_g (R_g − n·(G+1)/2)² / (n · Σ (r − (G+1)/2)²)

    Friedman's statistic is n·(G − 1)·W. (Kendall and Babington Smith 1939, "The problem of m rankings",
    doi:10.1214/aoms/1177732186. With ties, this form includes the correction for ties.)

    Parameters
    ----------
    ranks : array (n, G)
        From :func:`rank_rows`.
    rank_sums : array (..., G)
        The sums over the rows, of these ranks or of ranks permuted within their rows.

    Returns
    -------
    array (...)
        0 if all ranks are equal.

    Examples
    --------
    >>> ranks = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    >>> agreement(ranks, ranks.sum(axis=0))
    np.float64(1.0)
    """
    rows, groups = ranks.shape
    largest = rows * np.sum((ranks - (groups + 1) / 2) ** 2)
    between = np.sum((rank_sums - rows * (groups + 1) / 2) ** 2, axis=-1)
    return between / largest if largest > 0 else np.zeros_like(between)[()]
