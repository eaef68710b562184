"""A training run that takes milliseconds a step, and what its network holds."""

import numpy as np

from npresnext import models, nn
from npresnext.data import Augment, load_digits
from npresnext.training import ShardedTrainer, Trainer, schedules


def tiny_trainer(*, seed=0, images=48, test=None, lr=0.05, weight_decay=0.0, watchers=(), dtype="float32", **sharded):
    train = load_digits()[0].first(images)
    model = models.ResNet(
        models.Bottleneck,
        [1],
        num_classes=10,
        in_channels=1,
        groups=4,
        width_per_group=32,
        planes=8,
        stem="cifar",
        rng=seed,
        dtype=dtype,
    )
    optimizer = nn.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    return (ShardedTrainer if sharded else Trainer)(
        model,
        optimizer,
        train,
        test,
        batch_size=16,
        schedule=schedules.cosine(lr, 40),
        seed=seed,
        augment=Augment(crop=1),
        watchers=watchers,
        **sharded,
    )


def state_bytes(trainer):
    return {name: np.asarray(array).tobytes() for name, array in trainer.model.state_dict().items()}
