"""What the benchmarks share: the names of the libraries and passes compared, one process per measurement, spreads.

A benchmark is one file here that measures (``cpu.py``, ``gpu.py``, ``jobs.py``, ``kit.py``, ``watch.py``); a file whose
name begins with an underscore is a part of one. A new benchmark measures two things in turn, several rounds, each in a
process of its own (`run_part`), and prints the ratio of one round as `spread` writes it.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SUBJECTS = ("npresnext", "torch", "torch-channels-last")
KINDS = ("forward", "backward", "input gradient", "weight gradient")


def run_part(part, subject, what, arguments, *, python=sys.executable, environment=None):
    """Run ``part SUBJECT WHAT ARGUMENTS`` in a process of its own and return the JSON on the last line it prints.

    `part` is a file of this folder, `python` the interpreter, `environment` what to add to this process's variables.
    Raises RuntimeError with what the process wrote to stderr, if it fails.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    command = [python, str(HERE / part), subject, what, json.dumps(arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{subject}, {what}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def part_arguments(documentation):
    """Return SUBJECT, WHAT and the decoded ARGUMENTS of a part's command line, or end with its documentation."""
    if len(sys.argv) != 4:
        sys.exit(documentation)
    return sys.argv[1], sys.argv[2], json.loads(sys.argv[3])


def processor():
    """The model of the processor."""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return platform.processor()


def spread(values):
    """Median, smallest and largest as text, such as 0.94 (0.82–1.04)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"
