"""Learning rates by epoch: each schedule takes the epoch, counted from 0, and gives its rate.

Asked between two epochs, such as at 1.5, a cosine has fallen half the way, and a step has not moved yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .._support.arguments import check_number
from ..errors import InvalidTypeError, InvalidValueError

Schedule = Callable[[float], float]


def constant(rate: float) -> Schedule:
    """Return the schedule that keeps `rate`.

    Parameters
    ----------
    rate : float
        The learning rate, above 0.

    Returns
    -------
    function of the epoch

    Raises
    ------
    ValueError
        `rate` is not above 0.

    Examples
    --------
    >>> constant(0.1)(7)
    0.1
    """
    _check_rate(rate)
    return lambda epoch: rate


def step(rate: float, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Return the schedule that multiplies `rate` by `gamma` at each of the epochs `milestones`.

    The paper divides 0.1 by ten at the epochs 150 and 225 of 300 (ResNeXt, arXiv:1611.05431, appendix A).

    Parameters
    ----------
    rate : float
        The learning rate at the start, above 0.
    milestones : sequence of int
        Epochs, rising, from 1 on.
    gamma : float
        The factor.

    Returns
    -------
    function of the epoch

    Raises
    ------
    ValueError
        `rate` is not above 0, or the milestones do not rise from at least 1.
    TypeError
        `rate` or `gamma` is no number, or `milestones` no sequence.

    Examples
    --------
    >>> paper = step(0.1, [150, 225])
    >>> [round(paper(epoch), 6) for epoch in (0, 149, 150, 225)]
    [0.1, 0.1, 0.01, 0.001]
    """
    _check_rate(rate)
    check_number(gamma, "gamma")
    if not isinstance(milestones, Sequence):
        raise InvalidTypeError(f"milestones must be a sequence of epochs, but is of type {type(milestones).__name__}")
    if any(low >= high for low, high in zip([0, *milestones], milestones)):
        raise InvalidValueError(f"milestones={list(milestones)}: expected rising epochs above 0")
    return lambda epoch: rate * gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine(rate: float, epochs: int) -> Schedule:
    """Return the schedule that falls from `rate` towards 0 along half a cosine over `epochs` epochs.

    rate · (1 + cos(π · epoch / epochs)) / 2 (SGDR, Loshchilov and Hutter 2017, equation 5, without restarts).

    Parameters
    ----------
    rate : float
        The learning rate at the start, above 0.
    epochs : int
        The length of the run, at least 1.

    Returns
    -------
    function of the epoch

    Raises
    ------
    ValueError
        `rate` is not above 0, or `epochs` is below 1.

    Examples
    --------
    >>> [round(cosine(0.1, 4)(epoch), 4) for epoch in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """
    _check_rate(rate)
    if epochs < 1:
        raise InvalidValueError(f"epochs={epochs}: expected at least 1")
    return lambda epoch: rate * (1 + math.cos(math.pi * min(epoch, epochs) / epochs)) / 2


def _check_rate(rate: float) -> None:
    """Raise unless `rate` is a learning rate."""
    check_number(rate, "rate")
    if not rate > 0:
        raise InvalidValueError(f"rate={rate}: expected a learning rate above 0")
