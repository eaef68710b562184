"""The rectifier."""

from __future__ import annotations

from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError
from .residual import checked_sides


@allocating("the result of relu")
def relu(x: Array) -> Array:
    """Cut off what is below zero: ``y = max(x, 0)``, element by element; NaN stays NaN.

    (Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.)

    Parameters
    ----------
    x : array of any shape
        A real floating dtype.

    Returns
    -------
    array of the shape of x

    Raises
    ------
    TypeError
        x is not an array, or is of an integer or complex dtype.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-2.0, 0.0, 3.0]))
    array([0., 0., 3.])
    """
    return engine_for(floating_module(x=x)).relu(x)


@allocating("the result of relu_")
def relu_(x: Array, shortcut: Array | None = None) -> Array:
    """Return ``max(x + shortcut, 0)``. The result may overwrite x, so x must not be used afterwards.

    The underscore is PyTorch's mark of operations that work in place. The gradient is that of :func:`relu`.
    """
    xp = floating_module(x=x) if shortcut is None else checked_sides(x, shortcut, "shortcut")
    return engine_for(xp).relu_(x, shortcut)


@allocating("the result of relu_backward")
def relu_backward(grad_output: Array, output: Array) -> Array:
    """Gradient of :func:`relu`: `grad_output` where the output is positive, 0 where it is 0.

    At x = 0 the rectifier has no derivative; like every framework we take 0. The output suffices to tell, so a
    network need not keep the input.

    Parameters
    ----------
    grad_output : array of any shape
        Gradient of the loss with respect to the output.
    output : array of the same shape
        What :func:`relu` returned.

    Returns
    -------
    array of the same shape

    Raises
    ------
    ValueError
        The shapes differ.
    TypeError
        As for :func:`relu`, and for mixed dtypes or array libraries.

    Examples
    --------
    >>> import numpy as np
    >>> relu_backward(np.array([5.0, 6.0, 7.0]), relu(np.array([-2.0, 0.0, 3.0])))
    array([0., 0., 7.])
    """
    xp = floating_module(grad_output=grad_output, output=output)
    if grad_output.shape != output.shape:
        raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but output has {tuple(output.shape)}")
    return engine_for(xp).relu_backward(grad_output, output)
