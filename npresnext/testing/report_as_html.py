"""A report as one page of HTML, with what came, what was expected and the difference as small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np

from .._support.typing import NumPyArray as Array
from .arrays_as_text import Plane, planes_that_differ, write_value
from .causes import Cause
from .report import Report, describe_cause, head_cause

CELL = 34  # pixels
MOST_PLANES = 6  # of one result
MOST_ROWS = 12  # of a plane, and columns
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --line: #bbb; --plus: #2166ac; --minus: #b2182b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161616; --ink: #e8e8e8; --line: #555; --plus: #6baed6; --minus: #ef8a62; }
}
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
pre { font-size: 13px; overflow-x: auto; border-left: 3px solid var(--line); padding-left: 1rem; }
section pre { white-space: pre-wrap; overflow-wrap: anywhere; }
figure { display: inline-block; margin: 0 1.5rem 1rem 0; vertical-align: top; }
svg text { fill: var(--ink); font: 11px ui-monospace, monospace; text-anchor: middle; dominant-baseline: central; }
svg rect { stroke: var(--line); }
.plus { fill: var(--plus); }
.minus { fill: var(--minus); }
"""


def write_html(report: Report) -> str:
    """Return a standalone page: the verdict, a section for each fault, and the tables."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{'Passed' if report.passed else 'Failed'}: convolution in {report.arithmetic.dtype}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{'Every check passes' if report.passed else 'Some checks fail'}</h1><p>{escape(report.headline)}</p>",
    ]
    for number, cause in enumerate(report.causes, 1):
        parts += write_section(number, cause, report.where(cause.first))
    parts += ["<details><summary>All checks, and what was tried</summary>"]
    parts += [f"<pre>{escape(report.to_text(verbose=True))}</pre></details></html>"]
    return "\n".join(parts)


def write_section(number: int, cause: Cause, where: str) -> Iterator[str]:
    """Yield the parts of the page about one fault."""
    finding = cause.shown_by.finding
    lines = [*describe_cause(cause), "", *finding.reproduction.splitlines()]
    yield f"<section><h2>{escape(head_cause(number, cause, where))}</h2>"
    if finding.arrays is not None and finding.index:
        got, expected = finding.arrays
        planes = planes_that_differ(finding.result, got, expected, finding.index, MOST_ROWS, MOST_ROWS)
        for plane in planes[:MOST_PLANES]:
            parts = ": real parts, then imaginary parts" if np.iscomplexobj(plane.expected) else ""
            yield f"<h3>{escape(plane.label + parts)}</h3>"
            for part in real_parts(plane):
                yield from write_pictures(part)
        if len(planes) > MOST_PLANES:
            yield f"<p>{len(planes) - MOST_PLANES} more planes differ.</p>"
    yield f"<pre>{escape(chr(10).join(lines))}</pre></section>"


def real_parts(plane: Plane) -> list[Plane]:
    """Return a plane of real numbers itself, or the two parts of a complex one."""
    if not np.iscomplexobj(plane.expected):
        return [plane]
    return [
        Plane(plane.label, plane.got.real, plane.expected.real),
        Plane(plane.label, plane.got.imag, plane.expected.imag),
    ]


def write_pictures(plane: Plane) -> Iterator[str]:
    """Yield three pictures on one scale: got, expected, got - expected."""
    got, expected = plane.got.astype(np.float64), plane.expected.astype(np.float64)
    difference = got - expected
    largest = float(np.abs(np.concatenate([got, expected], 1)).max(initial=0))
    for name, values, scale in (
        ("got", got, largest),
        ("expected", expected, largest),
        ("got - expected", difference, float(np.abs(difference).max(initial=0))),
    ):
        yield f"<figure><figcaption>{name}</figcaption>{draw(values, scale, name)}</figure>"


def draw(values: Array, largest: float, label: str) -> str:
    """Return a grid of numbers as SVG: the larger the number, the stronger the colour, blue above 0 and red below."""
    rows, columns = values.shape
    cells = []
    for (row, column), value in np.ndenumerate(values):
        strength = 0.65 * abs(float(value)) / largest if largest else 0.0
        x, y = column * CELL, row * CELL
        cells.append(
            f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" class="{"plus" if value > 0 else "minus"}" '
            f'fill-opacity="{strength:.2f}"/><text x="{x + CELL // 2}" y="{y + CELL // 2}">'
            f"{escape(write_value(float(f'{value:.3g}')))}</text>"
        )
    size = f'width="{columns * CELL}" height="{rows * CELL}"'
    return f'<svg role="img" aria-label="{escape(label)}" {size}>{"".join(cells)}</svg>'
