"""What an experiment tracker must be able to do."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, Protocol


class Tracker(Protocol):
    """An experiment tracker. Four are in this package; for another one, write a class with these three methods."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name, of one training step."""

    def picture(self, name: str, figure: Any, step: int) -> None:
        """Log a ``matplotlib.figure.Figure`` under a name."""

    def file(self, path: str | os.PathLike[str]) -> None:
        """Store a file with the run."""


def as_png(figure: Any) -> io.BytesIO:
    """Return a figure as a PNG file in memory."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    picture.seek(0)
    return picture
