"""npresnext against PyTorch, onnx's reference evaluator and the textbook im2col, on one machine, in turn.

    python scripts/benchmark.py --out results                      # everything
    python scripts/benchmark.py --out results --only network:resnet18
    python scripts/benchmark.py --out results --table              # print what is there, measure nothing

Every subject runs in a process of its own, one after the other, `--rounds` times around; a ratio compares the
two of one round. Reported are medians over the rounds, with the smallest and the largest. Results are added to
`results/benchmark.json`; `--plot` draws the scaling to `results/benchmark.png`.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from npresnext.io.atomic import atomic_path

HERE = Path(__file__).parent
SUBJECTS = ("npresnext", "torch", "torch-channels-last")
KINDS = ("forward", "backward", "input gradient", "weight gradient")


def resnext50_layers():
    """The 53 convolutions of ResNeXt-50 32x4d at 224x224, equal ones counted."""
    layers = [layer(3, 64, 224, 7, 2, first=True)]
    inputs = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width, outputs, size, stride = 128 * 2**stage, 256 * 2**stage, 56 // 2**stage, 2 if stage else 1
        layers += [
            layer(inputs, width, size * stride, 1), layer(inputs, outputs, size * stride, 1, stride),
            layer(width, width, size * stride, 3, stride, groups=32),
            layer(width, width, size, 3, groups=32, count=depth - 1),
            layer(width, outputs, size, 1, count=depth), layer(outputs, width, size, 1, count=depth - 1),
        ]
        inputs = outputs
    return layers


def layer(inputs, outputs, size, kernel, stride=1, groups=1, count=1, first=False):
    return {"inputs": inputs, "outputs": outputs, "size": size, "kernel": kernel, "stride": stride, "groups": groups,
            "count": count, "first": first}


def scaling_layers():
    """Curves: name -> (what grows, [(its value, batch, layer)])."""
    return {
        "batch": [(n, n, layer(128, 128, 28, 3, groups=32)) for n in (4, 8, 16, 32, 64)],
        "image size": [(h, 8, layer(128, 128, h, 3, groups=32)) for h in (14, 28, 56, 112)],
        "width": [(c, 8, layer(c, c, 28, 3, groups=32)) for c in (64, 128, 256, 512)],
        "cardinality": [(g, 8, layer(128, 128, 28, 3, groups=g)) for g in (1, 2, 4, 8, 16, 32, 64, 128)],
    }


def measure(subject, what, **arguments):
    """Run one subject in a process of its own and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(arguments["threads"])
    command = [sys.executable, str(HERE / "benchmark_subjects.py"), subject, what, json.dumps(arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{subject} failed at {what}:\n{result.stderr}")
    return json.loads(result.stdout)


def tasks(args):
    """Yield (name, function of no arguments that measures it once)."""
    common = {"threads": args.threads}
    layers = resnext50_layers()
    grouped = [each for each in layers if each["groups"] > 1]
    setting = {**common, "batch": args.batch, "dtype": "float32", "repeats": args.repeats}
    yield "peak", lambda: {"npresnext": measure("npresnext", "peak", **common)}
    yield "layers", lambda: {each: measure(each, "layers", layers=layers, **setting) for each in SUBJECTS}
    once = {**setting, "repeats": 1}
    yield "slow", lambda: {
        **{each: measure(each, "layers", layers=grouped, **setting) for each in ("npresnext", "textbook")},
        "onnx": measure("onnx", "layers", layers=grouped, **once),
    }
    for task in ("resnext50_32x4d", "resnet50", "resnet18", "resnext50_32x4d float64"):
        name, _, dtype = task.partition(" ")
        dtype = dtype or "float32"
        network = {**common, "name": name, "batch": args.batch, "size": 224, "dtype": dtype, "repeats": 3}
        subjects = SUBJECTS if task == "resnext50_32x4d" else SUBJECTS[:2]
        yield f"network:{task}", lambda network=network, subjects=subjects: {
            each: measure(each, "network", **network) for each in subjects
        }
    yield "scaling", lambda: {
        curve: [
            (value, measure("npresnext", "layers", layers=[each], **{**setting, "batch": batch})[0])
            for value, batch, each in points
        ]
        for curve, points in scaling_layers().items()
    }


def machine(threads):
    """What the figures depend on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = {name: version(name) for name in ("numpy", "torch", "onnx")}
    return {"date": datetime.date.today().isoformat(), "cpu": model, "threads": threads,
            "python": platform.python_version(), **versions}


def spread(values):
    """Median, smallest and largest as text."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def ratios(rounds, choose, subject="torch"):
    """One ratio npresnext / subject for each round; `choose` makes a number of one subject's results."""
    return [choose(one["npresnext"]) / choose(one[subject]) for one in rounds]


def total(kind, layers, wanted=lambda each: True):
    """Return a function that adds a kind of time up over the wanted layers, each as often as it occurs."""
    return lambda times: sum(t[kind] * each["count"] for t, each in zip(times, layers) if wanted(each))


def layer_name(each):
    """Such as 128→128 3x3/2 at 56, G=32."""
    stride = f"/{each['stride']}" if each["stride"] > 1 else ""
    groups = f", G={each['groups']}" if each["groups"] > 1 else ""
    return f"{each['inputs']}→{each['outputs']} {each['kernel']}x{each['kernel']}{stride} at {each['size']}{groups}"


def table(data):
    """Yield the lines of a Markdown report of everything in `data`."""
    yield "| " + " | ".join(f"{name} {value}" for name, value in data["machine"].items()) + " |"
    layers = resnext50_layers()
    if "peak" in data:
        yield f"\nBLAS peak: {statistics.median(one['npresnext']['GFLOP/s'] for one in data['peak']):.0f} GFLOP/s"
    if "layers" in data:
        rounds = data["layers"]
        yield "\n| npresnext / PyTorch | forward | backward | forward, channels last | backward, channels last |"
        yield "|---|---|---|---|---|"
        kinds = (("all 53 convolutions", lambda each: True), ("the grouped 3x3", lambda each: each["groups"] > 1),
                 ("the 1x1", lambda each: each["kernel"] == 1))
        for name, wanted in kinds:
            cells = [spread(ratios(rounds, total(kind, layers, wanted), subject))
                     for subject in SUBJECTS[1:] for kind in KINDS[:2]]
            yield f"| {name} | " + " | ".join(cells) + " |"
        yield "\n| layer | times | ms forward | " + " | ".join(f"{kind}: ratio" for kind in KINDS) + " |"
        yield "|---" * 7 + "|"
        for index, each in enumerate(layers):
            ms = statistics.median(one["npresnext"][index]["forward"] for one in rounds) * 1e3
            cells = [
                spread(ratios(rounds, lambda times, i=index, k=kind: times[i][k]))
                if kind in rounds[0]["torch"][index] else "–" for kind in KINDS
            ]
            yield f"| {layer_name(each)} | {each['count']} | {ms:.2f} | " + " | ".join(cells) + " |"
    if "slow" in data:
        grouped = [each for each in layers if each["groups"] > 1]
        yield "\n| the grouped 3x3, time of it / npresnext | forward | backward |\n|---|---|---|"
        for subject in ("textbook", "onnx"):
            cells = []
            for kind in KINDS[:2] if subject == "textbook" else KINDS[:1]:
                times = ratios(data["slow"], total(kind, grouped), subject)
                cells.append(spread([1 / ratio for ratio in times]))
            yield f"| {subject} | " + " | ".join(cells) + (" |" if subject == "textbook" else " | – |")
    networks = [name for name in data if name.startswith("network:")]
    if networks:
        yield "\n| network | against | training step | inference | peak memory of training | ms of a step |"
        yield "|---" * 6 + "|"
        for name in networks:
            for subject in list(data[name][0])[1:]:
                keys = ("training step", "inference", "peak memory of training")
                cells = [spread(ratios(data[name], lambda times, k=key: times[k], subject)) for key in keys]
                ms = [statistics.median(one[who]["training step"] * 1e3 for one in data[name])
                      for who in ("npresnext", subject)]
                yield f"| {name[8:]} | {subject} | " + " | ".join(cells) + f" | {ms[0]:.0f} / {ms[1]:.0f} |"
    for curve in data["scaling"][0] if "scaling" in data else ():
        yield f"\n| {curve} | ms forward | ms backward |\n|---|---|---|"
        for value, forward, backward in curve_points(data["scaling"], curve):
            yield f"| {value} | {forward:.2f} | {backward:.2f} |"


def curve_points(rounds, curve):
    """Yield value, forward and backward milliseconds: medians over the rounds."""
    for points in zip(*(one[curve] for one in rounds)):
        yield points[0][0], *(statistics.median(times[kind] for _, times in points) * 1e3 for kind in KINDS[:2])


def plot(rounds, path):
    """Draw the scaling curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, 4, figsize=(14, 3.2), layout="constrained")
    for axis, curve in zip(axes, rounds[0]):
        values, forward, backward = zip(*curve_points(rounds, curve))
        for times, name in ((forward, "forward"), (backward, "backward")):
            axis.loglog(values, times, "o-", label=name)
        axis.set(xlabel=curve, ylabel="ms")
        axis.set_xticks(values, labels=values)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.minorticks_off()
        axis.legend()
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", nargs="*", help="names of tasks: peak layers slow network:NAME scaling")
    parser.add_argument("--threads", type=int, default=2)
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
        data["machine"] = machine(args.threads)
        for name, task in tasks(args):
            if not args.only or name in args.only:
                data[name] = [task() for _ in range(args.rounds)]
                with atomic_path(path, overwrite=True) as temporary:
                    temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    print("\n".join(table(data)))
    if args.plot:
        plot(data["scaling"], args.out / "benchmark.png")


if __name__ == "__main__":
    main()
