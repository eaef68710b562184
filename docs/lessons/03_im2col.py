# %% [markdown]
# # 3. im2col, and why reshape is no transpose
#
# *15 minutes. Read lesson 1 first: a list of products.*
#
# ## Question
#
# Loops over single products are slow. Computers are fast at one thing: multiplying matrices.
#
# **Can one matrix product compute a whole convolution? What does the matrix look like?**

# %%
import inspect

import numpy as np

import npresnext as nx
from npresnext import lesson, pictures
from npresnext.testing import mistakes

rng = np.random.default_rng(3)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


x = np.arange(16.0).reshape(1, 1, 4, 4)  # the value of a pixel tells where it is
print(x[0, 0])

# %% [markdown]
# ## Predict
#
# The kernel is 2x2, the stride 1, without padding. `im2col` writes each window as one column of a matrix. Write down
# your four answers before you read on.
#
# 1. What is the shape of the matrix?
# 2. What is in its first column, and what is in its first row?
# 3. A program needs the windows as *rows*. `columns` has the shape (4, 9). Do `columns.T` and `columns.reshape(9, 4)`
#    give the same matrix?
# 4. The image has two channels. In which row of the matrix is the upper left pixel of each window, in channel 1?
#    (Channels are counted from 0.)

# %% [markdown]
# ## Experiment
#
# ### Each window becomes a column

# %%
columns = nx.im2col(x, 2)[0]  # (C·kh·kw, oh·ow); [0]: the only image
print(columns)
assert columns.shape == (4, 9)
assert (columns[:, 0] == [0, 1, 4, 5]).all()
assert (columns[0] == [0, 1, 2, 4, 5, 6, 8, 9, 10]).all()

# %% [markdown]
# There are 3·3 windows, so there are 9 columns. A window has 2·2 pixels, so there are 4 rows.
#
# - **A column is a window.** The first column has the pixels 0, 1, 4, 5 of the upper left window.
# - **A row belongs to one tap**, which is one position of the kernel. The first row has the pixel under tap (0, 0), for
#   each window.
#
# Now write the kernel as one row, too. The product of this row with a column is the sum of products of one window. So
# one matrix product computes them all:

# %%
weight = integers(3, 1, 2, 2)  # 3 filters
matrix = weight.reshape(3, 4)  # (C_out, C_in·kh·kw)
y = (matrix @ columns).reshape(1, 3, 3, 3)  # (N, C_out, oh, ow)

assert (y == nx.conv2d(x, weight)).all()
print("(3, 4) @ (4, 9) gives the 3 channels of 9 values.")

# %% [markdown]
# This is the function itself, as the package computes it for any array library. It copies once for each tap, and has no
# loop over windows:

# %%
print(inspect.getsource(lesson.conv.im2col))

# %% [markdown]
# What does this cost? Each pixel is copied into every window that reads it. With stride 1 and a border of zeros, the
# matrix is kh·kw times as large as the image:

# %%
image = integers(1, 8, 32, 32)
ratio = nx.im2col(image, 3, padding=1).size / image.size
print("columns / image =", ratio)
assert ratio == 9

# %% [markdown]
# (misconception-16)=
# ### reshape is no transpose
#
# Question 3. Both results have the shape (9, 4), so the program runs in both cases.

# %%
print("first rows of columns.T:", columns.T[:3], sep="\n")
print("first rows of columns.reshape(9, 4):", columns.reshape(9, 4)[:3], sep="\n")
assert (columns.T[0] == [0, 1, 4, 5]).all()
assert (columns.reshape(9, 4)[0] == [0, 1, 2, 4]).all()

# %% [markdown]
# `reshape` keeps the numbers in their order and cuts them at other places. Its first row is 0, 1, 2, 4: the pixel under
# tap (0, 0) of *four different windows*. `.T` exchanges the axes. Its first row is 0, 1, 4, 5: one window.
#
# > **reshape never moves a number past another one. If the axes must change places, you need a transpose.**
#
# The result of the wrong program has the right shape, too. Only its numbers are wrong:

# %%
right = columns.T @ matrix.T  # (9, 3)
wrong = columns.reshape(9, 4) @ matrix.T
assert right.shape == wrong.shape == (9, 3)
agree = int((right == wrong).sum())
print(f"{agree} of {right.size} numbers agree.")
assert (right.T.reshape(y.shape) == y).all() and agree < right.size

# %% [markdown]
# ### The order of the rows
#
# Question 4: with two channels, the rows of channel 0 come first, then those of channel 1. Row $(c·kh + i)·kw + j$
# belongs to tap (i, j) of channel c. So tap (0, 0) of channel 1 is in row 4.

# %%
two = np.stack([x[0, 0], 100 + x[0, 0]])[None]  # channel 1 has 100 more than channel 0
both = nx.im2col(two, 2)[0]
print(both[:, :3])
for row, (c, i, j) in enumerate(np.ndindex(2, 2, 2)):
    assert row == (c * 2 + i) * 2 + j
    assert both[row, 0] == two[0, c, i, j]
assert both[4, 0] == 100

# %% [markdown]
# The order of the rows is a choice. A program could also put the tap first and the channel last. But the weight must be
# written in the **same** order. If it is not, each weight meets the pixel of another one, and the shapes still fit:

# %%
weight = integers(3, 2, 2, 2)  # (C_out, C_in, kh, kw)
y = (weight.reshape(3, 8) @ both).reshape(1, 3, 3, 3)  # the same order in both
assert (y == nx.conv2d(two, weight)).all()

tap_first = both.reshape(2, 4, 9).swapaxes(0, 1).reshape(8, 9)  # (kh·kw·C, oh·ow)
wrong = (weight.reshape(3, 8) @ tap_first).reshape(1, 3, 3, 3)
assert wrong.shape == y.shape and (wrong != y).any()

# %% [markdown]
# Some frameworks store weights with the channel last. So this happens when weights move from one framework to another.
# The package's catalogue of mistakes has it, too:

# %%
mistake = mistakes.find("reads the weight as (C_out, kh, kw, C_in/G)")
assert (mistake.result("y", mistakes.Call(two, weight, None, y)) == wrong).all()
print("A convolution that", mistake.name, "\n")
print("A question that leads to it:", mistake.question, sep="\n")

# %% [markdown]
# ## Picture
#
# The marked window of the image is the marked column of the matrix.

# %%
pictures.im2col(x, 2, column=4)

# %% [markdown]
# Two channels, stride 2 and a border of zeros: each channel has its own rows.

# %%
pictures.im2col(rng.integers(-9, 10, (2, 4, 4)), 3, stride=2, padding=1, column=1)

# %% [markdown]
# ## Exercise
#
# An image has 3 channels of 5x5 pixels; the kernel is 3x3, the stride 1, without padding. **Which row and which column
# of the matrix contain the lower right pixel of the last window, in channel 1?** Predict, then open the solution.

# %% tags=["hide-cell"]
image = np.arange(75.0).reshape(1, 3, 5, 5)
matrix = nx.im2col(image, 3)[0]
row = (1 * 3 + 2) * 3 + 2  # tap (2, 2) of channel 1
column = 2 * 3 + 2  # window (2, 2) of 3x3 windows
print(f"row {row} of {matrix.shape[0]}, column {column} of {matrix.shape[1]}")
assert (row, column) == (17, 8) and matrix.shape == (27, 9)
assert matrix[row, column] == image[0, 1, 4, 4]

# %% [markdown]
# Now write `im2col` yourself, and then the convolution as one matrix product:
#
# ```sh
# npresnext learn start im2col
# npresnext learn start forward
# ```
#
# Next: [lesson 4](04_col2im.py), the way back.
