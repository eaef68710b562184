# %% [markdown]
# # 13. A guided tour: train a ResNeXt and read its gradients
#
# *15 minutes. Read lessons 7 and 8 first: the gradients of a group, batch norm.*
#
# ## Question
#
# All parts are there now: grouped convolutions, their gradients, batch norm, blocks. We put them together, train a
# small ResNeXt on handwritten digits, and look at the gradient of every group while it learns.
#
# **Do the groups get gradients of the same size? Do they stay the same while the network learns?**

# %%
import matplotlib.pyplot as plt
import numpy as np

import npresnext as nx
from npresnext.gradients import draw_grad_norms
from npresnext.training import Progress, TrainingConfiguration, Watcher

# %% [markdown]
# The data set is part of the package: handwritten digits of 8x8 pixels.

# %%
train, test = nx.data.load_digits()
images, labels = next(nx.data.all_batches(train, 10))
print(len(train), "images for training,", len(test), "for testing")

figure, axes = plt.subplots(1, 10, figsize=(7, 1.1), layout="constrained")
for ax, image, label in zip(axes, images, labels):
    ax.imshow(image[0], cmap="gray_r")
    ax.set_title(label, fontsize=11)
    ax.axis("off")

# %% [markdown]
# The network has three blocks. Each block has one 3x3 convolution with 8 groups. These three layers are the ones that
# we watch.

# %%
configuration = TrainingConfiguration.for_data("digits", epochs=3, seed=0)
trainer = configuration.build(train, test)
convolutions = nx.gradients.conv_layers(trainer.model)
layers = {name: conv for name, conv in convolutions.items() if conv.groups > 1}
for name, conv in layers.items():
    print(f"{name}: {conv.in_channels} channels in {conv.groups} groups,", end=" ")
    print(f"{conv.weight.data.size:,} weights")
G = 8
assert len(layers) == 3 and all(conv.groups == G for conv in layers.values())

# %% [markdown]
# ## Predict
#
# Write down your three answers before you read on.
#
# 1. In one layer and one step: the largest gradient norm of a group, divided by the smallest. Is this about 2, 10 or
#    100?
# 2. While the network learns, do the gradient norms grow, shrink, or stay the same?
# 3. We start with an initialisation that counts the groups, as in lesson 8. Its weights are √8 times as large. Are the
#    gradient norms in the first step larger, smaller, or the same?

# %% [markdown]
# ## Experiment
#
# ### Watch a training
#
# A *watcher* is called in each step. Ours asks for the gradient norms after the backward pass, before the weights are
# changed. `group_grad_norms` returns one row for each group. `Progress` is a watcher too: it shows a bar, and prints a
# line after each epoch.


# %%
class Norms(Watcher):
    """Keeps the gradient norm of each group, step by step."""

    def __init__(self):
        self.rows = []

    def after_backward(self, trainer):
        step, model = trainer.step, trainer.model
        self.rows += nx.group_grad_norms(model, step=step, layers=list(layers))


norms = Norms()
trainer.watchers += [norms, Progress(epochs=3)]
trainer.run(steps=3 * trainer.steps_per_epoch)
assert trainer.history[-1]["test_accuracy"] > 0.9
assert trainer.history[-1]["loss"] < trainer.history[0]["loss"] / 3

# %% [markdown]
# One row of the table:

# %%
for column, value in norms.rows[0].items():
    print(f"{column:12} {value}")


# %% [markdown]
# `l2` is the norm of the gradient, `weight_l2` that of the weight. `ratio` is their quotient, and `l2_weight_l2` their
# product.
#
# ### Question 1: how different are the groups?


# %%
def column(name, layer, rows=norms.rows):
    """Return one column of a layer as an array (steps, G)."""
    return np.array([row[name] for row in rows if row["layer"] == layer]).reshape(-1, G)


print("mean over steps  largest / smallest group")
for name in layers:
    l2 = column("l2", name)
    spread = (l2.max(axis=1) / l2.min(axis=1)).mean()
    print(f"{name:16} {spread:.2f}")
    assert 1.2 < spread < 4

# %% [markdown]
# About 2. The groups of a layer differ, but not by orders of magnitude. All of them learn.
#
# ### Question 2: and over time?

# %%
print("                 first 10 steps   last 10 steps")
for name in layers:
    l2 = column("l2", name)
    print(f"{name:16} {l2[:10].mean():14.3f} {l2[-10:].mean():15.3f}")
    assert l2[-10:].mean() < 0.7 * l2[:10].mean()

# %% [markdown]
# They shrink: once the network is right about an image, the gradient of this image's loss is small.
#
# In the first steps the three layers seem to have gradients of the same size. Lesson 8 says: do not trust this number.
# A batch norm follows each of these layers, so a raw norm depends on the scale of the weight. The product ‖dw‖·‖w‖ does
# not:

# %%
raw = [column("l2", name)[:10].mean() for name in layers]
product = [column("l2_weight_l2", name)[:10].mean() for name in layers]
print("first 10 steps   ‖dw‖   ‖dw‖·‖w‖")
for name, one, other in zip(layers, raw, product):
    print(f"{name:14} {one:6.3f} {other:10.3f}")
assert max(raw) < 1.2 * min(raw)
assert product[2] > 1.5 * product[0]

# %% [markdown]
# The raw norms are nearly equal. By the number that does not depend on the scale, the last layer is far ahead.
#
# ### Question 3: another initialisation
#
# One step is enough. We build the same network with `init="fan_out_per_group"`. The same random numbers are drawn; they
# are only multiplied by √8 in the grouped layers.

# %%
per_group = {"seed": 0, "init": "fan_out_per_group"}
other = TrainingConfiguration.for_data("digits", epochs=3, **per_group).build(train)
other_norms = Norms()
other.watchers.append(other_norms)
other.run(steps=1)

print("first step            ‖dw‖           ‖dw‖·‖w‖")
print("                 before    now    before    now")
for name in layers:
    l2, l2_now, product, product_now = (
        column(norm, name, rows)[0].mean()
        for norm in ("l2", "l2_weight_l2")
        for rows in (norms.rows, other_norms.rows)
    )
    print(f"{name:16} {l2:6.3f} {l2_now:6.3f} {product:9.3f} {product_now:6.3f}")
    assert np.isclose(l2 / l2_now, np.sqrt(G), rtol=0.02)
    assert np.isclose(product, product_now, rtol=0.02)

# %% [markdown]
# The weights are √8 times as large and the gradients √8 times as small. The network computes the same. Whoever compares
# raw norms across initialisations, or across numbers of groups, compares scales.

# %% [markdown]
# ## Picture
#
# Each layer has one panel, each group one row, each step one column. The colour is the raw norm.

# %%
draw_grad_norms(norms.rows)

# %% [markdown]
# All groups of a layer become dark and bright together: steps differ more than groups. To see the groups, divide each
# column by its mean over the groups of the layer:

# %%
draw_grad_norms(norms.rows, relative=True)

# %% [markdown]
# Now there are stripes: some groups stay above the mean of their layer for many steps, others below.

# %%
name = "layer1.0.conv2"
l2 = column("l2", name)
relative = l2 / l2.mean(axis=1, keepdims=True)
relative = relative[45:].mean(axis=0)  # after the first epoch
print("mean of each group, relative to its layer:", relative.round(2))
assert relative.max() > 1.05 and relative.min() < 0.95

# %% [markdown]
# ## Exercise
#
# Does a group stay ahead because of its initial weights, or because of its place? **Train again with another seed, and
# compare.** If the place decided, the same groups would be ahead. Predict first: is the correlation of the two sets
# of relative norms near 1, or can it have any value?

# %% tags=["hide-cell"]
again = TrainingConfiguration.for_data("digits", epochs=3, seed=1).build(train)
again_norms = Norms()
again.watchers.append(again_norms)
again.run(steps=2 * again.steps_per_epoch)

correlations = []
for name in layers:
    means = []
    for rows in (norms.rows, again_norms.rows):
        l2 = column("l2", name, rows)[45:90]
        means.append((l2 / l2.mean(axis=1, keepdims=True)).mean(axis=0))
    correlations.append(np.corrcoef(*means)[0, 1])
    print(f"{name}: correlation of the two seeds {correlations[-1]:+.2f}")
assert max(correlations) < 0.9

rng = np.random.default_rng(13)
chance = [np.corrcoef(*rng.standard_normal((2, G)))[0, 1] for _ in range(2000)]
beyond = np.mean(np.abs(chance) > 0.6)
print(f"two rows of {G} random numbers: beyond ±0.6 in {beyond:.0%} of all cases")
assert 0.09 < beyond < 0.15

# %% [markdown] tags=["hide-cell"]
# <details><summary>Explanation</summary>
#
# The correlation is not near 1, so the place does not decide. A value such as +0.7 in one layer is no contradiction:
# with 8 groups, chance alone gives a correlation beyond ±0.6 in about one of nine cases.
#
# </details>

# %% [markdown]
# More about the numbers and the files: [gradient norms, group by group](../gradient-norms.md).
