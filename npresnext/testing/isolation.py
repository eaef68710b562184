"""Checking a target in a process of its own: it may hang or die, and that is a finding too."""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
from typing import Any

from ..errors import InvalidValueError, NpresnextError
from .arithmetic import as_arithmetic
from .cases import ConvCase
from .kit import check_conv
from .report import Finding, Report, Row
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
    deadline, where, case = time.monotonic() + time_limit, "before the first case", ConvCase()
    try:
        while here.poll(max(0.0, deadline - time.monotonic())):
            try:
                kind, content = here.recv()
            except EOFError:
                worker.join()
                return _cut_short(options, f"the process died with exit code {worker.exitcode}, {where}", case)
            if kind == "mistake":
                raise InvalidValueError(content)
            if kind == "report":
                return content
            where, case = f"during {content[0]}", content[1]
        return _cut_short(options, f"no end after {time_limit:g} seconds, {where}", case)
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
            found.forward, found.backward, **options, watch=lambda *what: connection.send(("case", what))
        )
    except NpresnextError as error:
        connection.send(("mistake", str(error)))
    else:
        connection.send(("report", report))


def _cut_short(options: dict[str, Any], message: str, case: ConvCase) -> Report:
    """Return the report of a process that did not come to its end."""
    declared = as_arithmetic(options["dtype"], options.get("arithmetic"))
    row = Row(1, 1, math.inf, Finding("returns", "contract", math.inf, message, case, first=1))
    rows = {("returns", "contract"): row}
    return Report(options["dtype"], declared, options.get("algorithm", "direct"), options["seed"], [], 1, rows)
