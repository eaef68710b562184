"""The fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .._support.arguments import check_needs
from .._support.typing import Array
from ..backend import conjugate, floating_module, given, widen
from ..engines import fused
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
        Mixed dtypes or array libraries, integer dtypes, things that are not arrays.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.0, 100.0]))
    array([[ 11., 117.]])
    """
    xp = floating_module(allow_complex=True, x=x, weight=weight, **given(bias=bias))
    rows, out_features, in_features = sizes_of_rows(x.shape, weight.shape)
    if bias is not None and tuple(bias.shape) != (out_features,):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}: expected (out_features,) = ({out_features},)")
    flat = xp.reshape(widen(xp, x), (rows, in_features))  # (M, in)
    y = _matmul(xp, flat, xp.matrix_transpose(widen(xp, weight)))  # (M, out)
    if bias is not None:
        y += widen(xp, bias)
    return xp.astype(xp.reshape(y, (*x.shape[:-1], out_features)), x.dtype, copy=False)  # (..., out)


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
    rows, out_features, in_features = sizes_of_rows(x.shape, weight.shape)
    expected = (*x.shape[:-1], out_features)
    if tuple(grad_output.shape) != expected:
        raise ShapeError(
            f"grad_output has shape {tuple(grad_output.shape)} but the output of this layer has shape {expected}"
        )
    grad = xp.reshape(widen(xp, grad_output), (rows, out_features))  # (M, out)
    dx = dweight = dbias = None
    if needs[0]:
        dx = _matmul(xp, grad, conjugate(xp, widen(xp, weight)))  # (M, in)
        dx = xp.astype(xp.reshape(dx, x.shape), x.dtype, copy=False)  # (..., in)
    if needs[1]:
        flat = xp.reshape(conjugate(xp, widen(xp, x)), (rows, in_features))  # (M, in)
        dweight = xp.astype(_matmul(xp, xp.matrix_transpose(grad), flat), x.dtype, copy=False)  # (out, in)
    if needs[2]:
        dbias = xp.astype(xp.sum(grad, axis=0), x.dtype, copy=False)  # (out,)
    return dx, dweight, dbias


def sizes_of_rows(x_shape: Sequence[int], weight_shape: Sequence[int]) -> tuple[int, int, int]:
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


def _matmul(xp: Any, a: Array, b: Array) -> Array:
    return (fused(xp, "matmul", a, b, shape=(a.shape[0], b.shape[1])) or xp.matmul)(a, b)
