"""The libraries that gpu.py compares. Part of it: each run measures one thing in one library and prints JSON.

    python scripts/benchmarks/_gpu_subjects.py SUBJECT WHAT ARGUMENTS

SUBJECT is npresnext, torch or torch-channels-last; WHAT is machine, ceilings, layers, step or gradients; ARGUMENTS is
JSON: device ("cuda", or "cpu" for a rehearsal), batch, image (its size), tf32, seconds, folder.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import part_arguments

import npresnext as nx
from npresnext import errors, models, nn
from npresnext.geometry import ConvGeometry

NETWORK = "resnext50_32x4d"
SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4}


class HostEvent:
    """An event on the CPU, where calls return when they are done."""

    def record(self) -> None:
        """Note the time."""
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing to wait for."""

    @staticmethod
    def elapsed(start: HostEvent, stop: HostEvent) -> float:
        """Milliseconds from one event to the other."""
        return (stop.at - start.at) * 1e3


def median_ms(
    run: Callable[[], Any], event: Callable[[], Any], elapsed: Callable[[Any, Any], float], seconds: float
) -> float:
    """Return the median time of `run` on the device, in milliseconds: warm-up, then runs between two events each."""

    def timed() -> float:
        start, stop = event(), event()
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return elapsed(start, stop)

    once = min(timed() for _ in range(5))
    return statistics.median(timed() for _ in range(max(10, min(200, int(seconds * 1000 / once)))))


def convolutions(batch: int, image: int) -> dict[ConvGeometry, int]:
    """Count the distinct convolutions of ResNeXt-50 by following a batch through the network."""
    calls = nn.trace(getattr(models, NETWORK)(rng=0), (batch, 3, image, image)).calls
    return Counter(call.module.geometry(call.input_shape) for call in calls if isinstance(call.module, nn.Conv2d))


def operands(geometry: ConvGeometry) -> list[np.ndarray]:
    """Draw x, weight and grad_output."""
    rng = np.random.default_rng(0)
    shapes = geometry.x_shape, geometry.weight_shape, geometry.output_shape
    return [rng.standard_normal(shape, dtype="float32") for shape in shapes]


def window(geometry: ConvGeometry) -> dict[str, Any]:
    """Return stride, padding, dilation and groups as both libraries take them."""
    padding = geometry.padding[0][0], geometry.padding[1][0]
    return {"stride": geometry.stride, "padding": padding, "dilation": geometry.dilation, "groups": geometry.groups}


def images(batch: int, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch and its labels."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((batch, 3, image, image), dtype="float32"), rng.integers(0, 1000, batch)


class NpresnextSubject:
    """npresnext on a device."""

    def __init__(self, device: str, tf32: bool, seconds: float) -> None:
        self.device, self.seconds = device, seconds
        nx.set_backend("cupy" if device == "cuda" else "numpy")
        self.xp = nx.backend.get_array_module()
        self.engine = contextlib.nullcontext() if device == "cpu" else nx.use_engine("cuda", allow_tf32=tf32)

    def machine(self) -> dict[str, Any]:
        """Return versions and the device's name."""
        result: dict[str, Any] = {"npresnext": nx.__version__, "numpy": np.__version__}
        if self.device == "cuda":
            runtime = self.xp.cuda.runtime
            name = runtime.getDeviceProperties(self.xp.cuda.Device().id)["name"].decode()
            result |= {
                "cupy": self.xp.__version__,
                "device": name,
                "driver": runtime.driverGetVersion(),
                "cuda": runtime.runtimeGetVersion(),
            }
        return result

    def median(self, run: Callable[[], Any]) -> float:
        """Time a call."""
        if self.device == "cpu":
            return median_ms(run, HostEvent, HostEvent.elapsed, self.seconds)
        return median_ms(run, self.xp.cuda.Event, self.xp.cuda.get_elapsed_time, self.seconds)

    def layer(self, geometry: ConvGeometry) -> dict[str, float]:
        """Time one convolution."""
        x, weight, grad = (nx.asarray(array) for array in operands(geometry))
        options = window(geometry)
        calls: dict[str, Callable[[], Any]] = {
            "forward": lambda: nx.conv2d(x, weight, **options),
            "backward": lambda: nx.conv2d_backward(grad, x, weight, **options, needs=(True, True, False)),
            "input gradient": lambda: nx.conv2d_input_grad(grad, x.shape, weight, **options),
            "weight gradient": lambda: nx.conv2d_weight_grad(grad, x, weight.shape, **options),
        }
        return {name: self.median(call) for name, call in calls.items()}

    def step(self, batch: int, image: int) -> float:
        """Time a training step."""
        model, criterion = getattr(models, NETWORK)(rng=0), nn.CrossEntropyLoss()
        model.conv1.needs_input_grad = False  # as in PyTorch, where the images do not require a gradient
        optimizer = nn.SGD(model.parameters(), **SETTINGS)
        x, target = map(nx.asarray, images(batch, image))

        def step() -> None:
            optimizer.zero_grad()
            criterion(model(x), target)
            model.backward(criterion.backward())
            optimizer.step()

        return self.median(step)

    def gradients(self, batch: int, image: int, dtype: str) -> dict[str, np.ndarray]:
        """Return the gradients of all parameters."""
        with nx.use_backend("numpy"):
            model, criterion = getattr(models, NETWORK)(rng=0), nn.CrossEntropyLoss()
        model.to(backend=nx.get_backend(), dtype=dtype)
        x, target = images(batch, image)
        criterion(model(nx.asarray(x, dtype=dtype)), nx.asarray(target))
        model.backward(criterion.backward())
        return {name: nx.to_numpy(parameter.grad) for name, parameter in model.named_parameters()}


class TorchSubject:
    """PyTorch on the same device, eager."""

    def __init__(self, device: str, tf32: bool, seconds: float, channels_last: bool) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise errors.NoDeviceError("this PyTorch finds no CUDA device: install one that is built for CUDA")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.torch, self.device, self.seconds = torch, device, seconds
        self.layout = {"memory_format": torch.channels_last if channels_last else torch.contiguous_format}

    def machine(self) -> dict[str, Any]:
        """Return versions."""
        return {"torch": self.torch.__version__, "cudnn": self.torch.backends.cudnn.version()}

    def median(self, run: Callable[[], Any]) -> float:
        """Time a call."""
        if self.device == "cpu":
            return median_ms(run, HostEvent, HostEvent.elapsed, self.seconds)
        event = self.torch.cuda.Event
        return median_ms(run, lambda: event(enable_timing=True), lambda a, b: a.elapsed_time(b), self.seconds)

    def ceilings(self) -> dict[str, float]:
        """Measure a large copy and a large product, in GB/s and TFLOP/s."""
        count, side = (2**28, 8192) if self.device == "cuda" else (2**20, 256)
        source = self.torch.randn(count, device=self.device)  # zeros would be multiplied faster
        target = self.torch.empty_like(source)
        copying = self.median(lambda: target.copy_(source))
        a, b, c = (self.torch.randn(side, side, device=self.device) for _ in range(3))
        multiplying = self.median(lambda: self.torch.matmul(a, b, out=c))
        return {"GB/s": 2 * 4 * count / copying / 1e6, "TFLOP/s": 2 * side**3 / multiplying / 1e9}

    def on_device(self, array: np.ndarray) -> Any:
        """Return an array as a tensor in this subject's layout."""
        return self.torch.from_numpy(array).to(self.device, **self.layout)

    def layer(self, geometry: ConvGeometry) -> dict[str, float]:
        """Time one convolution."""
        x, weight, grad = map(self.on_device, operands(geometry))
        options = window(geometry)

        def backward(*needs: bool) -> Callable[[], Any]:
            return lambda: self.torch.ops.aten.convolution_backward(
                grad,
                x,
                weight,
                None,
                options["stride"],
                options["padding"],
                options["dilation"],
                False,
                (0, 0),
                geometry.groups,
                (*needs, False),
            )

        return {
            "forward": self.median(lambda: self.torch.nn.functional.conv2d(x, weight, **options)),
            "backward": self.median(backward(True, True)),
            "input gradient": self.median(backward(True, False)),
            "weight gradient": self.median(backward(False, True)),
        }

    def network(self, dtype: str) -> Any:
        """Return the network of _torch_networks.py with the weights that ours starts from."""
        from _torch_networks import network

        with nx.use_backend("numpy"):
            state = getattr(models, NETWORK)(rng=0).state_dict()
        model = network(NETWORK)
        pairs = zip(model.state_dict(), state.values(), strict=True)  # both name the layers in order
        model.load_state_dict({name: self.torch.from_numpy(np.array(array)) for name, array in pairs})
        return model.to(self.device, getattr(self.torch, dtype), **self.layout).train()

    def step(self, batch: int, image: int) -> float:
        """Time a training step."""
        model = self.network("float32")
        optimizer = self.torch.optim.SGD(model.parameters(), **SETTINGS)
        x, target = images(batch, image)
        x, target = self.on_device(x), self.torch.from_numpy(target).to(self.device)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            self.torch.nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()

        return self.median(step)

    def gradients(self, batch: int, image: int, dtype: str) -> dict[str, np.ndarray]:
        """Return the gradients of all parameters under the names of ours."""
        model = self.network(dtype)
        x, target = images(batch, image)
        x, target = self.on_device(x).to(getattr(self.torch, dtype)), self.torch.from_numpy(target).to(self.device)
        self.torch.nn.functional.cross_entropy(model(x), target).backward()
        with nx.use_backend("numpy"):
            names = [name for name, _ in getattr(models, NETWORK)(rng=0).named_parameters()]
        named = zip(names, model.parameters(), strict=True)
        return {name: parameter.grad.cpu().contiguous().numpy() for name, parameter in named}


def result(subject: str, what: str, arguments: dict[str, Any]) -> Any:
    """Measure what is asked for."""
    device, tf32, seconds = (arguments[name] for name in ("device", "tf32", "seconds"))
    batch, image = arguments["batch"], arguments["image"]
    if subject == "npresnext":
        who: Any = NpresnextSubject(device, tf32, seconds)
        engine = who.engine
    else:
        who, engine = TorchSubject(device, tf32, seconds, subject == "torch-channels-last"), contextlib.nullcontext()
    with engine:
        if what == "layers":
            return [who.layer(geometry) for geometry in convolutions(batch, image)]
        if what == "step":
            return who.step(batch, image)
        if what == "gradients":
            return list(saved_gradients(who, subject, batch, image, Path(arguments["folder"])))
        return getattr(who, what)()


def saved_gradients(who: Any, subject: str, batch: int, image: int, folder: Path) -> Iterator[str]:
    """Write gradients to files and yield their names: in float32, and PyTorch's in float64 too."""
    for dtype in ("float32",) if subject == "npresnext" else ("float32", "float64"):
        path = folder / f"{subject}-{dtype}.npz"
        np.savez(path, **who.gradients(batch, image, dtype))
        yield str(path)


def main() -> None:
    subject, what, arguments = part_arguments(__doc__)
    try:
        print(json.dumps(result(subject, what, arguments)))
    except (errors.NpresnextError, ImportError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
