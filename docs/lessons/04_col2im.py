# %% [markdown]
# # 4. col2im is the transpose, not the inverse
#
# *15 minutes. Read lesson 3 first: im2col.*
#
# ## Question
#
# `im2col` copies the windows of an image into the columns of a matrix. `col2im` goes the other way: from a matrix of
# columns to an image.
#
# **Does it give the image back? And if it does not, what is it good for?**

# %%
import inspect

import numpy as np

import npresnext as nx
from npresnext import lesson, pictures
from npresnext.testing import mistakes

rng = np.random.default_rng(4)


def integers(*shape):
    """Random integers from -3 to 3, as floats: their sums are exact."""
    return rng.integers(-3, 4, shape).astype(float)


# %% [markdown]
# ## Predict
#
# Write down your three answers before you read on.
#
# 1. An image of 5x5 ones, a 3x3 kernel, stride 1. What is `col2im(im2col(ones))`? In particular: which number is in the
#    corner, and which in the middle?
# 2. `a` is `np.zeros(2)`. After `a[[0, 0, 1]] += 1`, what is `a`?
# 3. The *transposed convolution* makes a large image from a small one. Does it undo a convolution?

# %% [markdown]
# ## Experiment
#
# (misconception-17)=
# ### Copies are added
#
# `col2im` puts each number of a column back to the pixel that it was copied from. Windows overlap. So several numbers
# come back to the same pixel, and they are **added**.

# %%
ones = np.ones((1, 1, 5, 5))
counts = nx.col2im(nx.im2col(ones, 3), ones.shape, 3)
print(counts[0, 0])
assert (counts[0, 0] == np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])).all()
assert counts[0, 0, 0, 0] == 1 and counts[0, 0, 2, 2] == 9

# %% [markdown]
# The corner is in 1 window, the middle in 9. So the answer is not an image of ones. Every pixel comes back as many
# times as there are windows that read it:

# %%
x = integers(1, 1, 5, 5)
back = nx.col2im(nx.im2col(x, 3), x.shape, 3)
assert (back == x * counts).all() and (back != x).any()
print("x:", x[0, 0], "col2im(im2col(x)):", back[0, 0], sep="\n")

# %% [markdown]
# `col2im` would be the inverse if it divided by the counts. Why does it not do this? Because the backward pass needs
# sums, as we will see now.
#
# ### The transpose
#
# `im2col` is linear: each number of the columns is a copy of one pixel, or zero. So it is a matrix $M$ of zeros and
# ones that multiplies the pixels, written as one long vector. The same holds for `col2im`. We can compute both
# matrices, column by column, with a tiny image of 3x3 pixels and a 2x2 kernel:

# %%
pixels, cells = 9, 4 * 4  # 3x3 pixels; 4 taps in 4 windows
shape = (1, 1, 3, 3)
images = np.eye(pixels).reshape(pixels, *shape)  # one pixel is 1 in each
M = np.stack([nx.im2col(image, 2).ravel() for image in images], axis=1)
matrices = np.eye(cells).reshape(cells, 1, 4, 4)  # one cell is 1 in each
back = np.stack([nx.col2im(matrix, shape, 2).ravel() for matrix in matrices], axis=1)

print("im2col is a matrix of shape", M.shape, "and col2im one of shape", back.shape)
assert M.shape == (16, 9) and back.shape == (9, 16)
assert (back == M.T).all()
assert (M.sum(axis=1) == 1).all()  # each cell is a copy of one pixel

# %% [markdown]
# **The matrix of col2im is $M$ transposed.** The same statement without matrices: for every image `x` and every matrix
# of columns `c`, the two inner products are equal,
#
# $$\langle \text{im2col}(x),\, c\rangle = \langle x,\, \text{col2im}(c)\rangle.$$

# %%
x, c = integers(1, 1, 5, 5), integers(1, 9, 9)
left = (nx.im2col(x, 3) * c).sum()
right = (x * nx.col2im(c, x.shape, 3)).sum()
print(left, "=", right)
assert left == right

# %% [markdown]
# Why is this what a backward pass needs? If the loss depends on the columns, then `c` is its gradient with respect to
# the columns. A pixel has an effect on the loss through each of its copies. The chain rule adds these effects, and that
# is what `col2im` does. The transpose of $M$ is the backward pass of $M$, for every linear map.
#
# ### `+=` with repeated indices loses numbers
#
# Question 2. Here is a trap for everyone who writes `col2im` in NumPy:

# %%
a = np.zeros(2)
a[[0, 0, 1]] += 1
print("a[[0, 0, 1]] += 1 gives        ", a)
assert (a == [1, 1]).all()

b = np.zeros(2)
np.add.at(b, [0, 0, 1], 1)
print("np.add.at(b, [0, 0, 1], 1) gives", b)
assert (b == [2, 1]).all()

# %% [markdown]
# `a[index] += 1` means `a[index] = a[index] + 1`. NumPy reads `a[0]` twice, adds 1 to both copies, and writes both to
# the same place. One of them is lost. `np.add.at` adds one after the other, but it is slow.
#
# The package has another way. **One tap never reads the same pixel in two windows.** So it adds tap by tap, and no
# index is repeated inside one `+=`:

# %%
print(inspect.getsource(lesson.conv.col2im))

# %% [markdown]
# The catalogue of mistakes contains a backward pass that overwrites instead of adding. On an image where windows do not
# overlap, it is right. With overlaps it is wrong, but not everywhere:

# %%
name = "overwrites dx where windows overlap, so that the last window wins"
mistake = mistakes.find(name)
weight, grad_output = integers(1, 1, 3, 3), integers(1, 1, 3, 3)
call = mistakes.Call(x, weight, None, grad_output)
wrong = mistake.result("dx", call)
dx = nx.conv2d_input_grad(grad_output, x.shape, weight)

print("right:", dx[0, 0], "overwritten:", wrong[0, 0], sep="\n")
print("\nA question that leads to it:", mistake.question, sep="\n")
assert (wrong != dx).any()
assert wrong[0, 0, 0, 0] == dx[0, 0, 0, 0]  # a corner is in one window

larger, fewer = integers(1, 1, 6, 6), integers(1, 1, 2, 2)
apart = mistakes.Call(larger, weight, None, fewer, stride=(3, 3))  # no overlap
assert (mistake.result("dx", apart) == apart.dx()).all()

# %% [markdown]
# (misconception-20)=
# ### A transposed convolution is not an inverse
#
# Question 3. A convolution is linear in `x`, so it also has a matrix, and this matrix has a transpose. The layer
# "transposed convolution" multiplies by it. It is the same computation as the gradient of the input. It is *not* a
# "deconvolution" that undoes the convolution:

# %%
weight = integers(1, 1, 3, 3)


def transposed(g):
    """Multiply by the transpose of the convolution's matrix: from 3x3 to 5x5."""
    return nx.conv2d_input_grad(g, (1, 1, 5, 5), weight)


x, g = integers(1, 1, 5, 5), integers(1, 1, 3, 3)
left, right = (g * nx.conv2d(x, weight)).sum(), (transposed(g) * x).sum()
print("<g, conv(x)> =", left, "and <transposed(g), x> =", right)
assert left == right
assert (transposed(nx.conv2d(x, weight)) != x).any()
assert (nx.conv2d(transposed(g), weight) != g).any()
print("transposed(conv(x)) is not x, and conv(transposed(g)) is not g.")

# %% [markdown]
# ## Picture
#
# The picture shows how often `col2im` adds to each pixel. The numbers of one axis are at the top and at the left. Their
# product is the count of a pixel.

# %%
pictures.overlaps((5, 5), 3)

# %% [markdown]
# ## Exercise
#
# **When is `col2im` the inverse of `im2col`?** Find a stride for a 3x3 kernel and a 6x6 image, so that
# `col2im(im2col(x))` is `x`. And what happens if the stride is larger than that?

# %% tags=["hide-cell"]
x = integers(1, 1, 6, 6)
unchanged = nx.col2im(nx.im2col(x, 3, stride=3), x.shape, 3, stride=3)
assert (unchanged == x).all()
print("stride 3: each pixel is in one window, and x comes back.")

ones = np.ones((1, 1, 8, 8))
lost = nx.col2im(nx.im2col(ones, 3, stride=4), ones.shape, 3, stride=4)[0, 0]
print("stride 4, on 8x8 ones:", lost, sep="\n")
assert (lost[3] == 0).all() and (lost[7] == 0).all()
print("Pixels between the windows come back as 0.")

# %% [markdown]
# Now write `col2im` yourself:
#
# ```sh
# npresnext learn start col2im
# ```
#
# Next: [lesson 5](05_backward.py), the backward pass from one sentence.
