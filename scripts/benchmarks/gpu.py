"""npresnext against PyTorch eager on one GPU: the convolutions of ResNeXt-50, whole training steps, and gradients.

    python scripts/benchmarks/gpu.py --out results/cuda.json                     # everything
    python scripts/benchmarks/gpu.py --out results/cuda.json --only gradients    # one part, added to the file
    python scripts/benchmarks/gpu.py --out results/cuda.json --table             # print what is there, measure nothing

It needs CuPy, a PyTorch with CUDA, and a device. Each library compared ("subject") runs in a process of its own, in
turn, in `--rounds` rounds. A figure is the median of many runs, timed by events on the device after a warm-up. A ratio
compares two times of the same round. PyTorch runs with cudnn.benchmark, in NCHW and in channels_last, and the faster
layout counts. TF32 is off on both sides ("float32"), then on, on both ("tf32"). Bandwidth and arithmetic are given as
shares of what this device reaches in a large copy and a large matrix product, measured in every round.

With `--device cpu --batch 4 --image 64` all of it runs on the CPU: a rehearsal, whose times mean nothing.

The file is not called cuda.py: its folder comes first on the path, so it would hide the package `cuda` of NVIDIA.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _gpu_subjects as subjects
import numpy as np
from _common import KINDS, SUBJECTS, run_part, spread

from npresnext._support.files import atomic_path
from npresnext.geometry import ConvGeometry

PARTS = ("layers float32", "layers tf32", "step float32", "step tf32", "gradients")
WORST = 12  # rows of the table of gradients


def measure(subject: str, what: str, **arguments: Any) -> Any:
    """Run one subject in a process of its own and return what it prints; end with one line if it fails."""
    try:
        return run_part("_gpu_subjects.py", subject, what, arguments)
    except RuntimeError as error:
        sys.exit(f"gpu.py: {error}")


def one_round(part: str, common: dict[str, Any]) -> dict[str, Any]:
    """Measure one part once around."""
    what, _, precision = part.partition(" ")
    common = {**common, "tf32": precision == "tf32"}
    if what == "gradients":
        with tempfile.TemporaryDirectory() as folder:
            files = [path for subject in SUBJECTS[:2] for path in measure(subject, what, **common, folder=folder)]
            ours, theirs, exact = (dict(np.load(path)) for path in files)
        return {"tensors": compare(ours, theirs, exact)}
    result = {subject: measure(subject, what, **common) for subject in SUBJECTS}
    return result | {"ceilings": measure("torch", "ceilings", **common)}


def compare(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], exact: dict[str, np.ndarray]
) -> dict[str, list[float]]:
    """Return each tensor's relative errors ‖g − exact‖/‖exact‖, ours and theirs; `exact` is in float64.

    The names must be the same, and none of the three may hold NaN or infinity.
    """
    if not set(ours) == set(theirs) == set(exact):
        different = sorted(set(ours) ^ set(theirs) | set(ours) ^ set(exact))
        raise ValueError(f"the gradients have different names: {different}")
    result = {}
    for name, reference in exact.items():
        if reference.dtype != np.float64:
            raise TypeError(f"the exact gradient of {name} has dtype {reference.dtype}, not float64")
        size = float(np.linalg.norm(reference))
        errors = [float(np.linalg.norm(one[name].astype(np.float64) - reference)) for one in (ours, theirs)]
        if not np.isfinite([size, *errors]).all():
            raise ValueError(f"the gradient of {name} is not finite")
        result[name] = [error / size if size else error for error in errors]
    return result


def factor(errors: list[float]) -> float:
    """Return how many times as large as theirs our error is."""
    ours, theirs = errors
    return ours / theirs if theirs else float("inf") if ours else 1.0


def best(one: dict[str, Any], choose: Callable[[Any], float]) -> tuple[float, float]:
    """Return our time in one round, and the better one of PyTorch's two layouts."""
    return choose(one["npresnext"]), min(choose(one[subject]) for subject in SUBJECTS[1:])


def grouped_times(kind: str, layers: dict[ConvGeometry, int]) -> Callable[[list[dict[str, float]]], float]:
    """Return a function that adds up the times of all grouped convolutions, each as often as it occurs."""
    return lambda times: sum(
        one[kind] * count for one, (geometry, count) in zip(times, layers.items()) if geometry.groups > 1
    )


def ratios(rounds: list[dict[str, Any]], choose: Callable[[Any], float]) -> list[float]:
    """Return one ratio ours / PyTorch's best for each round."""
    return [ours / theirs for ours, theirs in (best(one, choose) for one in rounds)]


def goals(data: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    """Yield every goal with its limit and what was reached."""
    layers = subjects.convolutions(data["machine"]["batch"], data["machine"]["image"])
    for kind in KINDS[:2]:
        rounds = data.get("layers float32")
        reached = spread(ratios(rounds, grouped_times(kind, layers))) if rounds else "not measured yet"
        yield f"the grouped 3x3 convolutions together, {kind}, time against cuDNN's", 1.0, reached
    rounds = data.get("step float32")
    yield (
        "a training step, time against PyTorch eager's",
        1.3,
        spread(ratios(rounds, float)) if rounds else "not measured yet",
    )
    rounds = data.get("gradients")
    worst = [max(map(factor, one["tensors"].values())) for one in rounds or ()]
    yield "gradients, largest error against PyTorch's, any tensor", 4.0, spread(worst) if worst else "not measured yet"


def least_bytes(geometry: ConvGeometry) -> int:
    """Return how many bytes of float32 a forward pass must move at least: every operand once."""
    return 4 * sum(int(np.prod(shape)) for shape in (geometry.x_shape, geometry.weight_shape, geometry.output_shape))


def table(data: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a Markdown report of everything in `data`."""
    machine = data["machine"]
    if machine["device_kind"] == "cpu":
        yield "**A rehearsal on the CPU: these times mean nothing.**\n"
    yield ", ".join(f"{name} {value}" for name, value in machine.items())
    yield "\n| goal | at most | reached |\n|---|---|---|"
    yield from (f"| {what} | {limit} | {reached} |" for what, limit, reached in goals(data))
    layers = subjects.convolutions(machine["batch"], machine["image"])
    for precision in ("float32", "tf32"):
        if rounds := data.get(f"layers {precision}"):
            yield from layer_table(precision, layers, rounds)
        if rounds := data.get(f"step {precision}"):
            ms = [statistics.median(one[who] for one in rounds) for who in SUBJECTS]
            yield f"\n| a training step, {precision} | " + " | ".join(SUBJECTS) + " | ratio |\n" + "|---" * 5 + "|"
            yield "| ms | " + " | ".join(f"{time:.1f}" for time in ms) + f" | {spread(ratios(rounds, float))} |"
    for one in data.get("gradients", ())[:1]:
        yield f"\n| the {WORST} worst gradients | our error | PyTorch's | factor |\n|---|---|---|---|"
        worst = sorted(one["tensors"].items(), key=lambda item: factor(item[1]), reverse=True)[:WORST]
        yield from (f"| {name} | {a:.2e} | {b:.2e} | {factor([a, b]):.2f} |" for name, (a, b) in worst)


def layer_table(precision: str, layers: dict[ConvGeometry, int], rounds: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the table of the convolutions, one by one."""
    ceilings = {name: statistics.median(one["ceilings"][name] for one in rounds) for name in ("GB/s", "TFLOP/s")}
    yield f"\n{precision}: a large copy {ceilings['GB/s']:.0f} GB/s, a large product {ceilings['TFLOP/s']:.1f} TFLOP/s"
    shares = ["GB/s", "of the copy", "TFLOP/s", "of the product"]
    columns = [f"convolution, {precision}", "times", "ms", *(f"{kind}: ratio" for kind in KINDS), *shares]
    yield "\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"
    for index, (geometry, count) in enumerate(layers.items()):
        ms = statistics.median(one["npresnext"][index]["forward"] for one in rounds)
        cells = [spread(ratios(rounds, lambda times, i=index, k=kind: times[i][k])) for kind in KINDS]
        speed, rate = least_bytes(geometry) / ms / 1e6, 2 * geometry.macs / ms / 1e9
        cells += [f"{speed:.0f}", f"{speed / ceilings['GB/s']:.0%}", f"{rate:.2f}", f"{rate / ceilings['TFLOP/s']:.0%}"]
        yield f"| {layer_name(geometry)} | {count} | {ms:.3f} | " + " | ".join(cells) + " |"


def layer_name(geometry: ConvGeometry) -> str:
    """Such as 128→128 3x3/2 at 56x56, G=32."""
    (kh, kw), stride = geometry.kernel, f"/{geometry.stride[0]}" if geometry.stride[0] > 1 else ""
    groups = f", G={geometry.groups}" if geometry.groups > 1 else ""
    return (
        f"{geometry.in_channels}→{geometry.out_channels} {kh}x{kw}{stride} at "
        f"{geometry.height}x{geometry.width}{groups}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file; what is measured is added to it")
    parser.add_argument("--only", nargs="*", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image", type=int, default=224, help="its size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="of measuring, for each figure")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    data = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    if not options.table:
        common = {name: getattr(options, name) for name in ("device", "batch", "image", "seconds")}
        machine: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "device_kind": options.device,
            "batch": options.batch,
            "image": options.image,
        }
        for subject in SUBJECTS[:2]:
            machine |= measure(subject, "machine", **common, tf32=False)
        settings = ("device_kind", "device", "batch", "image")
        if data and any(data["machine"].get(name) != machine.get(name) for name in settings):
            sys.exit(f"gpu.py: {options.out} was measured otherwise ({data['machine']}): name another file")
        data["machine"] = machine
        options.out.parent.mkdir(parents=True, exist_ok=True)
        for part in options.only or PARTS:
            data[part] = [one_round(part, common) for _ in range(1 if part == "gradients" else options.rounds)]
            with atomic_path(options.out, overwrite=True) as temporary:
                temporary.write_text(json.dumps(data, indent=1), encoding="utf-8")
    if not data:
        sys.exit(f"gpu.py: there is nothing in {options.out} to print")
    print("\n".join(table(data)))


if __name__ == "__main__":
    main()
