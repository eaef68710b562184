"""Which of the kit's arguments a callable takes, read from its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import InvalidTypeError

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


def check_parameters(
    role: str, function: Callable[..., Any], operands: tuple[str, ...], results: tuple[str, ...]
) -> None:
    """Raise unless the kit can call a function; one whose parameters cannot be read, as in C, is not checked.

    Raises
    ------
    TypeError
        The message has the parameters that are missing or too many, and how to wrap the function.

    Examples
    --------
    >>> def conv(image, kernel): ...
    >>> check_parameters("forward", conv, ("x", "weight", "bias"), ("y",))
    Traceback (most recent call last):
    npresnext.errors.InvalidTypeError: forward is conv(image, kernel): it has no parameter for bias. Wrap it: ...
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*operands, **dict.fromkeys(accepted_window(function)))
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        wrapper = f"def {role}({', '.join(operands)}, *, {', '.join(WINDOW)})"
        told = "; ".join(describe_misfit(signature, operands)) or str(error)
        message = f"{role} is {name}{signature}: {told}. Wrap it: {wrapper}: ... return {', '.join(results)}"
        raise InvalidTypeError(message) from error


def describe_misfit(signature: inspect.Signature, operands: tuple[str, ...]) -> list[str]:
    """Return what a function has no parameter for, and which of its parameters the kit does not know."""
    others = [parameter for parameter in signature.parameters.values() if parameter.name not in WINDOW]
    positional = [parameter for parameter in others if parameter.kind in POSITIONAL]
    by_name = [parameter for parameter in others if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    unknown = [one.name for one in (*positional[len(operands) :], *by_name) if one.default is inspect.Parameter.empty]
    told = []
    if missing := operands[len(positional) :]:
        told.append(f"it has no parameter for {', '.join(missing)}")
    if unknown:
        told.append(f"nothing is passed for {', '.join(unknown)}")
    return told
