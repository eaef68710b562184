"""A check in a process of its own: a call that ends the process, or never returns, is a finding like any other."""

from __future__ import annotations

import faulthandler
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from ..errors import InvalidTypeError
from .adapters.target import Target
from .arithmetic import as_arithmetic
from .cases import ConvCase
from .child import HANGS, Child, noting
from .explanation import explain_failures
from .findings import DEATH, NO_END, Finding
from .invalid_calls import broken_calls
from .outcomes import outcomes_of_a_death
from .preparation import make_runner, run
from .report import Report
from .reproduction import write_reproduction
from .runner import WRONG_CALL, Runner
from .shrinking import may_be_tried, much_smaller_cases, smaller_cases
from .supports import combine_supports
from .trial import Trial

MOST_DEATHS = 5  # after so many, no further cases are tried
MOST_STEPS = 12  # processes that the search for the smallest case of a death may end
SECONDS_OF_A_STEP = 5  # of the processor, in which such a process tries smaller cases
LONGEST_SILENCE = 30  # seconds, after which such a process is taken to hang
BEFORE = "before the first case"

Load = Callable[[], Target]


def check_that_it_travels(load: Load, options: dict[str, Any]) -> None:
    """Raise a TypeError unless everything can be sent to another process."""
    try:
        pickle.dumps((load, options))
    except Exception as error:
        message = "isolate=True needs functions that stand at the top of a module, in supports too"
        raise InvalidTypeError(f"{message}: {error}") from error


def check_in_process(load: Load, options: dict[str, Any], time_limit: float) -> Report:
    """Check what ``load()`` returns in a spawned process, ended after `time_limit` seconds, and return the report.

    `options` are those of ``check_conv``. If the process dies, that is a finding, with the case and the direction in
    which it happened; another process tries the remaining cases, up to the fifth death. The first death is then
    reduced to a smaller case, again in processes of its own.

    Raises
    ------
    ValueError
        The target cannot be imported, or an option makes no sense.
    """
    deadline = time.monotonic() + time_limit
    progress = Progress(Report(as_arithmetic(options["dtype"], options.get("arithmetic")), seed=options["seed"]))
    progress.report.algorithm = options.get("algorithm") or "direct"
    while True:
        child = Child(_check, load, options, progress)
        ending = child.follow(deadline, progress.note)
        if ending == "":
            return finish(progress, load, options, deadline)
        if ending == HANGS:
            message = f"{NO_END} {time_limit:g} seconds"
        else:
            message = f"the process died {ending}"
        progress.note_the_end(message, child.role)
        if ending == HANGS:
            progress.report.left_out.append(f"what comes after case {progress.report.cases}: the time was spent")
        if ending == HANGS or progress.where == BEFORE or progress.is_searching_in_vain:
            return finish(progress, load, options, deadline)


def finish(progress: Progress, load: Load, options: dict[str, Any], deadline: float) -> Report:
    """Reduce the first death to its smallest case, write down the lines that reproduce it, and return the report."""
    report = progress.report
    tally = report.checks.get((DEATH, "contract"))
    if tally is None or tally.first is None:
        return report
    tally.tried = max(tally.failed, report.cases)
    if tally.first.role and not tally.first.call:
        if tally.first.message.startswith(NO_END):
            tally.first.reproduction = write_lines(tally.first, load, options)
        elif time.monotonic() < deadline:
            tally.first = shrink_death(tally.first, load, options, deadline)
    return report


@dataclass
class Progress:
    """What is known of a check that may need several processes."""

    report: Report
    done: set[str] = field(default_factory=set)  # steps that were made, or ended the process
    avoid: set[ConvCase] = field(default_factory=set)  # cases that ended the process
    where: str = BEFORE
    case: ConvCase = field(default_factory=ConvCase)

    def note(self, where: str, case: ConvCase, report: Report) -> None:
        """Note the step that comes next, and what was found so far."""
        self.where, self.case, self.report = where, case, report
        self.done.add(where)

    @property
    def deaths(self) -> int:
        """How many processes have ended in the middle of a step."""
        tally = self.report.checks.get((DEATH, "contract"))
        return tally.failed if tally else 0

    @property
    def is_searching_in_vain(self) -> bool:
        """Whether so many processes have ended that not even the failures can be explained."""
        return self.deaths >= 2 * MOST_DEATHS

    def note_the_end(self, message: str, role: str) -> None:
        """Count a process that ended or was ended as a finding."""
        report = self.report
        is_a_case = self.where.startswith("case ")
        report.cases += is_a_case or not report.cases  # a report without any case says that nothing was tried
        told = f"{message}, {self.where}" if self.where == BEFORE else f"{message}, during {self.where}"
        call, lines = describe_wrong_call(self.where, self.case, report.arithmetic.dtype)
        told += f"\nin the call of {role}" if role else ""
        found = Finding(DEATH, "contract", math.inf, told, self.case, first=report.cases, role=role)
        report.add(replace(found, call=call, reproduction=lines))
        if is_a_case:
            report.outcomes.update(outcomes_of_a_death(self.case, role))
        self.avoid.add(self.case)
        if self.deaths == MOST_DEATHS:
            report.left_out.append(f"what comes after case {report.cases}: {MOST_DEATHS} calls ended the process")


def describe_wrong_call(where: str, case: ConvCase, dtype: str) -> tuple[str, str]:
    """Return a call that breaks a rule in words and in Python; empty texts for any other step."""
    if not where.startswith(WRONG_CALL):
        return "", ""
    call = broken_calls(case)[where.removeprefix(WRONG_CALL)]
    window = ", ".join(f"{name}={value}" for name, value in call.kwargs.items())
    shapes = {"x": call.x_shape, "weight": call.weight_shape, "bias": call.bias_shape}
    lines = ["import numpy as np"]
    for name, shape in shapes.items():
        lines.append(f"{name} = None" if shape is None else f'{name} = np.ones({shape}, "{dtype}")')
    return (
        ", ".join(f"{name} {shape}" for name, shape in shapes.items()) + f", {window}",
        "\n".join([*lines, f"y = forward(x, weight, bias, {window})  # forward: the function under test"]),
    )


def shrink_death(finding: Finding, load: Load, options: dict[str, Any], deadline: float) -> Finding:
    """Return a death in the smallest case found, with the lines that reproduce it.

    A process tries smaller cases until one ends it, at first much smaller ones; the next process begins with that one.
    A death that does not occur a second time is returned with the lines of its case and a diagnosis that says so.
    """
    smallest, lines, seen = finding.case, "", False
    for step in range(MOST_STEPS):
        tried = Tried()
        child = Child(_try_smaller, load, options, finding.role, smallest, step)
        ending = child.follow(deadline, tried.note, LONGEST_SILENCE)
        if ending in ("", HANGS):
            lines = lines or tried.first_lines
            break
        smallest, lines, seen = tried.case, tried.lines, True
    diagnosis = (
        "" if seen else "it did not happen again in a process of its own: it depends on earlier calls, or on chance"
    )
    return replace(finding, case=smallest, reproduction=lines, diagnosis=diagnosis)


def write_lines(finding: Finding, load: Load, options: dict[str, Any]) -> str:
    """Return the lines that make the call of a finding, which is not made here: it never returns."""
    tried = Tried()
    child = Child(_announce, load, options, finding.role, finding.case)
    child.follow(time.monotonic() + LONGEST_SILENCE, tried.note)
    return tried.first_lines


@dataclass
class Tried:
    """The last case that a process announced, and the lines that reproduce it."""

    case: ConvCase = field(default_factory=ConvCase)
    lines: str = ""
    first_lines: str = ""

    def note(self, case: ConvCase, lines: str) -> None:
        """Note the case that comes next."""
        self.case, self.lines, self.first_lines = case, lines, self.first_lines or lines


def _prepare(direction: Any, load: Load, options: dict[str, Any], **more: Any) -> Runner:
    """Return the runner of a check whose calls note their direction in shared memory."""
    target = load()
    chosen = {name: value for name, value in options.items() if name not in ("cases", "seed")}
    chosen["supports"] = combine_supports(target.supports, options.get("supports") or {})
    chosen["arithmetic"] = {**target.arithmetic, **(options.get("arithmetic") or {})}
    chosen["layout"] = options.get("layout") or target.layout
    chosen["algorithm"] = options.get("algorithm") or target.algorithm
    forward, backward = noting(direction, "forward", target.forward), noting(direction, "backward", target.backward)
    runner = make_runner(forward, backward, **chosen, **more)
    runner.report.target = target.describe()
    return runner


def _check(connection: Any, direction: Any, load: Load, options: dict[str, Any], progress: Progress) -> None:
    """Check, and send each step before it is made, and the report at the end."""

    def watch(where: str, case: ConvCase, report: Report) -> None:
        checks = {
            key: replace(tally, first=tally.first and replace(tally.first, trials=()))  # which do not travel
            for key, tally in report.checks.items()
        }
        connection.send(("step", where, case, replace(report, checks=checks)))

    if not progress.deaths:
        faulthandler.enable()  # the first crash tells where in the target it happened
    avoid = frozenset(progress.avoid)
    runner = _prepare(direction, load, options, watch=watch, done=frozenset(progress.done), avoid=avoid)
    if progress.done:
        runner.report = progress.report
        runner.catch_up(options["cases"], options["seed"])
    if progress.deaths >= MOST_DEATHS:
        explain_failures(runner)
        report = runner.report
    else:
        report = run(runner, options["cases"], options["seed"])
    watch("the end", ConvCase(), report)


def _try_smaller(
    connection: Any, direction: Any, load: Load, options: dict[str, Any], role: str, case: ConvCase, step: int
) -> None:
    """Call one direction in a case, or in smaller ones, each announced with the lines that make the same call."""
    runner = _prepare(direction, load, options)
    subject = runner.subject
    subject = replace(subject, backward=None) if role == "forward" else replace(subject, forward=None)
    smaller = smaller_cases(case, subject.supports)
    in_this_step = {0: [case], 1: chain(much_smaller_cases(case, subject.supports), smaller)}
    end = time.process_time() + SECONDS_OF_A_STEP
    for candidate in in_this_step.get(step, smaller):
        if time.process_time() > end:
            return
        if not may_be_tried(runner, candidate):
            continue
        for real in subject.on_real_numbers:
            trial = Trial(subject, candidate, real)
            announce(connection, role, trial)
            trial.results  # noqa: B018


def _announce(connection: Any, direction: Any, load: Load, options: dict[str, Any], role: str, case: ConvCase) -> None:
    """Send the lines that call one direction in a case, and call nothing."""
    announce(connection, role, Trial(_prepare(direction, load, options).subject, case, real=False))


def announce(connection: Any, role: str, trial: Trial) -> None:
    """Send a case, and the lines that call one direction in it."""
    found = Finding(DEATH, "contract", math.inf, case=trial.case, role=role, trials=(trial,))
    connection.send(("case", trial.case, write_reproduction(found)))
