"""check_grads: is a hand-written backward pass the derivative of its forward pass?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._support.typing import NumPyArray as Array
from ..errors import InvalidTypeError, InvalidValueError


class Method(NamedTuple):
    """How a derivative is taken."""

    step: float
    tolerance: float  # relative error to allow


METHODS = {
    "complex": Method(step=1e-100, tolerance=1e-12),
    "linear": Method(step=1.0, tolerance=1e-12),
    "central": Method(step=2.0**-17, tolerance=1e-6),
}


def check_grads(
    f: Callable[..., Array],
    inputs: Sequence[Array],
    backward: Callable[..., Any],
    *,
    method: str = "central",
    groups: int = 1,
    rng: Any = 0,
) -> int:
    """Compare ``backward(grad_output, *inputs)`` with derivatives of ``f(*inputs)``, element by element.

    Parameters
    ----------
    f : callable
        The forward pass, on NumPy arrays.
    inputs : sequence of arrays
        Converted to float64.
    backward : callable
        Returns one gradient for each input, or None where there is none; called once, right after `f`.
    method : "central", "complex" or "linear"
        complex: Im f(x + ih) / h with h = 1e-100, exact to rounding, for holomorphic f (Squire and Trapp, SIAM Review
        40(1), 1998). linear: f(x + 1) - f(x), exact to rounding, for f linear in each input. central: (f(x + h) -
        f(x - h)) / 2h for every other f; where the derivative jumps, the two one-sided slopes disagree, and the
        element is skipped.
    groups : int
        With more than one, a failure in x, weight or bias names the conv group of the element.
    rng : None, int or numpy.random.Generator
        Where the upstream gradient is drawn from.

    Returns
    -------
    int
        How many elements were compared.

    Raises
    ------
    AssertionError
        Naming input, element and group at fault; or no element could be compared.
    ValueError, TypeError
        For arguments that make no sense.

    >>> import npresnext as nx
    >>> layer = nx.nn.Conv2d(4, 4, 2, groups=2, rng=0, dtype="float64")
    >>> check_grads(layer, [np.ones((1, 4, 3, 3))], lambda grad_output, x: layer.backward(grad_output), groups=2)
    36
    """
    if method not in METHODS:
        raise InvalidValueError(f"method is {method!r}: expected one of {', '.join(METHODS)}")
    if not isinstance(inputs, (tuple, list)):
        raise InvalidTypeError(f"inputs must be a tuple or list of arrays, but is of type {type(inputs).__name__}")
    values = [np.array(value, np.float64) for value in inputs]
    result = np.asarray(f(*values))
    if result.dtype.itemsize < 8:
        raise InvalidValueError(f"f returns {result.dtype}, too coarse for differences: compute in the inputs' float64")
    grad_output = np.random.default_rng(rng).standard_normal(result.shape)
    gradients = backward(grad_output, *values)
    if not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    if len(gradients) != len(values):
        raise InvalidValueError(f"backward returned {len(gradients)} gradients for {len(values)} inputs")

    def number(*operands: Array) -> Any:
        return (f(*operands) * grad_output).sum()

    compared = 0
    for place, (value, gradient) in enumerate(zip(values, gradients)):
        if gradient is None:
            continue
        if np.shape(gradient) != value.shape:
            raise AssertionError(f"gradient {place} has shape {np.shape(gradient)}: expected {value.shape}")
        slopes = derivative(number, values, place, method)
        compare(gradient, slopes, place, method, groups)
        compared += int(np.isfinite(slopes).sum())
    if not compared and any(value.size for value in values):
        raise AssertionError("no element could be compared: each derivative is NaN or at a kink, or no gradient came")
    return compared


def compare(gradient: Array, slopes: Array, place: int, method: str, groups: int) -> None:
    """Raise an AssertionError for the worst element, if any differs from its slope; slopes of NaN are skipped."""
    error = np.abs(np.where(np.isnan(slopes), 0.0, gradient - slopes))
    allowed = METHODS[method].tolerance * max(1.0, np.nanmax(np.abs(slopes), initial=0))
    wrong = ~(error <= allowed)
    if not wrong.any():
        return
    index = tuple(map(int, np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)))
    at = f"{index}"
    if groups > 1:
        axis = 1 if place == 0 else 0  # that the groups divide
        at += f" in group {index[axis] * groups // gradient.shape[axis]}"
    values = f"{gradient[index]}, but the derivative ({method}) is {slopes[index]}"
    raise AssertionError(f"gradient {place} at {at} is {values}; {wrong.sum()} of {error.size} elements differ")


def derivative(f: Callable[..., Any], values: list[Array], place: int, method: str) -> Array:
    """Return the derivative of the number f by values[place], NaN where it jumps within a step."""
    step = METHODS[method].step
    here = f(*values)
    operands = [value.astype(complex) for value in values] if method == "complex" else list(values)

    def slope(index: tuple[int, ...], shift: complex) -> Any:
        moved = operands[place].copy()
        moved[index] += shift
        return (f(*operands[:place], moved, *operands[place + 1 :]) - here) / shift

    slopes = np.empty(values[place].shape)
    for index in np.ndindex(slopes.shape):
        if method == "complex":
            slopes[index] = slope(index, 1j * step).real
        elif method == "linear":
            slopes[index] = slope(index, step)
        else:
            after, before = slope(index, step), slope(index, -step)
            jumps = abs(after - before) > 1e-3 * max(1.0, abs(after), abs(before))
            slopes[index] = np.nan if jumps else (after + before) / 2
    return slopes
