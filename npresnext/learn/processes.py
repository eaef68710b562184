"""A check in a process of its own: code that hangs, dies or floods the screen does no harm to ours."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from ..errors import InvalidValueError, NpresnextError
from .answers import Answer
from .exercise import Exercise

SECONDS = 30.0
SECONDS_OF_A_TEST = 90.0  # a test is run on every mistake of the catalogue
MEGABYTES = 1024
LONGEST_MESSAGE = 2_000_000  # characters


def check_file(
    path: Path,
    exercise: Exercise,
    *,
    seed: int | None = None,
    time_limit: float | None = None,
    memory_limit: int = MEGABYTES,
) -> Answer:
    """Check the function in a file, in a process of its own, and return the answer.

    Parameters
    ----------
    path : path
        Of the student's file.
    exercise : Exercise
    seed : int, optional
        The cases are drawn from it; by default they are new ones each time.
    time_limit : float, optional
        Seconds after which the process is ended; by default 30, and 90 for the exercise whose solution is a test.
    memory_limit : int
        Megabytes that the student's code may use, on Linux.

    Raises
    ------
    ValueError
        There is no such file.
    """
    if not path.is_file():
        raise InvalidValueError(f"{path} is a directory" if path.is_dir() else f"there is no file {path}")
    seed = secrets.randbelow(2**16) if seed is None else seed
    if time_limit is None:
        time_limit = SECONDS if exercise.results else SECONDS_OF_A_TEST
    arguments = [str(path.resolve()), exercise.name, str(seed), str(memory_limit)]
    command = [sys.executable, "-P", "-m", "npresnext.learn._child", *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",
    )
    messages = Messages(process)
    try:
        ended = messages.wait(time_limit)
    finally:
        end(process)
        messages.close()
    if messages.answer is not None:
        return messages.answer
    problem = f"does not end within {time_limit:g} seconds: does a loop never end?"
    if ended:
        code = process.returncode
        if code > 0 and not messages.calling and messages.complaint:
            raise NpresnextError(f"the check could not begin: {messages.complaint}")
        problem = f"ends Python (exit code {code}): use return"
        if code < 0:
            problem = f"crashes the process ({signal.Signals(-code).name})"
    subject = exercise.function if messages.calling else path.name
    details = ["In this call:", *(f"  {line}" for line in messages.calling)] if messages.calling else []
    answer = Answer(exercise.name, False, f"{subject} {problem} (seed {seed})", details, seed=seed)
    answer.question = exercise.hints[0]
    return answer


class Messages:
    """What the process of a check has sent so far, read by threads of their own so that no pipe fills up."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.calling: list[str] = []
        self.answer: Answer | None = None
        self.complaint = ""
        self.process = process
        self.readers = [
            threading.Thread(target=work, args=(stream,), daemon=True)
            for work, stream in ((self._read, process.stdout), (self._read_complaint, process.stderr))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        while line := stream.readline(LONGEST_MESSAGE):
            with contextlib.suppress(ValueError, TypeError, AttributeError):  # not from us
                self._note(json.loads(line))
            if self.answer is not None:
                return

    def _note(self, message: dict[str, Any]) -> None:
        if "calling" in message:
            self.calling = [str(line) for line in message["calling"]]
        if "answer" in message:
            self.answer = Answer(**message["answer"])

    def _read_complaint(self, stream: IO[str]) -> None:
        while text := stream.read(4096):
            self.complaint = (self.complaint + text)[-1000:]

    def wait(self, seconds: float) -> bool:
        """Wait for the answer or the end of the process; return whether one of them came in time."""
        self.readers[0].join(seconds)
        if self.readers[0].is_alive():
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
            self.readers[1].join(1.0)
        return True

    def close(self) -> None:
        """Close the pipes, unless something that the process started still holds them."""
        for reader, stream in zip(self.readers, (self.process.stdout, self.process.stderr)):
            reader.join(1.0)
            if stream is not None and not reader.is_alive():
                stream.close()


def end(process: subprocess.Popen[str]) -> None:
    """End a process, with those that it started."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own
        else:
            process.kill()
    process.wait()


def environment() -> dict[str, str]:
    """Return the environment of the process: the same npresnext, one thread, no files of compiled code."""
    package = Path(__file__).resolve().parent.parent.parent
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    return {**os.environ, **threads, **fixed}
