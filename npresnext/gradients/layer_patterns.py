"""Layers chosen by patterns of their names, and the rows of these layers."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from ..errors import InvalidValueError
from .norms import Row


def choose_layers(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """Return the names that match at least one of `patterns`, as a shell matches file names; all if None.

    Raises
    ------
    ValueError
        A pattern matches no name; the message lists the names.

    Examples
    --------
    >>> choose_layers(["conv1", "layer1.0.conv1", "layer1.0.conv2"], ["*.conv?"])
    ['layer1.0.conv1', 'layer1.0.conv2']
    """
    if patterns is None:
        return list(names)
    for pattern in patterns:
        if not _matching(names, pattern):
            longer = f"*{pattern}"
            hint = f" (did you mean {longer!r}?)" if _matching(names, longer) else ""
            raise InvalidValueError(f"no convolution matches {pattern!r}{hint}: there are {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def rows_of_layers(rows: Sequence[Row], patterns: Sequence[str] | None) -> list[Row]:
    """Return the rows of those layers whose names :func:`choose_layers` chooses."""
    layers = set(choose_layers(list(dict.fromkeys(row["layer"] for row in rows)), patterns))
    return [row for row in rows if row["layer"] in layers]


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
