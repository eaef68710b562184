"""What ``npresnext train --epochs EPOCHS`` does, written in PyTorch: the same batches, a line for each epoch.

    python scripts/benchmarks/_torch_training.py EPOCHS

Part of jobs.py. The images are normalised and padded once, before the first epoch.
"""

import math
import sys

import numpy as np
import torch
from _common import ROOT
from _jobs_subjects import torch_network

BATCH, CROP, RATE, SEED = 32, 1, 0.1, 0
WHITE, MEAN, STD = 16, 0.3051, 0.3762  # of the digits' pixels


def digits():
    """Return images (N, 1, 8, 8) and labels (N,) of the training set, and of the test set."""
    with np.load(ROOT / "npresnext" / "data" / "digits.npz") as stored:
        images, labels, is_test = stored["images"][:, None], stored["labels"].astype(np.int64), stored["is_test"]
    shades = ((np.arange(WHITE + 1, dtype="float32") / WHITE - MEAN) / STD).astype("float32")
    parts = [(torch.from_numpy(shades[images[part]]), torch.from_numpy(labels[part])) for part in (~is_test, is_test)]
    return *parts, float(shades[0])


def batches(images, labels, black, epoch):
    """Yield the shuffled batches of an epoch, cropped at random as npresnext.data.training_batches crops them."""
    size = images.shape[-1]
    padded = torch.nn.functional.pad(images, (CROP, CROP, CROP, CROP), value=black)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # (N, 1, 2·CROP + 1, 2·CROP + 1, H, W)
    order = torch.from_numpy(np.random.default_rng([SEED, epoch]).permutation(len(images)))
    for batch in range(len(images) // BATCH):
        chosen = order[batch * BATCH : (batch + 1) * BATCH]
        places = np.random.default_rng([SEED, epoch, batch]).integers(0, 2 * CROP + 1, size=(2, BATCH))
        top, left = torch.from_numpy(places)
        yield windows[chosen, :, top, left], labels[chosen]


def evaluate(model, images, labels):
    """Return the mean loss and the accuracy."""
    model.eval()
    loss = hits = 0
    with torch.inference_mode():
        for x, target in zip(images.split(256), labels.split(256)):
            logits = model(x)
            loss += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
            hits += int((logits.argmax(1) == target).sum())
    return loss / len(images), hits / len(images)


def train(model, epochs):
    """Train, and yield for each epoch the loss and the accuracy, and both on the test set."""
    training_set, test_set, black = digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps_per_epoch, step = len(training_set[0]) // BATCH, 0
    for epoch in range(epochs):
        model.train()
        losses, hits = [], []
        for x, target in batches(*training_set, black, epoch):
            rate = RATE * (1 + math.cos(math.pi * step / steps_per_epoch / epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            logits = model(x)
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            hits.append((logits.detach().argmax(1) == target).float().mean())
            step += 1
        yield float(torch.stack(losses).mean()), float(torch.stack(hits).mean()), *evaluate(model, *test_set)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    epochs = int(sys.argv[1])
    torch.manual_seed(SEED)
    for epoch, (loss, accuracy, test_loss, test_accuracy) in enumerate(train(torch_network("digits"), epochs)):
        print(
            f"epoch {epoch + 1}/{epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}  "
            f"test loss {test_loss:.4f}  test accuracy {test_accuracy:.2%}",
            flush=True,
        )
    print(f"test accuracy {test_accuracy:.2%}")


if __name__ == "__main__":
    main()
