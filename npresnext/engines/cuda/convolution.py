"""CUDA arrays, fast: a kernel that gathers for grouped convolutions, cuBLAS for the dense ones.

Three ways lead to the same result, and the geometry alone decides which is taken:

    product    1x1 kernels, groups=1, nothing padded      one cuBLAS product per image, no columns
    gather     up to 64 channels a group                  gather.cu and weight_grad.cu
    columns    everything else: many channels a group,    the lesson's columns, some images at a time, and cuBLAS;
               complex numbers, strides above 4           how much memory they take is bounded

No way uses atomics or looks at the device, so results are the same on every run, and nothing here waits for the
device or copies anything to or from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.typing import Array
from ...backend import array_module, sum_dtype, widen
from ...geometry import ConvGeometry
from ...lesson import conv as lesson
from . import columns, pointwise
from .launch import C_TYPES, expression, launch
from .plan import Launch, forward_launch, input_grad_launch, weight_grad_launch

CHANNELS = 64  # in a group, up to which gathering is expected to beat columns and cuBLAS


def forward(x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
    """Convolve: y = weight * x + bias."""
    xp = array_module(x=x)
    if _is_empty(geometry):
        return lesson.forward(x, weight, bias, geometry)
    plan = _plan(forward_launch, geometry, x.dtype)
    if plan is not None:
        bias = None if bias is None else xp.ascontiguousarray(bias)
        return _gather(xp, plan, x, weight, bias, xp.empty(geometry.output_shape, dtype=x.dtype))
    way = pointwise if pointwise.takes(geometry) else columns
    y = way.forward(x, weight, geometry, x.dtype if bias is None else sum_dtype(xp, x.dtype))
    if bias is not None:
        y += xp.reshape(widen(xp, bias), (1, geometry.out_channels, 1, 1))  # (1, C_out, 1, 1)
    return xp.astype(y, x.dtype, copy=False)


def input_grad(grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the input: every pixel gathers what the windows that read it send back."""
    xp = array_module(grad_output=grad_output)
    dtype = grad_output.dtype
    if _is_empty(geometry):
        return lesson.input_grad(grad_output, weight, geometry)
    plan = _plan(input_grad_launch, geometry, dtype)
    if plan is not None:
        return _gather(xp, plan, grad_output, weight, None, xp.empty(geometry.x_shape, dtype=dtype))
    if pointwise.takes(geometry):
        return pointwise.input_grad(grad_output, weight, geometry)
    return columns.input_grad(grad_output, weight, geometry, sum_dtype(xp, dtype))


def weight_grad(grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
    """Gradient of the weight: partial sums over tiles of pixels, added up in a fixed order."""
    xp = array_module(grad_output=grad_output)
    dtype = grad_output.dtype
    if _is_empty(geometry):
        return lesson.weight_grad(grad_output, x, geometry)
    plan = _plan(weight_grad_launch, geometry, dtype)
    if plan is None:
        way = pointwise if pointwise.takes(geometry) else columns
        return xp.astype(way.weight_grad(grad_output, x, geometry, sum_dtype(xp, dtype)), dtype, copy=False)
    splits = int(plan.plan["splits"])
    partial = xp.empty((splits, *geometry.weight_shape), dtype=sum_dtype(xp, dtype))
    dweight = xp.empty(geometry.weight_shape, dtype=dtype)
    args = xp.ascontiguousarray(grad_output), xp.ascontiguousarray(x), partial, plan.plan
    name = expression("weight_grad", dtype, *plan.template)
    launch("weight_grad.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
    name, blocks = expression("sum_splits", dtype), -(-dweight.size // 256)
    launch("weight_grad.cu", name, blocks, (256, 1), (partial, dweight, np.int64(splits), np.int64(dweight.size)))
    return dweight


def _gather(xp: Any, plan: Launch, source: Array, weight: Array, bias: Array | None, output: Array) -> Array:
    """Fill `output` by the gathering kernel."""
    args = xp.ascontiguousarray(source), xp.ascontiguousarray(weight), bias, output, plan.plan
    name = expression("gather", output.dtype, *plan.template)
    launch("gather.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
    return output


def _plan(planner: Any, geometry: ConvGeometry, dtype: Any) -> Launch | None:
    """Return the plan of a kernel of ours, or None where cuBLAS is the way."""
    channels = max(geometry.in_channels, geometry.out_channels) // geometry.groups
    if channels > CHANNELS or str(dtype) not in C_TYPES or pointwise.takes(geometry):
        return None
    return planner(geometry, 8 if str(dtype) == "float64" else 4)


def _is_empty(geometry: ConvGeometry) -> bool:
    return 0 in (*geometry.x_shape, *geometry.output_shape)
