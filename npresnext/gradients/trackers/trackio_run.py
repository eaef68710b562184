"""Trackio, the tracker of Hugging Face that keeps its runs in a local database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._support.extras import load_extra
from .tracker import as_png


class TrackioTracker:
    """Logs to a run of Trackio.

    Parameters
    ----------
    run : trackio.Run
        What ``trackio.init()`` returns.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name, of one training step."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, figure: Any, step: int) -> None:
        """Log a figure under a name."""
        import trackio

        image = load_extra("PIL.Image", "images", "a picture for Trackio").open(as_png(figure))
        self._run.log({name: trackio.Image(image)}, step=step)

    def file(self, path: str | os.PathLike[str]) -> None:
        """Store a file as an artifact of the run."""
        self._run.log_artifact(os.fspath(path), name=Path(path).stem, type="gradient-norms")
