"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._support.extras import load_extra
from .summaries import SUMMARIES
from .tracker import as_png

STEP = "gradient_step"  # an axis of its own: W&B drops numbers that are logged at a step before the last one


class WandbTracker:
    """Logs to a run of Weights & Biases.

    Parameters
    ----------
    run : wandb.Run
        What ``wandb.init()`` returns.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        run.define_metric(STEP, hidden=True)
        for name in SUMMARIES:
            run.define_metric(f"{name}/*", step_metric=STEP)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name, of one training step."""
        self._run.log({**values, STEP: step})

    def picture(self, name: str, figure: Any, step: int) -> None:
        """Log a figure under a name."""
        image = load_extra("PIL.Image", "images", "a picture for Weights & Biases").open(as_png(figure))
        self._run.log({name: _wandb().Image(image), STEP: step})

    def file(self, path: str | os.PathLike[str]) -> None:
        """Store a file as an artifact of the run."""
        artifact = _wandb().Artifact(f"{self._run.id}-{Path(path).stem}", type="gradient-norms")
        artifact.add_file(os.fspath(path))
        self._run.log_artifact(artifact)


def _wandb() -> Any:
    import wandb

    return wandb
