"""Measure the claims about grouped convolutions; docs/claims.md explains the results.

    python scripts/measure_claims.py -o claims.json                      # a minute
    python scripts/measure_claims.py -o speed.json --only speed          # on a machine that does nothing else

Every figure is one row: claim, setting, quantity, value, and its spread if there are several values. The trainings are
those of docs/claims/study.toml, and scripts/analyse_claims.py analyses them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import npresnext as nx
from npresnext import data, models, nn
from npresnext._support.files import atomic_path, check_writable
from npresnext.nn.init import Undrawn
from npresnext.paper import equal_complexity, network_counts

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", required=True, help="JSON file to write")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    args = parser.parse_args()
    check_writable(args.output, overwrite=args.force)
    rows = []
    for part in args.only:
        for row in PARTS[part]():
            rows.append(row)
            spread = f" ± {row['spread']:.3g}" if row["spread"] is not None else ""
            print(f"{part:10} {row['setting']:28} {row['quantity']:52} {row['value']:.6g}{spread}", flush=True)
    about = {
        "date": datetime.date.today().isoformat(),
        "npresnext": nx.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "parts": args.only,
    }
    with atomic_path(args.output, overwrite=args.force) as temporary:
        temporary.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    return 0


def row(claim: str, setting: str, quantity: str, values: float | list[float]) -> Row:
    """Return a row: a figure, or the mean of several with their standard deviation."""
    if isinstance(values, list):
        return {
            "claim": claim,
            "setting": setting,
            "quantity": quantity,
            "value": statistics.fmean(values),
            "spread": statistics.stdev(values),
        }
    return {"claim": claim, "setting": setting, "quantity": quantity, "value": values, "spread": None}


# ---------------------------------------------------------------------------------------------------------
# Counting


def measure_counts() -> Iterator[Row]:
    """Yield the saving by groups in a layer and in a network."""
    dense = nx.conv2d_parameter_count(64, 128, 3)
    grouped = nx.conv2d_parameter_count(64, 128, 3, groups=32)
    yield row("saving", "3x3, 64 -> 128, G=32", "saved in the layer, %", 100 * (1 - grouped / dense))
    resnet, resnext = network_counts(50), network_counts(50, 32, 4)
    yield row(
        "saving", "resnet50 -> resnext50_32x4d", "parameters, %", 100 * (resnext.parameters / resnet.parameters - 1)
    )
    yield row("saving", "resnet50 -> resnext50_32x4d", "MACs, %", 100 * (resnext.macs / resnet.macs - 1))
    found = nx.summary(models.resnext50_32x4d(rng=Undrawn()), (1, 3, 224, 224))
    share = sum(layer.num_params for layer in found.grouped_layers) / found.total_params
    yield row("saving", "resnext50_32x4d", "share of parameters in grouped convolutions, %", 100 * share)

    same_width = models.resnet50(rng=Undrawn())
    for block in [module for module in same_width.modules() if isinstance(module, models.Bottleneck)]:
        old = block.conv2
        block.conv2 = nn.Conv2d(
            old.in_channels, old.out_channels, 3, old.stride, padding=1, groups=32, bias=False, rng=Undrawn()
        )
    left = nx.summary(same_width, (1, 3, 224, 224)).total_params
    yield row("only groups differ", "resnet50, every 3x3 with G=32", "parameters", left)
    yield row(
        "only groups differ", "resnet50, every 3x3 with G=32", "parameters, %", 100 * (left / resnet.parameters - 1)
    )
    first, second = (models.get_model(name, rng=Undrawn()).state_dict() for name in ("resnet50", "resnext50_32x4d"))
    other = [name for name in first if first[name].shape != second[name].shape]
    convs = {name for name in other if "conv" in name or "downsample.0" in name}
    yield row("only groups differ", "resnet50 -> resnext50_32x4d", "arrays of the state with another shape", len(other))
    yield row(
        "only groups differ",
        "resnet50 -> resnext50_32x4d",
        "1x1 convolutions with another shape",
        len({name for name in convs if "conv2" not in name}),
    )


# ---------------------------------------------------------------------------------------------------------
# Locality of gradients


def measure_locality() -> Iterator[Row]:
    """Yield how much the gradients of the other groups change when the weights of one group change."""
    rng = np.random.default_rng(0)
    G, x, grad = 8, rng.normal(size=(8, 32, 8, 8)), rng.normal(size=(8, 32, 8, 8))
    before = nx.conv2d_weight_grad(grad, x, (32, 4, 3, 3), padding=1, groups=G)
    x[:, :4], grad[:, :4] = rng.normal(size=(2, 8, 4, 8, 8))
    after = nx.conv2d_weight_grad(grad, x, (32, 4, 3, 3), padding=1, groups=G)
    yield row(
        "locality", "one layer, G=8", "largest change of other groups' gradients", float(abs(after - before)[4:].max())
    )

    images, labels = _digits(64)
    for name in ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2"):
        model = models.resnext_small(rng=0, dtype="float64")
        layer = dict(model.named_modules())[name]
        before = _gradients(model, images, labels)
        share = layer.weight.shape[0] // layer.groups
        layer.weight.data[:share] *= rng.choice([0.5, 2.0], size=layer.weight.shape)[:share]
        after = _gradients(model, images, labels)
        moved = [
            _relative(after[f"{name}.weight"], before[f"{name}.weight"], g * share, share)
            for g in range(1, layer.groups)
        ]
        yield row("locality", f"network, {name}, G=8", "relative change of the other groups' gradients", moved)


def _relative(after: np.ndarray, before: np.ndarray, start: int, size: int) -> float:
    part = slice(start, start + size)
    return float(np.linalg.norm(after[part] - before[part]) / np.linalg.norm(before[part]))


def _digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    train = data.load_digits()[0].first(count)
    return data.normalise(train, train.images, "float64"), train.labels


def _gradients(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the gradients of the mean loss."""
    criterion = nn.CrossEntropyLoss()
    model.zero_grad()
    criterion(model(images), labels)
    model.backward(criterion.backward())
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# ---------------------------------------------------------------------------------------------------------
# Time


def measure_speed() -> Iterator[Row]:
    """Yield time and MACs: of one layer for each G, and of blocks with equal MACs for each C."""
    rng = np.random.default_rng(0)
    runs = {}
    for G in (1, 2, 4, 8, 16, 32, 64, 128):
        layer = nn.Conv2d(128, 128, 3, padding=1, groups=G, bias=False, rng=0)
        runs[f"3x3, 128 channels, G={G}"] = _pass(layer, rng.normal(size=(8, 128, 28, 28)).astype("float32"))
    yield from _ratios(runs, [1 / G for G in (1, 2, 4, 8, 16, 32, 64, 128)])
    runs, costs = {}, []
    for design in equal_complexity():
        block = models.Bottleneck(256, 64, groups=design.cardinality, width_per_group=design.width, rng=0)
        runs[f"block {design.name}, 256 channels"] = _pass(block, rng.normal(size=(4, 256, 56, 56)).astype("float32"))
        costs.append(design.macs)
    yield from _ratios(runs, [cost / costs[0] for cost in costs])


def _pass(module: nn.Module, x: np.ndarray) -> Callable[[], None]:
    """Return a function that runs forward and backward once."""
    grad = module(x)

    def run() -> None:
        module(x)
        module.backward(grad)

    return run


def _ratios(runs: dict[str, Callable[[], None]], macs: list[float], repetitions: int = 7) -> Iterator[Row]:
    """Time the runs in turn; yield their MACs and their median times, relative to the first run."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for name, cost in zip(runs, macs):
        yield row("efficiency", name, "MACs, relative", cost)
        yield row("efficiency", name, "time forward and backward, relative", medians[name] / first)


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "counts": measure_counts,
    "locality": measure_locality,
    "speed": measure_speed,
}

if __name__ == "__main__":
    sys.exit(main())
