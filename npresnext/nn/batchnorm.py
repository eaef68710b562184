"""Batch norm, by itself and with the shortcut and the rectifier that follow it in a residual network."""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_bool, as_int, check_number
from .._support.typing import Array
from ..backend import array_module, given
from ..errors import BackwardError, InvalidValueError, ShapeError
from ..functional import (
    batch_norm,
    batch_norm_backward,
    batch_norm_relu,
    batch_norm_relu_backward,
)
from ..functional.batchnorm import running_statistics_
from . import init
from .module import Module, Shape
from .parameter import Parameter, data_of


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

    Examples
    --------
    >>> BatchNorm2d(64).running_var.shape
    (64,)
    """

    buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    optional_buffer_names = ("num_batches_tracked",)  # PyTorch before 0.4.1 counted no batches
    channelwise = True

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
        check_number(eps, "eps")
        if not eps > 0:
            raise InvalidValueError(f"eps must be above 0, but is {eps}")
        if momentum is not None:
            check_number(momentum, "momentum")
        self.eps, self.momentum = eps, momentum
        self.affine, bias = as_bool(affine, "affine"), as_bool(bias, "bias")
        self.track_running_stats = as_bool(track_running_stats, "track_running_stats")
        shape = (self.num_features,)
        self.weight = Parameter(init.full(shape, 1, dtype)) if affine else None
        self.bias = Parameter(init.full(shape, 0, dtype)) if affine and bias else None
        self.running_mean: Array = init.full(shape, 0, dtype) if track_running_stats else None
        self.running_var: Array = init.full(shape, 1, dtype) if track_running_stats else None
        self.num_batches_tracked: Array = init.counter() if track_running_stats else None

    def forward(self, x: Array) -> Array:
        """Normalise x (N, C, H, W)."""
        array_module(x=x)
        self.output_shape(tuple(x.shape))
        y, mean, var = batch_norm(x, data_of(self.weight), data_of(self.bias), **self._statistics(), eps=self.eps)
        self.track(mean, var, x.shape)
        self.save_for_backward(
            input=x, statistics=(mean, var), weight=data_of(self.weight), of_batch=self._uses_batch_statistics
        )
        return y

    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of weight and bias; return the gradient of the input."""
        x, (mean, var), weight, of_batch = self.pop_saved()
        dx, dweight, dbias = batch_norm_backward(
            grad_output, x, mean, var, weight, eps=self.eps, batch_statistics=of_batch
        )
        self._add_grads(dweight, dbias)
        return dx

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the input, after checking its channels."""
        if len(input_shape) != 4 or input_shape[1] != self.num_features:
            raise ShapeError(f"x has shape {input_shape}: expected (N, {self.num_features}, H, W)")
        return input_shape

    def example_shape(self) -> Shape:
        """Return the shape of a map of 64x64 positions."""
        return 1, self.num_features, 64, 64

    @property
    def _uses_batch_statistics(self) -> bool:
        return self.training or self.running_mean is None

    def _statistics(self) -> dict[str, Array]:
        """Return the mean and variance to normalise with; nothing where these are the batch's own."""
        return {} if self._uses_batch_statistics else {"mean": self.running_mean, "var": self.running_var}

    def _add_grads(self, dweight: Array, dbias: Array) -> None:
        if self.weight is not None:
            self.weight.add_grad(dweight)
        if self.bias is not None:
            self.bias.add_grad(dbias)

    def batch_statistics(self) -> tuple[Array, Array, Shape]:
        """Return the mean (C,) and the biased variance (C,) of the last batch, and the shape of that batch.

        Call it between the forward and the backward pass, which takes away what the forward pass saved.

        Raises
        ------
        BackwardError
            There was no forward pass, or a backward pass has followed it.
        """
        if self._saved is None:
            raise BackwardError(f"{self!r} has no batch statistics: they exist between forward and backward")
        return *self._saved["statistics"], tuple(self._saved["input"].shape)

    def track(self, mean: Array, var: Array, x_shape: Shape) -> None:
        """Move the running statistics, in place, towards those of a batch; an empty batch has none.

        The forward pass calls it in training mode. Without running statistics, or in evaluation mode, it does nothing.

        Parameters
        ----------
        mean, var : array (C,)
            The variance is the biased one, as :meth:`batch_statistics` returns it.
        x_shape : tuple
            The shape (N, C, H, W) of the batch.
        """
        N, _, H, W = x_shape
        if not self.training or self.running_mean is None or N * H * W == 0:
            return
        self.num_batches_tracked += 1
        momentum: Any = self.momentum
        if momentum is None:
            batches = array_module(batches=self.num_batches_tracked).astype(self.num_batches_tracked, mean.dtype)
            momentum = 1 / batches  # (): it stays on the device, where reading it would wait
        running_statistics_(self.running_mean, self.running_var, mean, var, N * H * W, momentum)

    def extra_repr(self) -> str:
        """Return the constructor's arguments as PyTorch prints them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNormReLU2d(BatchNorm2d):
    """Batch norm, the addition of a shortcut if one is given, and the rectifier, in one pass.

    ``y = max(batch_norm(x) + shortcut, 0)``: what follows each convolution of a residual network (He et al.,
    arXiv:1512.03385, figure 2). The numbers are those of :class:`BatchNorm2d`, an addition and :class:`ReLU` one after
    another; in one pass each value is read from memory and written to it once. Parameters and state are those of
    :class:`BatchNorm2d`.

    >>> import numpy as np
    >>> layer = BatchNormReLU2d(2, dtype="float64")
    >>> x, shortcut = np.random.default_rng(0).normal(size=(2, 3, 2, 4, 4))
    >>> layer.backward(layer(x)).shape                                  # the gradient of x
    (3, 2, 4, 4)
    >>> dx, dshortcut = layer.backward(layer(x, shortcut))
    >>> dshortcut.shape
    (3, 2, 4, 4)
    """

    def forward(self, x: Array, shortcut: Array | None = None) -> Array:
        """Normalise x (N, C, H, W), add the shortcut (N, C, H, W), and set what is negative to zero."""
        array_module(x=x, **given(shortcut=shortcut))
        self.output_shape(tuple(x.shape), None if shortcut is None else tuple(shortcut.shape))
        y, mean, var = batch_norm_relu(
            x, data_of(self.weight), data_of(self.bias), shortcut=shortcut, **self._statistics(), eps=self.eps
        )
        self.track(mean, var, x.shape)
        self.save_for_backward(
            input=x,
            output=y,
            statistics=(mean, var),
            weight=data_of(self.weight),
            of_batch=self._uses_batch_statistics,
            has_shortcut=shortcut is not None,
        )
        return y

    def backward(self, grad_output: Array) -> Any:
        """Add to the gradients of weight and bias; return the gradient of x, or (of x, of the shortcut) if given."""
        x, y, (mean, var), weight, of_batch, has_shortcut = self.pop_saved()
        dx, dweight, dbias, dshortcut = batch_norm_relu_backward(
            grad_output,
            y,
            x,
            mean,
            var,
            weight,
            eps=self.eps,
            batch_statistics=of_batch,
            needs_shortcut=has_shortcut,
        )
        self._add_grads(dweight, dbias)
        return (dx, dshortcut) if has_shortcut else dx

    def output_shape(self, input_shape: Shape, shortcut_shape: Shape | None = None) -> Shape:
        """Return the shape of the input, after checking its channels and the shape of the shortcut."""
        if shortcut_shape is not None and shortcut_shape != input_shape:
            raise ShapeError(
                f"x has shape {input_shape} but shortcut has shape {shortcut_shape}: both sides of a residual addition "
                "must have the same shape (a shortcut between different shapes needs a projection)"
            )
        return super().output_shape(input_shape)
