"""Training: the configuration of a run, the loop, learning rate schedules, checkpoints and progress."""

from . import schedules
from .checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .configuration import TrainingConfiguration
from .loop import Meter, Trainer, Watcher, evaluate
from .memory import keep_freed_memory
from .progress import Progress

__all__ = [
    "Checkpoints",
    "Meter",
    "Progress",
    "Trainer",
    "TrainingConfiguration",
    "Watcher",
    "evaluate",
    "keep_freed_memory",
    "load_checkpoint",
    "save_checkpoint",
    "schedules",
]
