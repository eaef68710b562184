"""Average pooling, of windows and of whole maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.arguments import as_pair
from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError
from ..geometry import WindowGeometry, as_shape
from .batch_axis import shape_with_batch_axis, with_batch_axis, without_batch_axis
from .maxpool import checked_pooled


def avg_pool2d(
    x: Array,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Take the average of each window.

    The sum over the window is divided by the number of its pixels that lie in the image and, with
    `count_include_pad`, in the padding; the rows and columns that `ceil_mode` adds never count. This is PyTorch's
    rule. Where the sum overflows, the average is infinite, and NumPy warns of it.

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W)
        float16 and bfloat16 (both summed in float32), float32, float64 or complex.
    kernel_size : int or pair
    stride : int or pair, optional
        `kernel_size` if None.
    padding : int or pair
        Zeros on both sides, at most half of the kernel.
    ceil_mode : bool
        As for :func:`max_pool2d`.
    count_include_pad : bool
        Whether the zeros of the padding count in the divisor.

    Returns
    -------
    array (N, C, oh, ow), or (C, oh, ow) for an unbatched x
        ``oh = floor((H + 2·padding − kh) / stride) + 1``, or its ceiling.

    Raises
    ------
    ValueError, TypeError
        As for :func:`max_pool2d`; complex x is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    xp = floating_module(allow_complex=True, x=x)
    images = with_batch_axis(x)
    window = WindowGeometry.of_pool(images.shape, kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)
    counted_padding = as_pair(padding, "padding") if count_include_pad else (0, 0)
    with allocating("the output", window.pooled_shape, x.dtype):
        return without_batch_axis(engine_for(xp).avg_pool2d(images, window, counted_padding), x.shape)


@allocating("the result of avg_pool2d_backward")
def avg_pool2d_backward(
    grad_output: Array,
    x_shape: Sequence[int],
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of :func:`avg_pool2d`: each window spreads its gradient evenly over its pixels.

    Parameters
    ----------
    grad_output : array (N, C, oh, ow) or (C, oh, ow)
        Gradient of the loss with respect to the output.
    x_shape : sequence of int
        Shape of the input, (N, C, H, W) or (C, H, W).
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As they were given to :func:`avg_pool2d`.

    Returns
    -------
    array of shape `x_shape`

    Raises
    ------
    ValueError, TypeError
        As for :func:`avg_pool2d`, and where `grad_output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool2d_backward(np.array([[[8.0]]]), (1, 2, 2), 2)
    array([[[2., 2.],
            [2., 2.]]])
    """
    xp = floating_module(allow_complex=True, grad_output=grad_output)
    window = WindowGeometry.of_pool(
        shape_with_batch_axis(x_shape), kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    grad = checked_pooled(grad_output, x_shape, window, "grad_output")
    counted_padding = as_pair(padding, "padding") if count_include_pad else (0, 0)
    return without_batch_axis(engine_for(xp).avg_pool2d_backward(grad, window, counted_padding), x_shape)


@allocating("the result of global_avg_pool2d")
def global_avg_pool2d(x: Array) -> Array:
    """Take the average of each whole map: (N, C, H, W) to (N, C, 1, 1).

    (Lin, Chen and Yan, "Network in network", arXiv:1312.4400, section 3.2.)

    Parameters
    ----------
    x : array (N, C, H, W) or (C, H, W)
        float16 and bfloat16 (both summed in float32), float32, float64 or complex.

    Returns
    -------
    array (N, C, 1, 1), or (C, 1, 1) for an unbatched x

    Raises
    ------
    ValueError
        x has another number of axes, or a map without pixels.
    TypeError
        x is not an array, or is of an integer dtype.

    Examples
    --------
    >>> import numpy as np
    >>> global_avg_pool2d(np.arange(8.0).reshape(2, 2, 2))
    array([[[1.5]],
    <BLANKLINE>
           [[5.5]]])
    """
    xp = floating_module(allow_complex=True, x=x)
    checked_map_shape(x.shape)
    return without_batch_axis(engine_for(xp).global_avg_pool2d(with_batch_axis(x)), x.shape)


@allocating("the result of global_avg_pool2d_backward")
def global_avg_pool2d_backward(grad_output: Array, x_shape: Sequence[int]) -> Array:
    """Gradient of :func:`global_avg_pool2d`: every pixel of a map gets ``grad_output/(H·W)``.

    Parameters
    ----------
    grad_output : array (N, C, 1, 1) or (C, 1, 1)
        Gradient of the loss with respect to the output.
    x_shape : sequence of int
        Shape of the input, (N, C, H, W) or (C, H, W).

    Returns
    -------
    array of shape `x_shape`

    Raises
    ------
    ValueError, TypeError
        As for :func:`global_avg_pool2d`, and where `grad_output` does not have the shape of the output.

    Examples
    --------
    >>> import numpy as np
    >>> global_avg_pool2d_backward(np.array([[[8.0]]]), (1, 2, 2))
    array([[[2., 2.],
            [2., 2.]]])
    """
    xp = floating_module(allow_complex=True, grad_output=grad_output)
    shape = checked_map_shape(x_shape)
    expected = (*shape[:2], 1, 1)[4 - len(x_shape) :]
    if tuple(grad_output.shape) != expected:
        raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but the output has shape {expected}")
    dx = engine_for(xp).global_avg_pool2d_backward(with_batch_axis(grad_output), shape)
    return without_batch_axis(dx, x_shape)


def checked_map_shape(x_shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return (N, C, H, W) after checking that a map has pixels to average."""
    N, C, H, W = as_shape(shape_with_batch_axis(x_shape), "(N, C, H, W)", "x")
    if H * W == 0:
        raise ShapeError(f"x has shape {tuple(x_shape)}: the average of no pixels does not exist")
    return N, C, H, W
