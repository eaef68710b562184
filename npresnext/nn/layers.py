"""The layers: each holds its arrays, calls the function of ``functional``, and keeps what its backward needs."""

from __future__ import annotations

import math
from typing import Any

from ..backend import array_module
from ..errors import InvalidValueError, ShapeError
from ..functional.activation import relu, relu_backward
from ..functional.batchnorm import batch_norm, batch_norm_backward, running_statistics
from ..functional.conv import conv2d, conv2d_backward
from ..functional.linear import linear, linear_backward
from ..functional.loss import cross_entropy, cross_entropy_backward
from ..functional.pool import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from ..geometry import as_int, as_padding, as_pair, check_groups
from . import init
from .module import Module, Parameter

Array = Any


class Conv2d(Module):
    """Grouped convolution of images (N, C_in, H, W) to (N, C_out, oh, ow).

    It keeps its input between forward and backward; the columns of the matrix product are made anew.

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
        `groups` divides not both channel counts, or a size is impossible.

    >>> Conv2d(64, 128, 3, padding=1, groups=32, bias=False)
    Conv2d(64, 128, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=32, bias=False)
    >>> Conv2d(64, 128, 3, groups=32).weight.shape
    (128, 2, 3, 3)
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, *, rng: Any = None, dtype: Any = "float32",
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
        rng = init.generator(rng)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight = Parameter(init.uniform_fan_in(shape, fan_in, rng=rng, dtype=dtype))
        self.bias = Parameter(init.uniform_fan_in(shape[:1], fan_in, rng=rng, dtype=dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        """Convolve x (N, C_in, H, W) or (C_in, H, W)."""
        y = conv2d(x, self.weight.data, _data(self.bias), **self._window)
        self.keep(x)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input."""
        (x,) = self.kept()
        needs = (True, True, self.bias is not None)
        dx, dweight, dbias = conv2d_backward(grad_output, x, self.weight.data, **self._window, needs=needs)
        self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

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


class BatchNorm2d(Module):
    """Batch normalisation of (N, C, H, W): with the batch's statistics in training, the running ones in evaluation.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance.
    momentum : float or None
        The share of a new batch in the running statistics; None averages over all batches.
    affine, bias : bool
        Whether to learn a factor (starts at 1) and a summand (starts at 0) for each channel.
    track_running_stats : bool
        If false, evaluation too uses the batch's statistics.
    dtype : str

    Attributes
    ----------
    weight, bias : Parameter (C,) or None
    running_mean, running_var : array (C,) or None
        The variance is the unbiased one, as in PyTorch.
    num_batches_tracked : array () of int64 or None

    >>> BatchNorm2d(64).running_var.shape
    (64,)
    """

    buffer_names = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, bias: bool = True, dtype: Any = "float32",
    ) -> None:
        self.num_features = as_int(num_features, "num_features", 0)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (self.num_features,)
        self.weight = Parameter(init.full(shape, 1, dtype)) if affine else None
        self.bias = Parameter(init.full(shape, 0, dtype)) if affine and bias else None
        self.running_mean: Array | None = init.full(shape, 0, dtype) if track_running_stats else None
        self.running_var: Array | None = init.full(shape, 1, dtype) if track_running_stats else None
        self.num_batches_tracked: Array = init.counter() if track_running_stats else None

    def forward(self, x: Array) -> Array:
        """Normalise x (N, C, H, W)."""
        if len(x.shape) != 4:
            raise ShapeError(f"x has shape {tuple(x.shape)}: expected (N, C, H, W)")
        of_batch = self.training or self.running_mean is None
        given = {} if of_batch else {"mean": self.running_mean, "var": self.running_var}
        y, mean, var = batch_norm(x, _data(self.weight), _data(self.bias), **given, eps=self.eps)
        if self.training and self.running_mean is not None:
            self._track(mean, var, x.shape[0] * x.shape[2] * x.shape[3])
        self.keep(x, mean, var, of_batch)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input."""
        x, mean, var, of_batch = self.kept()
        dx, dweight, dbias = batch_norm_backward(
            grad_output, x, mean, var, _data(self.weight), eps=self.eps, batch_statistics=of_batch
        )
        if self.weight is not None:
            self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

    def _track(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values per channel."""
        self.num_batches_tracked += 1
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean, self.running_var = running_statistics(
            self.running_mean, self.running_var, mean, var, count, momentum
        )

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


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
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
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
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
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
    """Average over all positions: (N, C, H, W) to (N, C, 1, 1), which PyTorch calls ``AdaptiveAvgPool2d(1)``."""

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

    >>> import numpy as np
    >>> Flatten()(np.zeros((8, 3, 4, 5))).shape
    (8, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = as_int(start_dim, "start_dim"), as_int(end_dim, "end_dim")

    def forward(self, x: Array) -> Array:
        """Reshape x."""
        xp, axes = array_module(x=x), len(x.shape)
        if not (-axes <= self.start_dim < axes and -axes <= self.end_dim < axes):
            raise ShapeError(f"x has shape {tuple(x.shape)}: {self!r} joins axes that it does not have")
        first, last = self.start_dim % axes, self.end_dim % axes
        if first > last:
            raise ShapeError(f"start_dim={self.start_dim} comes after end_dim={self.end_dim} in shape {tuple(x.shape)}")
        self.keep(x.shape)
        return xp.reshape(x, (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))

    def backward(self, grad_output: Array) -> Array:
        """Reshape back."""
        (x_shape,) = self.kept()
        return array_module(grad_output=grad_output).reshape(grad_output, x_shape)

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Linear(Module):
    """Fully connected: (..., in_features) to (..., out_features), y = x·weightᵀ + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : None, int or numpy.random.Generator
        Where the initial weights come from: U(−1/√in_features, 1/√in_features), as PyTorch's.
    dtype : str

    >>> Linear(2048, 1000)
    Linear(in_features=2048, out_features=1000, bias=True)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: Any = None, dtype: Any = "float32"
    ) -> None:
        self.in_features = as_int(in_features, "in_features", 0)
        self.out_features = as_int(out_features, "out_features", 0)
        rng = init.generator(rng)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.uniform_fan_in(shape, self.in_features, rng=rng, dtype=dtype))
        self.bias = (
            Parameter(init.uniform_fan_in(shape[:1], self.in_features, rng=rng, dtype=dtype)) if bias else None
        )

    def forward(self, x: Array) -> Array:
        """Map the last axis."""
        y = linear(x, self.weight.data, _data(self.bias))
        self.keep(x)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input."""
        (x,) = self.kept()
        needs = (True, True, self.bias is not None)
        dx, dweight, dbias = linear_backward(grad_output, x, self.weight.data, needs=needs)
        self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class CrossEntropyLoss(Module):
    """Softmax and cross-entropy of logits (N, C) against class indices (N,).

    Parameters
    ----------
    weight : array (C,), optional
        Weight of each class.
    ignore_index : int
        A target that counts for nothing.
    reduction : "mean", "sum" or "none"
    label_smoothing : float
        What share of the target is spread over all classes, in [0, 1].

    >>> import numpy as np
    >>> criterion = CrossEntropyLoss()
    >>> loss = criterion(np.zeros((1, 4)), np.array([2]))           # −log(1/4)
    >>> round(float(loss), 4), criterion.backward()
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """

    buffer_names = ("weight",)

    def __init__(
        self, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        if reduction not in ("mean", "sum", "none"):
            raise InvalidValueError(f"reduction must be one of mean, sum, none, but is {reduction!r}")
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, logits: Array, target: Array) -> Array:
        """Return the loss, an array of the logits' library: on a GPU nothing waits for it."""
        loss = cross_entropy(logits, target, **self._options)
        self.keep(logits, target)
        return loss

    def backward(self, grad_output: Array | None = None) -> Array:
        """Return the gradient of the logits; `grad_output` None stands for 1."""
        logits, target = self.kept()
        return cross_entropy_backward(grad_output, logits, target, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        names = ("weight", "ignore_index", "reduction", "label_smoothing")
        return {name: getattr(self, name) for name in names}


def _data(parameter: Parameter | None) -> Array | None:
    return None if parameter is None else parameter.data
