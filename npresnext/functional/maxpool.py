"""Max pooling."""

from __future__ import annotations

from typing import Any

from .._support.typing import Array
from ..backend import floating_module, widen
from ..engines import fused
from ..geometry import WindowGeometry
from .masks import keep
from .windows import batched, checked, like, output_shape, pool_window


def max_pool2d(
    x: Array, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Array:
    """Take the maximum of each window; what lies outside the image counts as −∞, and NaN wins.

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W)
        A real floating dtype.
    kernel_size : int or pair
    stride : int or pair, optional
        `kernel_size` if None.
    padding : int or pair
        On both sides, at most half of the kernel.
    dilation : int or pair
    ceil_mode : bool
        Round the output size up instead of down, but let no window begin beyond the image and its left padding.

    Returns
    -------
    array (N, C, oh, ow), or (C, oh, ow) for an unbatched x
        ``oh = floor((H + 2·padding − dilation·(kh − 1) − 1) / stride) + 1``, or its ceiling.

    Raises
    ------
    ValueError
        Sizes below 1, too much padding, a kernel larger than the padded image.
    TypeError
        x is not an array, or is of an integer or complex dtype.

    Examples
    --------
    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    xp = floating_module(x=x)
    window = pool_window(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    images, shape = batched(x), output_shape(window)
    kernel = fused(xp, "max_pool2d", images, shape=shape)
    if kernel is not None:
        return like(x.shape, kernel(images, window, shape))
    return like(x.shape, _maximum(xp, window, images))


def max_pool2d_backward(
    grad_output: Array,
    x: Array,
    output: Array,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of :func:`max_pool2d`: each window sends its gradient to its maximum.

    Among equals the first, from left to right and down, gets all, as in PyTorch. A window whose maximum is NaN sends
    it to its first pixel.

    Parameters
    ----------
    grad_output : array (N, C, oh, ow) or (C, oh, ow)
        Gradient of the loss with respect to the output.
    x, kernel_size, stride, padding, dilation, ceil_mode
        As they were given to :func:`max_pool2d`.
    output : array of the shape of `grad_output`
        What :func:`max_pool2d` returned.

    Returns
    -------
    array of the shape of x

    Raises
    ------
    ValueError, TypeError
        As for :func:`max_pool2d`, and where `grad_output` or `output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 4.0], [4.0, 2.0]]])
    >>> max_pool2d_backward(np.array([[[5.0]]]), x, max_pool2d(x, 2), 2)
    array([[[0., 5.],
            [0., 0.]]])
    """
    xp = floating_module(grad_output=grad_output, x=x, output=output)
    window = pool_window(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    grad = checked(grad_output, x.shape, window, "grad_output")
    output, images = checked(output, x.shape, window, "output"), batched(x)
    kernel = fused(xp, "max_pool2d_backward", images)
    if kernel is not None:
        return like(x.shape, kernel(grad, images, output, window))
    return like(x.shape, _to_first_maximum(xp, window, grad, images, output))


def _maximum(xp: Any, window: WindowGeometry, images: Array) -> Array:
    """Take the maxima of images (N, C, H, W)."""
    y = xp.full(output_shape(window), -float("inf"), dtype=images.dtype)  # (N, C, oh, ow)
    for _, _, windows, pixels in window.taps():
        y[:, :, *windows] = xp.maximum(y[:, :, *windows], images[:, :, *pixels])
    return y


def _to_first_maximum(xp: Any, window: WindowGeometry, grad: Array, images: Array, output: Array) -> Array:
    """Send the gradients (N, C, oh, ow) to where the maxima came from."""
    grad = widen(xp, grad)
    dx = xp.zeros(images.shape, dtype=grad.dtype)  # (N, C, H, W)
    searching = xp.ones(output.shape, dtype=xp.bool)  # windows whose maximum is yet to come
    for _, _, windows, pixels in window.taps():
        here = (slice(None), slice(None), *windows)
        found = searching[here] & ~(images[:, :, *pixels] < output[here])
        searching[here] = searching[here] & ~found
        dx[:, :, *pixels] += keep(xp, grad[here], found)
    return xp.astype(dx, images.dtype, copy=False)
