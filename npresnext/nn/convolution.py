"""Grouped convolution, by itself and with the rectifier that follows it once batch norm is folded in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._support.arguments import as_bool, as_generator, as_int, as_pair
from .._support.typing import Array
from ..errors import ShapeError
from ..functional import conv2d, conv2d_backward, relu_backward
from ..functional.conv import conv2d_relu
from ..geometry import ConvGeometry, as_padding, check_groups
from . import init
from .module import Mask, Module, Shape
from .parameter import Parameter, data_of


class Conv2d(Module):
    """Grouped convolution of images (N, C_in, H, W) to (N, C_out, oh, ow).

    It saves its input and its weight for the backward pass; the columns of the matrix product are computed again.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation
        As for :func:`npresnext.conv2d`.
    groups : int
        G: each output channel sees in_channels/G input channels. Divides both channel counts.
    bias : bool
        Whether to add a learned number to each output channel.
    rng : None, int or numpy.random.Generator
        Where the initial weights come from: U(−1/√L, 1/√L), with L = (C_in/G)·kh·kw, as PyTorch's.
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Attributes
    ----------
    weight : Parameter (C_out, C_in/G, kh, kw)
    bias : Parameter (C_out,) or None

    Raises
    ------
    ValueError
        `groups` does not divide both channel counts, or a size is impossible.

    Examples
    --------
    >>> Conv2d(64, 128, 3, padding=1, groups=32, bias=False)
    Conv2d(64, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    >>> Conv2d(64, 128, 3, groups=32).weight.shape
    (128, 2, 3, 3)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Any = None,
        dtype: Any = "float32",
    ) -> None:
        self.in_channels = as_int(in_channels, "in_channels", 0)
        self.out_channels = as_int(out_channels, "out_channels", 0)
        self.kernel_size = as_pair(kernel_size, "kernel_size", 1)
        self.stride = as_pair(stride, "stride", 1)
        self.dilation = as_pair(dilation, "dilation", 1)
        self.groups = as_int(groups, "groups", 1)
        check_groups(self.in_channels, self.out_channels, self.groups)
        (top, bottom), (left, right) = sides = as_padding(padding, self.kernel_size, self.stride, self.dilation)
        symmetric = (top, left) if (top, left) == (bottom, right) else sides
        self.padding = padding if isinstance(padding, str) else symmetric
        bias, rng = as_bool(bias, "bias"), as_generator(rng)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight = Parameter(init.uniform_fan_in(shape, fan_in, rng=rng, dtype=dtype))
        self.bias = Parameter(init.uniform_fan_in(shape[:1], fan_in, rng=rng, dtype=dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        """Convolve x (N, C_in, H, W) or (C_in, H, W)."""
        y = conv2d(x, self.weight.data, data_of(self.bias), **self._window)
        self.save_for_backward(input=x, weight=self.weight.data)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input, None if it is not needed."""
        x, weight = self.pop_saved()
        return self._gradients(grad_output, x, weight)

    def _gradients(self, grad_output: Array, x: Array, weight: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of x, None if it is not needed."""
        needs = (self.needs_input_grad, True, self.bias is not None)
        dx, dweight, dbias = conv2d_backward(grad_output, x, weight, **self._window, needs=needs)
        self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

    def geometry(self, input_shape: Shape) -> ConvGeometry:
        """Return every integer of the convolution of an input (N, C_in, H, W) or (C_in, H, W)."""
        images = (1, *input_shape) if len(input_shape) == 3 else input_shape
        return ConvGeometry.of_conv(images, self.weight.shape, **self._window)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C_out, oh, ow), or (C_out, oh, ow) for an unbatched input."""
        return self.geometry(input_shape).output_shape[-len(input_shape) :]

    def macs(self, input_shape: Shape) -> int:
        """Return the multiply-adds of one forward pass, padding counted as if it were pixels."""
        return self.geometry(input_shape).macs

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return the block-diagonal mask (C_out, C_in) of the groups."""
        return [group_mask(self.in_channels, self.out_channels, self.groups)]

    def example_shape(self) -> Shape:
        """Return the shape of an image of 64x64 pixels."""
        return 1, self.in_channels, 64, 64

    @property
    def _window(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else f"{text}, bias=False"


class ConvReLU2d(Conv2d):
    """Convolution, the addition of a shortcut if one is given, and the rectifier, in one pass over the output.

    ``y = max(conv(x) + shortcut, 0)``. :func:`npresnext.models.fuse` puts it where a :class:`BatchNormReLU2d` stood
    that follows a convolution. Parameters and state are those of :class:`Conv2d`.

    >>> import numpy as np
    >>> layer = ConvReLU2d(2, 4, 1, rng=0, dtype="float64")
    >>> x, shortcut = np.ones((1, 2, 3, 3)), np.zeros((1, 4, 3, 3))
    >>> y = layer(x, shortcut)
    >>> dx, dshortcut = layer.backward(np.ones_like(y))
    >>> dx.shape, dshortcut.shape
    ((1, 2, 3, 3), (1, 4, 3, 3))
    """

    def forward(self, x: Array, shortcut: Array | None = None) -> Array:
        """Convolve x (N, C_in, H, W), add the shortcut (N, C_out, oh, ow), and set what is negative to zero."""
        y = conv2d_relu(x, self.weight.data, data_of(self.bias), shortcut=shortcut, **self._window)
        self.save_for_backward(input=x, output=y, weight=self.weight.data, has_shortcut=shortcut is not None)
        return y

    def backward(self, grad_output: Array) -> Any:
        """Add to the gradients of weight and bias; return the gradient of x, or (of x, of the shortcut) if given."""
        x, y, weight, has_shortcut = self.pop_saved()
        dsum = relu_backward(grad_output, y)
        dx = self._gradients(dsum, x, weight)
        return (dx, dsum) if has_shortcut else dx

    def output_shape(self, input_shape: Shape, shortcut_shape: Shape | None = None) -> Shape:
        """Return (N, C_out, oh, ow)."""
        shape = super().output_shape(input_shape)
        if shortcut_shape is not None and shortcut_shape != shape:
            raise ShapeError(f"shortcut has shape {shortcut_shape} but the output {shape}")
        return shape

    def macs(self, input_shape: Shape, shortcut_shape: Shape | None = None) -> int:
        """Return the multiply-adds of the convolution."""
        return super().macs(input_shape)

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return the mask of the groups, and None for the shortcut, whose channels stay apart."""
        return super().channel_masks(input_shapes[0]) + [None] * len(input_shapes[1:])


def group_mask(in_channels: int, out_channels: int, groups: int) -> np.ndarray[Any, Any]:
    """Return the block-diagonal mask (C_out, C_in) of a convolution with `groups` groups, which divide both.

    Parameters
    ----------
    in_channels, out_channels, groups : int

    Returns
    -------
    bool array (C_out, C_in)

    Raises
    ------
    ValueError
        `groups` does not divide both.

    Examples
    --------
    >>> group_mask(4, 2, 2).astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 1, 1]])
    """
    in_channels, out_channels = as_int(in_channels, "in_channels", 0), as_int(out_channels, "out_channels", 0)
    groups = as_int(groups, "groups", 1)
    check_groups(in_channels, out_channels, groups)
    group_of_output = np.arange(out_channels) * groups // out_channels
    group_of_input = np.arange(in_channels) * groups // in_channels
    return group_of_output[:, None] == group_of_input[None, :]  # (C_out, C_in)
