"""Learning rate schedules: functions of the epoch, counted from 0, that return the learning rate.

The epoch need not be a whole number: in the middle of the second epoch it is 1.5. A cosine falls from step to step
within an epoch; a step schedule changes only where an epoch starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .._support.arguments import as_int, check_number
from ..errors import ConfigurationError, InvalidTypeError, InvalidValueError

Schedule = Callable[[float], float]

SCHEDULE_TEXTS = "cosine, constant, or step:E1,E2,... with increasing epochs above 0"


def constant(rate: float) -> Schedule:
    """Return the schedule whose learning rate is always `rate`.

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
        Epochs in increasing order, each at least 1.
    gamma : float
        The factor.

    Returns
    -------
    function of the epoch

    Raises
    ------
    ValueError
        `rate` is not above 0, or the milestones are not increasing epochs above 0.
    TypeError
        `rate` or `gamma` is not a number, or `milestones` is not a sequence.

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
    milestones = [as_int(milestone, f"milestones[{index}]") for index, milestone in enumerate(milestones)]
    if any(low >= high for low, high in zip([0, *milestones], milestones)):
        raise InvalidValueError(f"milestones must be increasing epochs above 0, but are {milestones}")
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
    epochs = as_int(epochs, "epochs", 1)
    return lambda epoch: rate * (1 + math.cos(math.pi * min(epoch, epochs) / epochs)) / 2


def schedule_from_text(text: str, rate: float, epochs: int) -> Schedule:
    """Return the schedule that `text` names, as the option ``--schedule`` of ``npresnext train`` takes it.

    Parameters
    ----------
    text : str
        ``"cosine"``, ``"constant"``, or ``"step:E1,E2,..."``, which divides the rate by ten at each of these epochs.
    rate : float
        The learning rate at the start, above 0.
    epochs : int
        The length of the run, which the cosine needs.

    Returns
    -------
    function of the epoch

    Raises
    ------
    ValueError
        `text` names no schedule.

    Examples
    --------
    >>> tenth = schedule_from_text("step:2", rate=0.1, epochs=3)
    >>> [round(tenth(epoch), 3) for epoch in range(3)]
    [0.1, 0.1, 0.01]
    """
    if not isinstance(text, str):
        raise ConfigurationError("schedule", text, SCHEDULE_TEXTS)
    if text == "cosine":
        return cosine(rate, epochs)
    if text == "constant":
        return constant(rate)
    name, _, milestones = text.partition(":")
    try:
        if name != "step":
            raise ValueError
        return step(rate, [int(epoch) for epoch in milestones.split(",")])
    except ValueError:
        raise ConfigurationError("schedule", text, SCHEDULE_TEXTS) from None


def _check_rate(rate: float) -> None:
    """Raise unless `rate` is a learning rate."""
    check_number(rate, "rate")
    if not rate > 0:
        raise InvalidValueError(f"rate={rate}: expected a learning rate above 0")
