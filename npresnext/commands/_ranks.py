"""A command on several processes of MPI (ranks): rank 0 prints and writes files, and all ranks end together."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import InvalidValueError, NonFiniteLossError, NpresnextError, RanksDifferError
from . import FAILED, INTERRUPTED, MISTAKE, READER_GONE

if TYPE_CHECKING:
    from ..training import Communicator


class Ranks:
    """What a command does on each rank: a ``with`` block whose errors are those of the whole run.

    An error before :meth:`begin` is reported once, by the first rank that has one, and all ranks end. A later error
    either comes on all ranks in the same step, or ends the others by MPI_Abort: they would wait for this rank.

    Parameters
    ----------
    communicator : Communicator
    checkpoint : str, optional
        The checkpoint of the run.
    """

    def __init__(self, communicator: Communicator, checkpoint: str | None = None) -> None:
        self.communicator, self._checkpoint = communicator, checkpoint
        self._has_begun = False

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which prints and writes files."""
        return self.communicator.rank == 0

    def begin(self) -> None:
        """Wait until all ranks are ready, or end if another rank is not."""
        if any(self.communicator.share(False)):
            raise SystemExit(MISTAKE)
        self._has_begun = True

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.communicator.size == 1 or error is None or isinstance(error, SystemExit):
            return
        if not self._has_begun and isinstance(error, Exception):
            failed = self.communicator.share(True)
            if self.communicator.rank != failed.index(True):
                raise SystemExit(MISTAKE) from error
            if not all(failed):
                self._say("the next line is about this rank only")
        elif isinstance(error, (NonFiniteLossError, RanksDifferError)):  # on all ranks
            if not self.is_first:
                raise SystemExit(FAILED) from error
        else:
            self._abort(error)

    def _abort(self, error: BaseException) -> None:
        """Report an error, and end all ranks at once."""
        if isinstance(error, KeyboardInterrupt):
            self.communicator.abort(INTERRUPTED)
        elif isinstance(error, BrokenPipeError):
            self.communicator.abort(READER_GONE)
        else:
            if not isinstance(error, (NpresnextError, OSError, MemoryError)):
                traceback.print_exception(error)
            name = "" if isinstance(error, NpresnextError) else f"{type(error).__name__}: "
            self._say(f"{name}{error}; this ends all ranks{self._how_to_continue()}")
            self.communicator.abort(FAILED)

    def _how_to_continue(self) -> str:
        if self._checkpoint is None or not os.path.isfile(self._checkpoint):
            return ""
        return f"; add --resume to continue from {self._checkpoint}"

    def _say(self, message: str) -> None:
        rank, size = self.communicator.rank, self.communicator.size
        print(f"npresnext: rank {rank} of {size} on {platform.node()}: {message}", file=sys.stderr, flush=True)


def join_ranks(shards: int | None, checkpoint: str | None = None) -> Ranks:
    """Return the ranks that compute the shards together; without shards, this process alone.

    Raises
    ------
    ValueError
        A launcher has started several ranks, and `shards` is None: they would do the same, and write the same files.
    """
    from ..training.communicator import Communicator, connect_ranks, launched_rank

    rank, size = launched_rank() or (0, 1)
    try:
        if shards is not None:
            ranks = Ranks(connect_ranks(), checkpoint)
            _share_cores(ranks.communicator)
            return ranks
        if size is not None and size > 1:
            raise InvalidValueError(
                f"this is one of {size} ranks: pass --shards V, a multiple of {size}, so that they share one training"
            )
    except Exception as error:
        if rank:
            raise SystemExit(MISTAKE) from error  # rank 0 has the same error, and prints it
        raise
    return Ranks(Communicator())


def _share_cores(communicator: Communicator) -> None:
    """Divide the cores of this process by the number of ranks that have the same cores, unless the user chose."""
    from ..engines.cpu.threads import get_num_threads, set_num_threads

    if communicator.size == 1 or "NPRESNEXT_NUM_THREADS" in os.environ:
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    everywhere = communicator.share((platform.node(), cores))
    set_num_threads(max(1, get_num_threads() // everywhere.count((platform.node(), cores))))
