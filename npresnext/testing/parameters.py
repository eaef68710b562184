"""Which of the kit's arguments a callable takes, read from its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

WINDOW = ("stride", "padding", "dilation", "groups")
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
BY_KEYWORD = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def accepted_window(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return which of stride, padding, dilation and groups a callable takes by keyword; all, if that cannot be read.

    >>> def homework(x, weight, bias, stride, padding): ...
    >>> accepted_window(homework)
    ('stride', 'padding')
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a function in C
        return WINDOW
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return WINDOW
    names = {parameter.name for parameter in parameters if parameter.kind in BY_KEYWORD}
    return tuple(name for name in WINDOW if name in names)


def missing_parameters(forward: Callable[..., Any] | None, backward: Callable[..., Any] | None) -> dict[str, str]:
    """Return each window argument that a callable has no parameter for, and why it is left out.

    >>> def homework(x, weight, bias, stride, padding): ...
    >>> missing_parameters(homework, None)
    {'dilation': 'forward has no such parameter', 'groups': 'forward has no such parameter'}
    """
    missing: dict[str, str] = {}
    for role, function in (("forward", forward), ("backward", backward)):
        if function is not None:
            accepted = accepted_window(function)
            missing |= {name: f"{role} has no such parameter" for name in WINDOW if name not in accepted}
    return missing
