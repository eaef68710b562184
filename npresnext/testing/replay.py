"""A case as one line of text: printed in a report, and read again to try that case alone."""

from __future__ import annotations

import ast
from dataclasses import fields, replace

from ..errors import InvalidValueError
from .cases import ConvCase
from .layouts import LAYOUTS
from .supports import keep_supported


def write_case(case: ConvCase) -> str:
    """Return a case as one line, without what is at its default.

    >>> write_case(ConvCase(in_channels=2, kernel=(3, 3)))
    'ConvCase(in_channels=2, kernel=(3, 3))'
    """
    values = {field.name: getattr(case, field.name) for field in fields(case)}
    changed = {field.name: values[field.name] for field in fields(case) if values[field.name] != field.default}
    return f"ConvCase({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def read_case(line: str) -> ConvCase:
    """Return the case that a line describes; nothing in the line is executed.

    Raises
    ------
    ValueError
        For anything but ``ConvCase(name=value, ...)`` with the fields of a valid case.

    Examples
    --------
    >>> read_case("ConvCase(in_channels=2, kernel=(3, 3))").weight_shape
    (1, 2, 3, 3)
    """
    expected = f"case is {line!r}: expected a line such as {write_case(ConvCase(in_channels=2, groups=2))}"
    try:
        call = ast.parse(line.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "ConvCase" or call.args:
            raise InvalidValueError(expected)
        case = replace(ConvCase(), **{str(entry.arg): ast.literal_eval(entry.value) for entry in call.keywords})
        is_valid = (
            keep_supported(case) == case
            and set(case.layouts) <= set(LAYOUTS)
            and case.in_channels % case.groups == case.out_channels % case.groups == 0
            and min(case.output_shape) >= 0
        )
    except (SyntaxError, TypeError, ValueError, ArithmeticError) as error:
        raise InvalidValueError(expected) from error
    if not is_valid:
        raise InvalidValueError(expected)
    return case
