"""How long a training step takes on several ranks: measure on one machine, before you ask for many.

    python scripts/plan_shards.py --model resnext_small --image 1x28x28 --batch-size 64 --shards 8
    mpirun -n 2 python scripts/plan_shards.py --model resnext_small

The first command needs no MPI. One process does the work of one rank of R, and copies of its own gradients stand for
those of the other ranks. It prints, for each R, the processor time of a step and the bytes that the rank receives. The
second command measures how fast MPI moves these bytes; start it on the machines that you want to use.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from npresnext import models, nn
from npresnext.data import ImageSet
from npresnext.training import Communicator, ShardedTrainer, Trainer, Watcher, connect_ranks, schedules


class Copies(Communicator):
    """Rank 0 of `size` ranks, which receives copies of its own arrays instead of those of the others."""

    def __init__(self, size):
        self.size = size

    def allgather(self, rows):
        """Return `rows` once for each rank."""
        return np.concatenate([rows] * self.size)

    def share(self, value):
        """Return `value` once for each rank."""
        return [value] * self.size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnext_small", choices=models.list_models(), metavar="NAME")
    parser.add_argument("--image", default="1x8x8", metavar="CxHxW", help="channels, height, width (default: 1x8x8)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per step (default: 32)")
    parser.add_argument("--shards", type=int, default=8, metavar="V", help="shards of a batch (default: 8)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="measured steps (default: 5)")
    args = parser.parse_args()
    channels, height, width = (int(each) for each in args.image.split("x"))
    model = models.get_model(args.model, num_classes=10, in_channels=channels, rng=0)
    parameters = sum(parameter.data.size for parameter in model.parameters())
    communicator = connect_ranks()
    if communicator.size > 1:
        measure_allgather(communicator, parameters, args.steps)
        return
    rng = np.random.default_rng(0)
    count = (args.steps + 3) * args.batch_size  # one epoch, longer than the measurement
    pixels = rng.integers(0, 256, (count, channels, height, width), np.uint8)
    images = ImageSet("noise", pixels, rng.integers(0, 10, count), num_classes=10, mean=0.5, std=0.3)
    print(f"{args.model}, {parameters:,} parameters of 4 bytes; {args.batch_size} images of {args.image} per step")
    print(f"without shards: {1e3 * step_time(model, images, args):.1f} ms of processor time per step")
    print(f"with {args.shards} shards of {args.batch_size // args.shards} images:")
    print("ranks  ms per step of a rank  MB received  MB/s at which receiving takes as long")
    for ranks in [size for size in range(1, args.shards + 1) if args.shards % size == 0]:
        seconds = step_time(model, images, args, shards=args.shards, communicator=Copies(ranks))
        received = (args.shards - args.shards // ranks) * parameters * 4 / 1e6
        print(f"{ranks:5}  {1e3 * seconds:21.1f}  {received:11.1f}  {received / seconds:37.0f}", flush=True)


def step_time(model, images, args, **sharded):
    """Return the median processor time of a training step, in seconds, of the steps after the second."""
    optimizer = nn.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    times = Times()
    options = {"batch_size": args.batch_size, "schedule": schedules.constant(1e-6), "watchers": [times], **sharded}
    trainer = (ShardedTrainer if sharded else Trainer)(model, optimizer, images, **options)
    trainer.run(args.steps + 2)
    return statistics.median(np.diff(times.ends)[1:])


class Times(Watcher):
    """Keeps the processor time at the end of each step."""

    def __init__(self):
        self.ends = []

    def after_step(self, trainer):
        """Read the clock of the processor."""
        self.ends.append(time.process_time())


def measure_allgather(communicator, parameters, repetitions):
    """Print how long the ranks take to exchange gradients of the model, one of each rank."""
    own, seconds = np.ones((1, parameters), np.float32), []
    for _ in range(repetitions + 2):
        communicator.share("begin together")
        began = time.perf_counter()
        communicator.allgather(own)
        seconds.append(max(communicator.share(time.perf_counter() - began)))
    fastest, received = min(seconds), (communicator.size - 1) * own.nbytes / 1e6
    if communicator.rank == 0:
        print(
            f"each of {communicator.size} ranks receives {received:.1f} MB in {1e3 * fastest:.1f} ms, the fastest of "
            f"{len(seconds)} times: {received / fastest:.0f} MB/s"
        )


if __name__ == "__main__":
    main()
