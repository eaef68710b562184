"""The fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._support.arguments import check_needs
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module, given
from ..engines import engine_for
from ..errors import ShapeError

Gradients = tuple[Array | None, Array | None, Array | None]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Map the last axis linearly: ``y = x · weightᵀ + bias``.

    Parameters
    ----------
    x : array (..., in_features)
        Any number of leading axes; float16 and bfloat16 (summed in float32), float32, float64 or complex.
    weight : array (out_features, in_features)
    bias : array (out_features,), optional

    Returns
    -------
    array (..., out_features)

    Raises
    ------
    ValueError
        Shapes that do not fit each other.
    TypeError
        Mixed dtypes or array libraries, integer dtypes, arguments that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.0, 100.0]))
    array([[ 11., 117.]])
    """
    xp = floating_module(allow_complex=True, x=x, weight=weight, **given(bias=bias))
    rows, out_features, in_features = linear_sizes(x.shape, weight.shape)
    if bias is not None and tuple(bias.shape) != (out_features,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}: expected (out_features,) = ({out_features},)")
    with allocating("the result of linear", (rows, out_features), x.dtype):
        y = engine_for(xp).linear(xp.reshape(x, (rows, in_features)), weight, bias)  # (M, out)
    return xp.reshape(y, (*x.shape[:-1], out_features))  # (..., out)


@allocating("the result of linear_backward")
def linear_backward(
    grad_output: Array, x: Array, weight: Array, *, needs: tuple[bool, bool, bool] = (True, True, True)
) -> Gradients:
    """Gradients of :func:`linear` with respect to input, weight and bias.

    ``dx = grad_output · weight``, ``dweight = grad_outputᵀ · x`` and ``dbias = Σ grad_output``, the last two summed
    over all leading axes; for complex numbers weight and x are conjugated, as in PyTorch.

    Parameters
    ----------
    grad_output : array (..., out_features)
        Gradient of the loss with respect to the output.
    x, weight
        As they were given to :func:`linear`.
    needs : three bools
        Which of the three gradients to compute.

    Returns
    -------
    (dx, dweight, dbias)
        Shaped as x, weight and (out_features,); None where not needed.

    Raises
    ------
    ValueError, TypeError
        As for :func:`linear`, and where `grad_output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> linear_backward(np.array([[1.0, 2.0]]), np.array([[10.0]]), np.array([[3.0], [4.0]]))
    (array([[11.]]), array([[10.],
           [20.]]), array([1., 2.]))
    """
    check_needs(needs)
    xp = floating_module(allow_complex=True, grad_output=grad_output, x=x, weight=weight)
    rows, out_features, in_features = linear_sizes(x.shape, weight.shape)
    expected = (*x.shape[:-1], out_features)
    if tuple(grad_output.shape) != expected:
        raise ShapeError(
            f"grad_output has shape {tuple(grad_output.shape)} but the output of this layer has shape {expected}"
        )
    engine = engine_for(xp)
    grad = xp.reshape(grad_output, (rows, out_features))  # (M, out)
    dx = dweight = dbias = None
    if needs[0]:
        dx = xp.reshape(engine.linear_input_grad(grad, weight), x.shape)  # (..., in)
    if needs[1]:
        dweight = engine.linear_weight_grad(grad, xp.reshape(x, (rows, in_features)))  # (out, in)
    if needs[2]:
        dbias = engine.linear_bias_grad(grad)  # (out,)
    return dx, dweight, dbias


def linear_sizes(x_shape: Sequence[int], weight_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return M, the rows of x along all its leading axes, out_features and in_features."""
    if len(weight_shape) != 2:
        raise ShapeError(f"weight has shape {tuple(weight_shape)}: expected (out_features, in_features)")
    out_features, in_features = weight_shape
    if len(x_shape) < 1 or x_shape[-1] != in_features:
        raise ShapeError(
            f"x has shape {tuple(x_shape)} but weight has shape {tuple(weight_shape)}: "
            f"expected (..., in_features) with in_features = {in_features}"
        )
    return math.prod(x_shape[:-1]), out_features, in_features
