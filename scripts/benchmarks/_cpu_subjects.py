"""The libraries that cpu.py compares. Part of it: each run measures one thing in one library and prints JSON.

    python scripts/benchmarks/_cpu_subjects.py SUBJECT WHAT ARGUMENTS

SUBJECT is npresnext, textbook (npresnext's im2col engine, which builds all columns), torch, torch-channels-last
or onnx; WHAT is layers, network or peak; ARGUMENTS is JSON.
"""

import json
import resource
import statistics
import time

import numpy as np
from _common import part_arguments


def seconds(function, repeats):
    """Median time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def operands(layer, batch, dtype):
    """x, weight, grad_output of one layer, the same numbers for every subject."""
    rng = np.random.default_rng(0)
    out = (layer["size"] + 2 * (layer["kernel"] // 2) - layer["kernel"]) // layer["stride"] + 1
    shapes = (
        (batch, layer["inputs"], layer["size"], layer["size"]),
        (layer["outputs"], layer["inputs"] // layer["groups"], layer["kernel"], layer["kernel"]),
        (batch, layer["outputs"], out, out),
    )
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def channels_outermost(images):
    """Return a copy of images (N, C, H, W) in the memory order (C, H, N, W), that of the CPU engine's results."""
    return images.transpose(1, 2, 0, 3).copy().transpose(2, 0, 1, 3)


def numpy_layer(layer, batch, dtype, repeats, engine):
    """Times of one convolution in npresnext, as in its networks: images are in the order of the engine's results."""
    import npresnext as nx

    x, weight, grad = operands(layer, batch, dtype)
    if engine == "cpu":
        x, grad = x if layer["first"] else channels_outermost(x), channels_outermost(grad)
    window = {"stride": layer["stride"], "padding": layer["kernel"] // 2, "groups": layer["groups"]}
    needs = (not layer["first"], True, False)
    with nx.use_engine(engine), nx.training.keep_freed_memory():
        calls = {
            "forward": lambda: nx.conv2d(x, weight, **window),
            "backward": lambda: nx.conv2d_backward(grad, x, weight, needs=needs, **window),
            "input gradient": lambda: nx.conv2d_input_grad(grad, x.shape, weight, **window),
            "weight gradient": lambda: nx.conv2d_weight_grad(grad, x, weight.shape, **window),
        }
        return {name: seconds(call, repeats) for name, call in calls.items()}


def torch_layer(layer, batch, dtype, repeats, channels_last):
    """Times of one convolution in PyTorch; the backward passes reuse one graph, so that they hold no forward."""
    import torch

    x, weight, grad = (torch.from_numpy(array) for array in operands(layer, batch, dtype))
    if channels_last:
        x, weight, grad = (array.to(memory_format=torch.channels_last) for array in (x, weight, grad))
    x.requires_grad_(not layer["first"])
    weight.requires_grad_()
    window = {"stride": layer["stride"], "padding": layer["kernel"] // 2, "groups": layer["groups"]}
    y = torch.nn.functional.conv2d(x, weight, **window)

    def forward():
        with torch.no_grad():
            torch.nn.functional.conv2d(x, weight, **window)

    def backward(*inputs):
        return lambda: torch.autograd.grad(y, inputs, grad, retain_graph=True)

    times = {"forward": seconds(forward, repeats), "weight gradient": seconds(backward(weight), repeats)}
    if layer["first"]:
        times["backward"] = times["weight gradient"]
    else:
        times["backward"] = seconds(backward(x, weight), repeats)
        times["input gradient"] = seconds(backward(x), repeats)
    return times


def onnx_layer(layer, batch, dtype, repeats):
    """Time of one convolution in onnx's reference evaluator."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    x, weight, _ = operands(layer, batch, dtype)
    pad, kind = layer["kernel"] // 2, {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[dtype]
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[pad] * 4, strides=[layer["stride"]] * 2, group=layer["groups"]
    )
    values = [helper.make_tensor_value_info(name, kind, None) for name in ("x", "w", "y")]
    graph = helper.make_graph([node], "convolution", values[:2], values[2:])
    model = ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    start = time.perf_counter()
    model.run(None, {"x": x, "w": weight})
    return {"forward": time.perf_counter() - start}


def numpy_network(name, batch, size, dtype, repeats):
    """Times of a training step and of inference in npresnext."""
    import npresnext as nx
    from npresnext import models, nn

    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((batch, 3, size, size)).astype(dtype), rng.integers(0, 1000, batch)
    model, loss = getattr(models, name)(rng=0, dtype=dtype), nn.CrossEntropyLoss()
    model.conv1.needs_input_grad = False  # as in PyTorch, where the images do not require a gradient
    optimizer = nn.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step():
        loss(model(x), target)
        optimizer.zero_grad()
        model.backward(loss.backward())
        optimizer.step()

    with nx.training.keep_freed_memory():  # as npresnext train does it
        times = {"training step": seconds(step, repeats)}
    peak = peak_memory()
    fused = model.fuse()
    with nx.no_grad():
        times["inference"] = seconds(lambda: fused(x), repeats)
    return {**times, "peak memory of training": peak}


def torch_network(name, batch, size, dtype, repeats, channels_last):
    """Times of a training step and of inference of the same network in PyTorch."""
    import torch
    from _torch_networks import network

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((batch, 3, size, size)).astype(dtype))
    target = torch.from_numpy(rng.integers(0, 1000, batch))
    model = network(name).to(x.dtype)
    if channels_last:
        x, model = x.to(memory_format=torch.channels_last), model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)

    def step():
        value = torch.nn.functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    times = {"training step": seconds(step, repeats)}
    peak = peak_memory()
    model.eval()
    with torch.inference_mode():
        times["inference"] = seconds(lambda: model(x), repeats)
    return {**times, "peak memory of training": peak}


def blas_peak():
    """GFLOP/s of one large matmul, in float32."""
    a, b = (np.random.default_rng(seed).standard_normal((2048, 2048)).astype("float32") for seed in (0, 1))
    return {"GFLOP/s": 2 * 2048**3 / seconds(lambda: a @ b, 7) / 1e9}


def peak_memory():
    """The most that this process has held at once, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    subject, what, arguments = part_arguments(__doc__)
    threads = arguments.pop("threads")
    if subject.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        extra = {"channels_last": subject == "torch-channels-last"}
        layer, network = torch_layer, torch_network
    else:
        import npresnext as nx

        nx.set_num_threads(threads)
        layer = onnx_layer if subject == "onnx" else numpy_layer
        extra = {} if subject == "onnx" else {"engine": "im2col" if subject == "textbook" else "cpu"}
        network = numpy_network
    if what == "layers":
        layers = arguments.pop("layers")
        result = [layer(each, **arguments, **extra) for each in layers]
    elif what == "network":
        extra.pop("engine", None)
        result = network(**arguments, **extra)
    else:
        result = blas_peak()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
