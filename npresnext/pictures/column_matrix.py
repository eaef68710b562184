"""im2col of a small image: each column of the matrix is one window of the image."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.typing import NumPyArray
from ..errors import InvalidValueError
from ..functional import im2col as columns_of
from ..geometry import WindowGeometry
from ._cells import SMALL_POINTS, Label, Part, check_size, figure_of, fitting_points, grid, one_image, points_of
from ._colours import Theme, theme_of

GAP = 4.0  # cells between the image and the matrix, for the names of its rows
GAP_OF_CHANNELS = 5.8  # the same, where these names begin with a channel


def im2col(
    x: Any,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    column: int | None = None,
    dark: bool = False,
) -> Any:
    """Draw a small image and its column matrix, and mark the window that a column was copied from.

    Each channel has a colour, in the image and in the rows of the matrix. Cells of the padding have none. Each row of
    the matrix has its channel and its tap (i, j) at its left, each column the position (p, q) of its window above.

    Parameters
    ----------
    x : array (H, W), (C, H, W) or (1, C, H, W)
        Real numbers.
    kernel_size, stride, padding, dilation
        As for :func:`npresnext.im2col`.
    column : int, optional
        The column to mark, from 0 to oh·ow - 1; none if None.
    dark : bool
        For a dark background.

    Returns
    -------
    matplotlib.figure.Figure
        Its texts have the ids "x[c, r, s]" and "columns[row, column]".

    Raises
    ------
    ValueError
        `column` is not a column of the matrix, the arguments do not fit each other, or the picture would be too large
        for readable numbers.
    TypeError
        `x` does not hold real numbers.

    Examples
    --------
    >>> figure = im2col(np.arange(9).reshape(3, 3), 2, column=1)
    >>> [text.get_text() for text in figure.axes[0].texts if (text.get_gid() or "").endswith(", 1]")][-4:]
    ['1', '2', '4', '5']
    """
    image = one_image(x)
    theme = theme_of(dark)
    window = WindowGeometry.of((1, *image.shape), kernel_size, stride=stride, padding=padding, dilation=dilation)
    _, rows, positions = window.columns_shape
    if column is not None and as_int(column, "column", 0) >= positions:
        raise InvalidValueError(f"column must be below oh·ow = {positions}, but is {column}")
    height, width = (stop - start for start, stop in padded_ranges(window))
    down = max(rows, len(image) * (height + 2))
    gap = GAP if len(image) == 1 else GAP_OF_CHANNELS
    check_size("the column matrix", width + int(gap) + positions, down, "take a smaller image or a larger stride")
    marked = set() if column is None else window_pixels(window, column)

    left, points = 0.0, points_of(image)
    parts: list[Part] = []
    for c in range(len(image)):
        top = 1.2 + c * (height + 2)
        name = "x" if len(image) == 1 else f"x, channel {c}"
        cells = padded_image(image[c], window)
        fill = theme.group(c)
        parts += padded_cells(cells, window, f"x[{c}, {{}}, {{}}]", left, top, theme, fill, marked, points)
        parts.append(Label(left, top - 0.6, name, theme.ink))
    right = left + width + gap
    matrix = columns_of(image[None].astype(float), window.kernel, **_arguments(window))[0]  # (C·kh·kw, P)
    parts += _matrix(matrix, window, right, 1.2, theme, column)
    return figure_of(parts, theme)


def _matrix(
    matrix: NumPyArray, window: WindowGeometry, x: float, y: float, theme: Theme, marked: int | None
) -> list[Part]:
    """Return the cells of the column matrix, with the names of its rows and columns."""
    channels, (kh, kw) = window.in_channels, window.kernel

    def fill(row: int, column: int) -> str:
        return theme.mark if column == marked else theme.group(row // (kh * kw))

    parts = grid("columns[{}, {}]", matrix, x, y, theme, fill=fill)  # its numbers are those of the image
    for row, (c, i, j) in enumerate(np.ndindex(channels, kh, kw)):
        name = f"{i}, {j}" if channels == 1 else f"{c}: {i}, {j}"
        parts.append(Label(x - 0.25, y + row + 0.5, name, theme.muted, "right", SMALL_POINTS))
    for column, (p, q) in enumerate(np.ndindex(window.out_height, window.out_width)):
        colour = theme.ink if column == marked else theme.muted
        name = f"{p},{q}"
        points = min(SMALL_POINTS, 1.1 * fitting_points(name))
        parts.append(Label(x + column + 0.5, y - 0.4, name, colour, "center", points))
    heading = f"columns: {len(matrix)} x {window.positions}, one column for each window (p, q)"
    parts.append(Label(x, y - 1.3, heading, theme.ink))
    rows = "tap i, j" if channels == 1 else "channel: tap i, j"
    parts.append(Label(x - 0.25, y - 0.4, rows, theme.muted, "right", SMALL_POINTS))
    return parts


def padded_image(image: NumPyArray, window: WindowGeometry) -> NumPyArray:
    """Return one channel (H, W) with the zeros of its padding."""
    (top, bottom), (first, last) = padded_ranges(window)
    padded = np.zeros((bottom - top, last - first), image.dtype)
    padded[-top : window.height - top, -first : window.width - first] = image
    return padded


def padded_cells(
    values: NumPyArray,
    window: WindowGeometry,
    name: str,
    x: float,
    y: float,
    theme: Theme,
    fill: str,
    marked: Collection[tuple[int, int]],
    points: float | None = None,
) -> list[Part]:
    """Return the cells of a padded channel: pixels of colour `fill`, marked ones, and the padding without colour."""
    (top, _), (first, _) = padded_ranges(window)

    def colour(row: int, column: int) -> str:
        if (row, column) in marked:
            return theme.mark
        return fill if 0 <= row < window.height and 0 <= column < window.width else theme.background

    return grid(name, values, x, y, theme, fill=colour, first=(top, first), points=points)


def padded_ranges(window: WindowGeometry) -> list[tuple[int, int]]:
    """Return the first row and the row after the last, then the columns, of the image with its padding.

    Negative padding leaves pixels out of the windows, but not out of the picture.
    """
    sizes = window.height, window.width
    return [(-max(before, 0), size + max(after, 0)) for size, (before, after) in zip(sizes, window.padding)]


def window_pixels(window: WindowGeometry, column: int) -> set[tuple[int, int]]:
    """Return the pixels (row, column) of the window that a column of the matrix was copied from, padding included."""
    p, q = divmod(column, window.out_width)
    return {
        (
            p * window.stride[0] - window.padding[0][0] + i * window.dilation[0],
            q * window.stride[1] - window.padding[1][0] + j * window.dilation[1],
        )
        for i, j in np.ndindex(*window.kernel)
    }


def _arguments(window: WindowGeometry) -> dict[str, Sequence[Any]]:
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
