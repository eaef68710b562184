"""Training: the configuration of a run, the loop, schedules, checkpoints, progress, and runs of several processes."""

from . import schedules
from .checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .communicator import Communicator, MpiCommunicator, connect_ranks
from .configuration import TrainingConfiguration
from .loop import Meter, Trainer, Watcher, evaluate
from .memory import keep_freed_memory
from .progress import Progress
from .shards import ShardedTrainer

__all__ = [
    "Checkpoints",
    "Communicator",
    "Meter",
    "MpiCommunicator",
    "Progress",
    "ShardedTrainer",
    "Trainer",
    "TrainingConfiguration",
    "Watcher",
    "connect_ranks",
    "evaluate",
    "keep_freed_memory",
    "load_checkpoint",
    "save_checkpoint",
    "schedules",
]
