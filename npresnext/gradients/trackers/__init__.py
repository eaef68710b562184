"""Gradient norms in experiment trackers: five numbers per layer and one picture, not a chart for every conv group."""

from .mlflow_run import MlflowTracker
from .summaries import SUMMARIES, log_rows, log_scalars, summary_scalars
from .tensorboard import TensorBoardTracker
from .tracker import Tracker
from .trackio_run import TrackioTracker
from .wandb_run import WandbTracker

__all__ = [
    "MlflowTracker",
    "SUMMARIES",
    "TensorBoardTracker",
    "Tracker",
    "TrackioTracker",
    "WandbTracker",
    "log_rows",
    "log_scalars",
    "summary_scalars",
]
