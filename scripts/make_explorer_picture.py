"""Write docs/explorer/still.svg: what the explorer draws, for readers without JavaScript and for docs/explorer.md.

One convolution from four to four channels with 1, 2 and 4 groups. One output value is framed, and the numbers of the
pixels and weights that it sums are shown.
"""

import argparse
from pathlib import Path

import numpy as np

from npresnext import reference

FILE = Path(__file__).parent.parent / "docs" / "explorer" / "still.svg"
CHANNELS, SIZE, KERNEL = 4, 5, 3
CELL = 16
MAP, FILTER = SIZE * CELL, KERNEL * CELL
OUTPUT, ROW, COLUMN = 1, 2, 2  # the framed value is y[1, 2, 2]
HEIGHT = 272  # of the row of one number of groups
X, WEIGHT, Y = 20, 250, 520  # the left side of x, of the weight and of y
STYLE = """
text{font:11px system-ui,sans-serif;text-anchor:middle;dominant-baseline:central;fill:#17202b}
.title{font-size:16px;font-weight:600;text-anchor:start}
.grid{stroke:#fff}.hole{fill:none;stroke:#8a94a3;stroke-dasharray:2 4}.mark{fill:none;stroke:#17202b;stroke-width:2.5}
.g0{fill:#cce3f0}.g1{fill:#f9e7cc}.g2{fill:#ccece3}.g3{fill:#f1dae9}
@media (prefers-color-scheme:dark){text{fill:#eef2f6}.grid{stroke:#10151c}.mark{stroke:#fff}
.paper{fill:#10151c}.g0{fill:#1f4866}.g1{fill:#5c4517}.g2{fill:#155240}.g3{fill:#5b3a4f}}
"""


def shape(name, cells):
    """A map or a kernel to draw several times: a square and the lines between its cells."""
    side = cells * CELL
    lines = "".join(f"M0 {n * CELL}h{side}M{n * CELL} 0v{side}" for n in range(1, cells))
    return f'<g id="{name}"><path d="M0 0h{side}v{side}H0z"/><path class="grid" d="{lines}"/></g>'


def use(name, at):
    return f'<use href="#{name}" x="{at[0]}" y="{at[1]}"/>'


def square(at, side):
    return f"M{at[0]} {at[1]}h{side}v{side}h-{side}z"


def path(squares, kind):
    return f'<path class="{kind}" d="{"".join(squares)}"/>'


def numbers(x, y, array):
    """Numbers of one digit, each in the middle of its cell: an entry of `x` is the place of one character."""
    places = " ".join(str(x + n * CELL + CELL // 2) for n in range(array.shape[1]))
    return "".join(
        f'<text x="{places}" y="{y + n * CELL + CELL // 2}">{"".join(map(str, row))}</text>'
        for n, row in enumerate(array)
    )


def map_place(left, top, channel):
    """The corner of the map of a channel: two maps side by side, two below them."""
    return left + channel % 2 * (MAP + 24), top + channel // 2 * (MAP + 28)


def picture(groups, top, x, dense):
    """The parts of one row: x, the weight as a matrix of kernels, y."""
    per_group = CHANNELS // groups
    weight = reference.block_diagonal_part(dense, groups)
    y = reference.conv2d(x, weight, padding=((1, 1), (1, 1)), groups=groups)[0]
    group = OUTPUT // per_group
    kind = {1: "dense", CHANNELS: "depthwise"}.get(groups, "grouped")
    sentence = f"G = {groups}, {kind}: {weight.size} weights; y[{OUTPUT}, {ROW}, {COLUMN}] = {y[OUTPUT, ROW, COLUMN]} "
    sentence += f"adds {weight[0].size} products"
    parts = [f'<text class="title" x="{X}" y="{top}">{sentence}</text>']
    top += 38
    holes, marks, values = [], [], []
    for channel in range(CHANNELS):
        parts.append(f'<g class="g{channel // per_group}">')
        for left, name in ((X, "x"), (Y, "y")):
            at = map_place(left, top, channel)
            parts += [use("map", at), f'<text x="{at[0] + MAP // 2}" y="{at[1] - 10}">{name}{channel}</text>']
        for source in range(CHANNELS):
            at = WEIGHT + source * (FILTER + 8), top + channel * (FILTER + 8) - 10
            if source // per_group != channel // per_group:
                holes.append(square(at, FILTER))
                continue
            parts.append(use("kernel", at))
            if channel == OUTPUT:
                corner = map_place(X, top, source)
                window = corner[0] + CELL, corner[1] + CELL
                marks += [square(window, FILTER), square(at, FILTER)]
                values += [numbers(*window, x[0, source, 1:4, 1:4])]
                values += [numbers(*at, weight[OUTPUT, source - group * per_group])]
        parts.append("</g>")
    corner = map_place(Y, top, OUTPUT)
    value = corner[0] + COLUMN * CELL, corner[1] + ROW * CELL
    values += [f'<text x="{value[0] + 8}" y="{value[1] + 8}">{y[OUTPUT, ROW, COLUMN]}</text>']
    return [*parts, path(holes, "hole"), path([*marks, square(value, CELL)], "mark"), *values]


def text():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (1, CHANNELS, SIZE, SIZE))
    dense = rng.integers(0, 3, (CHANNELS, CHANNELS, KERNEL, KERNEL))
    parts = [each for row, groups in enumerate((1, 2, 4)) for each in picture(groups, 20 + row * HEIGHT, x, dense)]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 730 {3 * HEIGHT}"><style>{STYLE}</style>\n'
        f"<defs>{shape('map', SIZE)}{shape('kernel', KERNEL)}</defs>"
        f'<path class="paper" fill="#fff" d="M0 0h730v{3 * HEIGHT}H0z"/>\n{body}\n</svg>\n'
    )


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
