"""Max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError
from ..geometry import WindowGeometry
from .batch_axis import with_batch_axis, without_batch_axis


def max_pool2d(
    x: Array, kernel_size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Array:
    """Take the maximum of each window. Pixels outside the image count as −∞; a NaN makes the maximum NaN.

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
    images = with_batch_axis(x)
    window = WindowGeometry.of_pool(
        images.shape, kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    with allocating("the output", window.pooled_shape, x.dtype):
        return without_batch_axis(engine_for(xp).max_pool2d(images, window), x.shape)


@allocating("the result of max_pool2d_backward")
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
    images = with_batch_axis(x)
    window = WindowGeometry.of_pool(
        images.shape, kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    grad = checked_pooled(grad_output, x.shape, window, "grad_output")
    maxima = checked_pooled(output, x.shape, window, "output")
    return without_batch_axis(engine_for(xp).max_pool2d_backward(grad, images, maxima, window), x.shape)


def checked_pooled(array: Array, x_shape: Sequence[int], window: WindowGeometry, name: str) -> Array:
    """Return `array` with a batch axis after checking that it has the shape of the pooling's output."""
    expected = window.pooled_shape[4 - len(x_shape) :]
    if tuple(array.shape) != expected:
        raise ShapeError(f"{name} has shape {tuple(array.shape)} but the output of this pooling has shape {expected}")
    return with_batch_axis(array)
