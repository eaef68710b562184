"""Which pixels the windows of a convolution read: tap by tap, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._support.typing import NumPyArray
from ..errors import ShapeError
from ..geometry import WindowGeometry
from ._cells import Label, Part, check_size, figure_of, fitting_points, grid
from ._colours import theme_of
from .column_matrix import padded_cells, padded_ranges


def taps(
    x_shape: Sequence[int],
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    dark: bool = False,
) -> Any:
    """Draw, for each tap (i, j) of the kernel, the pixels that the weights of this tap multiply.

    There is one image for each tap. A marked pixel holds the position (p, q) of the window that reads it with this
    tap; so ``y[p, q]`` contains the product of this pixel and this weight. A position in a cell of the padding, which
    has no colour, is a product with zero. No tap reads a pixel twice.

    Read one image: the products of one weight, which is what its gradient adds up. Read one pixel in all images: the
    products of one pixel, which is what the gradient of the input adds up.

    Parameters
    ----------
    x_shape : sequence of int
        (H, W), or a longer shape that ends so.
    kernel_size, stride, padding, dilation
        As for :func:`npresnext.im2col`.
    dark : bool
        For a dark background.

    Returns
    -------
    matplotlib.figure.Figure
        Its texts have the ids "tap[i, j] x[r, s]".

    Raises
    ------
    ValueError
        The arguments do not fit each other, or the picture would be too large for readable numbers.

    Examples
    --------
    Tap (0, 1) of a 2x2 kernel with stride 2 reads one pixel of each window:

    >>> figure = taps((4, 4), 2, stride=2)
    >>> {text.get_gid(): text.get_text() for text in figure.axes[0].texts}["tap[0, 1] x[2, 3]"]
    '1,1'
    """
    theme = theme_of(dark)
    window = _window(x_shape, kernel_size, stride, padding, dilation)
    (top, bottom), (first, last) = padded_ranges(window)
    height, width = bottom - top, last - first
    kh, kw = window.kernel
    check_size("this picture", kw * (width + 2), kh * (height + 2), "take a smaller image or kernel")
    points = fitting_points(f"{window.out_height - 1},{window.out_width - 1}")
    parts: list[Part] = []
    for i, j in np.ndindex(kh, kw):
        readers = np.full((height, width), "", dtype=object)
        read = set()
        for p, q in np.ndindex(window.out_height, window.out_width):
            row = p * window.stride[0] - window.padding[0][0] + i * window.dilation[0]
            column = q * window.stride[1] - window.padding[1][0] + j * window.dilation[1]
            readers[row - top, column - first] = f"{p},{q}"
            if 0 <= row < window.height and 0 <= column < window.width:
                read.add((row, column))
        x, y = j * (width + 2), i * (height + 2)
        parts.append(Label(x, y - 0.6, f"tap {i}, {j}", theme.ink))
        name, colour = f"tap[{i}, {j}] x[{{}}, {{}}]", theme.group(0)
        parts += padded_cells(readers, window, name, x, y, theme, colour, read, points)
    return figure_of(parts, theme)


def overlaps(
    x_shape: Sequence[int],
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    dark: bool = False,
) -> Any:
    """Draw how many windows read each pixel, which is ``col2im(im2col(ones))``.

    The counts of one axis are at the top and at the left. The count of a pixel is the product of its two counts,
    because a window covers a pixel if it covers its row and its column.

    Parameters
    ----------
    x_shape, kernel_size, stride, padding, dilation, dark
        As for :func:`taps`.

    Returns
    -------
    matplotlib.figure.Figure
        Its texts have the ids "overlaps[r, s]", "down[r]" and "across[s]".

    Raises
    ------
    ValueError
        As for :func:`taps`.

    Examples
    --------
    >>> figure = overlaps((5, 5), 3)
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid() in map("overlaps[2, {}]".format, range(5))]
    ['3', '6', '9', '6', '3']
    """
    theme = theme_of(dark)
    window = _window(x_shape, kernel_size, stride, padding, dilation)
    check_size("this picture", window.width + 3, window.height + 3, "take a smaller image")
    counts = np.zeros((window.height, window.width), int)
    for _, _, _, pixels in window.taps():
        counts[pixels] += 1
    down = _counts(window, 0)
    across = _counts(window, 1)
    most = max(int(counts.max()), 1)

    def colour(row: int, column: int) -> str:
        return theme.heat(counts[row, column] / most) if counts[row, column] else theme.background

    parts = grid("overlaps[{}, {}]", counts, 0, 0, theme, fill=colour)
    side = theme.background
    parts += grid("across[{1}]", across[None], 0, -1.4, theme, fill=side)
    parts += grid("down[{0}]", down[:, None], -1.4, 0, theme, fill=side)
    parts.append(Label(-1.4, -2.4, "how many windows read each pixel", theme.ink))
    return figure_of(parts, theme)


def _counts(window: WindowGeometry, axis: int) -> NumPyArray:
    """Return how many windows of one axis read each of its pixels."""
    counts = np.zeros((window.height, window.width)[axis], int)
    kernel, windows = window.kernel[axis], (window.out_height, window.out_width)[axis]
    for tap, first in np.ndindex(kernel, windows):
        pixel = first * window.stride[axis] - window.padding[axis][0] + tap * window.dilation[axis]
        if 0 <= pixel < len(counts):
            counts[pixel] += 1
    return counts


def _window(x_shape: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any) -> WindowGeometry:
    """Return the geometry of one channel of an image."""
    if not isinstance(x_shape, Sequence) or len(x_shape) < 2:
        raise ShapeError(f"x_shape must be (H, W), or end so, but is {x_shape!r}")
    return WindowGeometry.of((1, 1, *x_shape[-2:]), kernel_size, stride=stride, padding=padding, dilation=dilation)
