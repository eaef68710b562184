"""check_grads: is a hand-written backward pass the derivative of its forward pass?"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError

# how a derivative is taken -> (the step, the relative error to allow)
METHODS = {"complex": (1e-100, 1e-12), "linear": (1.0, 1e-12), "central": (2.0**-17, 1e-6)}


def check_grads(
    f: Callable[..., np.ndarray],
    inputs: Sequence[np.ndarray],
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
        f(x - h)) / 2h for all else; where the two one-sided slopes disagree is a kink, and is passed over.
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
    AssertionError, ValueError, TypeError
        Naming input, element and group at fault, or none could be compared. Arguments that make no sense.

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
    gradients = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    if len(gradients) != len(values):
        raise InvalidValueError(f"backward returned {len(gradients)} gradients for {len(values)} inputs")
    compared = 0
    for place, (value, gradient) in enumerate(zip(values, gradients)):
        if gradient is None:
            continue
        if np.shape(gradient) != value.shape:
            raise AssertionError(f"gradient {place} has shape {np.shape(gradient)}: expected {value.shape}")
        slopes = _slopes(lambda *operands: (f(*operands) * grad_output).sum(), values, place, method)
        compared += int(np.isfinite(slopes).sum())
        error = np.abs(np.where(np.isnan(slopes), 0.0, gradient - slopes))
        wrong = ~(error <= METHODS[method][1] * max(1.0, np.nanmax(np.abs(slopes), initial=0)))
        if wrong.any():
            index = tuple(map(int, np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)))
            axis = 1 if place == 0 else 0  # that the groups divide
            at = f"{index} in group {index[axis] * groups // value.shape[axis]}" if groups > 1 else f"{index}"
            told = f"{gradient[index]}, but the derivative ({method}) is {slopes[index]}"
            raise AssertionError(f"gradient {place} at {at} is {told}; {wrong.sum()} of {error.size} elements differ")
    if not compared and any(value.size for value in values):
        raise AssertionError("no element could be compared: each derivative is NaN or at a kink, or no gradient came")
    return compared


def _slopes(f: Callable[..., Any], values: list[np.ndarray], place: int, method: str) -> np.ndarray:
    """Return the derivative of the number f by values[place], NaN where a kink is within a step."""
    step, here, slopes = METHODS[method][0], f(*values), np.empty(values[place].shape)
    operands: list[np.ndarray] = [value.astype(complex) for value in values] if method == "complex" else list(values)

    def slope(index: tuple[int, ...], shift: complex) -> Any:
        moved = operands[place].copy()
        moved[index] += shift
        return (f(*operands[:place], moved, *operands[place + 1 :]) - here) / shift

    for index in np.ndindex(slopes.shape):
        if method == "central":
            after, before = slope(index, step), slope(index, -step)
            kink = abs(after - before) > 1e-3 * max(1.0, abs(after), abs(before))
            slopes[index] = np.nan if kink else (after + before) / 2
        else:
            slopes[index] = slope(index, 1j * step).real if method == "complex" else slope(index, step)
    return slopes
