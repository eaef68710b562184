# %% [markdown]
# # 2. How large is the output? Stride, padding, remainders
#
# *10 minutes. Read lesson 1 first: a list of products.*
#
# ## Question
#
# A window slides over an image. It starts at the first pixel, moves by the *stride*, and must not go beyond the end.
#
# **How many positions does it have? And does it see every pixel?**

# %%
import inspect

import numpy as np

import npresnext as nx
from npresnext import pictures, reference
from npresnext.geometry import output_size
from npresnext.testing import mistakes

rng = np.random.default_rng(2)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


# %% [markdown]
# ## Predict
#
# Write down your four answers before you read on.
#
# 1. The image is 7x7, the kernel 3x3, the stride 2. How large is the output?
# 2. The image is 6x6; everything else stays the same. How large is the output?
# 3. In this 6x6 image, we change the pixel in the lower right corner. Which values of the output change?
# 4. `padding="same"` gives the output the size of the image. With a 2x2 kernel this needs one more row and one more
#    column of zeros. Where are they put?

# %% [markdown]
# ## Experiment
#
# ### Count, do not calculate
#
# Along one axis, a window starts at pixel 0, then at 0 + stride, and so on, as long as it ends inside the image. The
# definition in this package counts these windows one by one:

# %%
print(inspect.getsource(reference.count_windows))

# %%
for size in (7, 6):
    windows = reference.count_windows(size, 3, 2, (0, 0), 1)
    print(f"{size} pixels, kernel 3, stride 2: {windows} windows")
assert reference.count_windows(7, 3, 2, (0, 0), 1) == 3
assert reference.count_windows(6, 3, 2, (0, 0), 1) == 2

# %% [markdown]
# So the answers to questions 1 and 2 are 3x3 and 2x2.
#
# There is also a formula. The first window reaches over $r = d\,(k - 1) + 1$ pixels, where $k$ is the kernel size and
# $d$ the *dilation*, the distance between neighbouring weights of the kernel. What remains of the padded image is
# divided by the stride $s$, and rounded **down**:
#
# $$\text{output} = \left\lfloor \frac{\text{size} + \text{before} + \text{after} - r}{s} \right\rfloor + 1$$
#
# *before* and *after* are the numbers of zeros that the padding puts at the two ends. Does the formula agree with
# counting? We try every small case:

# %%
cases = 0
for size, kernel, stride, before, after, dilation in np.ndindex(8, 4, 4, 3, 3, 3):
    kernel, stride, dilation = kernel + 1, stride + 1, dilation + 1
    if dilation * (kernel - 1) + 1 <= size + before + after:
        arguments = size, kernel, stride, (before, after), dilation
        assert output_size(*arguments) == reference.count_windows(*arguments)
        cases += 1
print("The formula is right in", cases, "of", cases, "cases.")

# %% [markdown]
# (misconception-18)=
# ### The last rows may never be seen
#
# "Rounded down" means that pixels can be left over. In a 6x6 image, with kernel 3 and stride 2, the windows start at
# pixel 0 and pixel 2. The second one ends at pixel 4. **No window reads pixel 5.** Let us change the last row and the
# last column:

# %%
x, weight = integers(1, 1, 6, 6), integers(1, 1, 3, 3)
y = nx.conv2d(x, weight, stride=2)

changed = x.copy()
changed[:, :, 5, :] += 100
changed[:, :, :, 5] += 100
assert (nx.conv2d(changed, weight, stride=2) == y).all()
print("The last row and column changed by 100, and y is the same.")

# %% [markdown]
# So no value changes in question 3. It follows that the gradient of these pixels is zero, because the loss does not
# depend on them. You can test your own backward pass with this. Here `grad_output` stands for the gradient of the loss
# with respect to `y`, and `dx` is the gradient with respect to `x`:

# %%
grad_output = integers(*y.shape)
dx = nx.conv2d_input_grad(grad_output, x.shape, weight, stride=2)
print(dx[0, 0])
assert (dx[:, :, 5, :] == 0).all() and (dx[:, :, :, 5] == 0).all()

# %% [markdown]
# Some programs round up instead, as pooling layers can do (`ceil_mode`). Then the output has one row and one column
# more, and its last windows read zeros beyond the image:

# %%
mistake = mistakes.find("rounds the output size up")
wrong = mistake.result("y", mistakes.Call(x, weight, None, grad_output, stride=(2, 2)))
print("the right size:", y.shape[2:])
print(f"a convolution that {mistake.name}:", wrong.shape[2:])
assert y.shape[2:] == (2, 2) and wrong.shape[2:] == (3, 3)

# %% [markdown]
# (misconception-19)=
# ### "Same" puts the odd row at the bottom
#
# Padding puts zeros around the image. Products with these zeros are zero, so the list of products leaves them out.
#
# With stride 1, an output as large as the image needs $r - 1$ zeros along each axis. For a 3x3 kernel, that is one at
# each end. For a 2x2 kernel, it is one in total. Question 4: `"same"` puts it at the **bottom** and at the **right**.

# %%
x, weight = integers(1, 1, 4, 4), integers(1, 1, 2, 2)
same = nx.conv2d(x, weight, padding="same")
after = nx.conv2d(x, weight, padding=((0, 1), (0, 1)))  # ((top, bottom), (left, right))
before = nx.conv2d(x, weight, padding=((1, 0), (1, 0)))

assert same.shape == x.shape == before.shape
assert (same == after).all() and (same != before).any()
print("zeros at the bottom and right:", after[0, 0], sep="\n")
print("zeros at the top and left:", before[0, 0], sep="\n")

# %% [markdown]
# The two results have the same shape, but different numbers. So a test that compares shapes finds nothing. The second
# result is the first one, moved by one pixel:

# %%
assert (before[0, 0, 1:, 1:] == after[0, 0, :-1, :-1]).all()

# %% [markdown]
# ## Picture
#
# How many windows read each pixel of the 6x6 image? The numbers at the top and at the left count the windows of one
# axis. The two zeros belong to row 5 and column 5.

# %%
pictures.overlaps((6, 6), 3, stride=2)

# %% [markdown]
# The next picture shows the same windows, one *tap* at a time. A tap is one position of the kernel, with its weight;
# this kernel has nine. Each small image shows which pixels one tap multiplies, and for which value (p, q) of the
# output. Row 5 and column 5 are empty in all nine.

# %%
pictures.taps((6, 6), 3, stride=2)

# %% [markdown]
# ## Exercise
#
# The kernel is 3x3 and the stride is 2, without padding. **For which image sizes from 5 to 12 are pixels left over?**
# And which padding makes a window see the last pixel of a 6x6 image? Predict, then open the solution.

# %% tags=["hide-cell"]
left_over = [size for size in range(5, 13) if (size - 3) % 2]
print("pixels are left over for the sizes", left_over)
assert left_over == [6, 8, 10, 12]
for size in range(5, 13):
    last_read = 2 * (reference.count_windows(size, 3, 2, (0, 0), 1) - 1) + 2
    assert (last_read < size - 1) == (size in left_over)

# One row and one column of zeros, at the beginning or at the end:
for padding in (((1, 0), (1, 0)), ((0, 1), (0, 1))):
    x, weight = np.zeros((1, 1, 6, 6)), np.ones((1, 1, 3, 3))
    x[0, 0, 5, 5] = 1
    y = nx.conv2d(x, weight, stride=2, padding=padding)
    print(f"padding={padding}: the last pixel is in {int(y.sum())} of {y.size} windows")
    assert y.sum() == 1 and y.size == 9

# %% [markdown]
# Now write the two functions yourself: first count, then calculate.
#
# ```sh
# npresnext learn start windows
# npresnext learn start output_size
# ```
#
# Next: [lesson 3](03_im2col.py), all windows as one matrix.
