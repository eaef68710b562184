"""What the channels of a group compute: similarity to other groups, effective rank, dead and saturated channels.

The *features* of a group are its channels, each with one number per example and position.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.typing import NumPyArray
from ...backend import to_numpy
from ...errors import InvalidTypeError, ShapeError


class Moments:
    """Mean, covariance and extremes of channels, added up piece by piece.

    Parameters
    ----------
    channels : int
        C.

    Examples
    --------
    >>> moments = Moments(2)
    >>> moments.add(np.array([[[[1.0, 2.0]], [[4.0, 4.0]]]]))                # (N, C, H, W) = (1, 2, 1, 2)
    >>> moments.add(np.array([[[[3.0, 6.0]], [[4.0, 4.0]]]]))
    >>> moments.covariance()
    array([[3.5, 0. ],
           [0. , 0. ]])
    >>> moments.smallest, moments.largest
    (array([1., 4.]), array([6., 4.]))
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.smallest, self.largest = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._shift = np.zeros(channels)
        self._sums, self._products = np.zeros(channels), np.zeros((channels, channels))

    def add(self, features: NumPyArray) -> None:
        """Add features (N, C, H, W)."""
        values = np.moveaxis(features, 1, 0).reshape(features.shape[1], -1).astype(np.float64)  # (C, N·H·W)
        if not values.size:
            return
        self.smallest = np.minimum(self.smallest, values.min(axis=1))
        self.largest = np.maximum(self.largest, values.max(axis=1))
        if not self.count:
            self._shift = values.mean(axis=1)
        values -= self._shift[:, None]  # so that the subtraction in the covariance does not cancel
        self.count += values.shape[1]
        self._sums += values.sum(axis=1)
        self._products += values @ values.T

    def covariance(self) -> NumPyArray:
        """Return the covariance (C, C), with 1/n."""
        means = self._sums / self.count
        return self._products / self.count - np.outer(means, means)


def as_samples(values: Any, name: str, axes: int = 2) -> NumPyArray:
    """Return real numbers with at least `axes` axes as float64, or raise naming the argument `name`.

    >>> as_samples([[1, 2], [3, 4]], "x").dtype
    dtype('float64')
    """
    array = to_numpy(values)
    if array.dtype.kind not in "fiub" or array.ndim < axes:
        raise InvalidTypeError(
            f"{name} must be an array of real numbers with {axes} axes or more, but has shape {array.shape} and dtype "
            f"{array.dtype}"
        )
    return array.astype(np.float64, copy=False)


def linear_cka(x: NumPyArray, y: NumPyArray) -> float:
    """Return how similar two sets of features are, whatever their directions and their scale.

    With the columns of X and Y centred, ``‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖)`` in Frobenius norms. It has no unit, and lies between
    0, no linear relation, and 1, the same features up to a rotation and a factor. (Linear centred kernel alignment:
    Kornblith et al. 2019, "Similarity of neural network representations revisited", arXiv:1905.00414, section 3.)

    Parameters
    ----------
    x : array (n, p)
        n samples of p features.
    y : array (n, q)

    Returns
    -------
    float
        NaN if all features of one of them are constant.

    Raises
    ------
    ValueError, TypeError
        `x` or `y` is not an array of real numbers (n, p), or they differ in n.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    >>> round(linear_cka(x, 7 * x @ rotation), 12), round(linear_cka(x, np.array([[1.0], [1.0], [-2.0]])), 3)
    (1.0, 0.949)
    """
    x, y = as_samples(x, "x"), as_samples(y, "y")
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ShapeError(f"x has shape {x.shape} and y has shape {y.shape}: expected (n, p) and (n, q)")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.sum((y.T @ x) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2)))


def group_cka(covariance: NumPyArray, groups: int) -> NumPyArray:
    """Return :func:`linear_cka` between the features of each pair of groups.

    Parameters
    ----------
    covariance : array (C, C)
        Of the channels of all groups; samples are examples and positions.
    groups : int
        G.

    Returns
    -------
    array (G, G)
        Symmetric, with ones on the diagonal; NaN for a group whose channels are constant.

    Examples
    --------
    >>> group_cka(np.array([[1.0, 0.5], [0.5, 1.0]]), 2)
    array([[1.  , 0.25],
           [0.25, 1.  ]])
    """
    size = len(covariance) // groups
    squares = np.sum(covariance.reshape(groups, size, groups, size) ** 2, axis=(1, 3))  # (G, G)
    own = np.sqrt(np.diagonal(squares))
    with np.errstate(divide="ignore", invalid="ignore"):
        return squares / np.outer(own, own)


def effective_rank(features: NumPyArray) -> float:
    """Return how many directions features use, counted by how evenly they use them.

    With the singular values σ_i of the centred features and p_i = σ_i/Σσ, it is ``exp(−Σ p_i·log p_i)``, in directions:
    1 if all features lie in one direction, and their number if they use as many directions evenly. (Roy and Vetterli
    2007, "The effective rank: a measure of effective dimensionality", EUSIPCO.)

    Parameters
    ----------
    features : array (n, p)
        n samples of p features.

    Returns
    -------
    float
        NaN if all features are constant, or one is NaN or infinite.

    Raises
    ------
    ValueError, TypeError
        `features` is not an array of real numbers (n, p).

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> effective_rank(x), round(effective_rank(x * [1.0, 0.1]), 2), effective_rank(x * [1.0, 0.0])
    (2.0, 1.36, 1.0)
    """
    features = as_samples(features, "features")
    if features.ndim != 2:
        raise ShapeError(f"features has shape {features.shape}: expected (n, p)")
    if not np.isfinite(features).all():
        return float("nan")
    return float(_rank_of(np.linalg.svd(features - features.mean(axis=0), compute_uv=False)))


def group_effective_rank(covariance: NumPyArray, groups: int) -> NumPyArray:
    """Return the :func:`effective_rank` of the features of each group.

    Parameters
    ----------
    covariance : array (C, C)
        Of the channels of all groups; samples are examples and positions.
    groups : int
        G.

    Returns
    -------
    array (G,)
        NaN for a group with a value that is NaN or infinite.

    Examples
    --------
    >>> group_effective_rank(np.diag([1.0, 1.0, 4.0, 0.0]), 2)
    array([2., 1.])
    """
    size = len(covariance) // groups
    blocks = covariance.reshape(groups, size, groups, size)
    own = np.moveaxis(np.diagonal(blocks, axis1=0, axis2=2), -1, 0)  # (G, C/G, C/G)
    finite = np.isfinite(own).all(axis=(1, 2), keepdims=True)  # (G, 1, 1)
    return _rank_of(np.sqrt(np.maximum(np.linalg.eigvalsh(np.where(finite, own, 0)), 0)))  # the rank of zeros is NaN


def group_fraction(channels: NumPyArray, groups: int) -> NumPyArray:
    """Return the fraction of the channels of each group for which something holds.

    Parameters
    ----------
    channels : bool array (C,)
    groups : int
        G.

    Returns
    -------
    array (G,)

    Examples
    --------
    >>> group_fraction(np.array([True, False, True, True]), 2)
    array([0.5, 1. ])
    """
    return channels.reshape(groups, -1).mean(axis=1)


def feature_statistics(moments: Moments, groups: int, *, rectified: bool) -> dict[str, NumPyArray]:
    """Return `cka`, `dead`, `saturated` and `effective_rank` of each group (G,).

    Parameters
    ----------
    moments : Moments
        Of all channels of the layer.
    groups : int
        G.
    rectified : bool
        Whether the features come from a rectifier; otherwise no channel is called dead or saturated.

    Examples
    --------
    >>> moments = Moments(2)
    >>> moments.add(np.array([[[[1.0, 2.0]], [[0.0, 0.0]]]]))                # channel 1 is 0 everywhere
    >>> feature_statistics(moments, 2, rectified=True)["dead"]
    array([0., 1.])
    """
    unknown = np.full(groups, np.nan)
    if not moments.count:
        return dict.fromkeys(("cka", "dead", "saturated", "effective_rank"), unknown)
    covariance = moments.covariance()
    similarity = group_cka(covariance, groups)
    np.fill_diagonal(similarity, np.nan)
    there = np.isfinite(similarity)
    others = np.where(there, similarity, 0).sum(axis=1)
    return {
        "cka": np.divide(others, there.sum(axis=1), out=unknown.copy(), where=there.any(axis=1)),
        "dead": group_fraction(moments.largest <= 0, groups) if rectified else unknown,
        "saturated": group_fraction(moments.smallest > 0, groups) if rectified else unknown,
        "effective_rank": group_effective_rank(covariance, groups),
    }


def _rank_of(singular_values: NumPyArray) -> NumPyArray:
    """Return the exponential of the entropy of normalised singular values (..., p)."""
    total = singular_values.sum(axis=-1, keepdims=True)
    shares = np.divide(singular_values, total, out=np.zeros_like(singular_values), where=total > 0)
    entropy = -np.sum(shares * np.log(np.where(shares > 0, shares, 1)), axis=-1)
    return np.where(total[..., 0] > 0, np.exp(entropy), np.nan)
