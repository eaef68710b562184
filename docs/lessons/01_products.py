# %% [markdown]
# # 1. What a convolution is: a list of products
#
# *15 minutes. You need NumPy arrays and their indices, nothing else.*
#
# ## Question
#
# A convolutional layer gets an image `x` and a weight, and returns another image `y`. Books show it as a window that
# slides, as a filter, or as a matrix.
#
# **What exactly is computed? And is it really what mathematicians call a convolution?**

# %%
import inspect

import numpy as np

import npresnext as nx
from npresnext import pictures, reference
from npresnext.testing import mistakes

rng = np.random.default_rng(28)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


# %% [markdown]
# Arrays have the shapes that most frameworks use:
#
# | array | shape | here |
# |---|---|---|
# | `x` | (N, C_in, H, W): images, input channels, height, width | one image, one channel, 3x3 |
# | `weight` | (C_out, C_in, kh, kw): output channels, input channels, kernel height and width | one kernel, 2x2 |
# | `y` | (N, C_out, oh, ow) | one image, one channel, 2x2 |

# %%
x = integers(1, 1, 3, 3)
weight = integers(1, 1, 2, 2)
y = nx.conv2d(x, weight)

for name, array in (("x", x), ("weight", weight), ("y", y)):
    print(name, array[0, 0], sep="\n")
assert y.shape == (1, 1, 2, 2)

# %% [markdown]
# ## Predict
#
# Write down your three answers before you read on.
#
# 1. How many multiplications does it take to compute this `y`?
# 2. Another image has a single 1 in its middle, and zeros everywhere else. The 3x3 kernel contains 1 to 9, row by row.
#    What does `y` look like around the middle?
# 3. A layer makes 64 channels from an RGB image, with 3x3 kernels. How many 3x3 kernels are in its weight: 3, 64 or
#    another number?

# %% [markdown]
# ## Experiment
#
# ### The list
#
# `reference.products` lists all multiplications. Each entry has three indices: `a` into y, `b` into the weight, and `c`
# into x. It means: multiply `weight[b]` by `x[c]`, and add the product to `y[a]`.

# %% tags=["wide"]
entries = list(reference.products(x.shape, weight.shape))
for a, b, c in entries[:5]:
    print(f"y{list(a)} += weight{list(b)} * x{list(c)}")
print("...")
print(len(entries), "products")
assert len(entries) == 16

# %% [markdown]
# The answer to question 1 is 16: there are 2·2 values of y, and each is the sum of 2·2 products. Do they give the same
# `y` as above? We go through the list, and add:

# %%
by_hand = np.zeros(y.shape)
for a, b, c in entries:
    by_hand[a] += weight[b] * x[c]

assert (by_hand == y).all()
print(by_hand[0, 0])

# %% [markdown]
# This is the whole definition. Here it is in this package. Every other implementation is tested against these lines:

# %%
print(inspect.getsource(reference.conv2d_loops))

# %% [markdown]
# Stride, padding, dilation and groups change *which* products are in the list. They change nothing else. So keep this
# sentence in mind for all lessons:
#
# > **A convolution is a list of products `y[a] += weight[b] · x[c]`.**

# %% [markdown]
# (misconception-5)=
# ### Convolution or correlation?
#
# Now question 2: an image with a single 1, and the kernel 1 to 9. `padding=1` puts a border of zeros around the image.

# %%
impulse = np.zeros((1, 1, 5, 5))
impulse[0, 0, 2, 2] = 1
kernel = np.arange(1.0, 10).reshape(1, 1, 3, 3)

response = nx.conv2d(impulse, kernel, padding=1)
print("kernel:", kernel[0, 0], "y:", response[0, 0], sep="\n")
assert (response[0, 0, 1:4, 1:4] == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]).all()

# %% [markdown]
# The kernel appears **rotated by 180 degrees**: 9 to 1. Why? Take the value of y above the 1 and one step to the left.
# Its window has the 1 in the lower right corner. There the kernel has its 9. So this value is 9.
#
# What our layer computes is called a *correlation*: the kernel lies on the window as it is. A *convolution* in
# mathematics rotates the kernel first. Then an impulse gives the kernel itself:

# %%
rotated = kernel[:, :, ::-1, ::-1]
convolution = nx.conv2d(impulse, rotated, padding=1)
print(convolution[0, 0, 1:4, 1:4])
assert (convolution[0, 0, 1:4, 1:4] == kernel).all()

# %% [markdown]
# The layers of all common frameworks correlate, and call it convolution. Nothing is lost: the weights are learned, and
# a network could learn the rotated kernel as well. But you must not mix the two in one program.
#
# If you predicted 1 to 9, you rotated the kernel. The package has a catalogue of named mistakes, and this is one of
# them:

# %%
mistake = mistakes.find("rotates the kernel")
border = ((1, 1), (1, 1))  # (top, bottom), (left, right)
call = mistakes.Call(impulse, kernel, None, response, padding=border)
assert (mistake.result("y", call) == convolution).all()
print("A convolution that", mistake.name)

# %% [markdown]
# You will see the rotated kernel again in lesson 5, in the backward pass. There it is right.

# %% [markdown]
# (misconception-10)=
# ### A filter has a depth, and the channels are added
#
# Question 3: from 3 channels to 64. One output channel belongs to one *filter*. A filter has a kernel **for each input
# channel**. So the weight has 64·3 = 192 kernels.

# %%
rgb = integers(1, 3, 5, 5)
filters = integers(64, 3, 3, 3)  # (C_out, C_in, kh, kw)
many = nx.conv2d(rgb, filters)

kernels = filters.shape[0] * filters.shape[1]
print(kernels, "kernels give", many.shape[1], "channels")
assert kernels == 192 and many.shape == (1, 64, 3, 3)

# %% [markdown]
# How do three channels become one? They are **added**. Each input channel is correlated with its own kernel, and the
# three results are summed:

# %%
one_filter = filters[:1]  # the filter of output channel 0
parts = [nx.conv2d(rgb[:, c : c + 1], one_filter[:, c : c + 1]) for c in range(3)]
assert (sum(parts) == many[:, :1]).all()
print("channel by channel:", [int(part[0, 0, 0, 0]) for part in parts])
print("y is their sum:    ", int(many[0, 0, 0, 0]))

# %% [markdown]
# So the layer does *not* make 64 new channels from each of the 3 channels. The list of products says the same: the
# index `a` of y contains the output channel, but not the input channel. Products with different input channels are
# added to the same `y[a]`.

# %% [markdown]
# ## Picture
#
# The window slides over `x`. Each frame shows the products of one value of `y`, and their sum.

# %%
pictures.sliding_window(None, x, weight, milliseconds=1500)

# %% [markdown]
# ## Exercise
#
# An image has 2 channels of 4x4 pixels. The weight has the shape (3, 2, 3, 3). **How many products are in the list?**
# Compute the number with paper and pencil. Then open the solution.

# %% tags=["hide-cell"]
number = len(list(reference.products((1, 2, 4, 4), (3, 2, 3, 3))))
print(number, "products")
# output channels x windows x input channels x weights of a kernel:
assert number == 3 * (2 * 2) * 2 * (3 * 3) == 216

# %% [markdown]
# Now write the sum yourself, for one value of `y`. The command makes a file with a function to fill in, and checks it:
#
# ```sh
# npresnext learn start sum_of_products
# ```
#
# Next: [lesson 2](02_output_size.py), how many windows there are.
