"""Values for the operands of a case: integers whose every sum is exact, or fractions that no format rounds.

A value depends on the seed, on the operand and on its place: image, group, channel of the group, row and column. So a
smaller case has the values of a larger one, as far as it has their places.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .._support.typing import NumPyArray as Array
from .formats import SIGNIFICAND_BITS

# Odd numbers, one for each axis and one for the group: sums of multiples of them differ from place to place.
MULTIPLIERS = np.array(
    [0xD1B54A32D192ED03, 0xABC98388FB8FAC03, 0x8CB92BA72F3D8DD7, 0xF1357AEA2E62A9C5, 0xDB4F0B9175AE2165], np.uint64
)
MIXING = [
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
]


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


@lru_cache(maxsize=256)
def along_an_axis(axis: int, size: int, groups: int = 0) -> Array:
    """Return an integer for each place along an axis; one of channels has `groups`."""
    index = np.arange(size, dtype=np.uint64)
    if not groups:
        return index * MULTIPLIERS[axis]
    group, within = np.divmod(index, np.uint64(max(1, size // groups)))
    return group * MULTIPLIERS[4] + within * MULTIPLIERS[axis]


@lru_cache(maxsize=32)
def coordinates(shape: tuple[int, ...], channel_axis: int, groups: int) -> Array:
    """Return an integer for each place of an array that depends on its coordinates alone, not on the shape.

    A channel has two coordinates, its group and its number inside the group.
    """
    each = [along_an_axis(axis, size, groups if axis == channel_axis else 0) for axis, size in enumerate(shape)]
    places = each[0]
    for along in each[1:]:
        places = places[..., None] + along
    return places


@lru_cache(maxsize=32)
def drawn_bits(seed: int, operand: int, shape: tuple[int, ...], channel_axis: int, groups: int) -> Array:
    """Return 64 random bits for each place of an operand, given its number."""
    bits = draw_bits(seed, operand, coordinates(shape, channel_axis, groups))
    bits.flags.writeable = False  # integers and fractions are made of the same
    return bits


def draw_bits(seed: int, operand: int, places: Array) -> Array:
    """Return 64 random bits for each place of an operand, given its number (splitmix64; Steele et al., 2014)."""
    start = (seed * 4 + operand + 1) * 0x9E3779B97F4A7C15 % 2**64
    bits = places + np.uint64(start)
    for shift, multiplier in MIXING:
        bits ^= bits >> shift
        bits *= multiplier
    bits ^= bits >> np.uint64(31)
    return bits


def as_integers(bits: Array, span: int, dtype: np.dtype) -> Array:
    """Return integers from -span to span; a smaller span keeps their order. Complex ones have two such parts."""
    if dtype.kind == "c":
        parts = (as_integers(part, span, np.dtype(np.float64)) for part in (bits, bits << np.uint64(40)))
        return np.stack(list(parts), -1).view(np.complex128)[..., 0].astype(dtype)
    drawn = ((bits >> np.uint64(40)) * np.uint64(2 * span + 1)) >> np.uint64(24)
    return (drawn.astype(np.int64) - span).astype(dtype)


def as_fractions(bits: Array, dtype: np.dtype) -> Array:
    """Return fractions k·2^-p of magnitude 2^-10 to 1 and either sign, p being the bits of the dtype's significand."""
    significand = SIGNIFICAND_BITS[dtype.name]
    least = 2 ** (significand - 10)  # of |k|
    low, high = 1 - 2**significand + least, 2**significand - least
    drawn = (bits % np.uint64(high - low)).astype(np.int64) + low
    numerators = np.where(drawn > 0, drawn + least, drawn - least)
    return np.ldexp(numerators, -significand).astype(dtype)


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
