"""The fully connected layer: one matrix product."""

from __future__ import annotations

from .._support.typing import Array
from ..backend import array_module, conjugate, widen


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """Map each row of x (M, in): ``y = x · weightᵀ + bias``, of shape (M, out)."""
    xp = array_module(x=x)
    y = xp.matmul(widen(xp, x), xp.matrix_transpose(widen(xp, weight)))  # (M, out)
    if bias is not None:
        y += widen(xp, bias)
    return xp.astype(y, x.dtype, copy=False)


def linear_input_grad(grad_output: Array, weight: Array) -> Array:
    """Gradient of the input: ``dx = grad_output · weight``, of shape (M, in)."""
    xp = array_module(grad_output=grad_output)
    dx = xp.matmul(widen(xp, grad_output), conjugate(xp, widen(xp, weight)))  # (M, in)
    return xp.astype(dx, grad_output.dtype, copy=False)


def linear_weight_grad(grad_output: Array, x: Array) -> Array:
    """Gradient of the weight: ``dweight = grad_outputᵀ · x``, of shape (out, in)."""
    xp = array_module(grad_output=grad_output)
    dweight = xp.matmul(xp.matrix_transpose(widen(xp, grad_output)), conjugate(xp, widen(xp, x)))  # (out, in)
    return xp.astype(dweight, grad_output.dtype, copy=False)


def linear_bias_grad(grad_output: Array) -> Array:
    """Gradient of the bias: ``dbias = Σ grad_output`` over the rows, of shape (out,)."""
    xp = array_module(grad_output=grad_output)
    return xp.astype(xp.sum(widen(xp, grad_output), axis=0), grad_output.dtype, copy=False)
