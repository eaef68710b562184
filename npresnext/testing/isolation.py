"""Checking a target in a process of its own: it may hang or die, and that is a finding too."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from typing import Any

from ..errors import InvalidValueError, NpresnextError
from .arithmetic import as_arithmetic
from .cases import ConvCase
from .kit import check_conv
from .report import Finding, Report
from .targets import load


def check_target(target: dict[str, Any], options: dict[str, Any], time_limit: float) -> Report:
    """Check what ``targets.load(**target)`` returns in a spawned process, killed after `time_limit` seconds.

    `options` go to ``check_conv``. A process that hangs or dies gives a report with that finding, and the case
    during which it happened.

    Raises
    ------
    ValueError
        The target cannot be imported, or an option makes no sense.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(there, target, options), daemon=True)
    worker.start()
    there.close()
    deadline, case, tried = time.monotonic() + time_limit, None, 0
    try:
        while here.poll(max(0.0, deadline - time.monotonic())):
            try:
                kind, content = here.recv()
            except EOFError:
                worker.join()
                return _cut_short(options, case, tried, f"the process died with exit code {worker.exitcode}")
            if kind == "mistake":
                raise InvalidValueError(content)
            if kind == "report":
                return content
            case, tried = content, tried + 1
        return _cut_short(options, case, tried, f"no end after {time_limit:g} seconds")
    finally:
        worker.kill()
        worker.join()
        here.close()


def _work(connection: Any, target: dict[str, Any], options: dict[str, Any]) -> None:
    """Check, and send the cases as they come and the report; what the target prints goes to standard error.

    One thread is the fastest for small cases, unless OMP_NUM_THREADS says otherwise.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    try:
        found = load(**target)
        options["supports"] = {**found.supports, **options.get("supports", {})}
        report = check_conv(
            found.forward, found.backward, **options, watch=lambda case: connection.send(("case", case))
        )
    except NpresnextError as error:
        connection.send(("mistake", str(error)))
    else:
        connection.send(("report", report))


def _cut_short(options: dict[str, Any], case: ConvCase | None, tried: int, message: str) -> Report:
    """Return the report of a process that did not come to its end."""
    where = "before the first case" if case is None else f"during case {tried}"
    finding = Finding("returns", "contract", f"{message}, {where}", case or ConvCase(), 1, max(1, tried), max(1, tried))
    return Report(
        dtype=str(options["dtype"]), arithmetic=as_arithmetic(options["dtype"], options.get("arithmetic")),
        algorithm=options.get("algorithm", "direct"), cases=max(1, tried), seed=options["seed"], rows={}, advice={},
        statistics={}, failures=[finding], coverage={}, pairs=0,
    )  # fmt: skip
