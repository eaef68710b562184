# %% [markdown]
# # 5. The backward pass from one sentence
#
# *15 minutes. Read lesson 1 first: a list of products.*
#
# ## Question
#
# In training, a layer gets the *upstream gradient*: the gradient of the loss with respect to its output `y`. It must
# compute the gradient of its input and of its weight.
#
# **What are they for a convolution? What do stride and padding change?**

# %%
import inspect

import numpy as np

import npresnext as nx
from npresnext import pictures, reference
from npresnext.testing import mistakes

rng = np.random.default_rng(55)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


x = integers(2, 1, 7, 7)  # (N, C_in, H, W): two images
weight = integers(1, 1, 3, 3)  # (C_out, C_in, kh, kw)
y = nx.conv2d(x, weight)
grad_output = integers(*y.shape)  # (N, C_out, oh, ow): the upstream gradient
print("y has the shape", y.shape)
assert y.shape == (2, 1, 5, 5)

# %% [markdown]
# ## Predict
#
# Write down your four answers before you read on.
#
# 1. We change one weight by 1. By how much does Σ grad_output · y change: by the sum, or by the average, of the
#    products grad_output · x over all images and positions?
# 2. With stride 1, the gradient of the input is again a convolution. Which array is convolved, and with which kernel?
# 3. With stride 2, `grad_output` is smaller than `x`. What must be changed in the convolution of question 2?
# 4. With `padding=1`, the output is larger. Does the gradient of the input have a border, too?

# %% [markdown]
# ## Experiment
#
# ### One sentence
#
# Lesson 1: a convolution is a list of products `y[a] += weight[b] · x[c]`. Look at a single entry. `grad_output[a]`
# says how fast the loss grows with `y[a]`.
#
# - `y[a]` grows by `weight[b]` if `x[c]` grows by 1. So the loss grows at the rate `grad_output[a] · weight[b]`.
# - `y[a]` grows by `x[c]` if `weight[b]` grows by 1. So the loss grows at the rate `grad_output[a] · x[c]`.
#
# A pixel or a weight that is in several entries has several effects. They are added. So:
#
# > **Each product `y[a] += weight[b] · x[c]` gives `dx[c] += grad_output[a] · weight[b]` and
# > `dweight[b] += grad_output[a] · x[c]`.**
#
# That is the whole backward pass, with any stride, padding, dilation and groups. Here it is as a program (`np.conj`
# changes nothing in real numbers):

# %%
print(inspect.getsource(reference.conv2d_input_grad_loops))
print(inspect.getsource(reference.conv2d_weight_grad_loops))

# %%
dx, dweight, _ = nx.conv2d_backward(grad_output, x, weight)
dx_by_loops = reference.conv2d_input_grad_loops(grad_output, x.shape, weight)
dweight_by_loops = reference.conv2d_weight_grad_loops(grad_output, x, weight.shape)
assert (dx == dx_by_loops).all() and (dweight == dweight_by_loops).all()
print("The loops and the fast functions agree, in every number.")

# %% [markdown]
# Three inner products add up the same list of products `grad_output[a] · weight[b] · x[c]`. So they are equal. This is
# the quickest test of a backward pass that you can write:

# %%
print((grad_output * y).sum(), "=", (x * dx).sum(), "=", (weight * dweight).sum())
assert (grad_output * y).sum() == (x * dx).sum() == (weight * dweight).sum()

# %% [markdown]
# (misconception-8)=
# ### A sum, not an average
#
# Question 1. We change one weight by 1, and compute Σ grad_output · y again. This sum is linear in the weight, so the
# step gives the exact derivative:

# %%
changed = weight.copy()
changed[0, 0, 0, 2] += 1
difference = (grad_output * nx.conv2d(x, changed)).sum() - (grad_output * y).sum()

places = grad_output.size  # N·oh·ow
gradient = dweight[0, 0, 0, 2]
print("difference:", difference, " gradient:", gradient, " average:", gradient / places)
assert difference == gradient != gradient / places
assert places == 50

# %% [markdown]
# The weight is used at 50 places, and all effects are **added**. An average would be a 50th of the right gradient. A
# loss may be an average over the batch. Then the factor 1/N is already in `grad_output`; a layer must not divide again.
# The gradient of the bias is a sum, too: each value of a channel contains the bias once.

# %%
dbias = nx.conv2d_backward(grad_output, x, weight)[2]
assert dbias == grad_output.sum()

# %% [markdown]
# ### The rotated kernel
#
# Question 2. Along one axis, tap `i` of window `p` reads pixel `p + i`. Now take a pixel `r`, and ask which taps read
# it: tap `i` of window `p = r - i`. The sign of `i` has changed. So the kernel is read backwards: **dx is the
# correlation of grad_output with the rotated kernel.** Near the border, some of these windows do not exist. So
# `grad_output` gets a border of k - 1 zeros in their place.

# %%
rotated = weight[:, :, ::-1, ::-1]
assert (nx.conv2d(grad_output, rotated, padding=2) == dx).all()

mistake = mistakes.find("forgets to rotate the kernel")
wrong = mistake.result("dx", mistakes.Call(x, weight, None, grad_output))
assert (nx.conv2d(grad_output, weight, padding=2) == wrong).all()
assert (wrong != dx).any()
print("A backward pass that", mistake.name, "\n")
print("A question that leads to it:", mistake.question, sep="\n")

# %% [markdown]
# The correlation with the rotated kernel is what mathematics calls a convolution (lesson 1). So the forward pass
# correlates, and the gradient of its input convolves. With more than one channel, input and output channels also change
# places: `weight.swapaxes(0, 1)`.

# %% [markdown]
# (misconception-6)=
# ### Stride: put zeros between the gradients
#
# Question 3. With stride 2, window `p` starts at pixel `2p`. A convolution with stride 2 computes the same as one with
# stride 1, of which every second row and column is kept. What was thrown away has no effect on the loss. So its
# gradient is zero. Put these zeros back, and go on as with stride 1:

# %%
small = integers(2, 1, 3, 3)  # the upstream gradient: with stride 2, y has 3x3 values
u = np.zeros((2, 1, 5, 5))
u[:, :, ::2, ::2] = small
print(small[0, 0], "becomes", u[0, 0], sep="\n")

dx_strided = nx.conv2d_input_grad(small, x.shape, weight, stride=2)
assert (nx.conv2d(u, rotated, padding=2) == dx_strided).all()

# %% [markdown]
# An image of 8x8 pixels has the same 3x3 windows. Its last row and column are left over (lesson 2). So their gradient
# is zero, and all other numbers are as before:

# %%
larger = nx.conv2d_input_grad(small, (2, 1, 8, 8), weight, stride=2)
assert (larger[:, :, :7, :7] == dx_strided).all()
assert (larger[:, :, 7] == 0).all() and (larger[:, :, :, 7] == 0).all()

# %% [markdown]
# Backward passes with a stride above 1 have been wrong in several frameworks. The catalogue of mistakes has the one
# that forgets these zeros:

# %%
mistake = mistakes.find("puts no zeros between the upstream gradients")
call = mistakes.Call(x, weight, None, small, stride=(2, 2))
assert (mistake.result("dx", call) != dx_strided).any()
print("A backward pass that", mistake.name, "\n")
print("A question that leads to it:", mistake.question, sep="\n")

# %% [markdown]
# (misconception-7)=
# ### Padding: compute the border, then cut it off
#
# Question 4. With `padding=1`, the layer first makes a larger image with a border of zeros. It then convolves this
# image, without padding. The gradient of the larger image has a border. But the border is not part of `x`. So we cut it
# off:

# %% tags=["wide"]
padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))  # (2, 1, 9, 9)
grad_padded = integers(2, 1, 7, 7)

dx_of_padded = nx.conv2d_input_grad(grad_padded, padded.shape, weight)
dx_with_padding = nx.conv2d_input_grad(grad_padded, x.shape, weight, padding=1)
assert dx_of_padded.shape == (2, 1, 9, 9)
assert (dx_with_padding == dx_of_padded[:, :, 1:-1, 1:-1]).all()
print("the gradient of the padded image:", dx_of_padded[0, 0], sep="\n")
assert (dx_of_padded[:, :, 0] != 0).any()

# %% [markdown]
# The border is not zero. It is the effect that the border's pixels *would* have. It is not needed, so it is thrown
# away. In the list of products there is nothing to do at all: products with pixels outside the image are not in the
# list.

# %% [markdown]
# ## Picture
#
# Which products does a gradient add? A 3x3 kernel slides with stride 2 over a 5x5 image. Each small image belongs to
# one tap.
#
# - **Take one small image:** these are the products of one weight. Its gradient adds, over all marked pixels, the pixel
#   times the upstream gradient of the position (p, q).
# - **Take one pixel, and look at it in all nine:** these are the products of one pixel. Its gradient adds, over all
#   images in which it is marked, the weight times the upstream gradient of the position (p, q).

# %%
pictures.taps((5, 5), 3, stride=2)

# %% [markdown]
# The pixel in the middle is marked in four of the nine images, in the corners of the kernel. With stride 2, the number
# of products differs from pixel to pixel:

# %%
counts = np.zeros((5, 5), int)
entries = reference.products((1, 1, 5, 5), (1, 1, 3, 3), stride=(2, 2))
for _, _, (_, _, row, column) in entries:
    counts[row, column] += 1
print(counts)
assert counts[2, 2] == 4 and counts[1, 1] == 1 and counts[0, 0] == 1

# %% [markdown]
# ## Exercise
#
# Swap the roles. **With stride 1 and without padding, the gradient of the weight is also a correlation: of which two
# arrays?** Hint: `dweight[b] += grad_output[a] · x[c]`. Which array slides over which? Test your idea with one image
# and one channel, then open the solution.

# %% tags=["hide-cell"]
one = nx.conv2d_weight_grad(grad_output[:1], x[:1], weight.shape)
assert (nx.conv2d(x[:1], grad_output[:1]) == one).all()
print("dweight is the correlation of x with grad_output as the kernel:")
print(x.shape[2:], "and", grad_output.shape[2:], "give", one.shape[2:])
assert one.shape[2:] == (3, 3)

# %% [markdown]
# Nothing is rotated here: tap `i` and window `p` both have a plus in `p + i`. Now write the gradients yourself:
#
# ```sh
# npresnext learn start input_grad
# npresnext learn start strided_input_grad
# npresnext learn start weight_grad
# npresnext learn start bias_grad
# ```
#
# Next: [lesson 6](06_groups.py), groups.
