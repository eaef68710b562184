"""The addition at the end of a residual block."""

from __future__ import annotations

from typing import Any

from .._support.typing import Array
from ..backend import floating_module, given
from ..engines import fused
from ..errors import ShapeError


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
        Mixed dtypes or array libraries, integer or complex dtypes, things that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> add(np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    array([11., 22.])
    """
    xp = checked_sides(x, y)
    kernel = fused(xp, "add", x, y)
    return xp.asarray(x + y, dtype=x.dtype) if kernel is None else kernel(x, y)


def add_(x: Array, y: Array) -> Array:
    """Return ``x + y`` as :func:`add`, in the memory of x: for an x that nobody else will read."""
    kernel = fused(checked_sides(x, y), "add_", x, y)
    if kernel is not None:
        return kernel(x, y)
    x += y
    return x


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
    floating_module(grad_output=grad_output)
    return grad_output, grad_output


def checked_sides(x: Array, y: Array | None, name: str = "y") -> Any:
    """Return the library of both sides after checking their shapes; y, which its user calls `name`, may be None."""
    xp = floating_module(x=x, **given(**{name: y}))
    if y is not None and x.shape != y.shape:
        raise ShapeError(
            f"x has shape {tuple(x.shape)} but {name} has shape {tuple(y.shape)}: both sides of a residual addition "
            "must have the same shape (a shortcut between different shapes needs a projection)"
        )
    return xp
