"""Training: the loop, learning rates, checkpoints and progress."""

from . import schedules
from .checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .loop import Meter, Trainer, Watcher, evaluate
from .progress import Progress

__all__ = [
    "Checkpoints",
    "Meter",
    "Progress",
    "Trainer",
    "Watcher",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
    "schedules",
]
