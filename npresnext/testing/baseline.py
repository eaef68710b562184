"""A baseline: failures that are known, so that a check fails for new ones only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._support.arguments import check_mapping
from ..errors import InvalidValueError
from .cases import ConvCase
from .supports import WITHOUT


@dataclass
class ExpectedFailure:
    """A known failure: why it is known, in how many cases it was looked for, and in how many it occurred."""

    reason: str
    tried: int = 0
    failed: int = 0


def as_expected(xfail: Mapping[str, str] | None) -> dict[str, ExpectedFailure]:
    """Return the known failures.

    Parameters
    ----------
    xfail : mapping of str to str
        What is expected to fail, and why. A key is a key of ``supports``, for all cases that have this feature, or a
        check such as "dw (bounded)".

    Raises
    ------
    ValueError
        A key is neither, or a reason is no text.
    """
    check_mapping(xfail, "xfail")
    for key, reason in (xfail or {}).items():
        if not isinstance(reason, str):
            raise InvalidValueError(f"xfail[{key!r}] is {reason!r}: expected a reason, such as a link to an issue")
        if key not in WITHOUT and not key.endswith(")"):
            expected = f'{", ".join(WITHOUT)}, or a check such as "dw (bounded)"'
            raise InvalidValueError(f"xfail has the unknown key {key!r}: expected {expected}")
    return {key: ExpectedFailure(reason) for key, reason in (xfail or {}).items()}


def expected_in(case: ConvCase, expected: Mapping[str, ExpectedFailure]) -> ExpectedFailure | None:
    """Return the known failure of a feature that a case has, or None."""
    for key, failure in expected.items():
        if key in WITHOUT and WITHOUT[key](case) != case:
            return failure
    return None


def read_baseline(path: str) -> dict[str, str]:
    """Read known failures from a JSON file: one object, from what fails to the reason.

    Raises
    ------
    ValueError
        The file is no such object.
    """
    found: Any
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(found, dict):
        expected = 'expected one such as {"zero_channels": "pytorch#56998"}'
        raise InvalidValueError(f"{path} holds no JSON object: {expected}")
    as_expected(found)
    return found
