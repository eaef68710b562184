"""Batch norm, the addition of a shortcut, and the rectifier: what follows every convolution of a residual network.

These functions compute what the three operations compute one after the other. They exist for speed: an engine may
carry a value through all three while it is in the cache, instead of reading and writing memory three times.
"""

from __future__ import annotations

from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError
from .batchnorm import checked
from .batchnorm_range import in_range, scaled, statistics_in_range
from .residual import checked_sides


@allocating("the result of batch_norm_relu")
def batch_norm_relu(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    shortcut: Array | None = None,
    mean: Array | None = None,
    var: Array | None = None,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Normalise each channel, add the shortcut, and rectify: ``relu(batch_norm(x, …) + shortcut)``.

    (He et al., "Deep residual learning", arXiv:1512.03385, figure 2 and section 3.4.)

    Parameters
    ----------
    x : array (N, C, ...)
    weight, bias, mean, var, eps
        As for :func:`batch_norm`.
    shortcut : array of the shape of x, optional

    Returns
    -------
    y : array of the shape of x
    mean, var : array (C,)
        As :func:`batch_norm` returns them.

    Raises
    ------
    ValueError, TypeError
        As for :func:`batch_norm`, and where the shortcut does not have the shape of x.

    Examples
    --------
    >>> import numpy as np
    >>> x, shortcut = np.array([[1.0, 10.0], [3.0, 30.0]]), np.array([[0.0, 7.0], [0.0, 7.0]])
    >>> y, mean, var = batch_norm_relu(x, shortcut=shortcut)
    >>> y.round(3)
    array([[0., 6.],
           [1., 8.]])
    """
    if shortcut is not None:
        checked_sides(x, shortcut, "shortcut")
    xp = checked(x, weight, bias, mean, var, eps)
    engine = engine_for(xp)
    results = engine.batch_norm_relu(x, weight, bias, shortcut, mean, var, eps)
    return in_range(results, x, mean, lambda x: engine.batch_norm_relu(x, weight, bias, shortcut, None, None, eps))


@allocating("the result of batch_norm_relu_backward")
def batch_norm_relu_backward(
    grad_output: Array,
    output: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
    batch_statistics: bool = True,
    needs_shortcut: bool = True,
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of :func:`batch_norm_relu` with respect to input, weight, bias and shortcut.

    With the gradient at the sum ``dsum = relu_backward(grad_output, output)``, the shortcut's is dsum itself, and the
    others are ``batch_norm_backward(dsum, …)``.

    Parameters
    ----------
    grad_output : array (N, C, ...)
        Gradient of the loss with respect to y.
    output : array of the same shape
        What :func:`batch_norm_relu` returned as y.
    x, mean, var, weight, eps, batch_statistics
        As for :func:`batch_norm_backward`.
    needs_shortcut : bool
        Whether to return the gradient of the shortcut, or None in its place.

    Returns
    -------
    (dx, dweight, dbias, dshortcut)

    Raises
    ------
    ValueError, TypeError
        As for :func:`relu_backward` and :func:`batch_norm_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> y, mean, var = batch_norm_relu(x)
    >>> dx, dweight, dbias, dshortcut = batch_norm_relu_backward(np.array([[5.0], [7.0]]), y, x, mean, var)
    >>> dshortcut, dbias                                       # the first value was negative: its gate is closed
    (array([[0.],
           [7.]]), array([7.]))
    """
    xp = checked(x, weight, None, mean, var, eps)
    floating_module(grad_output=grad_output, output=output, x=x)
    for name, array in (("grad_output", grad_output), ("output", output)):
        if array.shape != x.shape:
            raise ShapeError(f"{name} has shape {tuple(array.shape)} but x has shape {tuple(x.shape)}")
    engine = engine_for(xp)
    x, mean, var, factors = statistics_in_range(engine, x, mean, var, eps, batch_statistics)
    dx, dweight, dbias, dshortcut = engine.batch_norm_relu_backward(
        grad_output, output, x, mean, var, weight, eps, batch_statistics, needs_shortcut
    )
    return scaled(dx, factors), dweight, dbias, dshortcut
