"""Draw docs/pictures/overview.png, the picture at the top of the README; needs matplotlib, one minute.

    python scripts/make_readme_picture.py docs/pictures/overview.png

Left: which input channel reaches which output channel in a dense and in a grouped convolution. Right: the gradient
norm of every group of one convolution, at every step of a short training of `resnext_small` on the digits.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import npresnext as nx
from npresnext.reference import block_diagonal_weight

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.colors import LogNorm

STEPS, LAYER = 160, "layer2.0.conv2"
CHANNELS, GROUPS = 32, 8


def group_norms():
    """Return the gradient norm of every group of LAYER at every step, shape (G, STEPS)."""
    train, _ = nx.data.load_digits()
    model, loss = nx.models.resnext_small(rng=0), nx.nn.CrossEntropyLoss()
    optimizer = nx.nn.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    norms, epoch = [], 0
    while len(norms) < STEPS:
        for images, labels in nx.data.training_batches(train, 32, seed=0, epoch=epoch):
            optimizer.zero_grad()
            loss(model(images), labels)
            model.backward(loss.backward())
            norms.append([row["l2"] for row in nx.group_grad_norms(model) if row["layer"] == LAYER])
            optimizer.step()
        epoch += 1
    return np.array(norms[:STEPS]).T  # (G, STEPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="PNG file to write")
    args = parser.parse_args()
    figure, axes = pyplot.subplots(
        1, 3, figsize=(11, 3.3), width_ratios=(1, 1, 2.4), layout="constrained", facecolor="white"
    )
    count = nx.conv2d_parameter_count
    for axis, groups, title in zip(axes, (1, GROUPS), ("dense: G = 1", f"grouped: G = {GROUPS}")):
        weight = np.repeat(np.arange(1, groups + 1), CHANNELS // groups).reshape(CHANNELS, 1, 1, 1)
        mask = block_diagonal_weight(np.broadcast_to(weight, (CHANNELS, CHANNELS // groups, 1, 1)), groups)[:, :, 0, 0]
        shown = np.ma.masked_equal(mask, 0)
        axis.imshow(shown, cmap="viridis", vmin=0.5 if groups > 1 else -1, vmax=groups + 1 if groups > 1 else 4)
        axis.set_title(f"{title}\n{count(CHANNELS, CHANNELS, 3, groups=groups):,} weights (3x3)", fontsize=10)
        axis.set(xlabel="input channel", ylabel="output channel", xticks=[0, CHANNELS - 1], yticks=[0, CHANNELS - 1])
    image = axes[2].imshow(
        group_norms(), aspect="auto", cmap="magma", norm=LogNorm(), interpolation="nearest", origin="upper"
    )
    axes[2].set_title(f"gradient norm of each group of {LAYER}\nresnext_small learns the digits", fontsize=10)
    axes[2].set(xlabel="training step", ylabel="group", yticks=range(GROUPS))
    figure.colorbar(image, ax=axes[2], label="‖weight gradient‖₂", pad=0.02)
    figure.savefig(args.output, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
