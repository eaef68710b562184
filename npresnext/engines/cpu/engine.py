"""CpuEngine: the fast functions of this folder for the arrays that they take, and the lesson for all others.

The lesson computes

    convolutions of fewer than `least_macs` multiply-adds    it is faster there
    empty arrays                                             there is nothing to compute
    float16, bfloat16 and complex numbers                    BLAS has no 16-bit matmul; the lesson widens and conjugates
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..._support.typing import Array
from ...geometry import ConvGeometry, WindowGeometry
from .._engine import Engine
from . import batchnorm, blocks, convolution, elementwise, maxpool
from .layout import empty_images, has_channels_outermost, share_an_order
from .matmul import matmul

LEAST_MACS = 200_000  # multiply-adds of a convolution below which the lesson is faster


class CpuEngine(Engine):
    """The fast engine for NumPy arrays of float32 and float64; everything else goes to the lesson.

    Parameters
    ----------
    least_macs : int
        Multiply-adds of a convolution below which the lesson does it.

    Examples
    --------
    >>> import numpy as np
    >>> CpuEngine().add(np.array([1.0]), np.array([2.0]))
    array([3.])
    """

    name = "cpu"
    libraries = ("numpy",)

    def __init__(self, *, least_macs: int = LEAST_MACS) -> None:
        self.least_macs = least_macs

    def conv2d(self, x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry) -> Array:
        """Convolve: y from shifted copies of x."""
        if not self._takes(x, geometry):
            return super().conv2d(x, weight, bias, geometry)
        return convolution.forward(x, weight, bias, geometry)

    def conv2d_relu(
        self, x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None
    ) -> Array:
        """Convolve, then add the shortcut and rectify, in blocks of channels."""
        if not self._takes(x, geometry):
            return super().conv2d_relu(x, weight, bias, geometry, shortcut)
        return convolution.forward_relu(x, weight, bias, geometry, shortcut)

    def conv2d_input_grad(self, grad_output: Array, weight: Array, geometry: ConvGeometry) -> Array:
        """Gradient of the input: dx from shifted copies of grad_output."""
        if not self._takes(grad_output, geometry):
            return super().conv2d_input_grad(grad_output, weight, geometry)
        return convolution.input_grad(grad_output, weight, geometry)

    def conv2d_weight_grad(self, grad_output: Array, x: Array, geometry: ConvGeometry) -> Array:
        """Gradient of the weight: grad_output times shifted copies of x."""
        if not self._takes(x, geometry):
            return super().conv2d_weight_grad(grad_output, x, geometry)
        return convolution.weight_grad(grad_output, x, geometry)

    def conv2d_input_and_weight_grad(
        self, grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry
    ) -> tuple[Array, Array]:
        """Both gradients in one go, with many groups from the same shifted copies of grad_output."""
        if not self._takes(x, geometry):
            return super().conv2d_input_and_weight_grad(grad_output, x, weight, geometry)
        return convolution.gradients(grad_output, x, weight, geometry)

    def batch_norm(
        self, x: Array, weight: Array | None, bias: Array | None, mean: Array | None, var: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        """Normalise in blocks of channels that stay in the cache."""
        if not _is_fast(x):
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
        """Gradients of the normalisation, in blocks of channels."""
        if not _is_fast(x):
            return super().batch_norm_backward(grad_output, x, mean, var, weight, eps, batch_statistics)
        return batchnorm.batch_norm_backward(grad_output, x, mean, var, weight, eps, batch_statistics)

    def batch_norm_relu(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        shortcut: Array | None,
        mean: Array | None,
        var: Array | None,
        eps: float,
    ) -> tuple[Array, Array, Array]:
        """Normalise, add the shortcut and rectify, in blocks of channels."""
        if not _is_fast(x):
            return super().batch_norm_relu(x, weight, bias, shortcut, mean, var, eps)
        return batchnorm.batch_norm_relu(x, weight, bias, shortcut, mean, var, eps)

    def batch_norm_relu_backward(
        self,
        grad_output: Array,
        output: Array,
        x: Array,
        mean: Array,
        var: Array,
        weight: Array | None,
        eps: float,
        batch_statistics: bool,
        needs_shortcut: bool,
    ) -> tuple[Array, Array, Array, Array | None]:
        """Gradients of normalisation, addition and rectifier, in blocks of channels."""
        arguments = (grad_output, output, x, mean, var, weight, eps, batch_statistics, needs_shortcut)
        if not _is_fast(x):
            return super().batch_norm_relu_backward(*arguments)
        return batchnorm.batch_norm_relu_backward(*arguments)

    def running_statistics_(
        self, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
    ) -> None:
        """Move the running statistics in their own memory."""
        if not (_is_fast(running_mean) and running_mean.dtype == running_var.dtype == mean.dtype == var.dtype):
            return super().running_statistics_(running_mean, running_var, mean, var, count, momentum)
        return batchnorm.running_statistics_(running_mean, running_var, mean, var, count, momentum)

    def relu(self, x: Array) -> Array:
        """Rectify, block by block."""
        return elementwise.relu(x) if _are_fast_runs(x) else super().relu(x)

    def relu_(self, x: Array, shortcut: Array | None) -> Array:
        """Add the shortcut and rectify, in the memory of x."""
        if not _are_fast_runs(x, *([] if shortcut is None else [shortcut])):
            return super().relu_(x, shortcut)
        return elementwise.relu_(x, shortcut)

    def relu_backward(self, grad_output: Array, output: Array) -> Array:
        """Gradient of the rectifier, block by block."""
        if not _are_fast_runs(grad_output, output):
            return super().relu_backward(grad_output, output)
        return elementwise.relu_backward(grad_output, output)

    def add(self, x: Array, y: Array) -> Array:
        """Add, block by block."""
        return elementwise.add(x, y) if _are_fast_runs(x, y) else super().add(x, y)

    def add_(self, x: Array, y: Array) -> Array:
        """Add y to x, in the memory of x."""
        if _are_fast_runs(x, y):
            return elementwise.add_(x, y)
        x += y
        return x

    def max_pool2d(self, x: Array, window: WindowGeometry) -> Array:
        """Take maxima without strides, phase by phase."""
        return maxpool.max_pool2d(x, window) if _is_fast(x) else super().max_pool2d(x, window)

    def max_pool2d_backward(self, grad_output: Array, x: Array, output: Array, window: WindowGeometry) -> Array:
        """Send each gradient to the first maximum, phase by phase."""
        if not _is_fast(x):
            return super().max_pool2d_backward(grad_output, x, output, window)
        return maxpool.max_pool2d_backward(grad_output, x, output, window)

    def global_avg_pool2d(self, x: Array) -> Array:
        """Take the average of each map; where channels are outermost, the rows of all images are added at once."""
        if not (_is_fast(x) and has_channels_outermost(x)):
            return super().global_avg_pool2d(x)
        N, C, H, W = x.shape
        rows = x.transpose(1, 2, 0, 3).sum(axis=1)  # (C, N, W)
        sums = matmul(rows.reshape(C * N, W), np.ones((W, 1), x.dtype))  # (C·N, 1)
        return (sums / (H * W)).reshape(C, N).T[:, :, None, None]  # (N, C, 1, 1)

    def global_avg_pool2d_backward(self, grad_output: Array, x_shape: tuple[int, int, int, int]) -> Array:
        """Give each pixel its share, in an array whose channels are outermost."""
        if not _is_fast(grad_output):
            return super().global_avg_pool2d_backward(grad_output, x_shape)
        N, C, H, W = x_shape
        dx, shares = empty_images(x_shape, grad_output.dtype), grad_output[:, :, 0, 0].T / (H * W)  # (C, N)
        dx.transpose(1, 2, 0, 3).reshape(C, H, N * W)[...] = np.repeat(shares, W, axis=1)[:, None]  # whole rows
        return dx

    def linear(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """Multiply on the threads of this engine instead of BLAS's own."""
        if not (_is_fast(x) and _is_fast(weight)):
            return super().linear(x, weight, bias)
        y = matmul(x, weight.T)  # (M, out)
        if bias is not None:
            y += bias
        return y

    def linear_input_grad(self, grad_output: Array, weight: Array) -> Array:
        """Gradient of the input, multiplied on the threads of this engine."""
        if not (_is_fast(grad_output) and _is_fast(weight)):
            return super().linear_input_grad(grad_output, weight)
        return matmul(grad_output, weight)  # (M, in)

    def linear_weight_grad(self, grad_output: Array, x: Array) -> Array:
        """Gradient of the weight, multiplied on the threads of this engine."""
        if not (_is_fast(grad_output) and _is_fast(x)):
            return super().linear_weight_grad(grad_output, x)
        return matmul(grad_output.T, x)  # (out, in)

    def update_elementwise(self, updates: Iterable[tuple[Callable[..., None], tuple[Array | None, ...]]]) -> None:
        """Make the updates on blocks of the arrays that stay in the cache, on all threads."""
        blocks.by_elements(updates)

    def _takes(self, x: Array, geometry: ConvGeometry) -> bool:
        """Return whether the fast convolution takes these arguments: see the table above."""
        if geometry.macs < self.least_macs or x.dtype.char not in "fd":
            return False
        return 0 not in geometry.x_shape and 0 not in geometry.weight_shape


def _is_fast(x: Array) -> bool:
    """Return whether x is a NumPy array that BLAS can multiply, with something in it."""
    return type(x) is np.ndarray and x.dtype.char in "fd" and x.size > 0


def _are_fast_runs(*arrays: Array) -> bool:
    """Return whether the arrays, of one shape, share an order of memory, so that they can be cut into blocks."""
    return all(type(array) is np.ndarray and array.dtype.char in "fd" for array in arrays) and share_an_order(*arrays)
