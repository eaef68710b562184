"""Engine: every operation of a network as a method. The base class computes all of them by the lesson."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .._support.typing import Array
from ..geometry import ConvGeometry
from ..lesson import batchnorm, conv, elementwise, fully_connected, loss, pooling


class Engine:
    """The lesson as an engine, for the arrays of any library.

    A faster engine inherits from this class, overrides the operations that it does faster, and calls ``super()`` for
    the arguments that it does not take. Arguments are checked by :mod:`npresnext.functional` before they come here, so
    an engine checks nothing. Property tests hold every engine to the same results.

    Attributes
    ----------
    name : str
        The name that ``use_engine`` takes.
    libraries : tuple of str, or None
        Names of the array libraries whose arrays the engine takes; None for any library.

    Examples
    --------
    >>> import numpy as np
    >>> Engine().relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    name = "im2col"
    libraries: tuple[str, ...] | None = None

    # Operations of the lesson

    im2col = staticmethod(conv.im2col)
    col2im = staticmethod(conv.col2im)
    conv2d = staticmethod(conv.conv2d)
    conv2d_input_grad = staticmethod(conv.conv2d_input_grad)
    conv2d_weight_grad = staticmethod(conv.conv2d_weight_grad)
    conv2d_bias_grad = staticmethod(conv.conv2d_bias_grad)
    batch_norm = staticmethod(batchnorm.batch_norm)
    batch_norm_backward = staticmethod(batchnorm.batch_norm_backward)
    running_statistics = staticmethod(batchnorm.running_statistics)
    relu = staticmethod(elementwise.relu)
    relu_backward = staticmethod(elementwise.relu_backward)
    add = staticmethod(elementwise.add)
    add_backward = staticmethod(elementwise.add_backward)
    max_pool2d = staticmethod(pooling.max_pool2d)
    max_pool2d_backward = staticmethod(pooling.max_pool2d_backward)
    avg_pool2d = staticmethod(pooling.avg_pool2d)
    avg_pool2d_backward = staticmethod(pooling.avg_pool2d_backward)
    global_avg_pool2d = staticmethod(pooling.global_avg_pool2d)
    global_avg_pool2d_backward = staticmethod(pooling.global_avg_pool2d_backward)
    linear = staticmethod(fully_connected.linear)
    linear_input_grad = staticmethod(fully_connected.linear_input_grad)
    linear_weight_grad = staticmethod(fully_connected.linear_weight_grad)
    linear_bias_grad = staticmethod(fully_connected.linear_bias_grad)
    cross_entropy = staticmethod(loss.cross_entropy)
    cross_entropy_backward = staticmethod(loss.cross_entropy_backward)

    # Operations in place. The result of the first two may overwrite x; here it does not.

    def add_(self, x: Array, y: Array) -> Array:
        """Return ``x + y``; x may be overwritten."""
        return self.add(x, y)

    def relu_(self, x: Array, shortcut: Array | None) -> Array:
        """Return ``max(x + shortcut, 0)``, or ``max(x, 0)`` without a shortcut; x may be overwritten."""
        return self.relu(x if shortcut is None else self.add(x, shortcut))

    def running_statistics_(
        self, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float | Array
    ) -> None:
        """Overwrite the running mean and variance with what ``running_statistics`` returns."""
        running_mean[...], running_var[...] = self.running_statistics(
            running_mean, running_var, mean, var, count, momentum
        )

    def update_elementwise(self, updates: Iterable[tuple[Callable[..., None], tuple[Array | None, ...]]]) -> None:
        """Make each update ``function(*arrays)``, which changes its arrays, all of one shape, element by element."""
        for function, arrays in updates:
            function(*arrays)

    # Several operations as one: an engine may do them in one pass over memory. Here they follow each other.

    def conv2d_input_and_weight_grad(
        self, grad_output: Array, x: Array, weight: Array, geometry: ConvGeometry
    ) -> tuple[Array, Array]:
        """Return both large gradients of a convolution, dx and dweight."""
        dx = self.conv2d_input_grad(grad_output, weight, geometry)
        return dx, self.conv2d_weight_grad(grad_output, x, geometry)

    def conv2d_relu(
        self, x: Array, weight: Array, bias: Array | None, geometry: ConvGeometry, shortcut: Array | None
    ) -> Array:
        """Convolve, add the shortcut if there is one, and rectify."""
        return self.relu_(self.conv2d(x, weight, bias, geometry), shortcut)

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
        """Normalise, add the shortcut if there is one, and rectify; return y, mean and var."""
        y, mean, var = self.batch_norm(x, weight, bias, mean, var, eps)
        return self.relu_(y, shortcut), mean, var

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
        """Return dx, dweight, dbias, and the gradient of the shortcut (None where it is not needed)."""
        dsum = self.relu_backward(grad_output, output)
        dx, dweight, dbias = self.batch_norm_backward(dsum, x, mean, var, weight, eps, batch_statistics)
        return dx, dweight, dbias, dsum if needs_shortcut else None
