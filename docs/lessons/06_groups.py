# %% [markdown]
# # 6. Groups: shapes, runs of channels, own filters, and 1/G
#
# *15 minutes. Read lesson 1 first: a list of products.*
#
# ## Question
#
# Most frameworks have an argument `groups` for their convolution. ResNeXt sets it to 32, MobileNet to the number of
# channels.
#
# **What does a convolution with groups compute? What is the shape of its weight, and why?**

# %%
import numpy as np

import npresnext as nx
from npresnext import pictures, reference
from npresnext.testing import mistakes

rng = np.random.default_rng(6)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


G = 3
x = integers(1, 6, 4, 4)  # (N, C_in, H, W): 2 input channels per group

# %% [markdown]
# ## Predict
#
# The layer has 6 input channels, 6 output channels, 3x3 kernels and G = 3. Write down your five answers before you read
# on.
#
# 1. What is the shape of the weight?
# 2. We add 1 to channel 0 of `x`. Which output channels change?
# 3. We change the filter `weight[0]`. Which output channels change?
# 4. Which input channels belong to group 1: channels 2 and 3, or channels 1 and 4?
# 5. How many weights does the layer have, compared with G = 1?

# %% [markdown]
# ## Experiment
#
# (misconception-1)=
# ### The shape of the weight
#
# The input channels are cut into G equal runs, and the output channels as well. A run is a sequence of channels that
# follow each other. **Run g of the output reads run g of the input, and nothing else.** So each filter needs a kernel
# for C_in/G channels only:
#
# $$\text{weight: } (C_{out},\; C_{in}/G,\; kh,\; kw)$$
#
# G must divide C_in and C_out. Other shapes are refused:

# %%
weight = integers(6, 2, 3, 3)  # (C_out, C_in/G, kh, kw)
y = nx.conv2d(x, weight, groups=G)
assert y.shape == (1, 6, 2, 2)

for wrong_weight, groups in ((integers(6, 6, 3, 3), 3), (integers(6, 2, 3, 3), 4)):
    try:
        nx.conv2d(x, wrong_weight, groups=groups)
        raise AssertionError
    except ValueError as error:
        print(error)

# %% [markdown]
# ### Two ways to say the same
#
# **First:** split the channels into G parts, convolve each part with its own filters, and put the results one after the
# other.

# %%
own = [slice(2 * g, 2 * g + 2) for g in range(G)]  # the channels of each group
parts = [nx.conv2d(x[:, run], weight[run]) for run in own]
assert (np.concatenate(parts, axis=1) == y).all()

# %% [markdown]
# **Second:** take a dense convolution, in which every output channel reads every input channel. Set its weight to zero
# everywhere except in G blocks on the diagonal.

# %%
dense = reference.block_diagonal_weight(weight, G)  # (C_out, C_in, kh, kw)
print("which kernels of the dense weight are not zero:")
print((dense != 0).any(axis=(2, 3)).astype(int))
assert dense.shape == (6, 6, 3, 3)
assert ((dense != 0).any(axis=(2, 3)) == np.kron(np.eye(3), np.ones((2, 2)))).all()
assert (nx.conv2d(x, dense) == y).all()

# %% [markdown]
# (misconception-2)=
# ### Another function, not the same work in portions
#
# It is sometimes said that groups only distribute the work, as AlexNet did with its two GPUs. This is wrong: a grouped
# layer has fewer connections, so it computes another function. Question 2, with channel 0 of `x` changed:


# %%
def channels_that_change(other):
    return [o for o in range(6) if (other[:, o] != y[:, o]).any()]


changed = x.copy()
changed[:, 0] += 1
answer_2 = channels_that_change(nx.conv2d(changed, weight, groups=G))
print("The output channels that change:", answer_2)
assert answer_2 == [0, 1]

# %% [markdown]
# Channel 0 belongs to group 0. Only the output channels 0 and 1 of group 0 read it. In a dense layer, all 6 output
# channels read it.

# %% [markdown]
# (misconception-3)=
# ### Each group has its own filters
#
# The groups do not share weights. Each output channel has its own filter. Question 3:

# %%
other_weight = weight.copy()
other_weight[0] += 1
answer_3 = channels_that_change(nx.conv2d(x, other_weight, groups=G))
print("The output channels that change:", answer_3)
assert answer_3 == [0]

shared = mistakes.find("uses the weight of the first group for every group")
wrong = shared.result("y", mistakes.Call(x, weight, None, y, groups=G))
assert (wrong[:, :2] == y[:, :2]).all() and (wrong[:, 2:] != y[:, 2:]).any()
print("A convolution that", shared.name, "is right in group 0 only.\n")
print("A question that leads to it:", shared.question, sep="\n")

# %% [markdown]
# (misconception-4)=
# ### Consecutive channels, not every third one
#
# Question 4: group 1 owns the channels 2 and 3. The runs are consecutive. Dealing out the channels in turn, like cards
# (0, 3 to group 0; 1, 4 to group 1; 2, 5 to group 2), would be another layer:

# %%
dealt = mistakes.find("deals the input channels to the groups in turn")
wrong = dealt.result("y", mistakes.Call(x, weight, None, y, groups=G))
in_turn = x[:, [0, 3, 1, 4, 2, 5]]
assert (wrong == nx.conv2d(in_turn, weight, groups=G)).all()
assert (wrong != y).any()
print("A question that leads to it:", dealt.question, sep="\n")

# %% [markdown]
# This mistake is easily overlooked, because it makes no difference in two cases: with G = 1, where one group has all
# channels, and with G = C_in, where each group has one. A test must take a G between them:

# %%
found = {}
for groups in (1, 2, 3, 6):
    other = integers(6, 6 // groups, 3, 3)
    right = nx.conv2d(x, other, groups=groups)
    wrong = dealt.result("y", mistakes.Call(x, other, None, right, groups=groups))
    found[groups] = bool((wrong != right).any())
print("Does the test find the mistake?", found)
assert found == {1: False, 2: True, 3: True, 6: False}

# %% [markdown]
# ### 1/G of the weights, in this layer
#
# Question 5: the weight has C_out·(C_in/G)·kh·kw numbers. That is 1/G of the C_out·C_in·kh·kw of a dense layer. The
# list of products shrinks in the same way, so the layer needs 1/G of the multiplications.

# %%
print(weight.size, "weights, and", dense.size, "in a dense layer")
assert weight.size == 108 and dense.size == 324 and dense.size == G * weight.size

products = len(list(reference.products(x.shape, weight.shape, groups=G)))
products_of_dense = len(list(reference.products(x.shape, dense.shape)))
print(products, "products, and", products_of_dense, "in a dense layer")
assert products_of_dense == G * products

# %% [markdown]
# This holds for one layer, not for a whole network, and not for its time. Lesson 10 measures both.

# %% [markdown]
# (misconception-13)=
# ### Depthwise, multiplier, separable
#
# There are three words for special cases:
#
# | word | meaning | shape of the weight |
# |---|---|---|
# | depthwise | G = C_in: each input channel is a group | (C_out, 1, kh, kw) |
# | multiplier m | depthwise with C_out = m·C_in: each input channel gives m output channels | (m·C_in, 1, kh, kw) |
# | separable | a depthwise convolution, then a 1x1 convolution that mixes the channels | two weights |
#
# A depthwise convolution is a loop of 2-D correlations, one for each channel:

# %%
depthwise = integers(6, 1, 3, 3)
loop = [nx.conv2d(x[:, c : c + 1], depthwise[c : c + 1]) for c in range(6)]
assert (np.concatenate(loop, axis=1) == nx.conv2d(x, depthwise, groups=6)).all()

twice = integers(12, 1, 3, 3)  # multiplier 2: outputs 0 and 1 read input 0
one_channel = nx.conv2d(x[:, :1], twice[:2])
assert (nx.conv2d(x, twice, groups=6)[:, :2] == one_channel).all()

# %% [markdown]
# ## Picture
#
# The picture shows the weight as a matrix of kernels: a row for each output channel, a column for each input channel. A
# dot is a kernel that a dense layer has, and this layer does not have.

# %%
pictures.weight_matrix(integers(6, 2, 2, 2), groups=3)

# %% [markdown]
# Here is the layer at work. Each frame marks one window of one group.

# %%
small_x, small_weight = integers(4, 3, 3), integers(2, 2, 2, 2)
pictures.sliding_window(None, small_x, small_weight, groups=2, milliseconds=1500)

# %% [markdown]
# ## Exercise
#
# A layer has 64 input channels, 128 output channels, 3x3 kernels and G = 32. **What is the shape of its weight? Which
# input channels does output channel 10 read? How many weights does it have?** Predict, then open the solution.

# %% tags=["hide-cell"]
shape = (128, 64 // 32, 3, 3)
group = 10 // (128 // 32)  # each group owns 4 output channels
channels = [group * 2, group * 2 + 1]  # and 2 input channels
print("The shape of the weight is", shape, "with", int(np.prod(shape)), "weights.")
print("Output channel 10 is in group", group, "and reads the input channels", channels)
assert shape == (128, 2, 3, 3) and group == 2 and channels == [4, 5]
assert np.prod(shape) == nx.conv2d_parameter_count(64, 128, 3, groups=32) == 2304

image = np.zeros((1, 64, 3, 3))
many = np.ones(shape)
for channel in range(64):
    image[:] = 0
    image[0, channel] = 1
    reads = nx.conv2d(image, many, groups=32)[0, 10, 0, 0] != 0
    assert reads == (channel in channels)

# %% [markdown]
# Now write the grouped convolution yourself, forward and backward:
#
# ```sh
# npresnext learn start grouped_forward
# npresnext learn start grouped_backward
# ```
#
# Next: [lesson 7](07_group_gradients.py), the gradients of a group.
