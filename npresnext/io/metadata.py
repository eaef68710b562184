"""Metadata of state files: texts by name, as in safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._support.arguments import check_mapping
from ..errors import FileFormatError, InvalidTypeError

MOST_METADATA = 2**20


def parse_metadata(text: str) -> dict[str, str]:
    """Return the metadata that a JSON text holds."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the metadata is no JSON text: {error}") from error
    if not _is_metadata(metadata):
        raise FileFormatError("the metadata must be a JSON object of texts")
    return metadata


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return metadata as a dictionary after checking that it holds texts by name."""
    check_mapping(metadata, "metadata")
    metadata = dict(metadata or {})
    if not _is_metadata(metadata):
        raise InvalidTypeError(f"metadata must map names to texts, but is {metadata!r:.200}")
    return metadata


def _is_metadata(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)
