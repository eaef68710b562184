"""The frames of an animation as one file: a GIF, or an SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import numpy as np

from .._support.extras import load_extra
from ._cells import CELL, Cell, Part, extent, figure_of
from ._colours import Theme

FORMATS = {".gif": "image/gif", ".svg": "image/svg+xml"}
DOTS = 100  # of a GIF, per inch
SCALE = 40  # units of an SVG in one cell
FONT = "DejaVu Sans, Arial, sans-serif"

Frame = tuple[Part, ...]


def gif_of(frames: Sequence[Frame], theme: Theme, milliseconds: int) -> bytes:
    """Return an animated GIF that repeats for ever."""
    image = load_extra("PIL.Image", "plot", "an animation as GIF")
    canvas = load_extra("matplotlib.backends.backend_agg", "plot", "an animation as GIF").FigureCanvasAgg
    pictures = []
    box = extent(part for frame in frames for part in frame)
    for frame in frames:
        figure = figure_of(frame, theme, box)
        figure.set_dpi(DOTS)
        drawn = canvas(figure)
        drawn.draw()
        picture = image.fromarray(np.asarray(drawn.buffer_rgba())[..., :3])
        pictures.append(picture.quantize(64, dither=image.Dither.NONE))
    content = io.BytesIO()
    pictures[0].save(
        content, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=False
    )
    return content.getvalue()


def svg_of(frames: Sequence[Frame], theme: Theme, milliseconds: int) -> bytes:
    """Return an animated SVG: each part is drawn once, and a rule of CSS shows it in its frames."""
    places: dict[Part, list[int]] = {}
    for number, frame in enumerate(frames):
        for part in frame:
            places.setdefault(part, []).append(number)
    left, top, right, bottom = extent(places)
    rules: dict[tuple[int, ...], str] = {}
    body = []
    for part, shown in places.items():
        if len(shown) < len(frames):
            rule = rules.setdefault(tuple(shown), f"f{len(rules)}")
            body.append(f'<g class="{rule}">{_svg_part(part)}</g>')
        else:
            body.append(_svg_part(part))
    seconds = len(frames) * milliseconds / 1000
    style = [_keyframes(name, shown, len(frames), seconds) for shown, name in rules.items()]
    still = [f".{name}{{animation:none}}" for name in rules.values()]
    view = " ".join(f"{value * SCALE:g}" for value in (left, top, right - left, bottom - top))
    size = f'width="{(right - left) * SCALE:g}" height="{(bottom - top) * SCALE:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" {size} font-family="{FONT}">',
        "<title>A sliding grouped window</title>",
        f"<style>{''.join(style)}@media (prefers-reduced-motion: reduce){{{''.join(still)}}}</style>",
        f'<rect x="{left * SCALE:g}" y="{top * SCALE:g}" {size} fill="{theme.background}"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines).encode()


def _keyframes(name: str, shown: Sequence[int], count: int, seconds: float) -> str:
    """Return the CSS that shows a class in some of the frames; without animation, it shows what the last frame has."""
    is_shown = [number in shown for number in range(count)]
    steps = [
        f"{100 * number / count:.4g}%{{visibility:{_visibility(is_shown[number])}}}"
        for number in range(count)
        if number == 0 or is_shown[number] != is_shown[number - 1]
    ]
    rule = f"visibility:{_visibility(is_shown[-1])};animation:{name} {seconds:g}s step-end infinite"
    return f".{name}{{{rule}}}@keyframes {name}{{{''.join(steps)}}}"


def _visibility(is_shown: bool) -> str:
    return "visible" if is_shown else "hidden"


def _svg_part(part: Part) -> str:
    """Return a cell or a line of text as SVG."""
    size = part.points / 72 / CELL * SCALE
    if isinstance(part, Cell):
        square = (
            f'<rect x="{part.x * SCALE:g}" y="{part.y * SCALE:g}" width="{SCALE}" height="{SCALE}" '
            f'fill="{part.fill}" stroke="{part.line}"/>'
        )
        if not part.text:
            return square
        anchor, colour, x, y = "center", part.ink, part.x + 0.5, part.y + 0.5
    else:
        square, anchor, colour, x, y = "", part.anchor, part.colour, part.x, part.y
    end = {"left": "start", "center": "middle", "right": "end"}[anchor]
    return (
        f'{square}<text x="{x * SCALE:g}" y="{y * SCALE:g}" font-size="{size:.3g}" text-anchor="{end}" '
        f'dominant-baseline="central" fill="{colour}">{escape(part.text)}</text>'
    )
