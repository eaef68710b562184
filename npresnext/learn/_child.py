"""What the process of a check does: ``python -m npresnext.learn._child FILE EXERCISE SEED MEGABYTES``.

Its standard output is for messages, one JSON object per line: ``{"calling": [lines]}`` before each call, and
``{"answer": {...}}`` at the end. What the student's code prints does not get there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from .answers import Answer
from .checking import check_function
from .exercises import find_exercise
from .loading import load_function


def main(path: str, exercise: str, seed: str, megabytes: str) -> None:
    """Check one file, and send the answer."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches our parent too, which ends us
    limit_memory(int(megabytes))

    def send(**message: Any) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    chosen = find_exercise(exercise)
    loaded = load_function(Path(path), chosen)
    if isinstance(loaded, Answer):
        answer = loaded
    else:
        answer = check_function(chosen, loaded, int(seed), watch=lambda lines: send(calling=lines))
    send(answer=dataclasses.asdict(answer))
    os._exit(0)  # without waiting for threads that the student's code may have started


def limit_memory(megabytes: int) -> None:
    """Let this process take so much memory more, where the system can limit it."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as sizes:
            used = int(sizes.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # Windows, macOS
        return
    most = used + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(*sys.argv[1:])
