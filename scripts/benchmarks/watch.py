"""The cost of watching gradient norms: a training step of a network on images of 224x224 in PyTorch, on one CPU thread.

Two equal networks make steps in turn, one of them watched by ``npresnext.gradients.watch``. Each step is measured by
its processor time. Every step is recorded, and rows are read every 50 steps.

    python scripts/benchmarks/watch.py --batch 32 --steps 50
"""

import argparse
import statistics
import time

import torch
from _common import processor, spread
from _torch_networks import NETWORKS, network

import npresnext as nx


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="resnet18", help="(default: %(default)s)")
    parser.add_argument("--layers", choices=("all", "grouped"), default="all", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="images per step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="steps of each network (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = torch.randn(args.batch, 3, 224, 224), torch.randint(1000, (args.batch,))

    models = [network(args.network) for _ in range(2)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9) for model in models]
    watched = nx.gradients.watch(models[0], layers=args.layers, read_every=50)
    seconds = [[], []]  # of the watched network, and of the other one
    for _ in range(args.steps + 1):
        for number, (model, optimizer) in enumerate(zip(models, optimizers)):
            start = time.process_time()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            if number == 0:
                watched.step()
            optimizer.step()
            optimizer.zero_grad()
            seconds[number].append(time.process_time() - start)
    with_watch, without = (measured[1:] for measured in seconds)  # memory is allocated in the first step
    print(f"{processor()}, one thread, PyTorch {torch.__version__}, {args.network}, batch {args.batch}")
    print(f"a step without: {1000 * statistics.median(without):.0f} ms")
    print(f"with / without, step by step: {spread([a / b for a, b in zip(with_watch, without)])}")
    print(f"with / without, all {args.steps} steps, reading included: {sum(with_watch) / sum(without):.3f}")


if __name__ == "__main__":
    main()
