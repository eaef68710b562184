"""The layers without parameters: the rectifier, the poolings, and a change of shape."""

from __future__ import annotations

import math
from typing import Any

from .._support.arguments import as_int
from .._support.typing import Array
from ..backend import array_module
from ..errors import ShapeError
from ..functional import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
)
from .module import Module


class ReLU(Module):
    """Rectifier: max(x, 0). It keeps its output, which the next layer keeps as its input anyway.

    >>> import numpy as np
    >>> layer = ReLU()
    >>> layer(np.array([-1.0, 0.0, 2.0])), layer.backward(np.array([5.0, 5.0, 5.0]))
    (array([0., 0., 2.]), array([0., 0., 5.]))
    """

    def forward(self, x: Array) -> Array:
        """Set what is negative to zero."""
        y = relu(x)
        self.keep(y)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input: grad_output where the output is positive, else 0."""
        (y,) = self.kept()
        return relu_backward(grad_output, y)


class MaxPool2d(Module):
    """Maximum over windows of (N, C, H, W); the first of equal maxima takes the gradient.

    Parameters
    ----------
    kernel_size : int or pair
    stride : int or pair, optional
        As `kernel_size` if None.
    padding, dilation : int or pair
    ceil_mode : bool
        Whether a window that starts inside may end outside.

    >>> MaxPool2d(3, stride=2, padding=1)
    MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
    ) -> None:  # PyTorch has `return_indices` in fifth place
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Array) -> Array:
        """Take the maximum of each window."""
        y = max_pool2d(x, self.kernel_size, **self._window)
        self.keep(x, y)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        x, y = self.kept()
        return max_pool2d_backward(grad_output, x, y, self.kernel_size, **self._window)

    @property
    def _window(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "ceil_mode")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return ", ".join(f"{name}={value}" for name, value in {"kernel_size": self.kernel_size, **self._window}.items())


class AvgPool2d(Module):
    """Average over windows of (N, C, H, W).

    Parameters
    ----------
    kernel_size : int or pair
    stride : int or pair, optional
        As `kernel_size` if None.
    padding : int or pair
    ceil_mode : bool
        Whether a window that starts inside may end outside.
    count_include_pad : bool
        Whether padding counts in the average.

    >>> AvgPool2d(2)
    AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode, self.count_include_pad = padding, ceil_mode, count_include_pad

    def forward(self, x: Array) -> Array:
        """Take the average of each window."""
        y = avg_pool2d(x, self.kernel_size, **self._window)
        self.keep(x.shape)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        (x_shape,) = self.kept()
        return avg_pool2d_backward(grad_output, x_shape, self.kernel_size, **self._window)

    @property
    def _window(self) -> dict[str, Any]:
        names = ("stride", "padding", "ceil_mode", "count_include_pad")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class GlobalAvgPool2d(Module):
    """Average over all positions: (N, C, H, W) to (N, C, 1, 1), which PyTorch calls ``AdaptiveAvgPool2d(1)``.

    >>> import numpy as np
    >>> GlobalAvgPool2d()(np.zeros((8, 256, 7, 7))).shape
    (8, 256, 1, 1)
    """

    def forward(self, x: Array) -> Array:
        """Take the average of each channel of each image."""
        y = global_avg_pool2d(x)
        self.keep(x.shape)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        (x_shape,) = self.kept()
        return global_avg_pool2d_backward(grad_output, x_shape)


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last of them; negative ones count from the end.

    >>> import numpy as np
    >>> Flatten()(np.zeros((8, 3, 4, 5))).shape
    (8, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = as_int(start_dim, "start_dim"), as_int(end_dim, "end_dim")

    def forward(self, x: Array) -> Array:
        """Reshape x."""
        xp = array_module(x=x)
        y_shape = self.output_shape(tuple(x.shape))
        self.keep(x.shape, y_shape)
        return xp.reshape(x, y_shape)

    def backward(self, grad_output: Array) -> Array:
        """Reshape back."""
        x_shape, y_shape = self.kept()
        xp = array_module(grad_output=grad_output)
        if tuple(grad_output.shape) != y_shape:
            raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but the output has shape {y_shape}")
        return xp.reshape(grad_output, x_shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that comes out of an input of `shape`."""
        axes = len(shape)
        if not (-axes <= self.start_dim < axes and -axes <= self.end_dim < axes):
            raise ShapeError(f"x has shape {shape}: {self!r} joins axes that it does not have")
        first, last = self.start_dim % axes, self.end_dim % axes
        if first > last:
            raise ShapeError(f"start_dim={self.start_dim} comes after end_dim={self.end_dim} in shape {shape}")
        return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
