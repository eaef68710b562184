"""Draw the picture at the top of the README, for light and for dark pages; needs matplotlib, one minute.

    python scripts/make_readme_picture.py docs/pictures
    npresnext gradnorms -o norms.csv && python scripts/make_readme_picture.py docs/pictures --norms norms.csv

It writes overview.png, with dark text on white, and overview-dark.png, with light text on a transparent background. The
second command writes the pictures of docs/gradient-norms.md in both versions, too.

Left: which input channel reaches which output channel in a dense and in a grouped convolution. Right: the gradient
norm of every group of one convolution, at every step of a short training of `resnext_small` on the digits.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import npresnext as nx
from npresnext.gradients import draw_grad_norms, read_rows
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


def draw(norms, path, *, dark):
    """Draw the picture into a PNG file."""
    count = nx.conv2d_parameter_count
    with pyplot.style.context("dark_background" if dark else "default"):
        figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.3), width_ratios=(1, 1, 2.4), layout="constrained")
        for axis, groups, title in zip(axes, (1, GROUPS), ("dense: G = 1", f"grouped: G = {GROUPS}")):
            weight = np.repeat(np.arange(1, groups + 1), CHANNELS // groups).reshape(CHANNELS, 1, 1, 1)
            mask = block_diagonal_weight(np.broadcast_to(weight, (CHANNELS, CHANNELS // groups, 1, 1)), groups)
            shown = np.ma.masked_equal(mask[:, :, 0, 0], 0)
            low, high = (0.5, groups + 1) if groups > 1 else (-1, 4)
            axis.imshow(shown, cmap="viridis", vmin=low, vmax=high)
            axis.set_facecolor("none")
            axis.set_title(f"{title}\n{count(CHANNELS, CHANNELS, 3, groups=groups):,} weights (3x3)", fontsize=10)
            ends = [0, CHANNELS - 1]
            axis.set(xlabel="input channel", ylabel="output channel", xticks=ends, yticks=ends)
        image = axes[2].imshow(norms, aspect="auto", cmap="magma", norm=LogNorm(), interpolation="nearest")
        axes[2].set_title(f"gradient norm of each group of {LAYER}\nresnext_small learns the digits", fontsize=10)
        axes[2].set(xlabel="training step", ylabel="group", yticks=range(GROUPS))
        figure.colorbar(image, ax=axes[2], label="‖weight gradient‖₂", pad=0.02)
        figure.savefig(path, dpi=110, facecolor="none" if dark else "white", metadata={"Software": None})
    pyplot.close(figure)


def draw_rows(rows, folder):
    """Draw the pictures of docs/gradient-norms.md."""
    for style, ending, background in (("default", "", "white"), ("dark_background", "-dark", "none")):
        for name, relative in (("gradnorms", False), ("gradnorms-relative", True)):
            with pyplot.style.context(style):
                figure = draw_grad_norms(rows, relative=relative)
                figure.savefig(folder / f"{name}{ending}.png", dpi=150, facecolor=background)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the PNG files are written")
    parser.add_argument("--norms", type=Path, help="a file of gradient norms: draw gradnorms and gradnorms-relative")
    args = parser.parse_args()
    if args.norms:
        draw_rows(read_rows(args.norms), args.folder)
    norms = group_norms()
    draw(norms, args.folder / "overview.png", dark=False)
    draw(norms, args.folder / "overview-dark.png", dark=True)


if __name__ == "__main__":
    main()
