"""MLflow."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._support.integers import chunks
from .tracker import as_png

MOST_METRICS = 1000  # of one request


class MlflowTracker:
    """Logs to a run of MLflow.

    Parameters
    ----------
    run_id : str
        Such as ``mlflow.active_run().info.run_id``.
    client : mlflow.MlflowClient, optional
        The client of another tracking server than the current one.
    """

    def __init__(self, run_id: str, client: Any = None) -> None:
        import mlflow

        self._run_id = run_id
        self._client = mlflow.MlflowClient() if client is None else client

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers by name, of one training step, in as few requests as MLflow allows."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)  # milliseconds
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        for part in chunks(len(metrics), MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[part])

    def picture(self, name: str, figure: Any, step: int) -> None:
        """Store a figure as the file NAME.png of the run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(as_png(figure).getvalue())
            self._client.log_artifact(self._run_id, str(path))

    def file(self, path: str | os.PathLike[str]) -> None:
        """Store a file with the run."""
        self._client.log_artifact(self._run_id, os.fspath(path))
