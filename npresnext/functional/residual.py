"""The addition at the end of a residual block."""

from __future__ import annotations

from typing import Any

from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError


@allocating("the result of add")
def add(x: Array, y: Array) -> Array:
    """Add a branch and its shortcut: ``z = x + y``, two arrays of one shape.

    Shapes that differ are an error here, not an invitation to broadcast: in a residual block they mean that the
    shortcut needs a projection. (He et al., "Deep residual learning", arXiv:1512.03385, equations 1 and 2.)

    Parameters
    ----------
    x, y : arrays of one shape
        Of one real floating dtype.

    Returns
    -------
    array of the same shape

    Raises
    ------
    ValueError
        The shapes differ.
    TypeError
        Mixed dtypes or array libraries, integer or complex dtypes, arguments that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    array([11., 22.])
    """
    return engine_for(checked_sides(x, y)).add(x, y)


@allocating("the result of add_")
def add_(x: Array, y: Array) -> Array:
    """Return ``x + y`` as :func:`add`. The result may overwrite x, so x must not be used afterwards."""
    return engine_for(checked_sides(x, y)).add_(x, y)


@allocating("the result of add_backward")
def add_backward(grad_output: Array) -> tuple[Array, Array]:
    """Gradients of :func:`add`: `grad_output` goes to both sides, unchanged.

    This is the point of a residual network: along the shortcuts the gradient reaches every block.

    Parameters
    ----------
    grad_output : array
        Gradient of the loss with respect to the sum.

    Returns
    -------
    (dx, dy)
        `grad_output` itself, twice: neither may be changed in place.

    Raises
    ------
    TypeError
        As for :func:`add`.

    Examples
    --------
    >>> import numpy as np
    >>> add_backward(np.array([5.0, 6.0]))
    (array([5., 6.]), array([5., 6.]))
    """
    return engine_for(floating_module(grad_output=grad_output)).add_backward(grad_output)


def checked_sides(x: Array, y: Array, name: str = "y") -> Any:
    """Return the array library of both sides after checking their shapes. `name` is the user's name for y."""
    xp = floating_module(x=x, **{name: y})
    if x.shape != y.shape:
        raise ShapeError(
            f"x has shape {tuple(x.shape)} but {name} has shape {tuple(y.shape)}: both sides of a residual addition "
            "must have the same shape (a shortcut between different shapes needs a projection)"
        )
    return xp
