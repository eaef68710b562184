"""Initial weights: drawn with NumPy in float64, so that a seed gives one network on every backend and dtype.

He et al., "Delving deep into rectifiers", arXiv:1502.01852, section 2.2: with ReLU, a variance of 2/fan keeps
the size of the signal from layer to layer; with fan = fan_in in the forward pass (equation 10), with fan_out in
the backward pass (equation 14). Each input value of a convolution feeds (C_out/G)·kh·kw outputs, since it
reaches the filters of its own group only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_generator, as_int, as_sizes, check_choice
from .._support.dtypes import as_dtype
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import get_array_module
from ..errors import ShapeError

__all__ = ["kaiming_normal", "uniform_fan_in"]

INITIALISATIONS = ("fan_out", "fan_out_per_group")


def from_numpy(values: np.ndarray, dtype: Any) -> Array:
    """Return drawn values as an array of the current backend."""
    xp = get_array_module()
    return xp.asarray(values.astype(as_dtype(dtype), copy=False))


class Undrawn(np.random.Generator):
    """A generator whose every number is 0: for networks that are only counted, or loaded into.

    Its arrays are views of a single zero. They are made at once, take no memory, and cannot be written to.

    >>> weight = uniform_fan_in((2048, 1000), 2048, rng=Undrawn())
    >>> weight.shape, float(abs(weight).max())
    ((2048, 1000), 0.0)
    """

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Return zeros of shape `size`."""
        return np.broadcast_to(np.float32(0), size)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Return zeros of shape `size`."""
        return np.broadcast_to(np.float32(0), size)


def counter() -> Array:
    """Return an integer array of shape () that starts at 0."""
    xp = get_array_module()
    return xp.zeros((), dtype=xp.int64)


def full(shape: Sequence[int], value: float, dtype: Any) -> Array:
    """Return a constant array of the current backend."""
    xp = get_array_module()
    with allocating("a weight", shape, dtype := as_dtype(dtype, xp)):
        return xp.full(tuple(shape), value, dtype=dtype)


def uniform_fan_in(shape: Sequence[int], fan_in: int, *, rng: Any = None, dtype: Any = "float32") -> Array:
    """Draw from U(−1/√fan_in, 1/√fan_in): the default of PyTorch's convolution and linear layers.

    PyTorch arrives at it as Kaiming's uniform initialisation with a = √5.

    Parameters
    ----------
    shape : sequence of int
    fan_in : int
        How many inputs each output adds up: L for a convolution, in_features for a linear layer.
    rng : None, int or numpy.random.Generator
        Handed to ``numpy.random.default_rng``.
    dtype : str
        The values are drawn in float64 and rounded.

    Returns
    -------
    array of `shape`

    Raises
    ------
    ValueError, TypeError
        `shape` is not a sequence of integers of at least 0, or `fan_in` is not one.

    Examples
    --------
    >>> bool(abs(uniform_fan_in((1000, 64), 64, rng=0)).max() <= 1 / 8)
    True
    """
    shape, fan_in = as_sizes(shape, "shape"), as_int(fan_in, "fan_in", 0)
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    with allocating("a weight", shape, np.dtype("float64")):
        return from_numpy(as_generator(rng).uniform(-bound, bound, tuple(shape)), dtype)


def kaiming_normal(
    shape: Sequence[int], *, init: str = "fan_out", groups: int = 1, rng: Any = None, dtype: Any = "float32"
) -> Array:
    """Draw a convolution's weight from a normal distribution of mean 0 and variance 2/fan.

    "fan_out" is what torchvision's ResNets use: fan = C_out·kh·kw, whatever the groups. It takes the outputs
    of all groups for outputs of each input, so the weights of a convolution with G groups start √G too small.
    A batch norm after the convolution hides this in the forward pass; raw gradient norms, however, scale with
    1/‖weight‖, and comparing them across G then compares the initialisation. "fan_out_per_group" counts the
    outputs that an input feeds: fan = (C_out/G)·kh·kw.

    Parameters
    ----------
    shape : (C_out, C_in/groups, kh, kw)
    init : "fan_out" or "fan_out_per_group"
    groups : int
        G, which only "fan_out_per_group" looks at.
    rng : None, int or numpy.random.Generator
        Handed to ``numpy.random.default_rng``.
    dtype : str
        The values are drawn in float64 and rounded.

    Returns
    -------
    array of `shape`

    Raises
    ------
    ValueError
        There is no such `init`, or the shape is not that of a weight.
    TypeError
        `shape` is not a sequence of integers.

    References
    ----------
    He et al. 2015, arXiv:1502.01852, equation 14.

    Examples
    --------
    >>> weight = kaiming_normal((128, 4, 3, 3), init="fan_out_per_group", groups=32, rng=0, dtype="float64")
    >>> bool(abs(weight.std() / (2 / (128 / 32 * 9)) ** 0.5 - 1) < 0.03)
    True
    """
    shape, groups = as_sizes(shape, "shape"), as_int(groups, "groups", 1)
    check_choice(init, "init", INITIALISATIONS)
    if len(shape) < 2:
        raise ShapeError(f"shape is {shape}: expected (C_out, C_in/groups, kh, kw)")
    fed = shape[0] if init == "fan_out" else shape[0] // groups  # channels that an input feeds
    fan = fed * math.prod(shape[2:])
    with allocating("a weight", shape, np.dtype("float64")):
        return from_numpy(as_generator(rng).normal(0.0, math.sqrt(2 / fan) if fan else 0.0, tuple(shape)), dtype)
