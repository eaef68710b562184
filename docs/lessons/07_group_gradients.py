# %% [markdown]
# # 7. The gradients of a group, and where locality ends
#
# *15 minutes. Read lesson 6 first: groups.*
#
# ## Question
#
# A grouped convolution has G groups. Each group has its own input channels, its own weights and its own output
# channels. The backward pass computes a gradient for the weights of each group.
#
# **Which numbers does the weight gradient of one group depend on? Do the groups learn separately?**

# %%
import numpy as np

import npresnext as nx

rng = np.random.default_rng(7)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


G = 3
x = integers(1, 6, 3, 3)  # (N, C_in, H, W): 2 input channels per group
weight = integers(6, 2, 2, 2)  # (C_out, C_in/G, kh, kw): 2 output channels per group
grad_output = integers(1, 6, 2, 2)  # (N, C_out, oh, ow): the upstream gradient

# %% [markdown]
# The *upstream gradient* is the gradient of the loss with respect to the output of the layer. The backward pass starts
# from it.
#
# Two helper functions return the channels of group `g`, and the list of groups in which two arrays differ:


# %%
def of_group(g):
    return slice(2 * g, 2 * g + 2)


def groups_that_differ(one, other):
    return [g for g in range(G) if (one[of_group(g)] != other[of_group(g)]).any()]


# %% [markdown]
# ## Predict
#
# We change something in group 1, and compute the weight gradients again. Groups are counted from 0. Write down your
# four answers before you read on.
#
# | | we change | after the layer comes | the weight gradients of which groups change? |
# |---|---|---|---|
# | a | the input of group 1 | nothing; the upstream gradient stays the same | |
# | b | the weights of group 1 | nothing; the upstream gradient stays the same | |
# | c | the input of group 1 | a 1x1 convolution and a loss | |
# | d | the weights of group 1 | a 1x1 convolution and a loss | |

# %% [markdown]
# ## Experiment
#
# ### One layer, and a given upstream gradient
#
# First, question a: we change the numbers in the input of group 1.

# %%
other_x = x.copy()
other_x[:, of_group(1)] += integers(1, 2, 3, 3)

dweight = nx.conv2d_weight_grad(grad_output, x, weight.shape, groups=G)
other_dweight = nx.conv2d_weight_grad(grad_output, other_x, weight.shape, groups=G)

answer_a = groups_that_differ(dweight, other_dweight)
print("a: the weight gradients change in the groups", answer_a)
assert answer_a == [1]

# %% [markdown]
# Only group 1 changes. The reason: the weight gradient of a group is computed from slices. It needs the input channels
# of this group and the upstream gradient of this group. Everything else is left out:

# %%
for g in range(G):
    own = of_group(g)
    alone = nx.conv2d_weight_grad(grad_output[:, own], x[:, own], (2, 2, 2, 2))
    assert (dweight[own] == alone).all()
print("The gradient of each group was computed from two slices.")

# %% [markdown]
# Question b needs no experiment. Look at the call: `conv2d_weight_grad` takes the *shape* of the weight, but not the
# weight. The output is linear in the weight, so its derivative does not contain the weight. No group changes.

# %%
answer_b = []

# %% [markdown]
# (misconception-15)=
# ### The same layer, followed by a 1x1 convolution and a loss
#
# Now the upstream gradient is not given. It comes from a loss. The 1x1 convolution computes `z` from the output `y` of
# our layer, and the loss is Σ (z − target)² / 2, so its gradient is z − target.

# %%
mix = integers(6, 6, 1, 1)  # the weight of a 1x1 convolution: it reads all channels
target = integers(1, 6, 2, 2)


def gradients(x, weight):
    """Return the upstream gradient of our layer, and its weight gradient."""
    y = nx.conv2d(x, weight, groups=G)
    z = nx.conv2d(y, mix)
    dz = z - target
    dy = nx.conv2d_input_grad(dz, y.shape, mix)
    return dy, nx.conv2d_weight_grad(dy, x, weight.shape, groups=G)


other_weight = weight.copy()
other_weight[of_group(1)] += integers(2, 2, 2, 2)

dy, dweight = gradients(x, weight)
dy_c, dweight_c = gradients(other_x, weight)
dy_d, dweight_d = gradients(x, other_weight)

answer_c = groups_that_differ(dweight, dweight_c)
answer_d = groups_that_differ(dweight, dweight_d)
print("c:", answer_c)
print("d:", answer_d)
assert answer_c == answer_d == [0, 1, 2]

# %% [markdown]
# Every group changes, in both cases. The convolution is the same as before. What has changed is the upstream gradient:

# %%
changed = groups_that_differ(dy[0], dy_d[0])
print("The upstream gradient changes in the groups", changed)
assert changed == [0, 1, 2]

# %% [markdown]
# Follow the numbers backwards:
#
# 1. The weight gradient of group 0 is computed from the upstream gradient of group 0.
# 2. The upstream gradient of group 0 is computed by the 1x1 convolution, from **all** channels of z − target.
# 3. Each channel of z is computed from **all** channels of y, so also from those of group 1.
#
# So the weights of group 1 change the gradient of group 0. **Locality holds for one layer and a given upstream
# gradient. It ends at the first layer that mixes channels.** The groups of a network are trained together: they share
# one loss.

# %% [markdown]
# (misconception-14)=
# ### Without a layer that mixes, the groups never meet
#
# Groups exchange no information inside their layer. A network of grouped layers alone would be G separate networks.
# `connectivity` follows the channels through layers. It returns a matrix that says which input channel reaches which
# output channel.


# %%
def grouped():
    return nx.nn.Conv2d(6, 6, 3, padding=1, groups=G, rng=0)


pointwise = nx.nn.Conv2d(6, 6, 1, rng=0)

apart = nx.paper.connectivity([grouped(), grouped(), grouped()]).matrix
mixed = nx.paper.connectivity([grouped(), pointwise, grouped()]).matrix
share = f"{apart.mean():.0%} of all pairs of channels are connected"
print("three grouped layers:", share)
print("a 1x1 in the middle: ", f"{mixed.mean():.0%}")
assert apart.mean() == 1 / G and mixed.all()

# %% [markdown]
# That is why each block of a ResNeXt has a 1x1 convolution before its grouped convolution and another one after it.

# %% [markdown]
# (misconception-9)=
# ### One kernel for several groups: add the gradients
#
# Sometimes all groups use the same kernel. Then one weight is used G times. Is its gradient the sum of the G gradients,
# or their mean? The definition of a derivative decides. The loss here is Σ grad_output · y. It is linear in the kernel,
# so one step of size 1 gives the exact derivative.

# %%
kernel = integers(2, 2, 2, 2)  # used by every group


def loss(kernel):
    y = nx.conv2d(x, np.concatenate([kernel] * G), groups=G)
    return (grad_output * y).sum()


step = kernel.copy()
step[0, 0, 0, 0] += 1
derivative = loss(step) - loss(kernel)

dweight = nx.conv2d_weight_grad(grad_output, x, weight.shape, groups=G)
of_each_group = dweight.reshape(G, 2, 2, 2, 2)[:, 0, 0, 0, 0]
print("the derivative:        ", derivative)
print("the gradients of groups:", of_each_group)
print("their sum:             ", of_each_group.sum())
print("their mean:            ", of_each_group.mean())
assert derivative == of_each_group.sum() != of_each_group.mean()

# %% [markdown]
# The sum is right. A number that is used several times has an effect at every place. The chain rule adds these effects.

# %% [markdown]
# ## Picture
#
# `gradient_flow` sends the upstream gradient into one part of the output at a time: first into the channels of group 0
# alone, then into those of group 1, and so on. Each column stands for one part, each row for one conv group. The number
# is the norm of the weight gradient. An empty cell is exactly 0.
#
# First, one grouped layer alone: each part of the upstream gradient reaches one group.

# %%
conv = nx.nn.Conv2d(6, 6, 2, groups=G, bias=False, dtype="float64")
conv.weight.data[...] = weight
layer = nx.nn.Sequential({"grouped": conv})
nx.pictures.gradient_flow(layer, x, grad_output)

# %% [markdown]
# Then the same layer is followed by the 1x1 convolution. The 1x1 convolution is drawn at the top, because the gradient
# comes from the output. Now each part reaches every group:

# %%
conv_1x1 = nx.nn.Conv2d(6, 6, 1, bias=False, dtype="float64")
conv_1x1.weight.data[...] = mix
both = nx.nn.Sequential({"grouped": conv, "mix": conv_1x1})
nx.pictures.gradient_flow(both, x, grad_output)

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this as a test", "code_prompt_hide": "Hide the test"}
# The same as a test: an upstream gradient in the channels of group 1 alone.
of_group_1 = grad_output.copy()
of_group_1[:, [0, 1, 4, 5]] = 0
for network, expected in ((layer, [1]), (both, [0, 1, 2])):
    network.zero_grad()
    network(x)
    network.backward(of_group_1)
    gradient = network.grouped.weight.grad
    assert groups_that_differ(gradient, np.zeros_like(gradient)) == expected

# %% [markdown]
# ## Exercise
#
# ShuffleNet uses no 1x1 convolution that reads all channels. It puts a *channel shuffle* between grouped convolutions:
# the channels are written as a (G, n) table, row by row, and read column by column. With G = 3 and n = 2 the order
# `0 1 2 3 4 5` becomes `0 2 4 1 3 5`.
#
# **How many grouped layers, with a shuffle between any two, does it take until every input channel reaches every output
# channel?** First predict the number. Then compute it. `nx.paper.group_mask(6, 6, 3)` is the matrix of a grouped layer:
# True where an output channel (row) sees an input channel (column).

# %% tags=["hide-cell"]
mask = nx.paper.group_mask(6, 6, G).astype(int)
order = np.arange(6).reshape(G, 2).T.ravel()
assert order.tolist() == [0, 2, 4, 1, 3, 5]

reached, layers = mask, 1
while not reached.all():
    seen = (reached > 0).sum(axis=1).max()
    print(f"{layers} grouped: each output channel sees {seen} input channels")
    reached, layers = mask @ reached[order], layers + 1
print(f"{layers} grouped: each output channel sees all 6")
assert layers == 3
assert nx.conv2d_parameter_count(6, 6, 1) == 36
assert nx.conv2d_parameter_count(6, 6, 1, groups=G) == 12

# %% [markdown] tags=["hide-cell"]
# <details><summary>Explanation</summary>
#
# Each further layer doubles the number of channels that are seen, as long as there are enough: 2, 4, then all 6. One
# 1x1 convolution does it in one step, but it has more weights: 36, where a grouped 1x1 convolution with G = 3 has 12.
#
# </details>

# %% [markdown]
# Next: [lesson 8](08_batch_norm.py), batch norm, and what it does to a gradient norm.
