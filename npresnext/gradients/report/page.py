"""The page of a report: no script, no request; it follows the light or dark setting of the reader, on any width."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from ..._support.tables import html_details, html_table
from ...errors import InvalidValueError
from ..pictures import DENSE, Panel, grad_norm_panels, label_of, relative_to_layer
from ..provenance import PROVENANCE
from ..statistics import Comparison
from ..tables import SUMMARY_HEADER, summary_lines
from .heatmaps import Scale, heat_map
from .runs import Run, short_names
from .verdicts import HEADER, compare_runs, lines_of, summary_of

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --quiet: #595959; --line: #c8c8c8; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161616; --ink: #e8e8e8; --quiet: #a8a8a8; --line: #484848; --warn: #f0b060; }
}
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 76rem;
  margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 0; overflow-wrap: anywhere; }
p { max-width: 46rem; }
.warning { color: var(--warn); }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
th, td { padding: .15rem .7rem .15rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdicts td:nth-child(2) { white-space: normal; min-width: 12rem; }
summary { cursor: pointer; margin-top: .75rem; overflow-wrap: anywhere; }
pre { font-size: .8rem; overflow-x: auto; }
.scale { position: sticky; top: 0; z-index: 1; background: var(--paper); padding: .4rem 0; font-size: .8rem;
  display: flex; flex-wrap: wrap; gap: .2rem 1rem; align-items: center; border-bottom: 1px solid var(--line); }
.bar { flex: 1 1 18rem; padding: 0 1.5rem; }
.bar img { display: block; width: 100%; height: .8rem; }
.maps { display: grid; gap: 0 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
figure { margin: .5rem 0 1rem; min-width: 0; }
figcaption { font-size: .875rem; margin-bottom: .3rem; overflow-wrap: anywhere; }
.map { display: grid; grid-template-columns: 2rem 1fr; }
.layers .map { grid-template-columns: fit-content(40%) 1fr; }
.map img { width: 100%; height: calc(var(--rows) * clamp(4px, 160px / var(--rows), 18px)); image-rendering: pixelated; }
.layers .map img { height: calc(var(--rows) * 18px); }
.rows { position: relative; font-size: .7rem; line-height: 1; }
.rows span { position: absolute; right: .4rem; transform: translateY(-50%); max-width: 100%; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.layers .rows { display: grid; grid-template-rows: repeat(var(--rows), 1fr); align-items: center; text-align: right; }
.layers .rows span { position: static; transform: none; padding-right: .4rem; }
.axis { position: relative; height: 1.2rem; font-size: .7rem; }
.map .axis { grid-column: 2; }
.axis span { position: absolute; transform: translateX(-50%); }
.unit { font-size: .75rem; color: var(--quiet); margin: 0; }
"""


def write_report(runs: Sequence[Run], *, value: str = "l2", title: str = "Gradient norms") -> str:
    """Return a standalone page on one or several runs: verdicts, pictures on one scale, tables, provenance.

    Parameters
    ----------
    runs : sequence of Run
        As from ``read_run``. With several runs, the same layer of each stands side by side.
    value : str
        The column to draw and to compare.
    title : str
        The title of the page.

    Returns
    -------
    str
        HTML. The page makes no request and has no script; it is light or dark as the reader's system.

    Raises
    ------
    ValueError
        There is no run, or a run cannot be drawn: see :func:`npresnext.gradients.draw_grad_norms`.
    """
    if not runs:
        raise InvalidValueError("runs is empty: expected at least one run")
    names = short_names([run.name for run in runs])
    panels = [grad_norm_panels(run.rows, value) for run in runs]
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>",
        *_runs(runs, names),
        *_verdicts(runs, names, value),
        *_pictures(runs, names, panels, value),
        *_tables(runs, names),
        *_provenance(runs, names),
        "</html>\n",
    ]
    return "\n".join(parts)


def _runs(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """Yield the table of runs, and in which of them rows are of another kind of gradient."""
    lines: list[list[object]] = []
    for run, name in zip(runs, names):
        steps = run.steps
        range_of_steps = f"{steps[0]} to {steps[-1]}" if steps else "-"
        ended = "no record" if run.record is None else str(run.record.get("ended", "unknown"))
        grouped = sum(groups > 1 for groups in run.layers.values())
        lines.append([name, f"{len(run.rows):,}", range_of_steps, len(run.layers), grouped, ended])
    yield _table(["run", "rows", "steps", "layers", "of these grouped", "ended"], lines)
    for name in PROVENANCE:
        said = [run.provenance.get(name) for run in runs]
        if any(values != said[0] for values in said):
            each = "; ".join(f"{run}: {_joined(values)}" for run, values in zip(names, said))
            yield (
                f'<p class="warning">The runs differ in the column {name} ({escape(each)}), so their norms may not be '
                "comparable.</p>"
            )


def _verdicts(runs: Sequence[Run], names: Sequence[str], value: str) -> Iterator[str]:
    """Yield what the statistics say, in each run and over the runs."""
    yield "<h2>Is a group special, or is it chance?</h2>"
    within, over = compare_runs(runs, value)
    if over is not None:
        yield f"<h3>The same groups in all runs</h3><p>{escape(summary_of(over))}</p>"
        if isinstance(over, Comparison):
            yield f"<p>{escape(over.meaning)}</p>"
            yield html_details("Layer by layer", _table(HEADER, lines_of(over), "verdicts"), is_open=False)
    for name, found in zip(names, within):
        yield f"<h3>Within {escape(name)}</h3><p>{escape(summary_of(found))}</p>"
        if isinstance(found, Comparison):
            yield html_details("Layer by layer", _table(HEADER, lines_of(found), "verdicts"), is_open=len(runs) == 1)
    yield (
        "<p>The statistic is compared with that of random permutations: 95 % of them lie in the column by chance. p is "
        "the share of permutations with at least the statistic of the data; p (Holm) is corrected for the number of "
        "layers, and decides.</p>"
    )
    meanings = {found.meaning for found in within if isinstance(found, Comparison)}
    for meaning in sorted(meanings):
        yield f"<p>{escape(meaning)}</p>"


def _pictures(
    runs: Sequence[Run], names: Sequence[str], panels: Sequence[dict[str, Panel]], value: str
) -> Iterator[str]:
    """Yield the heat maps: first the values, then each divided by the mean of its layer."""
    layers = list(dict.fromkeys(layer for of_run in panels for layer in of_run if layer != DENSE))
    scale = Scale([panel for of_run in panels for panel in of_run.values()], label_of(value), False)
    yield f"<h2>{escape(value)} of each conv group</h2>{scale.bar()}"
    yield from _maps(runs, names, panels, layers, scale)
    if any(DENSE in of_run for of_run in panels):
        yield from _maps(runs, names, panels, [DENSE], scale)
    if not layers:
        return
    relative = [relative_to_layer(of_run) if set(of_run) - {DENSE} else {} for of_run in panels]
    scale = Scale([panel for of_run in relative for panel in of_run.values()], f"{value} / mean of the layer", True)
    yield "<h2>The same, divided by the mean of the layer at that step</h2>"
    yield "<p>What all groups do together disappears. White is the mean of the layer, red is above it, blue below.</p>"
    yield scale.bar()
    yield from _maps(runs, names, relative, layers, scale)


def _maps(
    runs: Sequence[Run],
    names: Sequence[str],
    panels: Sequence[dict[str, Panel]],
    layers: Sequence[str],
    scale: Scale,
) -> Iterator[str]:
    """Yield the heat maps of some layers; the runs of a layer are side by side."""
    one = len(runs) == 1
    if one:
        yield '<div class="maps">'
    for layer in layers:
        if not one:
            yield f'<h3>{escape(layer)}</h3><div class="maps">'
        for run, name, of_run in zip(runs, names, panels):
            if layer in of_run:
                unit = "layer" if layer == DENSE else "conv group"
                yield heat_map(of_run[layer], scale, layer if one else name, unit, bool(run.steps))
            else:
                yield f"<figure><figcaption>{escape(name)}</figcaption><p>has no such layer</p></figure>"
        if not one:
            yield "</div>"
    if one:
        yield "</div>"


def _tables(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """Yield the table of layers of each run."""
    yield "<h2>Layers in numbers</h2>"
    yield (
        "<p>Mean, minimum and maximum of l2 over all conv groups and steps. The spread is the largest mean of a conv "
        "group divided by the smallest.</p>"
    )
    for run, name in zip(runs, names):
        yield html_details(name, _table(SUMMARY_HEADER, summary_lines(run.rows)), is_open=len(runs) == 1)


def _provenance(runs: Sequence[Run], names: Sequence[str]) -> Iterator[str]:
    """Yield what rows and records say of how the rows were produced."""
    yield "<h2>Where the gradients come from</h2>"
    said = [run.provenance for run in runs]
    if any(said):
        lines = [[name, *(_joined(of_run.get(name)) for of_run in said)] for name in PROVENANCE]
        yield _table(["column", *names], lines)
    else:
        yield "<p>The rows have no columns that say so.</p>"
    for run, name in zip(runs, names):
        if run.record is None:
            yield f"<p>{escape(run.name)} has no record beside it.</p>"
        else:
            text = escape(json.dumps(run.record, indent=2, ensure_ascii=False))
            yield html_details(f"Record of {name}", f"<pre>{text}</pre>", is_open=False)


def _joined(values: Sequence[Any] | None) -> str:
    """Return the values of a column in words.

    >>> _joined([1, None]), _joined(None)
    ('1, unknown', 'no column')
    """
    if values is None:
        return "no column"
    return ", ".join("unknown" if value is None else str(value) for value in values)


def _table(header: Sequence[str], lines: Sequence[Sequence[object]], kind: str = "") -> str:
    return f'<div class="{f"table {kind}".strip()}">{html_table(header, lines)}</div>'
