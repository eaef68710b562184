"""Engines: what makes many runs, one after the other, on many processes of a machine, or on many machines.

An engine is called with a task and the names of runs. It calls ``task(name)`` for each and yields the outcomes in any
order. The folder of the sweep holds everything else, so an engine may lose workers: then it raises
:class:`WorkersDiedError`, and the sweep calls it again with the names that are left.
"""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._support.extras import load_extra
from ..errors import InvalidValueError, NpresnextError
from .run import Outcome

Task = Callable[[str], Outcome]
Engine = Callable[[Task, Sequence[str]], Iterator[Outcome]]

SECONDS_TO_CONNECT = 10
SECONDS_TO_RECONNECT = 300
SECONDS_BETWEEN_LOOKS = 0.1


class WorkersDiedError(NpresnextError, RuntimeError):
    """Workers of an engine died; the runs that they had are as at their last checkpoints."""


class SchedulerDiedError(WorkersDiedError):
    """The scheduler of Dask does not answer any more."""


def sequential(task: Task, names: Sequence[str]) -> Iterator[Outcome]:
    """Make the runs one after the other in this process."""
    for name in names:
        yield task(name)


class JoblibEngine:
    """Makes runs on several processes of this machine.

    Parameters
    ----------
    jobs : int
        The number of processes.

    Raises
    ------
    MissingExtraError
        joblib is not installed.
    """

    def __init__(self, jobs: int) -> None:
        load_extra("joblib", "sweep", f"a sweep on {jobs} processes")
        self._jobs = jobs

    def __call__(self, task: Task, names: Sequence[str]) -> Iterator[Outcome]:
        """Make the runs; raises WorkersDiedError if a process is killed, which ends the others too."""
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        parallel = joblib.Parallel(
            self._jobs, backend="loky", batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered"
        )
        outcomes = parallel(joblib.delayed(task)(name) for name in names)
        try:
            # a "yield from" would close it before the finally block does
            for outcome in outcomes:  # noqa: UP028
                yield outcome
        except TerminatedWorkerError as error:
            raise WorkersDiedError("a process was killed") from error
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tasks that are cancelled, which is intended
                outcomes.close()


class DaskEngine:
    """Makes runs on the workers of a Dask cluster, which see the folder of the sweep under the same path.

    Parameters
    ----------
    cluster : str or Dask cluster
        The address of a scheduler, such as "tcp://host:8786"; the name of its file, which ends in .json; or an object
        such as ``distributed.LocalCluster``.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    ValueError
        No scheduler answers.
    """

    def __init__(self, cluster: Any) -> None:
        self._distributed = load_extra("distributed", "dask", "a sweep on a Dask cluster")
        self._cluster = cluster
        self._client = self._connect()

    def __call__(self, task: Task, names: Sequence[str]) -> Iterator[Outcome]:
        """Make the runs; raises WorkersDiedError if workers or the scheduler die."""
        if self._client.status != "running":
            self._reconnect()
        pending = [self._client.submit(task, name, pure=False, retries=0) for name in names]
        lost = None
        try:
            while pending:
                if self._client.status != "running":
                    raise SchedulerDiedError(f"the scheduler {self._cluster} does not answer any more")
                for future in [future for future in pending if future.done()]:
                    pending.remove(future)
                    try:
                        yield future.result()
                    except (self._distributed.KilledWorker, self._distributed.CancelledError) as error:
                        lost = error
                    except ImportError as error:
                        raise InvalidValueError(
                            f"the workers of {self._cluster} cannot import what a run needs ({error}): install "
                            "npresnext there"
                        ) from error
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                self._client.cancel(pending)
        if lost is not None:
            raise WorkersDiedError("workers were killed") from lost

    def close(self) -> None:
        """Leave the cluster."""
        with contextlib.suppress(Exception):
            self._client.close()

    def _connect(self) -> Any:
        """Return a client of the cluster."""
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it reports is in our messages
        is_file = isinstance(self._cluster, str) and self._cluster.endswith(".json")
        where = {"scheduler_file": self._cluster} if is_file else {"address": self._cluster}
        try:
            return self._distributed.Client(**where, timeout=SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InvalidValueError(
                f"no Dask scheduler answers at {self._cluster}: expected an address such as tcp://host:8786, which "
                f"`dask scheduler` prints, or its scheduler file"
            ) from error

    def _reconnect(self) -> None:
        """Wait until a scheduler answers again."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=1)
        deadline = time.monotonic() + SECONDS_TO_RECONNECT
        while True:
            try:
                self._client = self._connect()
                return
            except InvalidValueError:
                if time.monotonic() > deadline or not isinstance(self._cluster, str):
                    raise
                time.sleep(1)
