"""The layers without parameters: the rectifier, the identity, the poolings, and a change of shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.arguments import as_bool, as_int, as_pair
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
from ..functional.avgpool import checked_map_shape
from ..functional.batch_axis import shape_with_batch_axis
from ..geometry import WindowGeometry
from .module import Mask, Module, Shape


class ReLU(Module):
    """Rectifier: max(x, 0). It saves its output, which the next layer saves as its input anyway.

    >>> import numpy as np
    >>> layer = ReLU()
    >>> layer(np.array([-1.0, 0.0, 2.0])), layer.backward(np.array([5.0, 5.0, 5.0]))
    (array([0., 0., 2.]), array([0., 0., 5.]))
    """

    channelwise = True

    def forward(self, x: Array) -> Array:
        """Set what is negative to zero."""
        y = relu(x)
        self.save_for_backward(output=y)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input: grad_output where the output is positive, else 0."""
        (y,) = self.pop_saved()
        return relu_backward(grad_output, y)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape


class Identity(Module):
    """Pass the input on, and the gradient back: a place in a network where nothing is computed.

    >>> Identity()(3.0)
    3.0
    """

    channelwise = True

    def forward(self, x: Array) -> Array:
        """Return x."""
        return x

    def backward(self, grad_output: Array) -> Array:
        """Return grad_output."""
        return grad_output

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input."""
        return input_shape


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

    Examples
    --------
    >>> MaxPool2d(3, stride=2, padding=1)
    MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)
    """

    channelwise = True

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
    ) -> None:  # PyTorch has `return_indices` in fifth place
        stride = kernel_size if stride is None else stride
        _check_window(kernel_size, stride, padding, dilation)
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, as_bool(ceil_mode, "ceil_mode")

    def forward(self, x: Array) -> Array:
        """Take the maximum of each window."""
        y = max_pool2d(x, self.kernel_size, **self._window)
        self.save_for_backward(input=x, output=y)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        x, y = self.pop_saved()
        return max_pool2d_backward(grad_output, x, y, self.kernel_size, **self._window)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C, oh, ow), or (C, oh, ow) for an unbatched input."""
        window = WindowGeometry.of_pool(
            shape_with_batch_axis(input_shape),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )
        return (*input_shape[:-2], window.out_height, window.out_width)

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

    Examples
    --------
    >>> AvgPool2d(2)
    AvgPool2d(kernel_size=2, stride=2, padding=0)
    """

    channelwise = True

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        stride = kernel_size if stride is None else stride
        _check_window(kernel_size, stride, padding, 1)
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.ceil_mode = padding, as_bool(ceil_mode, "ceil_mode")
        self.count_include_pad = as_bool(count_include_pad, "count_include_pad")

    def forward(self, x: Array) -> Array:
        """Take the average of each window."""
        y = avg_pool2d(x, self.kernel_size, **self._window)
        self.save_for_backward(x.shape)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        (x_shape,) = self.pop_saved()
        return avg_pool2d_backward(grad_output, x_shape, self.kernel_size, **self._window)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C, oh, ow), or (C, oh, ow) for an unbatched input."""
        window = WindowGeometry.of_pool(
            shape_with_batch_axis(input_shape),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
        )
        return (*input_shape[:-2], window.out_height, window.out_width)

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

    channelwise = True

    def forward(self, x: Array) -> Array:
        """Take the average of each channel of each image."""
        y = global_avg_pool2d(x)
        self.save_for_backward(x.shape)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input."""
        (x_shape,) = self.pop_saved()
        return global_avg_pool2d_backward(grad_output, x_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C, 1, 1), or (C, 1, 1) for an unbatched input."""
        return (*checked_map_shape(input_shape)[4 - len(input_shape) : 2], 1, 1)


class Flatten(Module):
    """Join the axes from `start_dim` to `end_dim` into one.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last of them; negative ones count from the end.

    Examples
    --------
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
        self.save_for_backward(x.shape, y_shape)
        return xp.reshape(x, y_shape)

    def backward(self, grad_output: Array) -> Array:
        """Reshape back."""
        x_shape, y_shape = self.pop_saved()
        xp = array_module(grad_output=grad_output)
        if tuple(grad_output.shape) != y_shape:
            raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but the output has shape {y_shape}")
        return xp.reshape(grad_output, x_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input with the axes joined."""
        axes = len(input_shape)
        if not (-axes <= self.start_dim < axes and -axes <= self.end_dim < axes):
            raise ShapeError(f"x has shape {input_shape}: {self!r} joins axes that it does not have")
        first, last = self.start_dim % axes, self.end_dim % axes
        if first > last:
            raise ShapeError(f"start_dim={self.start_dim} comes after end_dim={self.end_dim} in shape {input_shape}")
        return (*input_shape[:first], math.prod(input_shape[first : last + 1]), *input_shape[last + 1 :])

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return the mask of an input (N, C, H, W): each value of the output comes from one channel."""
        (input_shape,) = input_shapes
        if self.start_dim % len(input_shape) != 1:
            return super().channel_masks(input_shape)
        channels, outputs = input_shape[1], self.output_shape(input_shape)[1]
        return [np.repeat(np.eye(channels, dtype=bool), outputs // max(channels, 1), axis=0)]

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


def _check_window(kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> None:
    """Refuse sizes that no pooling can have."""
    for name, value, least in (
        ("kernel_size", kernel_size, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
        ("dilation", dilation, 1),
    ):
        as_pair(value, name, least)
