"""npresnext against PyTorch, onnx's reference evaluator and the textbook im2col, on one machine, in turn.

    python scripts/benchmarks/cpu.py --out results                      # everything
    python scripts/benchmarks/cpu.py --out results --only network:resnet18
    python scripts/benchmarks/cpu.py --out results --table              # print what is there, measure nothing

Each library compared ("subject") runs in a process of its own, one after the other, in `--rounds` rounds. A ratio
compares two times of the same round. The report (_cpu_report.py) gives the median over the rounds, the smallest and the
largest, and says which of the project's targets are reached. Results are added to `results/benchmark.json`; `--plot`
draws the scaling curves to `results/benchmark.png`.
"""

import argparse
import datetime
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from _common import SUBJECTS, processor, run_part
from _cpu_report import is_grouped, layer, plot, report, resnet18_layers, resnext50_layers

from npresnext._support.files import atomic_path


def scaling_layers():
    """Curves: name -> (what grows, [(its value, batch, layer)])."""
    return {
        "batch": [(n, n, layer(128, 128, 28, 3, groups=32)) for n in (4, 8, 16, 32, 64)],
        "batch, maps of 56x56": [(n, n, layer(128, 128, 56, 3, groups=32)) for n in (4, 8, 16, 32, 64)],
        "image size": [(h, 8, layer(128, 128, h, 3, groups=32)) for h in (14, 28, 56, 112)],
        "width": [(c, 8, layer(c, c, 28, 3, groups=32)) for c in (64, 128, 256, 512)],
        "cardinality": [(g, 8, layer(128, 128, 28, 3, groups=g)) for g in (1, 2, 4, 8, 16, 32, 64, 128)],
    }


def measure(subject, what, python, **arguments):
    """Measure one subject in a process of its own, npresnext under the interpreter `python`; end if it fails."""
    pools = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = dict.fromkeys(pools, str(arguments["threads"]))
    interpreter = python if subject == "npresnext" else sys.executable
    try:
        return run_part("_cpu_subjects.py", subject, what, arguments, python=interpreter, environment=environment)
    except RuntimeError as error:
        sys.exit(f"cpu.py: {error}")


def tasks(args):
    """Yield (name, function of no arguments that measures it once)."""
    common = {"threads": args.threads, "python": args.python}
    layers = resnext50_layers()
    grouped = [each for each in layers if is_grouped(each)]
    setting = {**common, "batch": args.batch, "dtype": "float32", "repeats": args.repeats}
    yield "peak", lambda: {"npresnext": measure("npresnext", "peak", **common)}
    yield "layers", lambda: {each: measure(each, "layers", layers=layers, **setting) for each in SUBJECTS}
    dense = resnet18_layers()
    yield "dense", lambda: {each: measure(each, "layers", layers=dense, **setting) for each in SUBJECTS[:2]}
    once = {**setting, "repeats": 1}
    yield (
        "slow",
        lambda: {
            **{each: measure(each, "layers", layers=grouped, **setting) for each in ("npresnext", "textbook")},
            "onnx": measure("onnx", "layers", layers=grouped, **once),
        },
    )
    for task in ("resnext50_32x4d", "resnet50", "resnet18", "resnext50_32x4d float64"):
        name, _, dtype = task.partition(" ")
        dtype = dtype or "float32"
        network = {**common, "name": name, "batch": args.batch, "size": 224, "dtype": dtype, "repeats": 3}
        subjects = SUBJECTS if task == "resnext50_32x4d" else SUBJECTS[:2]
        yield (
            f"network:{task}",
            lambda network=network, subjects=subjects: {each: measure(each, "network", **network) for each in subjects},
        )
    yield (
        "scaling",
        lambda: {
            curve: [
                (value, measure("npresnext", "layers", layers=[each], **{**setting, "batch": batch})[0])
                for value, batch, each in points
            ]
            for curve, points in scaling_layers().items()
        },
    )


def machine(threads, python):
    """What the figures depend on."""
    versions = {name: version(name) for name in ("torch", "onnx")}
    ours = "import sys, numpy; print(sys.version.split(' (')[0], numpy.__version__, sep='; ')"  # free-threaded or not
    python, numpy = subprocess.check_output([python, "-c", ours], text=True).strip().split("; ")
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": processor(),
        "threads": threads,
        "python": python,
        "numpy": numpy,
        **versions,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="*", help="names of tasks: peak layers dense slow network:NAME scaling")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="interpreter of npresnext, with NumPy and threadpoolctl, such as a free-threaded one (default: this one)",
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="calls of each layer in a round; their median counts")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--plot", action="store_true", help="draw the scaling curves (extra plot)")
    args = parser.parse_args()
    path = args.out / "benchmark.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not args.table:
        args.out.mkdir(parents=True, exist_ok=True)
        data["machine"] = machine(args.threads, args.python)
        for name, task in tasks(args):
            if not args.only or name in args.only:
                data[name] = [task() for _ in range(args.rounds)]
                with atomic_path(path, overwrite=True) as temporary:
                    temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    if not data:
        sys.exit(f"cpu.py: there are no results in {path}: measure first, without --table")
    print("\n".join(report(data)))
    if args.plot:
        plot(data["scaling"], args.out / "benchmark.png")


if __name__ == "__main__":
    main()
