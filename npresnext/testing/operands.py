"""Values for the operands of a case: integers whose every sum is exact, or fractions that no format rounds."""

from __future__ import annotations

import math

import numpy as np

from .._support.typing import NumPyArray as Array
from .formats import SIGNIFICAND_BITS


def largest_span(most: int, terms: int, limit: int) -> int:
    """Return the largest s up to `most` for which sums of products of integers from -s to s stay exact, or 1.

    `terms` products and a bias, each factor of magnitude at most s, have partial sums of at most terms·s² + s, in
    every order of summation. Integers up to `limit` are exact. So s must satisfy terms·s² + s <= limit.

    >>> largest_span(8, 9, 2**8)
    5
    """
    for span in range(most, 1, -1):
        if terms * span * span + span <= limit:
            return span
    return 1


def draw_integers(rng: np.random.Generator, shape: tuple[int, ...], span: int, dtype: np.dtype) -> Array:
    """Draw integers from -span to span."""
    return rng.integers(-span, span, shape, endpoint=True).astype(dtype)


def draw_fractions(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """Draw fractions k·2^-p of magnitude 2^-10 to 1 and either sign, p being the bits of the dtype's significand."""
    bits = SIGNIFICAND_BITS[dtype.name]
    least = 2 ** (bits - 10)  # of |k|
    drawn = rng.integers(1 - 2**bits + least, 2**bits - least, shape)
    numerators = np.where(drawn > 0, drawn + least, drawn - least)
    return np.ldexp(numerators, -bits).astype(dtype)


def thin_out(rng: np.random.Generator, weight: Array, grad_output: Array, groups: int, terms: int) -> None:
    """Write zeros into weight and grad_output, until no inner product has more than `terms` terms that are not 0.

    The first mask of the weight covers what one value of y sums over, the second what one of dx sums over; the mask
    of grad_output covers what one value of dw and db sums over.
    """
    grouped = weight.reshape(groups, -1, *weight.shape[1:])  # (G, C_out/G, C_in/G, kh, kw)
    for array, summed_axes in ((grouped, (2, 3, 4)), (grouped, (1, 3, 4)), (grad_output, (0, 2, 3))):
        mask_shape = [size if axis in summed_axes else 1 for axis, size in enumerate(array.shape)]
        kept = rng.permutation(math.prod(mask_shape)) < terms
        array *= kept.reshape(mask_shape).astype(array.dtype)
