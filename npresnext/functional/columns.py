"""im2col and its transpose col2im: check the arguments, and call the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._support.memory import allocating
from .._support.typing import Array
from ..backend import floating_module
from ..engines import engine_for
from ..errors import ShapeError
from ..geometry import WindowGeometry


def im2col(x: Array, kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Array:
    """Write the windows of x (N, C, H, W) out as columns (N, C·kh·kw, oh·ow), channel-major.

    Row ``(c·kh + i)·kw + j`` of the columns holds tap (i, j) of channel c for every window; windows go from
    left to right, then down. ``torch.nn.Unfold`` gives the same.

    Parameters
    ----------
    x : array (N, C, H, W)
        Of a floating or complex dtype.
    kernel_size : int or pair
        (kh, kw).
    stride, padding, dilation
        As for :func:`conv2d`.

    Returns
    -------
    array (N, C·kh·kw, oh·ow)

    Raises
    ------
    ValueError, TypeError
        As for :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2)[0]
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    xp = floating_module(allow_complex=True, x=x)
    window = WindowGeometry.of(x.shape, kernel_size, stride=stride, padding=padding, dilation=dilation)
    with allocating("the column matrix", window.columns_shape, x.dtype):
        return engine_for(xp).im2col(x, window)


def col2im(
    columns: Array, x_shape: Sequence[int], kernel_size: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Array:
    """Add columns (N, C·kh·kw, oh·ow) up into an image of shape `x_shape`: the transpose of :func:`im2col`.

    Not its inverse: a pixel that n windows read comes back n-fold. ``torch.nn.Fold`` gives the same.

    Parameters
    ----------
    columns : array (N, C·kh·kw, oh·ow)
    x_shape : sequence of four int
        (N, C, H, W).
    kernel_size, stride, padding, dilation
        As they were given to :func:`im2col`.

    Returns
    -------
    array of shape `x_shape`

    Raises
    ------
    ValueError, TypeError
        As for :func:`im2col`, and where the columns are not those of such an image.

    Examples
    --------
    >>> import numpy as np
    >>> col2im(im2col(np.ones((1, 1, 3, 3)), 2), (1, 1, 3, 3), 2)[0, 0]    # how many windows read each pixel
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    xp = floating_module(allow_complex=True, columns=columns)
    window = WindowGeometry.of(x_shape, kernel_size, stride=stride, padding=padding, dilation=dilation)
    if tuple(columns.shape) != window.columns_shape:
        raise ShapeError(
            f"columns has shape {tuple(columns.shape)} but x_shape {tuple(x_shape)} has "
            f"(N, C·kh·kw, oh·ow) = {window.columns_shape}"
        )
    with allocating("the image", window.x_shape, columns.dtype):
        return engine_for(xp).col2im(columns, window)
