# %% [markdown]
# # 10. Cardinality at equal cost: parameters, MACs, seconds, memory
#
# *15 minutes. Read lesson 9 first: the ResNeXt block.*
#
# ## Question
#
# A convolution with G groups has 1/G of the weights and 1/G of the multiplications. ResNeXt-50 uses G = 32.
#
# **Is ResNeXt-50 then 32 times as small, and 32 times as fast, as ResNet-50? If not, what are groups good for?**
#
# One *MAC* is one multiplication and one addition. The number of MACs is the usual measure of the arithmetic in a
# network.

# %%
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import npresnext as nx
from npresnext.paper import equal_complexity, network_counts

rng = np.random.default_rng(10)

# %% [markdown]
# ## Predict
#
# Write down your four answers before you read on.
#
# 1. A layer of 64 channels goes from G = 1 to G = 64. Its MACs become 1/64. Its time becomes about: 1/64, 1/4, or 1?
# 2. And the memory for its im2col matrix: 1/64, 1/4, or 1?
# 3. In ResNet-50 we change nothing but `groups=32` in each 3x3 convolution. How many weights remain: 3 %, 30 % or 60 %?
# 4. How many weights does ResNeXt-50 have, relative to ResNet-50: 3 %, 60 % or 98 %?

# %% [markdown]
# ## Experiment
#
# (misconception-11)=
# ### One layer: 1/G of the MACs is not 1/G of the time
#
# We measure one 3x3 convolution with 64 channels, forward and backward. We take the shortest of several times,
# because other programs can only make a run slower.

# %% tags=["wide"]
N, channels, size = 2, 64, 28
x = rng.standard_normal((N, channels, size, size), dtype=np.float32)
upstream = rng.standard_normal((N, channels, size, size), dtype=np.float32)
GROUPS = (1, 4, 16, 64)


def step(G, weight):
    nx.conv2d(x, weight, padding=1, groups=G)
    nx.conv2d_backward(upstream, x, weight, padding=1, groups=G)


def seconds_and_bytes(G):
    """Return the least time of seven runs, and the memory of the textbook method."""
    weight = rng.standard_normal((channels, channels // G, 3, 3), dtype=np.float32)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        step(G, weight)
        times.append(time.perf_counter() - start)
    with nx.use_engine("im2col"):  # im2col and one matrix product, as in lesson 3
        tracemalloc.start()
        step(G, weight)
        _, largest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return min(times), largest


seconds_and_bytes(1)  # the first run is slower: it reserves memory
measured = {G: seconds_and_bytes(G) for G in GROUPS}
count = nx.conv2d_parameter_count
weights = {G: count(channels, channels, 3, groups=G) for G in GROUPS}
# Each weight is used once per image and position, for y, and again for dx and for dw.
macs = {G: 3 * N * size * size * weights[G] for G in GROUPS}

print("   G   weights         MACs   milliseconds   MACs per ns   memory in MB")
for G, (seconds, memory) in measured.items():
    rate = macs[G] / seconds / 1e9
    print(f"{G:4} {weights[G]:9,} {macs[G]:12,} {1e3 * seconds:14.2f}", end="")
    print(f" {rate:13.1f} {memory / 1e6:14.1f}")

assert weights[64] * 64 == weights[1] and macs[64] * 64 == macs[1]
faster = measured[1][0] / measured[64][0]
print(f"\nG = 64 has 1/64 of the MACs and takes 1/{faster:.1f} of the time.")
assert faster < 32  # so fewer than half as many MACs are done per nanosecond

# %% [markdown]
# The times are those of the machine that built this page. Yours will differ. But look at the column "MACs per ns":
# with G = 64 less than half as many are done as with G = 1. The time goes into moving numbers, and these do not become
# fewer. **Time follows the memory traffic and the quality of the kernel, not the MACs.**
#
# The memory shows it too. `im2col` does not even have an argument `groups`: the matrix is the same for every G.

# %%
columns = nx.im2col(x, 3, padding=1)
print("im2col matrix:", columns.shape, f"{columns.nbytes / 1e6:.1f} MB")
assert columns.nbytes == 9 * x.nbytes
assert all(memory > columns.nbytes for _, memory in measured.values())
assert measured[64][1] > 0.85 * measured[1][1]

# %% [markdown]
# (misconception-12)=
# ### A layer is not a network
#
# The layer shrinks by G. What about the network? We count ResNet-50, written 1x64d: one path of 64 channels in the
# first stage. Then we change nothing but `groups=32`: that is 32 paths of 2 channels, 32x2d.

# %%
resnet = network_counts(50, cardinality=1, width=64)
only_groups = network_counts(50, cardinality=32, width=2)

saved = resnet.parameters - only_groups.parameters
of_3x3 = saved * 32 // 31  # groups=32 saves 31 of 32 weights in each 3x3 convolution
print(f"ResNet-50:             {resnet.parameters:11,} parameters")
print(f"  in its 3x3 layers:   {of_3x3:11,}")
share = only_groups.parameters / resnet.parameters
print(f"ResNet-50, groups=32:  {only_groups.parameters:11,} ({share:.0%})")
assert resnet.parameters == 25_557_032 and only_groups.parameters == 14_593_448
assert of_3x3 == 11_317_248 and saved * 32 % 31 == 0
assert round(100 * share) == 57

# %% [markdown]
# The 3x3 convolutions have less than half of the weights. Groups can save no more than this share. The 1x1 convolutions
# and the classifier stay as they are.
#
# And ResNeXt-50? It is written 32x4d: 32 groups of **4** channels. It uses what the groups save for more channels: the
# 3x3 convolution of the first stage has 32·4 = 128 channels, where ResNet-50 has 64.

# %%
resnext = network_counts(50, cardinality=32, width=4)
parameters = resnext.parameters / resnet.parameters
macs_share = resnext.macs / resnet.macs
print("ResNeXt-50 32x4d, relative to ResNet-50:")
print(f"{resnext.parameters:15,} parameters ({parameters:.1%})")
print(f"{resnext.macs:15,} MACs       ({macs_share:.1%})")
assert round(100 * parameters) == 98 and 1.03 < macs_share < 1.04

# %% [markdown]
# So **cardinality is not a way to save. It is a third way to spend**, besides depth and width. The paper compares
# networks of equal cost. Its Table 2 asks: how wide can each of C paths be, if the block is to keep its weights?

# %% tags=["wide"]
designs = equal_complexity([1, 2, 4, 8, 32])
print("block   weights         MACs   channels of the 3x3   inputs kept for backward")
for design in designs:
    inputs = design.channels + 2 * design.group_width  # of the three convolutions
    kept = inputs * design.size**2
    print(f"{design.name:5} {design.parameters:9,} {design.macs:12,}", end="")
    print(f" {design.group_width:21} {kept:26,}")

first, last = designs[0], designs[-1]
assert (first.name, last.name) == ("1x64d", "32x4d")
assert all(abs(design.parameters / first.parameters - 1) < 0.03 for design in designs)
assert last.group_width == 2 * first.group_width

# %% [markdown]
# Weights and MACs stay within 3 %. But the 3x3 convolution of 32x4d has twice as many channels, so its input and its
# output have twice as many numbers. Equal MACs are not equal memory.
#
# Two numbers are often mixed up. In 32x4d, `groups` is 32, and 4 is the width of a group. The opposite is another
# layer:

# %%
right = nx.conv2d_parameter_count(128, 128, 3, groups=32)
mixed_up = nx.conv2d_parameter_count(128, 128, 3, groups=4)
print(f"128 channels: groups=32 has {right:,} weights, groups=4 has {mixed_up:,}")
assert mixed_up == 8 * right == 36_864

# %% [markdown]
# ## Picture
#
# The picture shows the layer of the first experiment, relative to G = 1. Both axes are logarithmic: one line down is a
# quarter.

# %%
curves = {
    "MACs and weights": ("o-", [macs[G] / macs[1] for G in GROUPS]),
    "time": ("s-", [measured[G][0] / measured[1][0] for G in GROUPS]),
    "memory (im2col)": ("^-", [measured[G][1] / measured[1][1] for G in GROUPS]),
}
figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for name, (style, values) in curves.items():
    ax.plot(GROUPS, values, style, linewidth=2, label=name)
ax.set_xscale("log", base=2)
ax.set_yscale("log", base=2)
ax.set_xticks(GROUPS, [str(G) for G in GROUPS])
ax.set_yticks([1, 1 / 4, 1 / 16, 1 / 64], ["1", "1/4", "1/16", "1/64"])
ax.set_xlabel("groups", fontsize=12)
ax.set_ylabel("relative to one group", fontsize=12)
ax.set_title("One 3x3 convolution, 64 channels", fontsize=13)
ax.legend(fontsize=12)
ax.grid(alpha=0.3)

# %% [markdown]
# ## Exercise
#
# A block has three convolutions: a 1x1 from 256 channels to C·d, a 3x3 from d channels to d channels in each of C
# groups, and a 1x1 from C·d channels back to 256. It has C·(256·d + 9·d² + 256·d) weights.
#
# **How wide can each of C = 16 paths be, if the block is to have the weights of 1x64d?** Solve the equation for d on
# paper, round to the nearer design, and compare with `equal_complexity(16)`.

# %% tags=["hide-cell"]
budget = 256 * 64 + 9 * 64**2 + 64 * 256
d = (-512 + np.sqrt(512**2 + 4 * 9 * budget / 16)) / 18  # 9·d² + 512·d = budget / 16
print(f"{budget:,} weights: d = {d:.2f}")
for width in (7, 8):
    print(f"  16x{width}d has {16 * (512 * width + 9 * width**2):,}")
(best,) = equal_complexity(16)
print("the nearest:", best.name)
assert budget == first.parameters and 7 < d < 8 and best.name == "16x8d"
assert best.parameters == 16 * (512 * 8 + 9 * 8**2) == 74_752

# %% [markdown]
# Now design blocks of equal cost yourself:
#
# ```sh
# npresnext learn start cardinality
# ```
#
# Next: [lesson 11](11_close_enough.py), how to compare two results.
