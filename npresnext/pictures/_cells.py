"""What the pictures are made of: cells with numbers and lines of text, placed on squared paper.

A picture is a list of parts. Its unit of length is the side of a cell; x goes right and y goes down. ``figure_of``
draws a list with matplotlib; ``_animation_files.py`` writes one as SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.figures import new_figure
from .._support.typing import NumPyArray
from ..backend import to_numpy
from ..errors import InvalidTypeError, InvalidValueError
from ._colours import Theme, ink_on

CELL = 0.46  # inches: 29 cells on a slide of 13.3 inches, with numbers of 15 points
MOST_ACROSS, MOST_DOWN = 60, 36  # cells of one picture: on a slide of 1920x1080 pixels, numbers are 12 pixels high
POINTS = 15  # of numbers and titles
SMALL_POINTS = 12  # of the names of rows and columns
FITTING, USUAL = 2.75, 5  # characters: that fit into a cell at full size, and of the longest usual numbers
MARGIN = 0.4  # cells

NARROW, WIDE = frozenset(" .,:;·()[]/-ijlftr"), frozenset("+=mwMW")

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Cell:
    """A square with its number.

    Attributes
    ----------
    name : str
        What the number is, such as "x[0, 1, 2]"; it becomes the id of the text.
    x, y : float
        The upper left corner.
    text, fill, line : str
        The number, the colour of the square, and the colour of its edge.
    muted : str
        The colour of the number, if it is less important than others; "" for the one with most contrast.
    points : float
        The size of the number.
    """

    name: str
    x: float
    y: float
    text: str
    fill: str
    line: str
    muted: str = ""
    points: float = POINTS

    @property
    def ink(self) -> str:
        """The colour of the number."""
        return self.muted or ink_on(self.fill)

    @property
    def box(self) -> Box:
        """Left, top, right and bottom."""
        return self.x, self.y, self.x + 1, self.y + 1


@dataclass(frozen=True)
class Label:
    """A line of text, whose middle is at the height `y`.

    Attributes
    ----------
    x, y : float
    text, colour : str
    anchor : str
        Which end of the text is at `x`: "left", "center" or "right".
    points : float
        The size of the text.
    """

    x: float
    y: float
    text: str
    colour: str
    anchor: str = "left"
    points: float = POINTS

    @property
    def box(self) -> Box:
        """Left, top, right and bottom."""
        width = max((text_width(line, self.points) for line in self.text.splitlines()), default=0)
        height = 1.3 * self.points / 72 / CELL * (self.text.count("\n") + 1)
        left = self.x - {"left": 0, "center": width / 2, "right": width}[self.anchor]
        return left, self.y - height / 2, left + width, self.y + height / 2


Part = Cell | Label


def grid(
    name: str,
    values: NumPyArray,
    x: float,
    y: float,
    theme: Theme,
    *,
    fill: Callable[[int, int], str] | str,
    first: tuple[int, int] = (0, 0),
    points: float | None = None,
) -> list[Part]:
    """Return the cells of a matrix with its upper left corner at (x, y).

    Parameters
    ----------
    name : str
        Of the array, in the form of its index, such as "columns[{}, {}]"; row and column are filled in.
    values : array (rows, columns)
        Numbers, or texts as they are.
    fill : callable or str
        The colour of all cells, or a function of row and column that gives it.
    first : pair of int
        The index of the upper left cell.
    points : float, optional
        The size of the numbers; if None, that of `points_of`.
    """
    size = points_of(values) if points is None else points
    cells: list[Part] = []
    for row, column in np.ndindex(values.shape):
        at = row + first[0], column + first[1]
        colour = fill(*at) if callable(fill) else fill
        text = number_text(values[row, column])
        muted = theme.muted if colour == theme.background else ""
        points_here = min(size, fitting_points(text))
        cells.append(Cell(name.format(*at), x + column, y + row, text, colour, theme.line, muted, points_here))
    return cells


def points_of(values: NumPyArray) -> float:
    """Return one size for all numbers of an array, with which they fit into cells; only unusually long ones do not."""
    texts = [number_text(value)[:USUAL] for value in values.ravel()]
    return min(map(fitting_points, texts), default=POINTS)


def fitting_points(text: str) -> float:
    """Return the size with which a number fits into a cell."""
    return POINTS * min(1, FITTING / max(len(text), 1))


def text_width(text: str, points: float) -> float:
    """Return about how many cells wide a line of text is, in the widths of DejaVu Sans."""
    ems = sum(0.37 if letter in NARROW else 0.9 if letter in WIDE else 0.64 for letter in text)
    return ems * points / 72 / CELL


def number_text(value: Any, most: int = 3) -> str:
    """Return a number as short as a cell needs it: whole numbers as they are, others with at most `most` digits.

    Fewer digits are shown where so many would need more than two further characters.

    >>> number_text(3.0), number_text(0.12345), number_text(-0.12345), number_text(2e-9), number_text("")
    ('3', '0.123', '-0.12', '2e-09', '')
    >>> number_text(5.934, most=2)
    '5.9'
    """
    if isinstance(value, str):
        return value
    number = float(value)
    if number.is_integer() and abs(number) < 1e6:
        return str(int(number))
    if 100 <= abs(number) < 1e6:
        return f"{number:.0f}"
    texts = [f"{number:.{digits}g}" for digits in range(most, 0, -1)]
    return next((text for text in texts if len(text) <= most + 2), texts[-1])


def as_array(value: Any, name: str, least_axes: int, most_axes: int, form: str) -> NumPyArray:
    """Return real numbers as a NumPy array, or raise naming the argument `name` and the `form` that it must have."""
    array = np.asarray(to_numpy(value))
    if array.dtype.kind not in "biuf":
        raise InvalidTypeError(f"{name} must hold real numbers, but is of dtype {array.dtype}")
    if not least_axes <= array.ndim <= most_axes:
        raise InvalidValueError(f"{name} has shape {array.shape}: expected {form}")
    return array


def one_image(x: Any) -> NumPyArray:
    """Return an image (C, H, W) from (H, W), (C, H, W) or (1, C, H, W)."""
    array = as_array(x, "x", 2, 4, "(H, W), (C, H, W) or (1, C, H, W)")
    if array.ndim == 4 and len(array) != 1:
        raise InvalidValueError(f"x has {len(array)} images: a picture shows one, such as x[:1]")
    return array.reshape(-1, *array.shape[-2:])  # (C, H, W)


def check_size(name: str, across: int, down: int, advice: str) -> None:
    """Raise unless a picture of so many cells fits on a slide with numbers that people can read."""
    if across > MOST_ACROSS or down > MOST_DOWN:
        raise InvalidValueError(
            f"{name} is too large to draw with readable numbers: {across} cells across and {down} down, and at most "
            f"{MOST_ACROSS} and {MOST_DOWN} are possible; {advice}"
        )


def extent(parts: Iterable[Part]) -> Box:
    """Return left, top, right and bottom of all parts, with a margin around them."""
    boxes = np.array([part.box for part in parts])
    left, top = boxes[:, :2].min(axis=0) - MARGIN
    right, bottom = boxes[:, 2:].max(axis=0) + MARGIN
    return float(left), float(top), float(right), float(bottom)


def figure_of(parts: Sequence[Part], theme: Theme, box: Box | None = None) -> Any:
    """Return a figure of matplotlib with these parts, as large as they are or as `box`."""
    left, top, right, bottom = box or extent(parts)
    figure = new_figure((right - left) * CELL, (bottom - top) * CELL)
    figure.set_layout_engine("none")
    figure.set_facecolor(theme.background)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    draw(axes, parts)
    return figure


def draw(axes: Any, parts: Iterable[Part]) -> None:
    """Draw parts on axes whose unit is one cell, later ones over earlier ones."""
    rectangle = load_extra("matplotlib.patches", "plot", "a picture").Rectangle
    for order, part in enumerate(parts):
        if isinstance(part, Cell):
            square = rectangle((part.x, part.y), 1, 1, facecolor=part.fill, edgecolor=part.line, linewidth=0.8)
            axes.add_patch(square).set_zorder(order)
            place, ends = (part.x + 0.5, part.y + 0.5), {"ha": "center", "va": "center_baseline"}
            colour, name = part.ink, part.name
        else:
            place, ends, colour, name = (part.x, part.y), {"ha": part.anchor, "va": "center"}, part.colour, None
        axes.text(*place, part.text, **ends, color=colour, fontsize=part.points, zorder=order, gid=name)
