"""Time the CUDA path against PyTorch on the same GPU: the convolutions of ResNeXt-50 one by one, then whole steps.

    python scripts/benchmark_cuda.py --out docs/cuda_h100.csv

Needs CuPy, a PyTorch with CUDA, and a device. Each figure is the median of many runs, timed by events on the device
after a warm-up, ours and PyTorch's in turn. PyTorch runs eagerly with cudnn.benchmark, in NCHW and in channels_last;
TF32 is off on both sides in the first table and on, on both, in the second. Bandwidth and arithmetic are given as
shares of what this device reaches in a large copy and a large float32 product, measured first.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import npresnext as nx
from npresnext import errors, models, nn
from npresnext.geometry import ConvGeometry
from npresnext.io.atomic import atomic_path

SECONDS = 0.3                         # of measuring, for each figure
FIELDS = ["tf32", "what", "times", "direction", "ours_ms", "torch_nchw_ms", "torch_channels_last_ms", "ratio",
          "gigabytes_per_second", "teraflops", "share_of_bandwidth", "share_of_arithmetic"]


def need(name: str) -> Any:
    """Return CuPy, PyTorch or torchvision ready for use, or end with one line that says what is missing."""
    try:
        if name == "cupy":
            with nx.use_backend("cupy"):
                return nx.backend.get_array_module()
        import torch

        if name == "torchvision":
            return importlib.import_module(name)
        if not torch.cuda.is_available():
            raise errors.NoDeviceError("this PyTorch finds no CUDA device: install one that is built for CUDA")
        return torch
    except (errors.BackendError, ImportError) as error:
        sys.exit(f"benchmark_cuda.py: {error}")


def median_ms(run: Callable[[], Any], event: Callable[[], Any], elapsed: Callable[[Any, Any], float]) -> float:
    """Return the median time of `run` on the device, in milliseconds: warm-up, then runs between two events each."""

    def timed() -> float:
        start, stop = event(), event()
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return elapsed(start, stop)

    once = min(timed() for _ in range(5))
    return statistics.median(timed() for _ in range(max(10, min(200, int(SECONDS * 1000 / once)))))


class Bench:
    """The two libraries on one device, and its two ceilings."""

    def __init__(self, cupy: Any, torch: Any) -> None:
        self.cupy, self.torch = cupy, torch
        self.bandwidth, self.arithmetic = self.ceilings()                         # GB/s, TFLOP/s
        cupy.get_default_memory_pool().free_all_blocks()

    def ceilings(self) -> tuple[float, float]:
        """Measure a large copy and a large float32 product."""
        draw = self.cupy.random.default_rng(0).standard_normal                    # zeros would be multiplied faster
        source = draw(2**28, dtype="float32")
        target = self.cupy.empty_like(source)
        copying = self.ours(lambda: self.cupy.copyto(target, source))
        a, b, c = (draw((8192, 8192), dtype="float32") for _ in range(3))
        multiplying = self.ours(lambda: self.cupy.matmul(a, b, out=c))
        return 2 * source.nbytes / copying / 1e6, 2 * 8192**3 / multiplying / 1e9

    def ours(self, run: Callable[[], Any]) -> float:
        """Time a call of ours."""
        return median_ms(run, self.cupy.cuda.Event, self.cupy.cuda.get_elapsed_time)

    def theirs(self, run: Callable[[], Any]) -> float:
        """Time a call of PyTorch's."""
        cuda = self.torch.cuda
        return median_ms(run, lambda: cuda.Event(enable_timing=True), lambda start, stop: start.elapsed_time(stop))

    def layer(self, geometry: ConvGeometry) -> Iterator[dict[str, Any]]:
        """Yield the rows of one convolution, forward and backward."""
        torch, rng = self.torch, np.random.default_rng(0)
        shapes = geometry.x_shape, geometry.weight_shape, geometry.output_shape
        x, weight, grad = host = [rng.standard_normal(shape, dtype="float32") for shape in shapes]
        window = dict(stride=geometry.stride, dilation=geometry.dilation, groups=geometry.groups)
        padding = (geometry.padding[0][0], geometry.padding[1][0])
        x, weight, grad = (self.cupy.asarray(array) for array in host)
        ours = {
            "forward": self.ours(lambda: nx.conv2d(x, weight, padding=padding, **window)),
            "backward": self.ours(
                lambda: nx.conv2d_backward(grad, x, weight, padding=padding, **window, needs=(True, True, False))
            ),
        }
        theirs: dict[str, dict[str, float]] = {"forward": {}, "backward": {}}
        for layout in ("contiguous_format", "channels_last"):
            memory = {"memory_format": getattr(torch, layout)}
            tx, tw, tg = (torch.from_numpy(array).cuda().contiguous(**memory) for array in host)
            theirs["forward"][layout] = self.theirs(
                lambda x=tx, w=tw: torch.nn.functional.conv2d(x, w, padding=padding, **window)
            )
            theirs["backward"][layout] = self.theirs(
                lambda x=tx, w=tw, g=tg: torch.ops.aten.convolution_backward(
                    g, x, w, None, geometry.stride, padding, geometry.dilation, False, (0, 0), geometry.groups,
                    (True, True, False),
                )
            )
        sizes = [4 * int(np.prod(shape)) for shape in shapes]
        for direction, passes in (("forward", 1), ("backward", 2)):
            yield self.row(ours[direction], theirs[direction], direction, passes * sum(sizes),
                           2 * passes * geometry.macs)

    def row(
        self, ours: float, theirs: dict[str, float], direction: str, size: float = 0, work: float = 0
    ) -> dict[str, Any]:
        """Return one line of the table; `size`: bytes that must move at least, `work`: floating-point operations."""
        row = {"direction": direction, "ours_ms": ours, "torch_nchw_ms": theirs["contiguous_format"],
               "torch_channels_last_ms": theirs["channels_last"], "ratio": ours / min(theirs.values())}
        if size:
            row |= {"gigabytes_per_second": size / ours / 1e6, "teraflops": work / ours / 1e9}
            row["share_of_bandwidth"] = row["gigabytes_per_second"] / self.bandwidth
            row["share_of_arithmetic"] = row["teraflops"] / self.arithmetic
        return row

    def step(self, batch: int) -> dict[str, Any]:
        """Return the row of a whole training step of ResNeXt-50 at 224x224."""
        rng = np.random.default_rng(0)
        x, target = rng.standard_normal((batch, 3, 224, 224), dtype="float32"), rng.integers(0, 1000, batch)
        settings = dict(lr=0.1, momentum=0.9, weight_decay=1e-4)
        our_time = self.ours(self.our_step(x, target, settings))
        self.cupy.get_default_memory_pool().free_all_blocks()
        theirs = {layout: self.theirs(self.torch_step(layout, x, target, settings))
                  for layout in ("contiguous_format", "channels_last")}
        return self.row(our_time, theirs, "training step")

    def our_step(self, x: Any, target: Any, settings: dict[str, float]) -> Callable[[], None]:
        """Return a training step of our ResNeXt-50."""
        with nx.use_backend("cupy"):
            model, criterion = models.resnext50_32x4d(rng=0), nn.CrossEntropyLoss()
            images, labels = nx.asarray(x), nx.asarray(target)
        optimizer = nn.SGD(model.parameters(), **settings)

        def step() -> None:
            optimizer.zero_grad()
            criterion(model(images), labels)
            model.backward(criterion.backward())
            optimizer.step()

        return step

    def torch_step(self, layout: str, x: Any, target: Any, settings: dict[str, float]) -> Callable[[], None]:
        """Return a training step of torchvision's ResNeXt-50, eager."""
        torch = self.torch
        from torchvision.models import resnext50_32x4d

        memory = {"memory_format": getattr(torch, layout)}
        model = resnext50_32x4d().cuda().to(**memory).train()
        images, labels = torch.from_numpy(x).cuda().contiguous(**memory), torch.from_numpy(target).cuda()
        optimizer = torch.optim.SGD(model.parameters(), **settings)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

        return step


def convolutions(batch: int, only_grouped: bool) -> dict[ConvGeometry, int]:
    """Count the distinct convolutions of ResNeXt-50 at 224x224, by following a batch through the network."""
    found: dict[ConvGeometry, int] = {}
    model = models.resnext50_32x4d(rng=0)
    places = dict(model.named_modules())
    for row in nx.summary(model, (batch, 3, 224, 224)).rows:
        layer = places[row.path]
        if not isinstance(layer, nn.Conv2d) or only_grouped and layer.groups == 1:
            continue
        geometry = ConvGeometry.of_conv(row.input_size, layer.weight.shape, stride=layer.stride,
                                        padding=layer.padding, dilation=layer.dilation, groups=layer.groups)
        found[geometry] = found.get(geometry, 0) + 1
    return found


@contextlib.contextmanager
def tf32(torch: Any, allowed: bool) -> Iterator[None]:
    """Allow TF32, or not, on both sides."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True
    with nx.use_engine("cuda", allow_tf32=allowed):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--only-grouped", action="store_true", help="no dense convolutions")
    parser.add_argument("--no-step", action="store_true", help="no whole training steps")
    parser.add_argument("--out", help="write the table to this new CSV file too")
    options = parser.parse_args()
    cupy, torch = need("cupy"), need("torch")
    if not options.no_step:
        need("torchvision")
    bench = Bench(cupy, torch)
    print(f"{bench.torch.cuda.get_device_name()}: {bench.bandwidth:.0f} GB/s, {bench.arithmetic:.1f} TFLOP/s float32")
    rows = []
    for allowed in (False, True):
        with tf32(bench.torch, allowed):
            totals: dict[str, list[float]] = {}
            for geometry, times in convolutions(options.batch, options.only_grouped).items():
                for row in bench.layer(geometry):
                    what = f"{geometry.x_shape} * {geometry.weight_shape} /{geometry.stride[0]} G={geometry.groups}"
                    rows.append({"tf32": allowed, "what": what, "times": times, **row})
                    show(rows[-1])
                    if geometry.groups > 1:
                        total = totals.setdefault(row["direction"], [0.0, 0.0])
                        total[0] += times * row["ours_ms"]
                        total[1] += times * row["ours_ms"] / row["ratio"]
            for direction, (ours, theirs) in totals.items():
                share = f"{ours / theirs:.2f} of cuDNN (at most 1.0)"
                print(f"all grouped convolutions, {direction}: {ours:.3f} ms, {share}")
            if not options.no_step:
                rows.append({"tf32": allowed, "what": "resnext50_32x4d", "times": 1, **bench.step(options.batch)})
                show(rows[-1])
    if options.out:
        with atomic_path(options.out) as path, path.open("w", newline="") as table:
            writer = csv.DictWriter(table, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


def show(row: dict[str, Any]) -> None:
    shares = "".join(
        f"  {row[name]:4.0%} of {name.rpartition('_')[2]}"
        for name in ("share_of_bandwidth", "share_of_arithmetic") if name in row
    )
    print(f"tf32 {'on ' if row['tf32'] else 'off'} {row['times']}x {row['what']} {row['direction']}: "
          f"{row['ours_ms']:.3f} ms, {row['ratio']:.2f} of PyTorch's best{shares}", flush=True)


if __name__ == "__main__":
    main()
