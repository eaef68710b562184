"""The convolution of the CPU engine, on arrays of float32 or float64 that are not empty.

Its idea and its words are explained in engines/cpu/__init__.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.typing import NumPyArray as Array
from ...geometry import ConvGeometry
from . import pointwise, small, thresholds
from .epilogue import Epilogue
from .gather import gather_results
from .layout import empty_images
from .plan import forward_plans, input_grad_plans
from .weight_grad import max_input_channels, weight_grad_tasks, write_weight_grad


def forward(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve: y from shifted copies of x."""
    return _forward(x, weight, bias, geometry, None, False)


def forward_relu(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None) -> Array:
    """Convolve, add the shortcut (an array like y) if there is one, and rectify, tile by tile in the cache."""
    return _forward(x, weight, bias, geometry, shortcut, True)


def _forward(
    x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None, rectify: bool
) -> Array:
    """Return y by the way that is fastest: one matmul, the whole batch at once, or tile by tile."""
    others = (x,) if shortcut is None else (x, shortcut)
    if pointwise.applies(geometry, *others):
        return pointwise.forward(x, weight, bias, geometry, shortcut, rectify)
    if small.applies(geometry, x.itemsize):
        return small.forward(x, weight, bias, geometry, shortcut, rectify)
    y = empty_images(geometry.output_shape, x.dtype)
    G = geometry.groups
    if bias is not None:
        bias = bias.reshape(G, -1, 1, 1)  # (G, C_out/G, 1, 1)
    if shortcut is not None:
        shortcut = _split(shortcut, G)
    epilogue = Epilogue(bias, shortcut, rectify)
    plans, macs = forward_plans(geometry), geometry.macs
    gather_results(_split(x, G), _split_weight(weight, G), _split(y, G), plans, macs, epilogue=epilogue)
    return y


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: dx from shifted copies of grad_output."""
    if pointwise.applies(geometry, grad_output):
        return pointwise.input_grad(grad_output, weight, geometry)
    if small.applies(geometry, grad_output.itemsize):
        return small.input_grad(grad_output, weight, geometry)
    dx = _blank(geometry, grad_output.dtype)
    G = geometry.groups
    weight = _split_weight(weight, G).swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    gather_results(_split(grad_output, G), weight, _split(dx, G), input_grad_plans(geometry), geometry.macs)
    return dx


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: grad_output times shifted copies of x."""
    if pointwise.applies(geometry, grad_output, x):
        return pointwise.weight_grad(grad_output, x, geometry)
    if small.applies(geometry, x.itemsize):
        return small.weight_grad(grad_output, x, geometry)
    dweight = np.empty(geometry.weight_shape, x.dtype)
    G = geometry.groups
    plans, macs = forward_plans(geometry), geometry.macs
    write_weight_grad(_split(x, G), _split(grad_output, G), _split_weight(dweight, G), plans, macs)
    return dweight


def gradients(grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry) -> tuple[Array, Array]:
    """Both gradients: with many groups from the same copies of grad_output, otherwise from tasks that run together."""
    if pointwise.applies(geometry, grad_output, x):
        dx = pointwise.input_grad(grad_output, weight, geometry)
        return dx, pointwise.weight_grad(grad_output, x, geometry)
    if small.applies(geometry, x.itemsize):
        return small.gradients(grad_output, x, weight, geometry)
    dx, dweight = _blank(geometry, x.dtype), np.empty(geometry.weight_shape, x.dtype)
    G, macs, plans = geometry.groups, geometry.macs, input_grad_plans(geometry)
    images, upstream, target = _split(x, G), _split(grad_output, G), _split(dx, G)
    kernels, dkernels = _split_weight(weight, G), _split_weight(dweight, G)
    transposed = kernels.swapaxes(1, 2)  # (G, C_in/G, C_out/G, kh, kw)
    if G >= thresholds.MAX_CHUNKS and max_input_channels(kernels) >= weight.shape[1]:
        write_weight_grad(upstream, images, dkernels.swapaxes(1, 2), plans, macs, weight=transposed, target=target)
    else:
        with weight_grad_tasks(images, upstream, dkernels, forward_plans(geometry)) as tasks:
            gather_results(upstream, transposed, target, plans, macs, other_tasks=tasks)
    return dx, dweight


def _blank(geometry: ConvGeometry, dtype: Any) -> Array:
    """Return the array for dx: zeros where strides leave pixels that no window reads."""
    phases = sum(len(plan.row_phases) for plan in input_grad_plans(geometry))
    every = min(geometry.stride[0], geometry.height) * min(geometry.stride[1], geometry.width)
    dx = empty_images(geometry.x_shape, dtype)
    if phases < every:
        dx[...] = 0
    return dx


def _split(images: Array, groups: int) -> Array:
    """View (N, C, H, W) as (N, G, C/G, H, W)."""
    N, C, H, W = images.shape
    return images.reshape(N, groups, C // groups, H, W)


def _split_weight(weight: Array, groups: int) -> Array:
    """View (C_out, C_in/G, kh, kw) as (G, C_out/G, C_in/G, kh, kw)."""
    return weight.reshape(groups, -1, *weight.shape[1:])
