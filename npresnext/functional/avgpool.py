"""Average pooling, of windows and of whole maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.arguments import as_pair
from .._support.typing import Array
from ..backend import floating_module, widen
from ..errors import ShapeError
from ..geometry import WindowGeometry, as_shape
from .windows import batched, batched_shape, checked, like, output_shape, pool_window


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
    rule.

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
    window = pool_window(x.shape, kernel_size, stride, padding, 1, ceil_mode)
    images = widen(xp, batched(x))
    y = xp.zeros(output_shape(window), dtype=images.dtype)  # (N, C, oh, ow)
    for _, _, windows, pixels in window.taps():
        y[:, :, *windows] += images[:, :, *pixels]
    y /= _divisors(xp, window, padding, count_include_pad, y.dtype)
    return like(x.shape, xp.astype(y, x.dtype, copy=False))


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
    window = pool_window(x_shape, kernel_size, stride, padding, 1, ceil_mode)
    grad = widen(xp, checked(grad_output, x_shape, window, "grad_output"))
    grad = grad / _divisors(xp, window, padding, count_include_pad, grad.dtype)  # (N, C, oh, ow)
    dx = xp.zeros(window.x_shape, dtype=grad.dtype)  # (N, C, H, W)
    for _, _, windows, pixels in window.taps():
        dx[:, :, *pixels] += grad[:, :, *windows]
    return like(x_shape, xp.astype(dx, grad_output.dtype, copy=False))


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
    N, C, H, W = sizes_of_map(x.shape)
    rows = xp.reshape(widen(xp, x), (N, C, H * W))  # (N, C, H·W)
    y = xp.reshape(xp.sum(rows, axis=2) / (H * W), (N, C, 1, 1))  # (N, C, 1, 1)
    return like(x.shape, xp.astype(y, x.dtype, copy=False))


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
    N, C, H, W = sizes_of_map(x_shape)
    expected = (N, C, 1, 1)[4 - len(x_shape) :]
    if tuple(grad_output.shape) != expected:
        raise ShapeError(f"grad_output has shape {tuple(grad_output.shape)} but the output has shape {expected}")
    dx = xp.empty(tuple(x_shape), dtype=grad_output.dtype)
    share = widen(xp, grad_output) / (H * W)  # (N, C, 1, 1); float16 ends at 65504
    dx[...] = xp.astype(share, dx.dtype, copy=False)  # over (N, C, H, W)
    return dx


def _divisors(xp: Any, window: WindowGeometry, padding: Any, count_include_pad: bool, dtype: Any) -> Array:
    """Return by how much each window's sum is divided, (oh, ow); made where x is, not sent there."""
    sides = as_pair(padding, "padding") if count_include_pad else (0, 0)
    rows, columns = (
        _counts(xp, windows, window.kernel[axis], window.stride[axis], window.padding[axis][0], size, sides[axis])
        for axis, (windows, size) in enumerate(((window.out_height, window.height), (window.out_width, window.width)))
    )
    return xp.astype(rows[:, None] * columns[None, :], dtype)  # (oh, ow)


def _counts(xp: Any, windows: int, kernel: int, stride: int, before: int, size: int, side: int) -> Array:
    """Along one axis: how many pixels of each window lie within `side` of the image (at least 1, to divide by)."""
    first = xp.arange(windows) * stride - before
    return xp.clip(xp.clip(first + kernel, None, size + side) - xp.clip(first, -side, None), 1, None)


def sizes_of_map(x_shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Return N, C, H and W after checking that a map has pixels to average."""
    N, C, H, W = as_shape(batched_shape(x_shape), "(N, C, H, W)", "x")
    if H * W == 0:
        raise ShapeError(f"x has shape {tuple(x_shape)}: the average of no pixels does not exist")
    return N, C, H, W
