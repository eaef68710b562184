"""Figures of matplotlib, made and saved without touching its global state or any display."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import Any

from ..errors import InvalidValueError
from .extras import load_extra
from .files import atomic_path, check_writable

FORMATS = ("png", "pdf", "svg")


def check_picture(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Return `path`, or raise now what saving a picture there would raise later.

    Raises
    ------
    ValueError
        The path does not end in a known format, or it cannot be written.
    MissingExtraError
        matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix[1:].lower() not in FORMATS:
        raise InvalidValueError(f"{path} must end in one of {', '.join('.' + name for name in FORMATS)}")
    load_extra("matplotlib", "plot", "a picture")
    return check_writable(path, overwrite=overwrite)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of `width` x `height` inches, which a notebook shows as the last value of a cell.

    Notebooks show figures that come from pyplot, or after pyplot was imported; this one needs neither.
    """
    figure = load_extra("matplotlib.figure", "plot", "a picture").Figure(figsize=(width, height), layout="constrained")
    figure._repr_png_ = functools.partial(_as_png, figure)
    return figure


def _as_png(figure: Any) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def save_figure(figure: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a figure, whole or not at all, in the format that the path ends in."""
    path = check_picture(path, overwrite=overwrite)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=150)
