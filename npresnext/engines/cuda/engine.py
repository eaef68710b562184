"""CudaEngine: convolutions by kernels or by cuBLAS, batch norm and max pooling by kernels.

No way uses atomics or looks at the device, so results are the same on every run. Nothing here waits for the device, or
copies anything to or from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._support.integers import ceil_div
from ..._support.typing import Array
from ...backend import array_module, sum_dtype, widen
from ...geometry import ConvGeometry, WindowGeometry
from .._engine import Engine
from . import batchnorm, columns, maxpool, pointwise
from .launch import C_TYPES, expression, launch
from .plan import Launch, forward_launch, input_grad_launch, weight_grad_launch

CHANNELS = 64  # channels of a group up to which gathering is expected to beat columns and cuBLAS


class CudaEngine(Engine):
    """The fast engine for CuPy arrays. What it does not do faster goes to the lesson.

    Parameters
    ----------
    allow_tf32 : bool
        Whether cuBLAS may round the factors of float32 products to TF32.

    Examples
    --------
    >>> CudaEngine().libraries
    ('cupy',)
    """

    name = "cuda"
    libraries = ("cupy",)

    def __init__(self, *, allow_tf32: bool = False) -> None:
        self.allow_tf32 = allow_tf32

    def conv2d(self, x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
        """Convolve: y = weight * x + bias."""
        if _is_empty(geometry):
            return super().conv2d(x, weight, bias, geometry)
        xp = array_module(x=x)
        plan = _plan(forward_launch, geometry, x.dtype)
        if plan is not None:
            bias = None if bias is None else xp.ascontiguousarray(bias)
            return _gather(xp, plan, x, weight, bias, xp.empty(geometry.output_shape, dtype=x.dtype))
        dtype = x.dtype if bias is None else sum_dtype(xp, x.dtype)
        y = self._products(geometry).forward(x, weight, geometry, dtype, self.allow_tf32)
        if bias is not None:
            y += xp.reshape(widen(xp, bias), (1, geometry.out_channels, 1, 1))  # (1, C_out, 1, 1)
        return xp.astype(y, x.dtype, copy=False)

    def conv2d_input_grad(self, grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
        """Gradient of the input: every pixel gathers the gradients of the windows that read it."""
        if _is_empty(geometry):
            return super().conv2d_input_grad(grad_output, weight, geometry)
        xp, dtype = array_module(grad_output=grad_output), grad_output.dtype
        plan = _plan(input_grad_launch, geometry, dtype)
        if plan is not None:
            return _gather(xp, plan, grad_output, weight, None, xp.empty(geometry.x_shape, dtype=dtype))
        return self._products(geometry).input_grad(grad_output, weight, geometry, sum_dtype(xp, dtype), self.allow_tf32)

    def conv2d_weight_grad(self, grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
        """Gradient of the weight: partial sums over tiles of pixels, added in a fixed order."""
        if _is_empty(geometry):
            return super().conv2d_weight_grad(grad_output, x, geometry)
        xp, dtype = array_module(grad_output=grad_output), grad_output.dtype
        sums = sum_dtype(xp, dtype)
        plan = _plan(weight_grad_launch, geometry, dtype)
        if plan is None:
            dweight = self._products(geometry).weight_grad(grad_output, x, geometry, sums, self.allow_tf32)
            return xp.astype(dweight, dtype, copy=False)
        splits = int(plan.plan["splits"])
        partial = xp.empty((splits, *geometry.weight_shape), dtype=sums)
        dweight = xp.empty(geometry.weight_shape, dtype=dtype)
        args = xp.ascontiguousarray(grad_output), xp.ascontiguousarray(x), partial, plan.plan
        name = expression("weight_grad", dtype, *plan.template)
        launch("weight_grad.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
        name, blocks = expression("sum_splits", dtype), ceil_div(dweight.size, 256)
        sizes = np.int64(splits), np.int64(dweight.size)
        launch("weight_grad.cu", name, blocks, (256, 1), (partial, dweight, *sizes))
        return dweight

    def batch_norm(
        self, x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        """Normalise by three kernels."""
        if not batchnorm.is_countable(x):
            return super().batch_norm(x, weight, bias, mean, var, eps)
        return batchnorm.batch_norm(x, weight, bias, mean, var, eps)

    def batch_norm_backward(
        self,
        grad_output: Array,
        x: Array,
        mean: Array,
        var: Array,
        weight: Array | None,
        eps: float,
        batch_statistics: bool,
    ) -> tuple[Array, Array, Array]:
        """Gradients of the normalisation by three kernels."""
        if not batchnorm.is_countable(x):
            return super().batch_norm_backward(grad_output, x, mean, var, weight, eps, batch_statistics)
        return batchnorm.batch_norm_backward(grad_output, x, mean, var, weight, eps, batch_statistics)

    def max_pool2d(self, x: Array, window: WindowGeometry) -> Array:
        """Take maxima by one kernel."""
        return maxpool.max_pool2d(x, window) if _has_kernels(x) else super().max_pool2d(x, window)

    def max_pool2d_backward(self, grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
        """Send each gradient to the first maximum by one kernel."""
        if not _has_kernels(x):
            return super().max_pool2d_backward(grad_output, x, output, window)
        return maxpool.max_pool2d_backward(grad_output, x, output, window)

    def _products(self, geometry: ConvGeometry) -> Any:
        """Return the module that computes this convolution by cuBLAS."""
        return pointwise if pointwise.applies(geometry) else columns


def _gather(xp: Any, plan: Launch, source: Array, weight: Array, bias: Array | None, output: Array) -> Array:
    """Fill `output` by the kernel that gathers."""
    args = xp.ascontiguousarray(source), xp.ascontiguousarray(weight), bias, output, plan.plan
    name = expression("gather", output.dtype, *plan.template)
    launch("gather.cu", name, plan.blocks, plan.threads, args, plan.shared_bytes)
    return output


def _plan(planner: Any, geometry: ConvGeometry, dtype: Any) -> Launch | None:
    """Return the plan of a kernel of ours, or None where cuBLAS computes the convolution."""
    channels = max(geometry.in_channels, geometry.out_channels) // geometry.groups
    if channels > CHANNELS or str(dtype) not in C_TYPES or pointwise.applies(geometry):
        return None
    return planner(geometry, 8 if str(dtype) == "float64" else 4)


def _is_empty(geometry: ConvGeometry) -> bool:
    return 0 in (*geometry.x_shape, *geometry.output_shape)


def _has_kernels(x: Array) -> bool:
    """Return whether the kernels know the dtype of x, and x is not empty."""
    return str(x.dtype) in C_TYPES and 0 not in x.shape
