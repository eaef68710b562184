"""Layers that graphs have and networks of this package do not need: additions, padding, poolings with any padding."""

from __future__ import annotations

import numpy as np

from .._support.arguments import Pair
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import array_module, floating_module, widen
from ..engines import engine_for
from ..errors import ShapeError
from ..functional import add, add_backward
from ..geometry import Padding, WindowGeometry, rows_beyond
from ..nn import Module
from ..nn.module import Mask, Shape


class Add(Module):
    """The sum of two arrays of one shape."""

    channelwise = True

    def forward(self, x: Array, y: Array) -> Array:
        """Add."""
        return add(x, y)

    def backward(self, grad_output: Array) -> tuple[Array, Array]:
        """Return the gradients of both sides, which are grad_output."""
        return add_backward(grad_output)

    def output_shape(self, x_shape: Shape, y_shape: Shape) -> Shape:
        """Return the shape of both sides."""
        if x_shape != y_shape:
            raise ShapeError(f"the sides of the sum have the shapes {x_shape} and {y_shape}: expected one shape")
        return x_shape


class Concat(Module):
    """Arrays with their channels one after another: (N, C_1, ...), (N, C_2, ...) to (N, C_1 + C_2, ...)."""

    def forward(self, *inputs: Array) -> Array:
        """Join along axis 1."""
        xp = array_module(**{f"inputs[{index}]": x for index, x in enumerate(inputs)})
        self.output_shape(*(tuple(x.shape) for x in inputs))
        self.save_for_backward([x.shape[1] for x in inputs])
        return xp.concat(inputs, axis=1)

    def backward(self, grad_output: Array) -> tuple[Array, ...]:
        """Return to each input the gradient of its channels."""
        (widths,) = self.pop_saved()
        stops = np.cumsum(widths).tolist()
        return tuple(grad_output[:, stop - width : stop, ...] for width, stop in zip(widths, stops))

    def output_shape(self, *input_shapes: Shape) -> Shape:
        """Return the shape with the sum of the channels."""
        first = input_shapes[0]
        if any((shape[0], *shape[2:]) != (first[0], *first[2:]) for shape in input_shapes):
            raise ShapeError(f"the inputs have the shapes {input_shapes}: expected the same but for the channels")
        return (first[0], sum(shape[1] for shape in input_shapes), *first[2:])

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return, for each input, the mask that puts its channels in their place."""
        total = sum(shape[1] for shape in input_shapes)
        stops = np.cumsum([shape[1] for shape in input_shapes]).tolist()
        return [np.eye(total, dtype=bool)[:, stop - shape[1] : stop] for shape, stop in zip(input_shapes, stops)]


class Softmax(Module):
    """Logits (N, classes) to probabilities: ``y_c = exp(x_c) / Σ_k exp(x_k)``."""

    def forward(self, x: Array) -> Array:
        """Compute each row's probabilities, in float32 at least."""
        xp = floating_module(x=x)
        self.output_shape(tuple(x.shape))
        wide = widen(xp, x)
        powers = xp.exp(wide - xp.max(wide, axis=1, keepdims=True))  # (N, classes), at most 1
        y = powers / xp.sum(powers, axis=1, keepdims=True)  # (N, classes)
        self.save_for_backward(y)
        return xp.astype(y, x.dtype, copy=False)

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the logits: ``dx_c = y_c·(dy_c − Σ_k dy_k·y_k)``."""
        (y,) = self.pop_saved()
        xp = array_module(grad_output=grad_output)
        grad = widen(xp, grad_output)
        dx = y * (grad - xp.sum(grad * y, axis=1, keepdims=True))  # (N, classes)
        return xp.astype(dx, grad_output.dtype, copy=False)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input, after checking that it has two axes."""
        if len(input_shape) != 2:
            raise ShapeError(f"x has shape {input_shape}: expected (N, classes)")
        return input_shape

    def channel_masks(self, *input_shapes: Shape) -> list[Mask]:
        """Return a mask that is true everywhere: each probability depends on every logit."""
        return [np.ones((input_shapes[0][1],) * 2, bool)]


class Pad2d(Module):
    """Images (N, C, H, W) with rows and columns of one value around them.

    Parameters
    ----------
    padding : ((top, bottom), (left, right))
    value : float
    """

    channelwise = True

    def __init__(self, padding: Padding, value: float = 0.0) -> None:
        self.padding, self.value = padding, value

    def forward(self, x: Array) -> Array:
        """Put x into an image full of the value."""
        xp = floating_module(x=x)
        shape = self.output_shape(tuple(x.shape))
        with allocating("the padded image", shape, x.dtype):
            y = xp.full(shape, self.value, dtype=x.dtype)  # (N, C, H + top + bottom, W + left + right)
        y[self._inner(shape)] = x
        return y

    def backward(self, grad_output: Array) -> Array:
        """Cut the padding off."""
        return grad_output[self._inner(tuple(grad_output.shape))]

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C, H + top + bottom, W + left + right)."""
        if len(input_shape) != 4:
            raise ShapeError(f"x has shape {input_shape}: expected (N, C, H, W)")
        N, C, H, W = input_shape
        return N, C, H + sum(self.padding[0]), W + sum(self.padding[1])

    def _inner(self, padded_shape: Shape) -> tuple[slice, ...]:
        """Return the slices of a padded image that are the image."""
        (top, bottom), (left, right) = self.padding
        H, W = padded_shape[2:]
        return slice(None), slice(None), slice(top, H - bottom), slice(left, W - right)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"padding={self.padding}, value={self.value}"


class _PaddedPool2d(Module):
    """A pooling of (N, C, H, W) whose padding may differ from side to side.

    Parameters
    ----------
    kernel_size, stride, dilation : pair of int
    padding : ((top, bottom), (left, right))
    ceil_mode : bool
        Whether a window that begins inside may end outside.
    """

    channelwise = True

    def __init__(
        self, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1), ceil_mode: bool = False
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def window(self, input_shape: Shape) -> WindowGeometry:
        """Return the windows on an input (N, C, H, W); those that ceil_mode adds are in its padding."""
        padding: tuple[Pair, ...] = self.padding
        if self.ceil_mode and len(input_shape) == 4:
            axes = zip(input_shape[2:], self.kernel_size, self.stride, padding, self.dilation)
            added = [rows_beyond(*axis) for axis in axes]
            padding = tuple((before, after + more) for (before, after), more in zip(padding, added))
        options = {"stride": self.stride, "padding": padding, "dilation": self.dilation}
        return WindowGeometry.of(input_shape, self.kernel_size, **options)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return (N, C, oh, ow)."""
        return self.window(input_shape).pooled_shape

    def extra_repr(self) -> str:
        """Return the arguments."""
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class PaddedMaxPool2d(_PaddedPool2d):
    """Maximum over windows; padding counts as −∞."""

    def forward(self, x: Array) -> Array:
        """Take the maximum of each window."""
        engine, window = engine_for(floating_module(x=x)), self.window(tuple(x.shape))
        with allocating("the output", window.pooled_shape, x.dtype):
            y = engine.max_pool2d(x, window)
        self.save_for_backward(x, y, window)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input: each window sends its gradient to its first maximum."""
        x, y, window = self.pop_saved()
        _check_grad(grad_output, window)
        return engine_for(floating_module(grad_output=grad_output)).max_pool2d_backward(grad_output, x, y, window)


class PaddedAvgPool2d(_PaddedPool2d):
    """Average over windows, whose padding counts or, as in ONNX by default, does not."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair,
        padding: Padding,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Array) -> Array:
        """Take the average of each window."""
        engine, window = engine_for(floating_module(x=x)), self.window(tuple(x.shape))
        with allocating("the output", window.pooled_shape, x.dtype):
            y = engine.avg_pool2d(x, window, self._counted)
        self.save_for_backward(window)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient of the input: each window spreads its gradient over its pixels."""
        (window,) = self.pop_saved()
        _check_grad(grad_output, window)
        engine = engine_for(floating_module(grad_output=grad_output))
        return engine.avg_pool2d_backward(grad_output, window, self._counted)

    @property
    def _counted(self) -> Pair:
        """Rows and columns around the image that count. No window reaches beyond the smaller padding of two sides."""
        return (max(self.padding[0]), max(self.padding[1])) if self.count_include_pad else (0, 0)


def _check_grad(grad_output: Array, window: WindowGeometry) -> None:
    if tuple(grad_output.shape) != window.pooled_shape:
        raise ShapeError(
            f"grad_output has shape {tuple(grad_output.shape)} but the output has shape {window.pooled_shape}"
        )
