"""Correction of p-values for the number of layers that are tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(pvalues: Sequence[float]) -> list[float]:
    """Return p-values that are corrected by Holm's method for the number of tests.

    A layer without a difference has a corrected p-value of at most α with probability at most α, all such layers
    together, however the tests depend on each other. That is needed here: the layers of one network depend on each
    other, and a verdict names single layers. Bonferroni's method guarantees the same and finds less. The method of
    Benjamini and Hochberg finds more, but bounds only the share of wrong verdicts, and not for every dependence.

    Parameters
    ----------
    pvalues : sequence of float

    Returns
    -------
    list of float
        In the order of `pvalues`: the k-th smallest of m, times m − k + 1, at least as large as those before it
        and at most 1. (Holm 1979, "A simple sequentially rejective multiple test procedure", jstor.org/stable/4615733.)

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(pvalues)
    factors = np.arange(len(pvalues), 0, -1)  # m, m − 1, ..., 1
    corrected = np.minimum(1, np.maximum.accumulate(np.asarray(pvalues, float)[order] * factors))
    result = np.empty(len(pvalues))
    result[order] = corrected
    return result.tolist()
