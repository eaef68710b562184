"""A right convolution, and those that make a mistake of the catalogue: what a student's test is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._support.typing import NumPyArray as Array
from ..errors import ShapeError
from ..geometry import ConvGeometry
from ..testing.mistakes import Call, Mistake, result_of

Kernel = Callable[..., Any]


def make_kernels(mistake: Mistake | None, results: tuple[str, ...]) -> tuple[Kernel, Kernel]:
    """Return conv2d and conv2d_backward that make a mistake in these results, or none.

    They take the arguments of ``npresnext.conv2d`` and ``npresnext.conv2d_backward``, and compute in float64.

    >>> from npresnext.testing import mistakes
    >>> conv2d, _ = make_kernels(mistakes.find("adds the bias twice"), ("y",))
    >>> conv2d(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)), np.array([3.0]))
    array([[[[6.]]]])
    """
    made = () if mistake is None else (mistake,)
    wrong = () if mistake is None else tuple(result for result in mistake.results if result in results)

    def compute(name: str, call: Call) -> Array:
        return result_of(made if name in wrong else (), name, call)

    def conv2d(x: Any, weight: Any, bias: Any = None, **window: Any) -> Array:
        x, weight = np.asarray(x, float), np.asarray(weight, float)
        geometry = ConvGeometry.of_conv(x.shape, weight.shape, **window)
        bias = None if bias is None else np.asarray(bias, float)
        return compute("y", _call(geometry, x, weight, bias, np.zeros(geometry.output_shape)))

    def conv2d_backward(grad_output: Any, x: Any, weight: Any, **window: Any) -> tuple[Array, Array, Array]:
        grad_output, x, weight = (np.asarray(array, float) for array in (grad_output, x, weight))
        geometry = ConvGeometry.of_conv(x.shape, weight.shape, **window)
        if grad_output.shape != geometry.output_shape:
            raise ShapeError(f"grad_output has shape {grad_output.shape}: expected that of y, {geometry.output_shape}")
        call = _call(geometry, x, weight, None, grad_output)
        return compute("dx", call), compute("dw", call), compute("db", call)

    return conv2d, conv2d_backward


def _call(geometry: ConvGeometry, x: Array, weight: Array, bias: Array | None, grad_output: Array) -> Call:
    return Call(
        x,
        weight,
        bias,
        grad_output,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )
