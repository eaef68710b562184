"""An animation of a grouped convolution: the window slides over the image, one group after the other."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._support.arguments import as_int
from .._support.files import atomic_path, check_writable
from .._support.typing import NumPyArray
from ..errors import InvalidValueError
from ..functional import conv2d
from ..geometry import ConvGeometry
from ._animation_files import FORMATS, Frame, gif_of, svg_of
from ._cells import POINTS, Cell, Label, Part, as_array, check_size, grid, number_text, one_image, points_of, text_width
from ._colours import Theme, theme_of
from .column_matrix import padded_cells, padded_image, padded_ranges, window_pixels
from .weights import kernel_cells

MOST_FRAMES = 150
MOST_PRODUCTS = 9  # written out in the line below the picture
MOST_LINES = 4
LINE = 0.75  # cells from one line to the next
LEAST_WIDTH = 16.0  # cells of a line
INDENT = 1.0  # cells, of the second and later lines of a sum
GAP = 3.0  # cells between x, the weight and y


@dataclass(frozen=True)
class Animation:
    """An animation, which a notebook shows as the last value of a cell.

    Attributes
    ----------
    content : bytes
        That of the file.
    kind : str
        ".gif" or ".svg".
    frames : int
        The number of frames.
    path : Path or None
        The file, if it was written.
    """

    content: bytes = field(repr=False)
    kind: str
    frames: int
    path: Path | None = None

    def _repr_html_(self) -> str:
        content = base64.b64encode(self.content).decode()
        return f'<img alt="a sliding grouped window" src="data:{FORMATS[self.kind]};base64,{content}">'


def sliding_window(
    path: str | os.PathLike[str] | None,
    x: Any,
    weight: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    milliseconds: int = 900,
    overwrite: bool = False,
    dark: bool = False,
) -> Animation:
    """Write an animation of a grouped convolution: x at the left, the weight in the middle, y at the right.

    There is one frame for each group and each position of the window. It marks the pixels, the kernels and the values
    of y of this group, and writes out the sum that gives each of them. The values of y appear one by one.

    Parameters
    ----------
    path : str, path or None
        Ends in .gif or .svg. None writes no file: a notebook shows the SVG. An SVG stands still, with all of y, where
        the reader prefers reduced motion.
    x : array (C_in, H, W) or (1, C_in, H, W)
        Real numbers; small integers are the easiest to follow.
    weight : array (C_out, C_in/G, kh, kw)
    stride, padding, dilation, groups
        As for :func:`npresnext.conv2d`.
    milliseconds : int
        How long each frame is shown.
    overwrite : bool
        Whether a file at `path` may be replaced.
    dark : bool
        For a dark background.

    Returns
    -------
    Animation
        A notebook shows it.

    Raises
    ------
    OutputExistsError
        The path exists, and `overwrite` is false.
    ValueError
        The path does not end in .gif or .svg or cannot be written, the arguments do not fit each other, or there would
        be too many frames or cells.
    TypeError
        `x` or `weight` does not hold real numbers.

    Examples
    --------
    >>> x, weight = np.arange(18).reshape(2, 3, 3), np.arange(8).reshape(2, 1, 2, 2)
    >>> sliding_window(None, x, weight, groups=2)
    Animation(kind='.svg', frames=8, path=None)
    """
    kind = ".svg" if path is None else Path(path).suffix.lower()
    if kind not in FORMATS:
        raise InvalidValueError(f"{path} must end in one of {', '.join(FORMATS)}")
    target = None if path is None else check_writable(path, overwrite=overwrite)
    as_int(milliseconds, "milliseconds", 20)
    theme = theme_of(dark)
    frames = window_frames(x, weight, stride, padding, dilation, groups, theme)
    content = svg_of(frames, theme, milliseconds) if kind == ".svg" else gif_of(frames, theme, milliseconds)
    if target is not None:
        with atomic_path(target, overwrite=overwrite) as temporary:
            temporary.write_bytes(content)
    return Animation(content, kind, len(frames), target)


def window_frames(
    x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: Any, theme: Theme
) -> list[Frame]:
    """Return the parts of each frame: group by group, position by position."""
    image = one_image(x)
    kernels = as_array(weight, "weight", 4, 4, "(C_out, C_in/groups, kh, kw)")
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    geometry = ConvGeometry.of_conv((1, *image.shape), kernels.shape, **arguments)
    count = geometry.groups * geometry.positions
    if count > MOST_FRAMES:
        raise InvalidValueError(
            f"{count} frames, G·oh·ow, are too many to watch, and at most {MOST_FRAMES} are possible: take a smaller "
            "image, a larger stride or fewer groups"
        )
    scene = _Scene(image, kernels, geometry, theme)
    check_size("this animation", *scene.size, "take fewer channels, a smaller image or a smaller kernel")
    still = scene.still()
    return [
        (*still, *scene.moving(group, position))
        for group in range(geometry.groups)
        for position in range(geometry.positions)
    ]


class _Scene:
    """Where x, the weight and y are placed, and what each frame adds to them."""

    def __init__(self, image: NumPyArray, kernels: NumPyArray, geometry: ConvGeometry, theme: Theme) -> None:
        self.image, self.kernels, self.geometry, self.theme = image, kernels, geometry, theme
        (top, bottom), (first, last) = padded_ranges(geometry)
        self.height, self.width = bottom - top, last - first
        kh, kw = geometry.kernel
        self.x_of_weight = self.width + GAP
        self.x_of_y = self.x_of_weight + geometry.in_channels * (kw + 0.5) + GAP - 1
        self.bottom = max(
            geometry.in_channels * (self.height + 0.5),
            geometry.out_channels * (kh + 0.5),
            geometry.out_channels * (geometry.out_height + 0.5),
        )
        window = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
        operands = image[None].astype(np.float64), kernels.astype(np.float64)
        self.y = conv2d(*operands, groups=geometry.groups, **window)[0]  # (C_out, oh, ow)
        self.points_x, self.points_weight, self.points_y = map(points_of, (image, kernels, self.y))

    @property
    def size(self) -> tuple[int, int]:
        """Cells across and down."""
        return int(self.x_of_y + self.geometry.out_width + 2), int(self.bottom + 4)

    def still(self) -> list[Part]:
        """Return what every frame shows: x, the weight, and the empty y."""
        geometry, theme = self.geometry, self.theme
        parts: list[Part] = [
            Label(0, -1.4, "x", theme.ink),
            Label(self.x_of_weight, -1.4, "weight", theme.ink),
            Label(self.x_of_y, -1.4, "y", theme.ink),
        ]
        for c in range(geometry.in_channels):
            values = padded_image(self.image[c], geometry)
            parts += padded_cells(
                values,
                geometry,
                f"x[{c}, {{}}, {{}}]",
                0,
                self._top_of_x(c),
                theme,
                self.theme.group(self._group_in(c)),
                (),
                self.points_x,
            )
            middle = self._top_of_x(c) + self.height / 2
            parts.append(Label(-0.3, middle, str(c), theme.muted, "right"))
        parts += kernel_cells(self.kernels, geometry.groups, self.x_of_weight, 0, theme)
        empty = np.full((geometry.out_height, geometry.out_width), "", dtype=object)
        for o in range(geometry.out_channels):
            parts += grid("", empty, self.x_of_y, self._top_of_y(o), theme, fill=theme.background)
            middle = self._top_of_y(o) + geometry.out_height / 2
            parts.append(Label(self.x_of_y - 0.3, middle, str(o), theme.muted, "right"))
        return parts

    def moving(self, group: int, position: int) -> list[Part]:
        """Return what one frame adds: the values of y so far, the marked cells, and the sums written out."""
        return [*self._values_so_far(group, position), *self._marked(group, position), *self._sums(group, position)]

    def _values_so_far(self, group: int, position: int) -> list[Part]:
        """Return the cells of y that earlier frames have computed."""
        geometry = self.geometry
        parts: list[Part] = []
        for o in range(geometry.out_channels):
            g = self._group_out(o)
            known = geometry.positions if g < group else position if g == group else 0
            for index in range(known):
                parts.append(self._y_cell(o, index, self.theme.group(g)))
        return parts

    def _marked(self, group: int, position: int) -> list[Part]:
        """Return the cells of the window, of the group's kernels, and of the values of y that they give."""
        geometry, theme = self.geometry, self.theme
        (top, _), (first, _) = padded_ranges(geometry)
        pixels = sorted(window_pixels(geometry, position))
        parts: list[Part] = []
        for c in range(geometry.in_channels):
            if self._group_in(c) == group:
                padded = padded_image(self.image[c], geometry)
                for row, column in pixels:
                    value = padded[row - top, column - first, None, None]
                    place = float(column - first), self._top_of_x(c) + row - top
                    name = f"x[{c}, {{}}, {{}}]"
                    at = row, column
                    parts += grid(name, value, *place, theme, fill=theme.mark, first=at, points=self.points_x)
        for o in range(geometry.out_channels):
            if self._group_out(o) == group:
                for c in range(len(self.kernels[o])):
                    left = self.x_of_weight + (group * len(self.kernels[o]) + c) * (geometry.kernel[1] + 0.5)
                    place = left, o * (geometry.kernel[0] + 0.5)
                    name = f"weight[{o}, {c}, {{}}, {{}}]"
                    kernel, points = self.kernels[o, c], self.points_weight
                    parts += grid(name, kernel, *place, theme, fill=theme.mark, points=points)
                parts.append(self._y_cell(o, position, theme.mark))
        return parts

    def _sums(self, group: int, position: int) -> list[Part]:
        """Return the sum of each value of y that the window gives; a long sum takes several lines."""
        geometry, theme = self.geometry, self.theme
        p, q = divmod(position, geometry.out_width)
        (top, _), (first, _) = padded_ranges(geometry)
        pixels = sorted(window_pixels(geometry, position))
        own = [c for c in range(geometry.in_channels) if self._group_in(c) == group]
        values = [padded_image(self.image[c], geometry)[r - top, s - first] for c in own for r, s in pixels]
        heading = f"group {group}, window {p},{q}" if geometry.groups > 1 else f"window {p},{q}"
        lines = [heading]
        outputs = [o for o in range(geometry.out_channels) if self._group_out(o) == group]
        for o in outputs[:MOST_LINES]:
            products = [
                f"{_factor(w)}·{_factor(value)}" for w, value in zip(self.kernels[o].ravel(), values, strict=True)
            ]
            total = number_text(self.y[o, p, q])
            known = " + ".join(products) if len(products) <= MOST_PRODUCTS else f"{len(products)} products"
            lines += _wrapped(f"y[{o}, {p}, {q}] = {known} = {total}", self._width)
        if len(outputs) > MOST_LINES:
            lines.append(f"and {len(outputs) - MOST_LINES} more")
        return [
            Label(INDENT if text[0] in "+=" else 0, self.bottom + 0.6 + LINE * line, text, theme.ink)
            for line, text in enumerate(lines)
        ]

    def _y_cell(self, o: int, index: int, fill: str) -> Part:
        p, q = divmod(index, self.geometry.out_width)
        text = number_text(self.y[o, p, q])
        return Cell(
            f"y[{o}, {p}, {q}]",
            self.x_of_y + q,
            self._top_of_y(o) + p,
            text,
            fill,
            self.theme.line,
            points=self.points_y,
        )

    @property
    def _width(self) -> float:
        """How many cells wide a line of text can be: as x, the weight and y together, and a little more."""
        return max(self.x_of_y + self.geometry.out_width + 1, LEAST_WIDTH)

    def _top_of_x(self, c: int) -> float:
        return c * (self.height + 0.5)

    def _top_of_y(self, o: int) -> float:
        return o * (self.geometry.out_height + 0.5)

    def _group_in(self, c: int) -> int:
        return c * self.geometry.groups // self.geometry.in_channels

    def _group_out(self, o: int) -> int:
        return o * self.geometry.groups // self.geometry.out_channels


def _wrapped(text: str, width: float) -> list[str]:
    """Break a sum in front of a plus or an equals sign, so that each line is about `width` cells wide at most."""
    first, *rest = re.split(r" (?=[+=] )", text)
    lines = [first]
    for piece in rest:
        longer = f"{lines[-1]} {piece}"
        if text_width(longer, POINTS) <= width - INDENT:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def _factor(value: Any) -> str:
    """Return a number as a factor of a product: a negative one in brackets."""
    text = number_text(value)
    return f"({text})" if text.startswith("-") else text
