"""How the processes of one training run exchange arrays: through MPI, or not at all if there is only one.

MPI calls such a process a *rank*, and numbers the ranks from 0. All of them run the same program. Each method of a
:class:`Communicator` that exchanges something must be called by all ranks, in the same order: a rank that does not call
it lets the others wait forever.
"""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

import numpy as np

from .._support.extras import load_extra
from .._support.plurals import counted
from .._support.typing import NumPyArray
from ..errors import InvalidValueError, MissingExtraError

# What launchers such as mpirun put into the environment of each process: the names of its rank and of their number
OPEN_MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
PMI = ("PMI_RANK", "PMI_SIZE")  # MPICH, Intel MPI, MVAPICH
PMIX = ("PMIX_RANK", "")  # srun; the number is not there


class Communicator:
    """The communicator of a process that is alone, and the base of all others.

    Attributes
    ----------
    rank : int
        The number of this process, counted from 0.
    size : int
        The number of ranks.

    Examples
    --------
    >>> alone = Communicator()
    >>> alone.rank, alone.size, alone.share("news")
    (0, 1, ['news'])
    """

    rank = 0
    size = 1

    def allgather(self, rows: NumPyArray) -> NumPyArray:
        """Return the rows of all ranks, those of rank 0 first.

        Parameters
        ----------
        rows : NumPy array (n, ...)
            Of the same shape and dtype on every rank.

        Returns
        -------
        NumPy array (size·n, ...)
            The same bytes on every rank.
        """
        return rows

    def share(self, value: Any) -> list[Any]:
        """Return the values of all ranks, that of rank 0 first: small objects, which pickle can copy."""
        return [value]

    def abort(self, code: int) -> None:
        """End the processes of all ranks at once, as far as possible with this exit code."""
        raise SystemExit(code)


class MpiCommunicator(Communicator):
    """A communicator of MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Such as ``MPI.COMM_WORLD``.
    """

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def allgather(self, rows: NumPyArray) -> NumPyArray:
        """Return the rows of all ranks, those of rank 0 first."""
        own = np.ascontiguousarray(rows)
        everything = np.empty((self.size * len(own), *own.shape[1:]), own.dtype)
        # as bytes: MPI has no bfloat16
        self._comm.Allgather(own.reshape(-1).view(np.uint8), everything.reshape(-1).view(np.uint8))
        return everything

    def share(self, value: Any) -> list[Any]:
        """Return the values of all ranks, that of rank 0 first."""
        return self._comm.allgather(value)

    def abort(self, code: int) -> None:
        """End the processes of all ranks a second from now.

        Launchers kill every rank as soon as one of them aborts. Of what this process has printed, they lose what they
        have not read by then; a second lets a busy machine read it.
        """
        time.sleep(1)
        self._comm.Abort(code)
        raise SystemExit(code)  # where Abort returns before the launcher has ended this process


def launched_rank() -> tuple[int, int | None] | None:
    """Return the rank of this process and the number of ranks, or None if no launcher of MPI has started it.

    The environment tells it, so mpi4py is not needed. The number is None where it is not in the environment.
    """
    for rank, size in (OPEN_MPI, PMI, PMIX):
        if rank in os.environ:
            return int(os.environ[rank]), int(os.environ[size]) if size in os.environ else None
    return None


def connect_ranks() -> Communicator:
    """Return the communicator of all ranks that a launcher such as ``mpirun`` has started together with this process.

    Without a launcher the process is alone, and mpi4py is not needed.

    Raises
    ------
    MissingExtraError
        mpi4py is not installed, or it does not find the library of MPI.
    ValueError
        mpi4py uses the library of another MPI than the launcher, so each rank would be alone.

    Examples
    --------
    >>> connect_ranks().size
    1
    """
    launched = launched_rank()
    if launched is None:
        return Communicator()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*suspicious MPI")  # the error below says more
        try:
            mpi = load_extra("mpi4py.MPI", "mpi", "a run on several ranks")
        except RuntimeError as error:  # of mpi4py, which looks for the library when it is imported
            if isinstance(error, MissingExtraError):
                raise
            raise MissingExtraError(
                "mpi4py does not find the library of MPI: install one, for example by pip install mpich, and start the "
                "ranks with its mpirun"
            ) from error
    communicator = MpiCommunicator(mpi.COMM_WORLD)
    _, size = launched
    if size is not None and size != communicator.size:
        library = mpi.Get_library_version().split("\n")[0].split(",")[0].rstrip("\0 ")
        raise InvalidValueError(
            f"the launcher has started {counted(size, 'rank')}, but mpi4py finds {communicator.size}: it uses "
            f"{library}, and the launcher is of another MPI; start the ranks with the mpirun of the same MPI"
        )
    return communicator
