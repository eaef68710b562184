"""Making a failing case smaller until a person can compute it by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .cases import ConvCase
from .properties import PROPERTIES
from .runner import Failure, Key, Outcome, Runner


def smallest(runner: Runner, failure: Failure, budget: int = 250) -> Failure:
    """Return the smallest case found in which the same check still fails, after at most `budget` further cases.

    What does not fail a second time, because the callable keeps a state, is returned as it came.
    """
    searching = True
    while searching:
        searching = False
        for candidate in smaller(failure.case):
            budget -= 1
            outcome = fails(runner, candidate, failure.turn, failure.outcome.key)
            if outcome is not None:
                failure = failure._replace(case=candidate, outcome=outcome)
                searching = budget > 0
                break
            if budget <= 0:
                break
    return failure


def fails(runner: Runner, case: ConvCase, turn: str, key: Key) -> Outcome | None:
    """Return the outcome with which a case fails a check, or None."""
    if not PROPERTIES[turn][1](case):
        if key[0] == turn:
            return None
        turn = "linear"
    failing = (outcome for outcome in runner.examine(case, turn) if outcome.key == key and outcome.ratio > 1)
    return next(failing, None)


def smaller(case: ConvCase) -> Iterator[ConvCase]:
    """Yield valid cases that are simpler than `case` in one way, the boldest first."""
    ins, outs, groups = case.in_channels // case.groups, case.out_channels // case.groups, case.groups
    yield from _valid(case, layouts=("contiguous",) * 3)
    for fewer in sorted({1, min(2, groups), groups // 2, groups - 1} - {0, groups}):
        yield from _valid(case, groups=fewer, in_channels=fewer * ins, out_channels=fewer * outs)
    for name, per_group in (("in_channels", ins), ("out_channels", outs)):
        for fewer in sorted({1, per_group // 2, per_group - 1} - {0, per_group}):
            if 0 < fewer < per_group:
                yield from _valid(case, **{name: fewer * groups})
    for batch in {1, case.batch - 1} if case.batch > 1 else ():
        yield from _valid(case, batch=batch)
    for axis in (0, 1):
        for name, least in (("kernel", 1), ("stride", 1), ("dilation", 1), ("size", 1)):
            value = getattr(case, name)[axis]
            for less in sorted({least, value // 2, value - 1}):
                if least <= less < value:
                    yield from _valid(case, **{name: _with(getattr(case, name), axis, less)})
        for end in (0, 1):
            pad = case.padding[axis][end]
            for nearer in sorted({0, pad - 1 if pad > 0 else pad + 1}, key=abs):
                if abs(nearer) < abs(pad):
                    sides = _with(case.padding[axis], end, nearer)
                    yield from _valid(case, padding=_with(case.padding, axis, sides))
    yield from _valid(case, has_bias=False)
    for place in (0, 1, 2):
        yield from _valid(case, layouts=_with(case.layouts, place, "contiguous"))
    for span in (1, 2):
        yield from _valid(case, span=min(span, case.span))


def _with(pair: tuple, place: int, value: Any) -> tuple:
    return (*pair[:place], value, *pair[place + 1 :])


def _valid(case: ConvCase, **changes: Any) -> Iterator[ConvCase]:
    """Yield the changed case if it differs and is still a valid convolution."""
    changed = replace(case, **changes)
    cropped = [size + sum(min(side, 0) for side in sides) for size, sides in zip(changed.size, changed.padding)]
    if changed != case and min(*changed.output_shape[2:], *cropped) >= 1:
        yield changed
