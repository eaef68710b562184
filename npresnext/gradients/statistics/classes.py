"""Whether the gradients of different classes have the same direction."""

from __future__ import annotations

import numpy as np

from ..._support.typing import NumPyArray
from .features import as_samples


def mean_cosine(vectors: NumPyArray) -> NumPyArray:
    """Return the mean of the cosines of the angles between all pairs of vectors.

    The mean over a < b of ``⟨v_a, v_b⟩ / (‖v_a‖·‖v_b‖)``, between −1/(K − 1) and 1 for K vectors; no unit. For
    gradients of classes it is 1 if a step for one class helps all others as much as possible, about 0 if the gradients
    are unrelated, and below 0 if a step for one class harms the others (Yu et al. 2020, "Gradient surgery for
    multi-task learning", arXiv:2001.06782, for gradients of tasks). Noise moves it towards 0.

    Parameters
    ----------
    vectors : array (K, ..., m)
        Vectors that are 0 are left out.

    Returns
    -------
    array (...)
        NaN if fewer than two vectors are left.

    Examples
    --------
    >>> float(mean_cosine(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])).round(3))      # 0, 1 and 0
    0.333
    """
    vectors = as_samples(vectors, "vectors")
    lengths = np.sqrt(np.sum(vectors**2, axis=-1, keepdims=True))  # (K, ..., 1)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    count = np.sum(lengths[..., 0] > 0, axis=0)  # (...)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (np.sum(units.sum(axis=0) ** 2, axis=-1) - count) / (count * (count - 1))
    return np.where(count > 1, cosines, np.nan)
