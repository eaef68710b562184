"""Studies: many training runs from one file, made by any number of processes and machines, and collected in a table."""

from .configuration import RunConfiguration
from .engines import DaskEngine, JoblibEngine, WorkersDiedError, sequential
from .folder import RunFolder, create_folders, run_folders
from .run import Outcome, RunOptions, perform
from .study import Study, read_study
from .sweeping import Summary, SweepStoppedError, shard_of, sweep
from .table import collect, write_table

__all__ = [
    "DaskEngine",
    "JoblibEngine",
    "Outcome",
    "RunConfiguration",
    "RunFolder",
    "RunOptions",
    "Study",
    "Summary",
    "SweepStoppedError",
    "WorkersDiedError",
    "collect",
    "create_folders",
    "perform",
    "read_study",
    "run_folders",
    "sequential",
    "shard_of",
    "sweep",
    "write_table",
]
