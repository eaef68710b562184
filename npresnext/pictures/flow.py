"""Which conv groups get a gradient from which part of the output."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.integers import chunks
from .._support.typing import Array, NumPyArray
from ..backend import to_numpy
from ..errors import InvalidValueError, ShapeError
from ..nn import Conv2d, Module
from ..nn.module import check_module
from ._cells import SMALL_POINTS, Label, Part, check_size, figure_of, grid, number_text, points_of
from ._colours import theme_of

GAP = 1.5  # cells between two layers
DIGITS = 2  # of a norm


def gradient_flow(model: Module, x: Array, grad_output: Array, *, parts: int | None = None, dark: bool = False) -> Any:
    """Draw, for each convolution of a block, which conv groups get a gradient from which part of the output.

    The output channels are cut into equal `parts`. For each part, the block runs forward and backward with the upstream
    gradient in this part alone, and zero elsewhere. Cell (g, k) of a layer is the norm of the weight gradient of its
    conv group g that comes from part k of the output. An empty cell is exactly zero: nothing flows there. A grouped
    convolution keeps the parts apart, so its matrix is diagonal, until a convolution between it and the output mixes
    them.

    Parameters
    ----------
    model : Module
        A block or a network with convolutions. It is copied: its gradients and its running statistics stay as they are.
    x : array (N, C, H, W)
        The input.
    grad_output : array of the output's shape
        The upstream gradient; random numbers show more than ones.
    parts : int, optional
        The number of parts; if None, the largest number of groups of any of its convolutions.
    dark : bool
        For a dark background.

    Returns
    -------
    matplotlib.figure.Figure
        Its texts have the ids "NAME[g, k]" with the dotted name of the layer.

    Raises
    ------
    ValueError
        There is no convolution, `parts` does not divide the output channels, the shapes do not fit, or the picture
        would be too large for readable numbers.
    TypeError
        `model` is not a Module.

    Examples
    --------
    >>> from npresnext import nn
    >>> rng = np.random.default_rng(0)
    >>> block = nn.Conv2d(4, 4, 3, padding=1, groups=2, rng=rng, dtype="float64")
    >>> x, grad_output = rng.standard_normal((2, 1, 4, 5, 5))
    >>> figure = gradient_flow(block, x, grad_output)
    >>> [text.get_text() != "" for text in figure.axes[0].texts if text.get_gid()]
    [True, False, False, True]
    """
    check_module(model, "model")
    block = copy.deepcopy(model)
    convs = {name or "conv": module for name, module in block.named_modules() if isinstance(module, Conv2d)}
    if not convs:
        raise InvalidValueError(f"{type(model).__name__} has no convolution")
    count = max(conv.groups for conv in convs.values()) if parts is None else as_int(parts, "parts", 1)
    down = sum(conv.groups + int(GAP + 1) for conv in convs.values())
    check_size("this picture", count + 8, down, "take fewer layers or groups")

    norms = _norms(block, convs, x, grad_output, count)
    theme = theme_of(dark)
    largest = max(float(matrix.max()) for matrix in norms.values()) or 1.0
    points = min(points_of(_texts(matrix)) for matrix in norms.values())
    parts_of_picture: list[Part] = []
    y = 0.0
    for name, matrix in reversed(norms.items()):  # as the gradient flows: the last layer first
        texts = _texts(matrix)

        def colour(group: int, part: int, matrix: NumPyArray = matrix) -> str:
            return theme.heat(matrix[group, part] / largest) if matrix[group, part] else theme.background

        if y:
            parts_of_picture.append(Label(count / 2, y - GAP / 2, "↓", theme.muted, "center"))
        parts_of_picture += grid(f"{name}[{{}}, {{}}]", texts, 0, y, theme, fill=colour, points=points)
        conv = convs[name]
        kind = f"{conv.kernel_size[0]}x{conv.kernel_size[1]}, G={conv.groups}"
        parts_of_picture.append(Label(count + 0.4, y + conv.groups / 2, f"{name}\n{kind}", theme.ink))
        for group in range(conv.groups):
            parts_of_picture.append(Label(-0.2, y + group + 0.5, str(group), theme.muted, "right", SMALL_POINTS))
        y += conv.groups + GAP
    for part in range(count):
        parts_of_picture.append(Label(part + 0.5, -0.4, str(part), theme.muted, "center", SMALL_POINTS))
    heading = "norm of the weight gradient of each conv group,\nfrom one part of the output at a time"
    parts_of_picture.append(Label(-0.2, -2.7, heading, theme.ink))
    parts_of_picture.append(Label(0, -1.1, "part of the output", theme.muted, "left", SMALL_POINTS))
    parts_of_picture.append(Label(-0.2, -0.4, "conv group", theme.muted, "right", SMALL_POINTS))
    return figure_of(parts_of_picture, theme)


def _texts(norms: NumPyArray) -> NumPyArray:
    """Return the text of each cell: nothing where nothing flows."""
    texts = np.vectorize(lambda norm: number_text(norm, DIGITS), otypes=[object])(norms)
    texts[norms == 0] = ""
    return texts


def _norms(block: Module, convs: dict[str, Conv2d], x: Array, grad_output: Array, count: int) -> dict[str, NumPyArray]:
    """Return, for each convolution, the norm of each conv group's gradient from each part: (G, parts)."""
    upstream = to_numpy(grad_output)
    norms = {name: np.zeros((conv.groups, count)) for name, conv in convs.items()}
    for part in range(count):
        output = block(x)
        if output.shape != upstream.shape:
            raise ShapeError(f"grad_output has shape {upstream.shape}: expected that of the output, {output.shape}")
        channels = output.shape[1]
        if channels % count:
            raise ShapeError(f"parts={count} must divide the {channels} output channels")
        only = np.zeros_like(upstream)
        channel = chunks(channels, channels // count)[part]
        only[:, channel] = upstream[:, channel]
        block.zero_grad()
        block.backward(only)
        for name, conv in convs.items():
            gradient = to_numpy(conv.weight.grad).astype(np.float64).reshape(conv.groups, -1)
            norms[name][:, part] = np.sqrt((gradient**2).sum(axis=1))
    return norms
