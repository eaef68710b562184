"""check_grads: is a hand-written backward pass the derivative of its forward pass?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._support.arguments import as_generator
from .._support.typing import NumPyArray as Array
from ..errors import InvalidTypeError, InvalidValueError
from ..nn import Module


class Method(NamedTuple):
    """How a derivative is taken, and how exact it is."""

    step: float
    relative: float  # error to allow, relative to the derivative itself
    of_largest: float  # and relative to the largest derivative of the same array


METHODS = {
    "complex": Method(step=1e-100, relative=1e-12, of_largest=1e-12),
    "linear": Method(step=1.0, relative=1e-12, of_largest=1e-12),
    "central": Method(step=2.0**-17, relative=1e-6, of_largest=1e-9),
}
ROUNDINGS = 64  # of the number that is differentiated, in units of 2^-53, divided by the step


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
        The forward pass, on NumPy arrays. If it is a layer, or `backward` is a method of one, the gradients of the
        layer's parameters are compared too; the layer must compute in float64.
    inputs : sequence of arrays
        Converted to float64.
    backward : callable
        Returns one gradient for each input, or None where there is none; called once, right after `f`. A method of a
        layer, such as ``layer.backward``, is called with grad_output alone.
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
        Naming input or parameter, element and group at fault; or no element could be compared.
    ValueError, TypeError
        For arguments that make no sense.

    Examples
    --------
    >>> import npresnext as nx
    >>> layer = nx.nn.Conv2d(4, 4, 2, groups=2, rng=0, dtype="float64")
    >>> check_grads(layer, [np.ones((1, 4, 3, 3))], layer.backward, groups=2)
    72
    """
    if method not in METHODS:
        raise InvalidValueError(f"method is {method!r}: expected one of {', '.join(METHODS)}")
    if not isinstance(inputs, (tuple, list)):
        raise InvalidTypeError(f"inputs must be a tuple or list of arrays, but is of type {type(inputs).__name__}")
    for name, function in (("f", f), ("backward", backward)):
        if not callable(function):
            raise InvalidTypeError(f"{name} must be callable, but is of type {type(function).__name__}")
    parameters = parameters_of(f, backward)
    values = [np.array(value, np.float64) for value in inputs]
    result = np.asarray(f(*values))
    if result.dtype.itemsize < 8:
        raise InvalidValueError(f"f returns {result.dtype}, too coarse for differences: compute in the inputs' float64")
    grad_output = as_generator(rng).standard_normal(result.shape)
    gradients = call_backward(backward, grad_output, values, parameters)

    operands: list[Array] = [value.astype(complex) for value in values] if method == "complex" else values

    def terms(place: int, changed: Array) -> Array:
        """Return the terms of the number that is differentiated, with one input or parameter changed."""
        if place < len(values):
            return f(*operands[:place], changed, *operands[place + 1 :]) * grad_output
        parameter = list(parameters.values())[place - len(values)]
        kept = parameter.data.copy()
        try:
            parameter.data[...] = changed
            return f(*values) * grad_output
        finally:
            parameter.data[...] = kept

    names = [f"gradient {place}" for place in range(len(values))] + [f"gradient of {name}" for name in parameters]
    arrays = values + [parameter.data.copy() for parameter in parameters.values()]
    compared = 0
    for place, (name, array, gradient) in enumerate(zip(names, arrays, gradients)):
        if gradient is None:
            continue
        if np.shape(gradient) != array.shape:
            raise AssertionError(f"{name} has shape {np.shape(gradient)}: expected {array.shape}")
        terms_of = partial(terms, place)
        noise = rounding_noise(result * grad_output, method)
        slopes = derivative(terms_of, array, method, noise)
        group_axis = 1 if place == 0 else 0
        compare(name, gradient, slopes, noise, method, groups, group_axis)
        compared += int(np.isfinite(slopes).sum())
    if not compared and any(array.size for array in arrays):
        raise AssertionError("no element could be compared: each derivative is NaN or at a kink, or no gradient came")
    return compared


def parameters_of(f: Any, backward: Any) -> dict[str, Any]:
    """Return the parameters of the layer that f is, or that backward is a method of; they must be float64."""
    owners = [candidate for candidate in (f, getattr(backward, "__self__", None)) if isinstance(candidate, Module)]
    parameters = dict(owners[0].named_parameters()) if owners else {}
    for name, parameter in parameters.items():
        if parameter.data.dtype != np.float64:
            raise InvalidValueError(
                f"{name} has dtype {parameter.data.dtype}, too coarse for differences: "
                'compute in float64, with layer.to(dtype="float64")'
            )
    return parameters


def call_backward(backward: Any, grad_output: Array, values: list[Array], parameters: dict[str, Any]) -> list[Any]:
    """Return the gradients of the inputs, and then those that backward adds to the parameters."""
    kept = {name: parameter.grad for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = None
    is_a_layers = isinstance(getattr(backward, "__self__", None), Module)
    try:
        gradients = backward(grad_output) if is_a_layers else backward(grad_output, *values)
        added = [parameter.grad for parameter in parameters.values()]
    finally:
        for name, parameter in parameters.items():
            parameter.grad = kept[name]
    if not isinstance(gradients, (tuple, list)):
        gradients = (gradients,)
    if len(gradients) != len(values):
        raise InvalidValueError(f"backward returned {len(gradients)} gradients for {len(values)} inputs")
    return [*gradients, *added]


def rounding_noise(terms: Array, method: str) -> float:
    """Return how far rounding in f can carry a derivative: some roundings of its terms, divided by the step."""
    if method == "complex":
        return 0.0  # nothing is subtracted
    size = float(np.nan_to_num(np.abs(terms).sum()))
    return ROUNDINGS * 2.0**-53 * size / METHODS[method].step


def compare(name: str, gradient: Array, slopes: Array, noise: float, method: str, groups: int, group_axis: int) -> None:
    """Raise an AssertionError for the worst element, if any differs from its slope; slopes of NaN are skipped."""
    sizes = np.nan_to_num(np.abs(slopes))
    allowed = METHODS[method].relative * sizes + METHODS[method].of_largest * sizes.max(initial=0.0) + noise
    error = np.abs(np.where(np.isnan(slopes), 0.0, gradient - slopes))
    wrong = ~(error <= allowed)
    if not wrong.any():
        return
    furthest = np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0)
    index = tuple(map(int, np.unravel_index(np.argmax(furthest), error.shape)))
    at = f"{index}"
    if groups > 1:
        at += f" in group {index[group_axis] * groups // gradient.shape[group_axis]}"
    values = f"{gradient[index]}, but the derivative ({method}) is {slopes[index]}"
    raise AssertionError(f"{name} at {at} is {values}; {wrong.sum()} of {error.size} elements differ")


def derivative(terms_of: Callable[[Array], Array], array: Array, method: str, noise: float) -> Array:
    """Return the derivative of the sum of the terms by each element, NaN where it jumps within a step."""
    step = METHODS[method].step
    start = array.astype(complex) if method == "complex" else array
    here = terms_of(start).sum()

    def slope(index: tuple[int, ...], shift: complex) -> Any:
        moved = start.copy()
        moved[index] += shift
        return (terms_of(moved).sum() - here) / shift

    slopes = np.empty(array.shape)
    for index in np.ndindex(slopes.shape):
        if method == "complex":
            slopes[index] = slope(index, 1j * step).real
        elif method == "linear":
            slopes[index] = slope(index, step)
        else:
            slopes[index] = central_difference(partial(slope, index), step, noise)
    return slopes


def central_difference(slope: Callable[[float], float], step: float, noise: float) -> float:
    """Return the mean of the two one-sided slopes, or NaN where the derivative jumps.

    The difference of the two shrinks with the step where f is smooth, and stays where the derivative jumps.
    """
    after, before = slope(step), slope(-step)
    difference = abs(after - before)
    if difference > 1e-3 * max(abs(after), abs(before)) and difference > 4 * noise:
        nearer_after, nearer_before = slope(step / 2), slope(-step / 2)
        remaining = abs(nearer_after - nearer_before)
        if abs(remaining - difference / 2) > 0.1 * difference + 4 * noise:
            return float("nan")
    return (after + before) / 2
