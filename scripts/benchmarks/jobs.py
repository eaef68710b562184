"""Jobs that people run: npresnext against PyTorch eager, or against an earlier version of itself.

The jobs:

    digits, 28x28        networks of the family ResNeXt: resnext_small on 8x8 images (batch 32) and 28x28 (batch 64)
    resnet20, 8x16d      ResNet-20 (batch 128) and ResNeXt-29 8x16d (batch 32), on images of 32x32
        -step            a training step: forward, loss, backward, update
        -inference       a forward pass; in npresnext with batch norm folded in, in PyTorch in evaluation mode
    train                "npresnext train" on the digits, from its start to its last line; the same training in PyTorch
    import               "import npresnext", and "import torch"
    check                "npresnext check npresnext"

Each measurement runs in a process of its own. In every round all subjects are measured one after the other, in an order
that is reversed from round to round. A ratio compares two times of the same round. The table gives the median over the
rounds and, in brackets, the smallest and the largest:

    ratio                npresnext's time / the other's; below 1, npresnext is faster
    first                the same for the first call, which includes what is prepared only once
    processor            the same for processor time, which other programs on the machine disturb less
    least                the time of the multiply-adds alone, at the speed of a large matmul measured in the same round
                         (a step: three times the forward pass, without the gradient of the images); for the job
                         import, the time of "import numpy"

examples:
  python scripts/benchmarks/jobs.py --out jobs.json                             everything, on 1 and on 2 threads
  python scripts/benchmarks/jobs.py --jobs digits-step train --threads 1 --rounds 11
  python scripts/benchmarks/jobs.py --jobs digits-step --against main~3         this code against that of a commit
  python scripts/benchmarks/jobs.py --out jobs.json --table                     print what is there, measure nothing
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from _common import HERE, ROOT, processor, run_part, spread
from _jobs_subjects import NETWORKS, numpy_network

from npresnext import summary
from npresnext._support.files import atomic_path
from npresnext.data import load_digits

POOLS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPRESNEXT_NUM_THREADS")
CALLS = {f"{name}-{what}": (name, what) for what in ("step", "inference") for name in NETWORKS}
COMMANDS = ("train", "import", "check")
JOBS = (*CALLS, *COMMANDS)


def commands(job, subject, args):
    """Return the command line of a job that is a whole process, or None where the subject has none."""
    python = [sys.executable]
    lines = {
        "train": {
            "npresnext": [*python, "-m", "npresnext", "train", "--epochs", str(args.epochs)],
            "torch": [*python, str(HERE / "_torch_training.py"), str(args.epochs)],
        },
        "import": {
            "npresnext": [*python, "-c", "import npresnext"],
            "torch": [*python, "-c", "import torch"],
            "least": [*python, "-c", "import numpy"],
        },
        "check": {"npresnext": [*python, "-m", "npresnext", "check", "npresnext", "--cases", str(args.cases)]},
    }
    return lines[job].get("npresnext" if subject == "old" else subject)


def run_command(command, environment):
    """Run a command to its end and return its wall time and processor time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor seconds": used}


def measure(job, subject, threads, sources, args):
    """Measure one job of one subject, on `threads` threads; None where the subject has no such job."""
    environment = {**dict.fromkeys(POOLS, str(threads)), "PYTHONPATH": str(sources)}
    if job in COMMANDS:
        command = commands(job, subject, args)
        return None if command is None else run_command(command, environment)
    if subject == "least":
        return None
    name, what = CALLS[job]
    library = "torch" if subject == "torch" else "npresnext"
    arguments = {"name": name, "threads": threads, "least_seconds": args.seconds}
    return run_part("_jobs_subjects.py", library, what, arguments, environment=environment)


def blas_peak(threads):
    """GFLOP/s of a large matmul on `threads` threads."""
    environment = dict.fromkeys(POOLS, str(threads))
    return run_part("_cpu_subjects.py", "npresnext", "peak", {"threads": threads}, environment=environment)["GFLOP/s"]


def one_round(number, threads, sources, args):
    """Measure every job once for each subject; `sources` maps the subjects to where npresnext is imported from."""
    subjects = [*sources] if number % 2 == 0 else [*reversed(sources)]
    jobs = {}
    for job in args.jobs:
        times = {subject: measure(job, subject, threads, sources[subject], args) for subject in subjects}
        jobs[job] = {subject: each for subject, each in times.items() if each is not None}
    return {"threads": threads, "GFLOP/s": blas_peak(threads), "jobs": jobs}


def multiply_adds(job, epochs):
    """Return the fewest multiply-adds that a job needs, or None where it is not bound by arithmetic."""
    if job == "train":
        train, test = load_digits()
        batch = NETWORKS["digits"]["batch"]
        steps, images = epochs * (len(train) // batch), epochs * len(test)
        return steps * multiply_adds("digits-step", 1) + images * multiply_adds("digits-inference", 1) // batch
    if job not in CALLS:
        return None
    name, what = CALLS[job]
    counts = summary(numpy_network(name), (NETWORKS[name]["batch"], *NETWORKS[name]["image"]))
    if what == "inference":
        return counts.total_macs
    first = next(row for row in counts.rows if row.is_layer)
    return 3 * counts.total_macs - first.macs  # forward and both gradients, but not that of the images


def least_seconds(job, one, epochs):
    """Return the least time of a job in the round `one`, or None."""
    measured = one["jobs"][job].get("least")
    if measured is not None:
        return measured["seconds"]
    count = multiply_adds(job, epochs)
    return None if count is None else 2 * count / one["GFLOP/s"] / 1e9  # 1 multiply-add = 2 operations


def report(data):
    """Yield the lines of a Markdown report of everything in `data`."""
    machine, rounds = data["machine"], data["rounds"]
    yield from (f"{name}: {value}" for name, value in machine.items())
    other = "torch" if machine["against"] == "PyTorch" else "old"
    for threads in sorted({one["threads"] for one in rounds}):
        here = [one for one in rounds if one["threads"] == threads]
        peak = spread([one["GFLOP/s"] for one in here])
        yield f"\n{threads} thread{'s' if threads > 1 else ''}, {len(here)} rounds, large matmul {peak} GFLOP/s\n"
        yield f"| job | npresnext, ms | {machine['against']}, ms | least, ms | ratio | first | processor |"
        yield "|---|---|---|---|---|---|---|"
        for job in JOBS:
            chosen = [one for one in here if job in one["jobs"]]
            if chosen:
                least = [least_seconds(job, one, machine["epochs"]) for one in chosen]
                pairs = [(one["jobs"][job]["npresnext"], one["jobs"][job].get(other)) for one in chosen]
                kinds = ("seconds", "first seconds", "processor seconds")
                cells = [
                    milliseconds([ours["seconds"] for ours, _ in pairs]),
                    milliseconds([theirs and theirs["seconds"] for _, theirs in pairs]),
                    milliseconds(least),
                    *(ratio(pairs, kind) for kind in kinds),
                ]
                yield f"| {job} | {' | '.join(cells)} |"


def milliseconds(values):
    """Return the median of times in seconds as text, in milliseconds; a dash where there are none."""
    return "–" if None in values else f"{1e3 * statistics.median(values):.1f}"


def ratio(pairs, kind):
    """Return the spread of the ratios of pairs of measurements, a dash where one of them lacks the kind of time."""
    if any(theirs is None or kind not in ours or kind not in theirs for ours, theirs in pairs):
        return "–"
    return spread([ours[kind] / theirs[kind] for ours, theirs in pairs])


@contextlib.contextmanager
def sources_of(revision):
    """Check the commit `revision` out into a temporary folder, and yield its path."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "npresnext"
        added = subprocess.run([*git, "add", "--detach", str(path), revision], capture_output=True, text=True)
        if added.returncode:
            sys.exit(f"jobs.py: there is no commit {revision} to compare with: {added.stderr.strip()}")
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True, capture_output=True)


def machine(args):
    """What the figures depend on."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load averages before the first round": load,
        "Python": platform.python_version(),
        "NumPy": version("numpy"),
        "PyTorch": version("torch") if args.against is None else "not measured",
        "against": args.against or "PyTorch",
        "epochs": args.epochs,
        "cases": args.cases,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS, metavar="JOB", help="default: all of them")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: 7")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--against", metavar="REV", help="compare with the code of this commit instead of PyTorch")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="how long to repeat a call (default: 2)")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="of the job train (default: 10)")
    parser.add_argument("--cases", type=int, default=200, metavar="N", help="of the job check (default: 200)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write every measurement to this JSON file")
    parser.add_argument("--table", action="store_true", help="print the table of --out, measure nothing")
    args = parser.parse_args()
    if args.table:
        if args.out is None or not args.out.exists():
            sys.exit("jobs.py: --table needs --out with a file that an earlier run has written")
        data = json.loads(args.out.read_text(encoding="utf-8"))
    else:
        with contextlib.ExitStack() as stack:
            other = {"torch": ROOT} if args.against is None else {"old": stack.enter_context(sources_of(args.against))}
            data = {"machine": machine(args), "rounds": []}
            for number in range(args.rounds):
                for threads in args.threads:
                    data["rounds"].append(one_round(number, threads, {"npresnext": ROOT, **other, "least": ROOT}, args))
                    if args.out is not None:
                        with atomic_path(args.out, overwrite=True) as temporary:
                            temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    print("\n".join(report(data)))


if __name__ == "__main__":
    main()
