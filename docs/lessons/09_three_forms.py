# %% [markdown]
# # 9. The ResNeXt block in three forms, and why two layers gain nothing
#
# *15 minutes. Read lesson 6 first: groups.*
#
# ## Question
#
# The ResNeXt paper ([arXiv:1611.05431](https://arxiv.org/abs/1611.05431)) describes a block as C separate *paths*. Each
# path is a small network of three layers: 1x1, 3x3, 1x1. The results of all paths are added. C is the *cardinality*.
#
# But the code of a ResNeXt has no paths. It has one grouped convolution.
#
# **Why is this the same function? And why does nobody do it with paths of two layers, 3x3 and 3x3?**

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import npresnext as nx
from npresnext.models import Bottleneck
from npresnext.paper.forms import FormA

rng = np.random.default_rng(94)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


relu = nx.functional.relu

# %% [markdown]
# ## Predict
#
# Write down your answers before you read on.
#
# 1. Form (a) has C paths of three layers, form (c) has one grouped convolution. Which of them has more weights?
# 2. A block of two dense 3x3 layers has 8 channels between them. We cut it into 4 paths, with 2 channels between the
#    layers of each path. How many weights do the 4 paths have together: a quarter, a half, or as many as before?
# 3. Somebody puts `groups=4` into the second 3x3 convolution of a block of two layers. Is this the sum of 4 paths?

# %% [markdown]
# ## Experiment
#
# ### Three layers: from one grouped convolution to paths
#
# We take a small block: 4 channels in and out, C = 2 paths of width d = 2. The shortcut, which adds x to the result, is
# the same in all forms, so we leave it out.

# %%
C, d, channels = 2, 2, 4
x = integers(1, channels, 5, 5)
w1 = integers(C * d, channels, 1, 1)  # 1x1
w2 = integers(C * d, d, 3, 3)  # 3x3 in C groups: (C_out, C_in/G, kh, kw)
w3 = integers(channels, C * d, 1, 1)  # 1x1

# form (c): one grouped convolution
h = relu(nx.conv2d(x, w1))
h = relu(nx.conv2d(h, w2, padding=1, groups=C))
form_c = nx.conv2d(h, w3)

# %% [markdown]
# **From (c) to (b).** A grouped convolution is C small convolutions side by side. Path p has the
# channels 2p and 2p + 1. Cut the first two weights along their output channels:


# %%
def of_path(p):
    return slice(p * d, (p + 1) * d)


def two_layers(p):
    """The 1x1 and the 3x3 convolution of path p. Both are dense."""
    h = relu(nx.conv2d(x, w1[of_path(p)]))
    return relu(nx.conv2d(h, w2[of_path(p)], padding=1))


# form (b): the paths are concatenated, and one 1x1 convolution follows
form_b = nx.conv2d(np.concatenate([two_layers(p) for p in range(C)], axis=1), w3)
assert (form_b == form_c).all()
print("form (b) equals form (c)")

# %% [markdown]
# **From (b) to (a).** The last 1x1 convolution adds over all of its input channels. A sum may be split: first add over
# the channels of each path, then add the paths. So cut the last weight along its *input* channels:

# %%
# form (a): each path has a 1x1 convolution of its own, and the results are added
form_a = sum(nx.conv2d(two_layers(p), w3[:, of_path(p)]) for p in range(C))
assert (form_a == form_c).all()
print("form (a) equals form (c)")

weights_of_a = sum(
    w1[of_path(p)].size + w2[of_path(p)].size + w3[:, of_path(p)].size for p in range(C)
)
weights_of_c = w1.size + w2.size + w3.size
print("weights:", weights_of_a, "and", weights_of_c)
assert weights_of_a == weights_of_c == 104

# %% [markdown]
# Every number of one form is a number of the other. `nx.paper.convert_state` does the cutting for whole networks, with
# batch norm. It converts gradients in the same way. With batch norm the forms agree up to rounding:

# %%
block_c = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0, dtype="float64")
block_a = FormA(16, 4, groups=4, width_per_group=32, dtype="float64")
block_a.load_state_dict(nx.paper.convert_state(block_c.state_dict(), "c", "a", 4))

images, upstream = rng.standard_normal((2, 2, 16, 6, 6))
outputs = block_c(images), block_a(images)
input_gradients = block_c.backward(upstream), block_a.backward(upstream)
gradients_c = {name: parameter.grad for name, parameter in block_c.named_parameters()}
gradients_a = {name: parameter.grad for name, parameter in block_a.named_parameters()}
converted = nx.paper.convert_state(gradients_c, "c", "a", 4)

largest = max(
    abs(outputs[0] - outputs[1]).max(),
    abs(input_gradients[0] - input_gradients[1]).max(),
    *(abs(gradients_a[name] - converted[name]).max() for name in gradients_a),
)
print(f"largest difference, of outputs and all gradients: {largest:.0e}")
assert set(gradients_a) == set(converted) and largest < 1e-12

# %% [markdown]
# ### Two layers: nothing is gained
#
# Now we take paths of two 3x3 layers. Each path reads all channels, has d channels in between, and writes all channels.
# The results are added.

# %%
C, d = 4, 2
u = integers(C * d, channels, 3, 3)  # the first layers of all paths, below each other
v = integers(channels, C * d, 3, 3)  # the second layers of all paths, side by side

paths = 0
for p in range(C):
    h = relu(nx.conv2d(x, u[of_path(p)], padding=1))
    paths = paths + nx.conv2d(h, v[:, of_path(p)], padding=1)

# one dense block with C·d channels in between
h = relu(nx.conv2d(x, u, padding=1))
wide = nx.conv2d(h, v, padding=1)

assert (paths == wide).all()
weights_of_paths = sum(u[of_path(p)].size + v[:, of_path(p)].size for p in range(C))
print("4 paths of two layers equal one dense block.")
print("Weights:", weights_of_paths, "and", u.size + v.size)
assert weights_of_paths == u.size + v.size == 576

# %% [markdown]
# The paths are the dense block, written in another way. There is no grouped convolution in it: the first layer reads
# all channels, and the second layer writes all channels. **A path needs a layer that is neither its first nor its
# last.** Only such a layer reads nothing but its own path. In the block of three layers it is the 3x3 convolution.
#
# Question 3 puts `groups=4` into the second layer. Then each output channel reads one path only. No sum of paths is
# left:

# %%
grouped_v = integers(channels, C * d // 4, 3, 3)
h = relu(nx.conv2d(x, u, padding=1))
basic = nx.conv2d(h, grouped_v, padding=1, groups=4)

other_u = u.copy()
other_u[of_path(0)] += integers(d, channels, 3, 3)
other_h = relu(nx.conv2d(x, other_u, padding=1))
other_basic = nx.conv2d(other_h, grouped_v, padding=1, groups=4)
other_wide = nx.conv2d(other_h, v, padding=1)

moved_in_basic = np.flatnonzero((basic != other_basic).any(axis=(0, 2, 3))).tolist()
moved_in_sum = np.flatnonzero((wide != other_wide).any(axis=(0, 2, 3))).tolist()
print("Path 0 gets another first layer. Output channels that change:")
print("  sum of paths:             ", moved_in_sum)
print("  groups=4 in second layer: ", moved_in_basic)
assert moved_in_sum == [0, 1, 2, 3] and moved_in_basic == [0]

# %% [markdown]
# A `BasicBlock` with a grouped second layer is a valid network. But it is another function, and not a ResNeXt block.

# %% [markdown]
# ## Picture
#
# Each weight is drawn as a matrix of kernels: a row for each output channel, a column for each input channel. A colour
# stands for a path. An empty cell is a connection that does not exist.

# %%
COLOURS = ListedColormap(["white", "#0072b2", "#e69f00", "#009e73", "#cc79a7"])


def rows_by_path(outs, ins, C):
    """A layer that reads all channels: path p has the rows p·d to (p + 1)·d - 1."""
    return np.repeat(np.arange(outs)[:, None] * C // outs + 1, ins, axis=1)


def columns_by_path(outs, ins, C):
    """A layer that writes all channels."""
    return rows_by_path(ins, outs, C).T


C, d = 4, 2
own = nx.paper.group_mask(C * d, C * d, C)  # True where a path reads its own channels
three = {
    "1x1": rows_by_path(C * d, channels, C),
    "3x3 in 4 groups": rows_by_path(C * d, C * d, C) * own,
    "1x1 ": columns_by_path(channels, C * d, C),
}
two = {
    "3x3": rows_by_path(C * d, channels, C),
    "3x3 ": columns_by_path(channels, C * d, C),
}

figure, axes = plt.subplots(2, 3, figsize=(7, 5.2), layout="constrained")
for row, (label, layers) in zip(axes, (("three layers", three), ("two layers", two))):
    row[0].set_ylabel(label, fontsize=13)
    for ax, (title, cells) in zip(row, layers.items()):
        ax.imshow(cells, cmap=COLOURS, vmin=0, vmax=4)
        ax.set_title(f"{title}\n{(cells > 0).mean():.0%} of the kernels", fontsize=11)
        ax.set_xticks(np.arange(0.5, cells.shape[1]), [])
        ax.set_yticks(np.arange(0.5, cells.shape[0]), [])
        ax.tick_params(length=0)
        ax.grid(color="#d9d9d9")  # between the kernels
axes[1, 2].set_visible(False)

shares = [(cells > 0).mean() for cells in (*three.values(), *two.values())]
assert shares == [1, 1 / C, 1, 1, 1]

# %% [markdown]
# Only the middle layer of three has holes. What groups save, they save there. With two layers there is no middle.

# %% [markdown]
# ## Exercise
#
# In form (a), batch norm and ReLU come *after* the sum of the paths. Somebody moves the ReLU into the paths: each path
# ends with a ReLU, and then the paths are added.
#
# **Is this still form (c)?** Find two numbers for which the answer is clear. Then check with the arrays from above,
# with a ReLU at the end of `form_c`.

# %% tags=["hide-cell"]
C, d = 2, 2
one, other = 5.0, -3.0  # what two paths give for one output value
assert max(one + other, 0) == 2
assert max(one, 0) + max(other, 0) == 5

relu_at_the_end = relu(form_c)
relu_in_the_paths = sum(
    relu(nx.conv2d(two_layers(p), w3[:, of_path(p)])) for p in range(C)
)
differ = (relu_at_the_end != relu_in_the_paths).mean()
print(f"{differ:.0%} of the values differ")
assert differ > 0.1 and (relu_in_the_paths >= relu_at_the_end).all()

# %% [markdown] tags=["hide-cell"]
# <details><summary>Explanation</summary>
#
# It is another function. Only linear steps may be exchanged with a sum. A ReLU is not linear, and batch norm in
# training is not linear either. That is why form (a) has one batch norm and one ReLU after the sum, and not one in
# each path.
#
# </details>

# %% [markdown]
# Now write the three forms yourself:
#
# ```sh
# npresnext learn start block_forms
# ```
#
# Next: [lesson 10](10_equal_cost.py), what groups cost and what they save.
