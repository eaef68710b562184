"""The weight of a grouped convolution as a matrix of kernels."""

from __future__ import annotations

from typing import Any

from .._support.arguments import as_int
from .._support.plurals import counted
from .._support.typing import NumPyArray
from ..errors import ShapeError
from ._cells import Label, Part, as_array, check_size, figure_of, grid, points_of
from ._colours import Theme, theme_of


def weight_matrix(weight: Any, groups: int = 1, *, dark: bool = False) -> Any:
    """Draw a weight as a matrix of kernels: a row for each output channel, a column for each input channel.

    Where no kernel is, the output channel does not read the input channel. Each group has a colour; its kernels are
    one block on the diagonal.

    Parameters
    ----------
    weight : array (C_out, C_in/G, kh, kw)
        Real numbers.
    groups : int
        G, the number of groups.
    dark : bool
        For a dark background.

    Returns
    -------
    matplotlib.figure.Figure
        Its texts have the ids "weight[o, c, i, j]", with the index c inside the group as in `weight`.

    Raises
    ------
    ValueError
        `groups` does not divide C_out, `weight` has another number of axes, or the picture would be too large for
        readable numbers.
    TypeError
        `weight` does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> figure = weight_matrix(np.arange(4).reshape(4, 1, 1, 1), groups=2)
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid()]
    ['0', '1', '2', '3']
    """
    kernels = as_array(weight, "weight", 4, 4, "(C_out, C_in/groups, kh, kw)")
    groups = as_int(groups, "groups", 1)
    theme = theme_of(dark)
    C_out, per_group, kh, kw = kernels.shape
    if C_out % groups:
        raise ShapeError(f"groups={groups} must divide C_out={C_out}: each group owns C_out/groups channels")
    C_in = per_group * groups
    check_size("weight", C_in * kw + C_in // 2, C_out * kh + C_out // 2, "take fewer channels or a smaller kernel")
    parts = kernel_cells(kernels, groups, 0, 0, theme)
    across, down = C_in * (kw + 0.5), C_out * (kh + 0.5)
    parts.append(Label(0, -1.3, "input channel", theme.ink))
    parts.append(Label(-0.8, -0.75, "output\nchannel", theme.ink, "right"))
    for g in range(groups if groups > 1 else 0):
        middle = (g + 0.5) * down / groups - 0.25
        parts.append(Label(across, middle, f"group {g}", theme.ink))
    dense = C_out * C_in * kh * kw
    share = f", 1/{groups} of the {dense:,} of a dense layer" if groups > 1 else ", all channels connected"
    text = f"{C_out} x {per_group} x {kh} x {kw} = {counted(kernels.size, 'weight')}{share}"
    parts.append(Label(0, down + 0.4, text, theme.ink))
    return figure_of(parts, theme)


def kernel_cells(kernels: NumPyArray, groups: int, x: float, y: float, theme: Theme) -> list[Part]:
    """Return the cells of a weight (C_out, C_in/G, kh, kw) as a matrix of kernels, its holes, and channel numbers."""
    C_out, per_group, kh, kw = kernels.shape
    points = points_of(kernels)
    parts: list[Part] = []
    for o in range(C_out):
        parts.append(Label(x - 0.3, y + o * (kh + 0.5) + kh / 2, str(o), theme.muted, "right"))
        for channel in range(per_group * groups):
            left, top = x + channel * (kw + 0.5), y + o * (kh + 0.5)
            g = o * groups // C_out
            c = channel - g * per_group
            if 0 <= c < per_group:
                name, colour = f"weight[{o}, {c}, {{}}, {{}}]", theme.group(g)
                parts += grid(name, kernels[o, c], left, top, theme, fill=colour, points=points)
            else:
                parts += _hole(left, top, kh, kw, theme)
    for channel in range(per_group * groups):
        parts.append(Label(x + channel * (kw + 0.5) + kw / 2, y - 0.5, str(channel), theme.muted, "center"))
    return parts


def _hole(x: float, y: float, height: int, width: int, theme: Theme) -> list[Part]:
    """Return a dot in the middle of where a dense weight has a kernel."""
    return [Label(x + width / 2, y + height / 2, "·", theme.muted, "center", 22)]
