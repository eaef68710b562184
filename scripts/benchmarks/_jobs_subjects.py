"""The steps and the inference that jobs.py compares. Part of it: each run measures one job in one library.

    python scripts/benchmarks/_jobs_subjects.py SUBJECT WHAT ARGUMENTS

SUBJECT is npresnext or torch; WHAT is step or inference; ARGUMENTS is JSON. It prints JSON.
"""

import contextlib
import json
import statistics
import time

import numpy as np
from _common import part_arguments

LEAST_CALLS = 3
OPTIMIZER = {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}  # but for lr, as in npresnext train

# name -> network, with the images and the batch that it is measured with
NETWORKS = {
    "digits": {"groups": 8, "width": 16, "planes": 16, "depths": (1, 1, 1), "image": (1, 8, 8), "batch": 32},
    "28x28": {"groups": 8, "width": 16, "planes": 16, "depths": (1, 1, 1), "image": (1, 28, 28), "batch": 64},
    "resnet20": {"groups": 1, "width": None, "planes": 16, "depths": (3, 3, 3), "image": (3, 32, 32), "batch": 128},
    "8x16d": {"groups": 8, "width": 16, "planes": 64, "depths": (3, 3, 3), "image": (3, 32, 32), "batch": 32},
}


def numpy_network(name):
    """Return a network of NETWORKS in npresnext. A width of None stands for blocks of two 3x3 convolutions."""
    from npresnext.models import BasicBlock, Bottleneck, ResNet

    design = NETWORKS[name]
    return ResNet(
        BasicBlock if design["width"] is None else Bottleneck,
        design["depths"],
        num_classes=10,
        in_channels=design["image"][0],
        groups=design["groups"],
        width_per_group=design["width"] or 64,
        planes=design["planes"],
        stem="cifar",
        rng=0,
    )


def torch_network(name):
    """Return the same network in PyTorch."""
    from _torch_networks import small_network

    design = NETWORKS[name]
    bottleneck = design["width"] is not None
    channels = design["image"][0]
    return small_network(bottleneck, design["depths"], design["groups"], design["width"], design["planes"], channels)


def batch_of(name):
    """Return images (N, C, H, W) and labels (N,)."""
    design, rng = NETWORKS[name], np.random.default_rng(0)
    x = rng.standard_normal((design["batch"], *design["image"])).astype("float32")
    return x, rng.integers(0, 10, design["batch"])


def measured(call, least_seconds):
    """Return the seconds of the first call, and the medians of wall and processor time of the later ones."""
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    walls, processors = [], []
    while len(walls) < LEAST_CALLS or sum(walls) < least_seconds:
        start, processor = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - start)
        processors.append(time.process_time() - processor)
    return {
        "first seconds": first,
        "seconds": statistics.median(walls),
        "processor seconds": statistics.median(processors),
    }


def numpy_job(name, what, least_seconds):
    """Measure a training step, or inference with batch norm folded into the convolutions, in npresnext."""
    import npresnext as nx
    from npresnext import nn, training

    model, (x, target) = numpy_network(name), batch_of(name)
    if what == "inference":
        fused = model.fuse()
        with nx.no_grad():
            return measured(lambda: fused(x), least_seconds)
    loss, optimizer = nn.CrossEntropyLoss(), nn.SGD(model.parameters(), **OPTIMIZER)
    model.needs_input_grad = False  # as in PyTorch, where the images do not require a gradient

    def step():
        optimizer.zero_grad()
        loss(model(x), target)
        model.backward(loss.backward())
        optimizer.step()

    # As npresnext train does it; a version to compare with may not have it
    with getattr(training, "keep_freed_memory", contextlib.nullcontext)():
        return measured(step, least_seconds)


def torch_job(name, what, least_seconds):
    """Measure a training step, or inference in evaluation mode, in PyTorch eager."""
    import torch

    model, (x, target) = torch_network(name), map(torch.from_numpy, batch_of(name))
    if what == "inference":
        model.eval()
        with torch.inference_mode():
            return measured(lambda: model(x), least_seconds)
    optimizer = torch.optim.SGD(model.parameters(), **OPTIMIZER)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()

    return measured(step, least_seconds)


def main():
    subject, what, arguments = part_arguments(__doc__)
    threads = arguments.pop("threads")
    if subject == "torch":
        import torch

        torch.set_num_threads(threads)
        job = torch_job
    else:
        import npresnext as nx

        nx.set_num_threads(threads)
        job = numpy_job
    print(json.dumps(job(what=what, **arguments)))


if __name__ == "__main__":
    main()
