"""The layers that learn: each holds its arrays, calls its function, and keeps what its backward needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .._support.arguments import as_int, as_pair
from .._support.typing import Array
from ..backend import array_module
from ..errors import ShapeError
from ..functional import (
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_backward,
    linear,
    linear_backward,
    running_statistics,
)
from ..geometry import as_padding, check_groups
from . import init
from .module import Module
from .parameter import Parameter


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
        `groups` does not divide both channel counts, or a size is impossible.

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
        rng = init.generator(rng)
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight = Parameter(init.uniform_fan_in(shape, fan_in, rng=rng, dtype=dtype))
        self.bias = Parameter(init.uniform_fan_in(shape[:1], fan_in, rng=rng, dtype=dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        """Convolve x (N, C_in, H, W) or (C_in, H, W)."""
        return self.forward_through(conv2d, x)

    def forward_through(self, function: Callable[..., Array], x: Array, **more: Any) -> Array:
        """Do what forward does by `function` in place of ``conv2d``: one that takes `more` and goes on from it."""
        y = function(x, self.weight.data, _data(self.bias), **self._window, **more)
        self.keep(x)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input, None if it is not needed."""
        (x,) = self.kept()
        needs = (self.needs_input_grad, True, self.bias is not None)
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
        As for :class:`Conv2d`.

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
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = "float32",
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
        return self.forward_through(batch_norm, x)

    def forward_through(self, function: Callable[..., tuple[Array, Array, Array]], x: Array, **more: Any) -> Array:
        """Do what forward does by `function` in place of ``batch_norm``: one that takes `more` and goes on from it."""
        array_module(x=x)
        if len(x.shape) != 4 or x.shape[1] != self.num_features:
            raise ShapeError(f"x has shape {tuple(x.shape)}: expected (N, {self.num_features}, H, W)")
        of_batch = self.training or self.running_mean is None
        given = {} if of_batch else {"mean": self.running_mean, "var": self.running_var}
        y, mean, var = function(x, _data(self.weight), _data(self.bias), **given, **more, eps=self.eps)
        if self.training and self.running_mean is not None:
            self._track(mean, var, x.shape[0] * x.shape[2] * x.shape[3])
        self.keep(x, mean, var, of_batch)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input."""
        (dx,) = self.backward_through(batch_norm_backward, grad_output)
        return dx

    def backward_through(
        self, function: Callable[..., tuple[Array, ...]], *gradients: Array, **more: Any
    ) -> tuple[Array, ...]:
        """Do what backward does by the backward of :meth:`forward_through`'s function; return all it found but ours."""
        x, mean, var, of_batch = self.kept()
        dx, dweight, dbias, *rest = function(
            *gradients, x, mean, var, _data(self.weight), eps=self.eps, batch_statistics=of_batch, **more
        )
        if self.weight is not None:
            self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx, *rest

    def _track(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values per channel."""
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            batches = array_module(batches=self.num_batches_tracked).astype(self.num_batches_tracked, mean.dtype)
            momentum = 1 / batches  # (): it stays on the device, where reading it would wait
        self.running_mean, self.running_var = running_statistics(
            self.running_mean, self.running_var, mean, var, count, momentum
        )

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class Linear(Module):
    """Fully connected: (..., in_features) to (..., out_features), y = x·weightᵀ + bias.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : None, int or numpy.random.Generator
        Where the initial weights come from: U(−1/√in_features, 1/√in_features), as PyTorch's.
    dtype : str
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,) or None

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
        self.bias = Parameter(init.uniform_fan_in(shape[:1], self.in_features, rng=rng, dtype=dtype)) if bias else None

    def forward(self, x: Array) -> Array:
        """Map the last axis."""
        y = linear(x, self.weight.data, _data(self.bias))
        self.keep(x)
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input, None if it is not needed."""
        (x,) = self.kept()
        needs = (self.needs_input_grad, True, self.bias is not None)
        dx, dweight, dbias = linear_backward(grad_output, x, self.weight.data, needs=needs)
        self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)
        return dx

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _data(parameter: Parameter | None) -> Array | None:
    return None if parameter is None else parameter.data
